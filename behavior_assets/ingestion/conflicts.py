"""Rows that lost to another payload under their id: they stay in bronze as evidence, and silver does not serve them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import ibis.expr.types as ir

from behavior_assets.incremental import read_parts
from behavior_assets.ingestion.canonical import BRONZE_EVENTS, PARSED_COLUMNS
from behavior_assets.ingestion.ledger import FileEntry, read_ledger
from behavior_assets.ingestion.quarantine import ID_CONFLICT, MOST_SHOWN, NO_REPLAY, Rows
from behavior_assets.privacy.silver import losing_payloads, record_of
from resources.engine import engine
from resources.lake import Lake
from resources.settings import Settings

_PLACE = ("batch_id", "row_number")


def conflicts(lake: Lake, settings: Settings, *, examples: int = 3, show_values: bool = False) -> Rows:
    """The losers by source, told like a failure class.

    Bronze is looked through now, day by day, and only on days into which a batch with conflicts has written: the
    ledger counts them. Values (what was read of the row) only with ``show_values``.
    """
    bronze = lake.table(BRONZE_EVENTS)
    ledger = read_ledger(bronze)
    batches = {e.batch_id for e in ledger if e.conflicts}
    sources = sorted({e.source for e in ledger if e.conflicts})
    days = sorted({f.part for f in bronze.files() if f.fingerprint.split("-")[0] in batches})
    found: dict[str, dict[str, Any]] = {
        s: {"source": s, "failure_class": ID_CONFLICT, "rows": 0, "examples": [], "instead": NO_REPLAY[ID_CONFLICT]}
        for s in sources
    }
    names = _file_names(ledger)
    if not days:
        return []
    with engine(settings) as backend:
        for day in days:
            events = read_parts(backend, bronze, [day])
            told = _losers(events.filter(events.source.isin(sources)))
            for source, rows in backend.execute(told.group_by("source").agg(rows=told.count())).itertuples(index=False):
                found[source]["rows"] += int(rows)
            for entry in found.values():
                wanted = examples - len(entry["examples"])
                mine = told.filter(told.source == entry["source"]).order_by(*_PLACE).limit(wanted)
                rows = backend.to_pyarrow(mine).to_pylist() if wanted else []
                entry["examples"] += [_example(r, day, names, show_values=show_values) for r in rows]
    return [entry for entry in found.values() if entry["rows"]]


def _losers(events: ir.Table) -> ir.Table:
    """One row per losing record: its first event, and the place of the winner's."""
    key = ["source", "event_date", "record"]
    events = events.filter(events.payload_hash.notnull()).mutate(record=record_of(events))
    firsts = events.filter(events.record_id.isnull())  # of a record with several items the first has its own id
    losers = losing_payloads(events).select(*key, "payload_hash")
    lost = firsts.semi_join(losers, [*key, "payload_hash"])
    won = firsts.anti_join(losers, [*key, "payload_hash"]).semi_join(losers, key)
    won = won.select(*key, winning_batch="batch_id", winning_row="row_number")
    return lost.inner_join(won, key)


def _file_names(ledger: Iterable[FileEntry]) -> dict[tuple[str, str], set[str]]:
    names: dict[tuple[str, str], set[str]] = defaultdict(set)
    for entry in ledger:
        names[entry.source, entry.batch_id].add(entry.file_name)
    return names


def _example(
    row: dict[str, Any], day: str, names: dict[tuple[str, str], set[str]], *, show_values: bool
) -> dict[str, Any]:
    def file(batch: str) -> str:
        """Bronze knows the batch; that is a file where the batch holds no other of the source."""
        known = names[row["source"], batch]
        return next(iter(known)) if len(known) == 1 else f"batch {batch}"

    told = {
        "file": file(row["batch_id"]), "batch": row["batch_id"], "day": day, "row": row["row_number"],
        "column": "event_id",
        "message": "kept in bronze, not served: another payload of the same id has the smaller hash "
        f"({file(row['winning_batch'])}, row {row['winning_row']})",
    }  # fmt: skip
    if show_values:
        values = {n: row[n] for n in PARSED_COLUMNS if row[n] is not None}
        told["raw"] = json.dumps(values, default=str, ensure_ascii=False)[:MOST_SHOWN]
    return told
