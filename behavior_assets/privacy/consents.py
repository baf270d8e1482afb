"""What persons decided about being recognised: an append-only table, and which events each decision governs.

The newest decision of a person governs all of their events: after a denial or a withdrawal none of them shows who they
are, not even earlier ones. A grant after it holds from its moment on; what happened before stays without consent.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend

from behavior_assets.incremental import fingerprint, read_parts
from behavior_assets.privacy.normal import normal_ids
from resources.lake import Lake
from resources.table import LakeTable, TableSpec

CONSENTS = TableSpec(
    "bronze/consents",
    pa.schema([
        ("record_id", pa.string()), ("subject", pa.string()), ("id_kind", pa.string()), ("state", pa.string()),
        ("version", pa.string()), ("at_us", pa.int64()), ("recorded_us", pa.int64()),
    ]),
)  # fmt: skip
ID_KINDS = {"user": "user_id", "client": "client_id"}  # and the column of bronze
STATES = ("granted", "denied", "withdrawn")
ALWAYS_US = 2**62
_GOVERNED = pa.schema([
    ("id_kind", pa.string()), ("subject", pa.string()), ("records", pa.string()), ("denied_until_us", pa.int64()),
    ("granted_from_us", pa.int64()),
])  # fmt: skip


@dataclass(frozen=True)
class Decision:
    """What a person decided, when (UTC microseconds), and on which version of the shop's question."""

    subject: str
    id_kind: str
    state: str
    version: str
    at_us: int


def record(lake: Lake, decisions: Sequence[Decision], now_us: int) -> None:
    """Append decisions in one commit; the lake's lock must be held."""
    # A number of no meaning stands for the record where days are told apart: a hash of the id could be guessed.
    rows = [{**asdict(d), "record_id": uuid.uuid4().hex, "recorded_us": now_us} for d in decisions]
    table = lake.table(CONSENTS)
    table.commit([table.write("all", "added", [pa.Table.from_pylist(rows, schema=CONSENTS.schema)])], replace=False)


def _records(lake: Lake) -> pa.Table:
    table = lake.table(CONSENTS)
    return pa.concat_tables([CONSENTS.schema.empty_table(), *(pq.read_table(p) for p in table.absolute(table.files()))])


def _by_person(backend: Backend, records: pa.Table) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Records in their order, by (kind, id as it is compared); of one moment the more private one comes last."""
    named = ibis.memtable(records)
    rows = backend.to_pyarrow(named.mutate(subject=normal_ids(named.subject))).to_pylist()
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: (r["at_us"], r["state"] != "granted", r["recorded_us"])):
        found[row["id_kind"], row["subject"]].append(row)
    return found


def history(backend: Backend, lake: Lake, subject: str, id_kind: str) -> list[dict[str, Any]]:
    """The decisions of one person, oldest first, without the id."""
    wanted = backend.to_pyarrow(normal_ids(ibis.literal(subject))).as_py()
    rows = _by_person(backend, _records(lake)).get((id_kind, wanted), [])
    return [{"state": r["state"], "version": r["version"], "at_us": r["at_us"]} for r in rows]


def governed(backend: Backend, lake: Lake, consent_when_absent: str) -> pa.Table | None:
    """Persons whose decisions change anything, with the times until or from which these hold; None if nobody's do."""
    if not lake.table(CONSENTS).exists():
        return None
    people = []
    for (kind, subject), rows in _by_person(backend, _records(lake)).items():
        until, since = _times([(r["state"], r["at_us"]) for r in rows])
        if until is not None or consent_when_absent == "denied":
            marks = fingerprint(*sorted(r["record_id"] for r in rows))
            people.append({"id_kind": kind, "subject": subject, "records": marks, "denied_until_us": until,
                           "granted_from_us": since})  # fmt: skip
    return pa.Table.from_pylist(people, schema=_GOVERNED) if people else None


def _times(decisions: Iterable[tuple[str, int]]) -> tuple[int | None, int | None]:
    """Until when events are denied and from when they are granted; ``decisions`` in order."""
    until = since = None
    for state, at_us in decisions:
        if state != "granted":
            until, since = ALWAYS_US, None
        elif since is None:
            since = at_us
            until = None if until is None else at_us
    return until, since


def day_marks(backend: Backend, bronze: LakeTable, people: pa.Table | None, days: Iterable[str]) -> dict[str, str]:
    """By day, what stands for the decisions that govern events of it; days without such are left away."""
    if people is None:
        return {}
    events = read_parts(backend, bronze, days)
    rows = ibis.memtable(people)
    found: dict[str, set[str]] = defaultdict(set)
    for kind, column in ID_KINDS.items():
        mine = rows.filter(rows.id_kind == kind).select("records", person="subject")
        ids = events.select("event_date", column).distinct()
        hit = ids.inner_join(mine, normal_ids(ids[column]) == mine.person).select("event_date", "records").distinct()
        for row in backend.to_pyarrow(hit).to_pylist():
            found[row["event_date"].isoformat()].add(row["records"])
    return {day: fingerprint(*sorted(marks)) for day, marks in found.items()}
