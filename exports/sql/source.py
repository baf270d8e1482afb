"""The current snapshot as rows: the Parquet files that its manifest names, in the contract's columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from exports.contract import TYPES, published
from exports.snapshot import Manifest, read_manifest, require_contract
from resources.errors import BehaviorError, IntegrityError
from resources.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 100_000  # rows that are in memory at a time


@dataclass(frozen=True)
class Source:
    """A snapshot that is being read. Its files stay while it is one of the last ``snapshots_kept``."""

    exports: Path
    manifest: Manifest
    con: duckdb.DuckDBPyConnection

    @classmethod
    @contextmanager
    def current(cls, settings: Settings) -> Iterator[Source]:
        """The snapshot that ``current.json`` names. Raises BehaviorError where nothing is published yet."""
        exports = settings.home.exports
        manifest = read_manifest(exports)
        if manifest is None:
            msg = f"{exports}: nothing is published yet. `behavior run` makes a snapshot."
            raise BehaviorError(msg)
        require_contract(manifest, exports)
        limits: dict[str, Any] = {"memory_limit": f"{settings.memory_limit}B", "threads": settings.threads}
        with duckdb.connect(":memory:", config=limits) as con:
            yield cls(exports, manifest, con)

    @property
    def snapshot(self) -> str:
        """Its id."""
        return str(self.manifest["snapshot"])

    def newer(self) -> str:
        """The id of the snapshot that was published meanwhile; empty where this one is still the current."""
        manifest = read_manifest(self.exports)
        told = str(manifest["snapshot"]) if manifest else ""
        return "" if told == self.snapshot else told

    def widths(self) -> dict[tuple[str, str], int]:
        """Characters of the longest text in every text column."""
        found: dict[tuple[str, str], int] = {}
        for name, table in published().items():
            texts = [c.name for c in table.columns if c.kind == "text"]
            if name not in self.manifest["tables"] or not texts or not self._files(name):
                continue
            sums = ", ".join(f'coalesce(max(length("{c}")), 0)' for c in texts)
            with self._reading(name):
                row = self.con.execute(f"SELECT {sums} FROM read_parquet(?)", [self._files(name)]).fetchone()
            found |= {(name, c): int(value) for c, value in zip(texts, row or (), strict=True)}
        return found

    def batches(self, name: str) -> Iterator[pa.RecordBatch]:
        """A table's rows, at most ``BATCH`` at a time."""
        files = self._files(name)
        if not files:
            return
        columns = ", ".join(f'"{c.name}"' for c in published()[name].columns)
        with self._reading(name):
            cursor = self.con.cursor()
            reader = cursor.execute(f"SELECT {columns} FROM read_parquet(?)", [files]).to_arrow_reader(BATCH)
            yield from (batch.cast(_schema(name)) for batch in reader)

    def _files(self, name: str) -> list[str]:
        return [str(self.exports / f["path"]) for f in self.manifest["tables"][name]["files"]]

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Tell a file that was collected from one that is damaged."""
        try:
            yield
        except duckdb.Error as error:
            newer = self.newer()
            if newer:
                msg = (f"snapshot {self.snapshot} was removed while it was read, as newer ones were published (now "
                       f"{newer}). Publish again; a higher `snapshots_kept` keeps snapshots longer.")  # fmt: skip
                raise BehaviorError(msg) from error
            msg = f"exports/tables/{name}: a file cannot be read. `behavior verify` tells which, `--repair` mends it."
            raise IntegrityError(msg) from error


def _schema(name: str) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([pa.field(c.name, TYPES[c.kind]) for c in published()[name].columns])
