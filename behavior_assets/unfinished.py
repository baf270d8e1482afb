"""The mark of a repair that has begun to take things away: while it lies there, tables may lack what they had."""

from __future__ import annotations

import json

from resources.disk import disk_errors, draft_of, make_folder
from resources.integrity import Problem
from resources.settings import Home

MARK = "_repair.json"  # below lake/: no table's folder is called so


def begin(home: Home, what: str) -> None:
    """Before a table loses anything: note what. A mark that is damaged is as good as a whole one."""
    path = home.lake / MARK
    told = taken(home)
    if path.exists() and what in told:
        return
    with disk_errors(home.lake):
        make_folder(home.lake)
        with draft_of(path) as draft:
            draft.write_text(json.dumps({"taken": [*told, what]}, indent=1), "utf-8")


def taken(home: Home) -> list[str]:
    """What repairs that have not ended took away."""
    try:
        return [str(what) for what in json.loads((home.lake / MARK).read_text("utf-8"))["taken"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def problems(home: Home) -> list[Problem]:
    """Whether a repair was begun and has not ended."""
    if not (home.lake / MARK).exists():
        return []
    told = taken(home)
    named = f" of {', '.join(told[:3])}{' and more' if len(told) > 3 else ''}" if told else ""  # noqa: PLR2004
    what = f"a repair was begun and has not ended, so parts{named} may be missing. Run `behavior verify --repair` again"
    return [Problem(MARK, what)]


def end(home: Home) -> None:
    """Everything is made again."""
    with disk_errors(home.lake):
        (home.lake / MARK).unlink(missing_ok=True)
