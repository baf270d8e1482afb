"""The mark of a repair that has begun to take things away: while it lies there, tables may lack what they had."""

from __future__ import annotations

import json

from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from resources.disk import disk_errors, draft_of, make_folder
from resources.errors import IntegrityError
from resources.integrity import Problem
from resources.settings import Home

_BEGUN = "a repair was begun and has not ended"
_AGAIN = "Run `behavior verify --repair` again"
ORIGINALS = (BRONZE_EVENTS.name, QUARANTINE_EVENTS.name)
MARK = "_repair.json"  # below lake/: no table's folder is called so


def begin(home: Home, what: str) -> None:
    """Before a table loses anything: note what."""
    told = taken(home)
    if what not in told:
        _write(home, [*told, what])


def settle(home: Home) -> None:
    """Bronze and quarantine have again all that they can have; what is made from them may still be missing."""
    if (home.lake / MARK).exists():
        _write(home, [what for what in taken(home) if what not in ORIGINALS])


def _write(home: Home, told: list[str]) -> None:
    with disk_errors(home.lake):
        make_folder(home.lake)
        with draft_of(home.lake / MARK) as draft:
            draft.write_text(json.dumps({"taken": told}, indent=1), "utf-8")


def taken(home: Home) -> list[str]:
    """What repairs that have not ended took away; a mark that is damaged may have told of bronze and quarantine."""
    try:
        return [str(what) for what in json.loads((home.lake / MARK).read_text("utf-8"))["taken"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        return list(ORIGINALS)


def require_originals(home: Home) -> None:
    """Raise IntegrityError where a repair that has not ended took something from bronze or quarantine."""
    if gone := [what for what in taken(home) if what in ORIGINALS]:
        msg = f"{', '.join(gone)}: {_BEGUN}, so rows may be missing that only it can bring back. {_AGAIN}."
        raise IntegrityError(msg)


def problems(home: Home) -> list[Problem]:
    """Whether a repair was begun and has not ended."""
    if not (home.lake / MARK).exists():
        return []
    told = taken(home)
    named = f" of {', '.join(told[:3])}{' and more' if len(told) > 3 else ''}" if told else ""  # noqa: PLR2004
    return [Problem(MARK, f"{_BEGUN}, so parts{named} may be missing. {_AGAIN}")]


def end(home: Home) -> None:
    """Everything is made again."""
    with disk_errors(home.lake):
        (home.lake / MARK).unlink(missing_ok=True)
