"""An error that nobody foresaw: told by its type and its place, never in its own words, which may quote the data."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from resources.errors import BehaviorError
from resources.settings import resolve_home
from resources.stamp import stamp
from resources.wordless import DEBUG, debugging, summary

__all__ = ["debugging", "foreseen", "frames_of", "summary"]
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def frames_of(stack: Iterable[str]) -> list[tuple[str, int]]:
    """The places in a traceback that is text already."""
    found = (_FRAME.search(entry) for entry in stack)
    return [(m.group(1), int(m.group(2))) for m in found if m]


def foreseen(error: BaseException, home: str | None) -> BehaviorError:
    """An error for the user in place of one that was not meant for him; where it came from is kept in ``logs/``."""
    frames = [(f.f_code.co_filename, line) for f, line in traceback.walk_tb(error.__traceback__)]
    words = summary(type(error).__name__, frames)
    if debugging():
        traceback.print_exception(error)
        return BehaviorError(words)
    kept = _keep(error, home)
    where = f"Where it came from, without values, is in {kept}. " if kept else ""
    return BehaviorError(f"{words} {where}{DEBUG}=1 shows the whole of it (and maybe values of the data).")


def _keep(error: BaseException, home: str | None) -> Path | None:
    """Types and places of an error and of what it came from, in a file of the home where there is one."""
    try:
        root = resolve_home(home).root
        path = root / "logs" / f"error-{stamp(datetime.now(UTC))}.txt"
        if not root.is_dir():
            return None
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([f"behavior {_command()}", *_lines(error), ""]), "utf-8")
    except (OSError, ValueError):
        return None
    return path


def _command() -> str:
    return next((a for a in sys.argv[1:] if a.isalpha()), "")


def _lines(error: BaseException) -> list[str]:
    told: list[str] = []
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        told += [f"{type(cause).__module__}.{type(cause).__qualname__}, which came by"]
        told += [line.rstrip("\n") for line in traceback.format_tb(cause.__traceback__)]
        cause = cause.__cause__ or cause.__context__
        told += ["and was raised while this was handled:"] if cause is not None and cause not in seen else []
    return told
