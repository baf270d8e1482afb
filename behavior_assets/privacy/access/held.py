"""What is held of a person: for each table that the registry says holds rows of persons, where theirs are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.privacy.access.others import Others, records_of
from behavior_assets.privacy.consents import CONSENTS
from behavior_assets.privacy.erasure import takeout
from behavior_assets.privacy.erasure.deliveries import Deliveries
from behavior_assets.privacy.erasure.naming import name_keys, tables_of
from behavior_assets.privacy.erasure.subjects import Subjects
from behavior_assets.privacy.erasure.takeout import Rows
from behavior_assets.privacy.registry import Holding, Kind, registry
from resources.errors import IntegrityError
from resources.table import LakeTable

_BATCH = 10_000  # rows
_NOBODY = -1  # the unknown member


@dataclass
class Held:
    """A person's rows in one table: by their places, or (of quarantine) the rows themselves.

    ``left_out``: rows that name others, too; ``cells``: texts that did, found while rows were read.
    """

    table: LakeTable
    holding: Holding
    places: Rows = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0
    cells: int = 0

    @property
    def columns(self) -> list[str]:
        """The columns of the table."""
        return list(self.table.spec.schema.names)

    def count(self) -> int:
        """How many rows they are."""
        return len(self.records) + takeout.number_of(self.places)

    def rows(self, others: Others) -> Iterator[list[dict[str, Any]]]:
        """The rows, some at a time and in an order of their own, without what names others."""
        texts = [n for n, kind in self.holding.columns.items() if kind in {Kind.text, Kind.circumstance}]
        for rows in (self.records,) if self.records else _read(others.subjects, self.table, self.places):
            self.cells += others.without(rows, texts)
            yield rows


def held(subjects: Subjects, others: Others) -> list[Held]:
    """What every table holds of the persons. The subjects' keys are completed on the way."""
    tables = tables_of(subjects.lake)
    name_keys(subjects, tables)
    known = registry()
    return [_held(subjects, others, table, known[name]) for name, table in tables.items() if known[name].personal]


def _held(subjects: Subjects, others: Others, table: LakeTable, holding: Holding) -> Held:
    con, name = subjects.con, holding.asset
    if name == QUARANTINE_EVENTS.name:
        records, left_out = records_of(others, Deliveries(subjects.settings.home))
        return Held(table, holding, records=records, left_out=left_out)
    if takeout.is_by_keys(holding):
        return _without_others(subjects, Held(table, holding, takeout.rows_of(con, table, holding)))
    if name == CONSENTS.name:
        return Held(table, holding, takeout.consents_of(con, table))
    if name == BRONZE_EVENTS.name:
        return Held(table, holding, takeout.rows_of_bronze(con, table))
    msg = f"{name}: holds rows of persons by {holding.subject.value}; nothing reads them for an export yet."
    raise IntegrityError(msg)


def _without_others(subjects: Subjects, found: Held) -> Held:
    """Without rows that name another customer: their visit's key alone would not make them this person's."""
    if "customer_key" not in found.columns:
        return found
    mine = {k for (k,) in subjects.con.execute("SELECT key FROM gone_key WHERE kind = 'customer'").fetchall()}
    kept: dict[str, Any] = {}
    for path, numbers in found.places.items():
        customers = _customers(subjects, found.table, path, numbers)
        keep = np.array([c is None or c == _NOBODY or c in mine for c in customers], dtype=bool)
        found.left_out += int((~keep).sum())
        kept[path] = numbers[keep]
    found.places = kept
    return found


def _customers(subjects: Subjects, table: LakeTable, path: str, numbers: Any) -> list[int | None]:
    rows = subjects.con.read_parquet(str(table.root / path), file_row_number=True)
    rows.create_view("holding", replace=True)
    subjects.con.register("place", pa.table({"file_row_number": numbers}))
    told = subjects.con.execute("SELECT customer_key FROM holding JOIN place USING (file_row_number) "
                                "ORDER BY file_row_number").fetchall()  # fmt: skip
    subjects.con.unregister("place")
    return [key for (key,) in told]


def _read(subjects: Subjects, table: LakeTable, places: Rows) -> Iterator[list[dict[str, Any]]]:
    """Rows at these places, ordered by all that they say."""
    places = {path: numbers for path, numbers in places.items() if len(numbers)}
    if not places:
        return
    con, paths = subjects.con, {str(table.root / path): path for path in places}
    rows = con.read_parquet(list(paths), filename=True, file_row_number=True, union_by_name=True)
    rows.create_view("holding", replace=True)
    con.register("place", pa.table({
        "filename": [p for p, name in paths.items() for _ in places[name]],
        "file_row_number": np.concatenate([places[name] for name in paths.values()]),
    }))  # fmt: skip
    con.execute("""CREATE OR REPLACE TEMP TABLE theirs AS SELECT holding.* EXCLUDE (filename, file_row_number)
        FROM holding SEMI JOIN place USING (filename, file_row_number) ORDER BY ALL""")
    con.unregister("place")
    (count,) = con.execute("SELECT count(*) FROM theirs").fetchall()[0]
    names = con.table("theirs").columns
    for start in range(0, int(count), _BATCH):
        batch = con.execute("FROM theirs WHERE rowid >= ? AND rowid < ? ORDER BY rowid", [start, start + _BATCH])
        yield [dict(zip(names, values, strict=True)) for values in batch.fetchall()]
