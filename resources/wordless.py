"""Errors without their own words, which may quote the data: what is left is their type and their place."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from resources.errors import BehaviorError

DEBUG = "BEHAVIOR_DEBUG"  # set to 1: the whole traceback on stderr, with whatever it quotes
_REPOSITORY = Path(__file__).resolve().parent.parent
_OURS = ("behavior_assets", "resources", "expectations", "exports")


def debugging() -> bool:
    """Whether the user asked to see everything."""
    return os.environ.get(DEBUG) == "1"


def summary(kind: str, frames: Iterable[tuple[str, int]]) -> str:
    """One sentence for an error of a type that came by these places (file and line, the last is where it arose)."""
    places = list(frames)
    ours = [(Path(file).relative_to(_REPOSITORY), line) for file, line in places if _is_ours(Path(file))]
    file, line = ours[-1] if ours else (Path(places[-1][0]).name, places[-1][1]) if places else ("an unknown place", 0)
    return f"unexpected error ({kind}) at {file}:{line}. `behavior verify` tells whether everything is whole."


def _is_ours(file: Path) -> bool:
    return file.is_relative_to(_REPOSITORY) and file.relative_to(_REPOSITORY).parts[0] in _OURS


@contextmanager
def wordless() -> Iterator[None]:
    """Raise an error of ours in place of one that nobody foresaw: Dagster's storage keeps what an error says.

    What the disk refused keeps its words: they name files. So does everything while the user asked to see all.
    """
    try:
        yield
    except (BehaviorError, OSError):
        raise
    except Exception as error:
        if debugging() or type(error).__module__.startswith("dagster"):
            raise
        inner: BaseException = error
        while (cause := inner.__cause__ or (None if inner.__suppress_context__ else inner.__context__)) is not None:
            inner = cause
        frames = [(f.f_code.co_filename, line) for f, line in traceback.walk_tb(inner.__traceback__)]
        raise BehaviorError(summary(type(inner).__name__, frames)) from None
