"""Looking for one person in the whole home: under every name that the lake knows them by."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.privacy.erasure import case as cases
from behavior_assets.privacy.erasure.naming import name_keys, needles_of, tables_of
from behavior_assets.privacy.erasure.subjects import Asked, IdKind, open_subjects
from behavior_assets.privacy.normal import IdOf
from behavior_assets.privacy.scanner import Find, Needles, scan
from behavior_assets.privacy.scanner.needles import grade
from behavior_assets.privacy.scanner.report import UNREAD
from behavior_assets.privacy.suppression import folder as tokens_of
from resources.lake import Lake, alone
from resources.settings import Settings, with_zone

_ROOT = "home"  # the layer of what lies directly in it
_DEEP = {"lake", "landing", "exports"}  # folders whose own folders are layers


def look_for(settings: Settings, asked: Sequence[Asked]) -> dict[str, Any]:
    """Places by layer, none with an id; nobody else writes to the home meanwhile."""
    home, lake = settings.home, Lake(settings.home.lake)
    apart = [p for p in (settings.key_path.parent, cases.folder(home)) if p.is_relative_to(home.root) and p.exists()]
    with alone(home):
        lake.fetch()
        needles, known = _called(with_zone(settings), asked)
        finds = scan(home.root, needles, leave=lambda relative: any(
            (home.root / relative).is_relative_to(place) for place in apart))  # fmt: skip
        # Of files that no table names any more, those that other machines wrote are only there.
        finds += [Find(Path("lake") / name, "the store", UNREAD) for name in lake.strays()
                  if not (home.lake / name).exists()]  # fmt: skip
    times = Counter[tuple[Path, str, str]]()
    for find in (f for f in finds if not f.unread):
        times[find.path, find.place, find.how] += find.times
    places: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path, place, how in sorted(times):
        told = {"path": path.as_posix(), "place": place, "how": how, "times": times[path, place, how]}
        places[layer_of(path)].append(told)
    names = Counter(grade(text).name for text in needles.named().values())
    return {
        "found": len(times), "known": known, "grade": max(grade(a.id) for a in asked).name,
        "names": dict(sorted(names.items())), "places": dict(sorted(places.items())), "unread": _unread(finds),
        "left_out": _left_out(settings, apart),
    }  # fmt: skip


def _called(settings: Settings, asked: Sequence[Asked]) -> tuple[Needles, bool]:
    """Raw ids, pseudonyms under every version of the key, and surrogate keys; and whether any event is theirs."""
    with open_subjects(settings, asked) as subjects:
        lake = subjects.lake
        name_keys(subjects, tables_of(lake))
        texts = subjects.texts()
        for a in asked:
            texts[IdOf.visit if a.kind is IdKind.session else IdOf.person].add(a.id)
        return needles_of(subjects.con, texts, subjects.keys(), lake.table(BRONZE_EVENTS)), subjects.has_rows()


def layer_of(path: Path) -> str:
    """The part of the home that a path lies in: ``lake/silver``, ``archive``, ``logs``."""
    parts = path.parts
    if len(parts) < 2:  # noqa: PLR2004 - a file in the home itself
        return _ROOT
    return "/".join(parts[: 2 if parts[0] in _DEEP and len(parts) > 2 else 1])  # noqa: PLR2004


def _unread(finds: Sequence[Find]) -> list[dict[str, str]]:
    return [{"path": f.path.as_posix(), "why": f.place} for f in finds if f.unread]


def _left_out(settings: Settings, apart: Sequence[Path]) -> list[str]:
    """What is not looked into, and what the list of suppressed persons tells: nobody's id."""
    told = [f"{p.relative_to(settings.home.root).as_posix()}/: keys, or erasures that are not done" for p in apart]
    if not settings.key_path.parent.is_relative_to(settings.home.root):
        told.append("the keys folder, outside of the home")
    if tokens_of(settings.home).exists():
        told.append("tokens of suppressed persons are keyed: they hold no id, and are no find")
    return [*told, "backups and copies outside of the home, and published databases"]
