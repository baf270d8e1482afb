"""A case of erasure: whom it is about while that must be known, and how far it has come.

``<home>/privacy/cases/<case>/`` (0700) holds, until the erasure is verified, what its persons are called: without that
nobody could go on after a crash, or look whether they are gone. Of a case that is verified only the receipt is left,
which tells of no person.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from behavior_assets.ingestion.ledger import read_removed
from behavior_assets.privacy.audit_log import open_audit
from behavior_assets.privacy.erasure.subjects import Asked, IdKind
from behavior_assets.privacy.normal import IdOf, normal_id
from behavior_assets.privacy.suppression import case_id, is_lifted, lift, token
from behavior_assets.privacy.suppression import folder as suppressed
from resources.disk import disk_errors, draft_of, make_folder
from resources.errors import IntegrityError, UsageError
from resources.failpoints import reach
from resources.keys import SUPPRESSION, load_key, open_private
from resources.lake import alone
from resources.settings import Home, Settings
from resources.table import LakeTable

REQUESTED, SUPPRESSED, EXECUTED, VERIFIED = STATES = ("requested", "suppressed", "executed", "verified")
_CASE, _IDS = "case.json", "ids.json"


@dataclass
class Case:
    """An erasure. ``asked``: by which ids; ``reached``: when it came to each state (UTC); ``told``: counts."""

    name: str
    asked: list[dict[str, str]] = field(default_factory=list, repr=False)
    reached: dict[str, str] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def persons(self) -> int:
        """How many were asked for."""
        return len(self.asked)

    @property
    def state(self) -> str:
        """The last state that it came to."""
        return next((s for s in reversed(STATES) if s in self.reached), REQUESTED)

    def overdue(self, now: datetime, days: int) -> bool:
        """Whether it should be verified by now."""
        asked = datetime.fromisoformat(self.reached[REQUESTED])
        return self.state != VERIFIED and now > asked + timedelta(days=days)


@dataclass
class Called:
    """What the persons of a case are called: raw ids and pseudonyms, and surrogate keys, each by kind."""

    texts: dict[IdOf, set[str]] = field(default_factory=dict, repr=False)
    keys: dict[str, set[int]] = field(default_factory=dict, repr=False)

    @property
    def all_texts(self) -> set[str]:
        """Of every kind."""
        return set().union(*self.texts.values())


def folder(home: Home) -> Path:
    """Where the cases lie."""
    return home.root / "privacy" / "cases"


def receipts(home: Home) -> Path:
    """Where the receipts lie."""
    return home.root / "privacy" / "receipts"


def require_erasures_known(home: Home, bronze: LakeTable) -> None:
    """Raise IntegrityError where a lake that is kept in a store tells of an erasure that this home knows nothing of.

    Another machine carried it out. Without its list nobody would keep that person out here.
    """
    if bronze.mirror is None:
        return
    known = {path.stem for place in (folder(home), receipts(home), suppressed(home)) for path in place.glob("*")}
    unknown = sorted({r.case for r in read_removed(bronze) if r.case} - known)
    if unknown:
        msg = (
            f"{home.root / 'privacy'}: the lake tells of {len(unknown)} erasures that another machine carried out "
            f"(the first: {unknown[0]}), and their persons would not be kept out here. Bring that machine's folder "
            "privacy/ here, and run the erasures here as well for what this machine keeps, or take files in there."
        )
        raise IntegrityError(msg)


def begin(home: Home, name: str, asked: Iterable[Asked], now: datetime) -> Case:
    """A new case; of one that is there already, that one."""
    case = read(home, name)
    if case is not None:
        return case
    case = Case(name, [{"id": a.id, "kind": str(a.kind)} for a in asked], {REQUESTED: _at(now)})
    make_folder(folder(home), 0o700)
    make_folder(folder(home) / name, 0o700)
    keep(home, case)
    return case


def asked_of(case: Case) -> list[Asked]:
    """By which ids its persons were asked for."""
    return [Asked(a["id"], IdKind(a["kind"])) for a in case.asked]


def reach_state(home: Home, case: Case, state: str, now: datetime) -> None:
    """Note that a case has come to a state."""
    case.reached.setdefault(state, _at(now))
    keep(home, case)


def keep(home: Home, case: Case) -> None:
    """Write down how far a case has come."""
    reach("privacy.case")
    _write(folder(home) / case.name / _CASE, asdict(case))


def read(home: Home, name: str) -> Case | None:
    """A case that is open, None where there is none of that name."""
    path = folder(home) / name / _CASE
    return Case(**json.loads(path.read_text("utf-8"))) if path.exists() else None


def open_cases(home: Home) -> list[Case]:
    """Cases that are not verified yet, oldest first."""
    for place in folder(home).glob("*/"):
        if (receipts(home) / f"{place.name}.json").exists():  # whoever wrote it died before all was forgotten
            _forget(place)
    names = [p.name for p in folder(home).glob("*/") if (p / _CASE).exists()]
    found = [c for name in names if (c := read(home, name)) is not None]
    return sorted(found, key=lambda c: c.reached[REQUESTED])


def remember(home: Home, case: Case, called: Called) -> Called:
    """Add what persons are called to what a case knows, and return all of it."""
    known = called_in(home, case)
    for of, texts in called.texts.items():
        known.texts.setdefault(of, set()).update(texts)
    for kind, keys in called.keys.items():
        known.keys.setdefault(kind, set()).update(keys)
    told = {name: {kind: sorted(found) for kind, found in getattr(known, name).items()} for name in ("texts", "keys")}
    reach("privacy.keys")
    _write(folder(home) / case.name / _IDS, told)
    return known


def called_in(home: Home, case: Case) -> Called:
    """What a case knows of what its persons are called."""
    path = folder(home) / case.name / _IDS
    if not path.exists():
        return Called()
    told = json.loads(path.read_text("utf-8"))
    return Called({IdOf(of): set(texts) for of, texts in told["texts"].items()},
                  {kind: set(keys) for kind, keys in told["keys"].items()})  # fmt: skip


def close(home: Home, case: Case, receipt: dict[str, Any]) -> Path:
    """Write the receipt, and forget of whom the case was."""
    make_folder(receipts(home), 0o700)
    target = receipts(home) / f"{case.name}.json"
    reach("privacy.receipt")
    _write(target, receipt)
    _forget(folder(home) / case.name)
    return target


def _forget(place: Path) -> None:
    """Remove what tells of whom a case was; by what is left of it the next command knows that it is to go on."""
    with disk_errors(place):
        for path in sorted(place.iterdir(), key=lambda p: p.name == _CASE):
            reach("privacy.forget")
            path.unlink()
        place.rmdir()


def receipt(home: Home, name: str) -> dict[str, Any] | None:
    """The receipt of a case that is verified."""
    path = receipts(home) / f"{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text("utf-8")) if path.exists() else None
    return found


def read_receipts(home: Home) -> Iterator[dict[str, Any]]:
    """Every receipt, oldest first."""
    found = [json.loads(p.read_text("utf-8")) for p in receipts(home).glob("*.json")]
    yield from sorted(found, key=lambda r: str(r["reached"][REQUESTED]))


def open_case(settings: Settings, asked: Iterable[Asked], now: datetime) -> Case:
    """A case for these ids: the open one, where somebody asked for the same before."""
    asked = sorted({(a.kind, normal_id(a.id)): a for a in asked}.values(), key=lambda a: (a.kind, a.id))
    key = load_key(settings, SUPPRESSION)
    tokens = [token(key, str(a.kind), a.id) for a in asked]
    for known in open_cases(settings.home):
        if {token(key, str(a.kind), a.id) for a in asked_of(known)} == set(tokens):
            return known
    name = case_id(tokens, now.isoformat())
    open_audit(settings).append(f"erase.{REQUESTED}", case=name, persons=len(asked))
    return begin(settings.home, name, asked, now)


def states(settings: Settings, now: datetime) -> list[dict[str, Any]]:
    """Every case, of whom nothing is told: its state, when it came to it, and whether it is overdue."""
    days = settings.erase_within_days
    found: list[dict[str, Any]] = [
        {"case": c.name, "persons": c.persons, "state": c.state, "reached": c.reached, "overdue": c.overdue(now, days)}
        for c in open_cases(settings.home)
    ]
    done = [{"case": r["case"], "persons": r["persons"], "state": VERIFIED, "reached": r["reached"], "overdue": False,
             "lifted": is_lifted(settings.home, r["case"])} for r in read_receipts(settings.home)]  # fmt: skip
    return sorted([*done, *found], key=lambda c: str(c["reached"][REQUESTED]))


def require_case(settings: Settings, name: str) -> Case:
    """An open case. Raises UsageError where there is none of that name."""
    case = next((c for c in open_cases(settings.home) if c.name == name), None)
    if case is None:
        msg = f"case {name}: no such case is open; `behavior erase --list` has them."
        raise UsageError(msg)
    return case


def welcome(settings: Settings, name: str) -> None:
    """Take in again, from now on, whom a verified case has kept out: they came back, or were never meant.

    Nothing that was erased, or kept out until now, comes back. Raises UsageError where no such case is verified.
    """
    if name not in {r["case"] for r in read_receipts(settings.home)}:
        msg = f"case {name}: no such case is verified; `behavior erase --list` has them."
        raise UsageError(msg)
    with alone(settings.home):
        open_audit(settings).append("erase.lifted", case=name)
        lift(settings.home, name)


def _write(path: Path, told: Any) -> None:
    with disk_errors(path.parent), draft_of(path) as draft, open_private(draft) as file:
        file.write(json.dumps(told).encode())


def _at(now: datetime) -> str:
    return now.astimezone(UTC).isoformat(timespec="milliseconds")
