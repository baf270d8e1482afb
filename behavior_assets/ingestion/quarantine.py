"""The quarantine: rows that could not be accepted, why, and the way back once a mapping or a rule is mended."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior_assets.ingestion.ahead import Delivery, Replay
from behavior_assets.ingestion.batch import Batch
from behavior_assets.ingestion.canonical import QUARANTINE_EVENTS
from behavior_assets.ingestion.ledger import FileEntry
from behavior_assets.ingestion.reader import FileReading
from behavior_assets.ingestion.sources import load_source
from resources.disk import disk_errors
from resources.errors import UsageError
from resources.failpoints import reach
from resources.lake import Batch as Marker
from resources.lake import Lake, LakeTable
from resources.settings import Settings

_SUFFIX = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".jsonl"}  # a Parquet row is kept as JSON
_MOST_SHOWN = 120  # characters of a raw row
Rows = list[dict[str, Any]]


def put_in(table: LakeTable, readings: Iterable[FileReading], batch: Batch, marker: Marker) -> None:
    """Commit the rejects of a batch's files: a part per delivery, so that a rerun after a crash replaces them."""
    files = []
    for reading in readings:
        rejects, staged = [reading.rejects[r] for r in sorted(reading.rejects)], reading.staged
        rows = [
            {
                "source": reading.source.name, "source_file": staged.name, "file_sha256": staged.sha256,
                "row_number": r.row, "failure_class": r.failure_class, "column_name": r.column, "message": r.message,
                "raw": r.raw, "arrived_ts_us": batch.arrived_us, "kind": staged.kind, "header": reading.header,
            }
            for r in rejects
        ]  # fmt: skip
        made = pa.Table.from_pylist(rows, schema=QUARANTINE_EVENTS.schema)
        files.append(table.write(staged.key, batch.batch_id, [made]))
    if files:
        table.commit(files, batch=marker)


def unaccounted(table: LakeTable, ledger: Iterable[FileEntry]) -> list[str]:
    """Parts that no delivery in the ledger speaks for: their run ended before bronze's commit."""
    known = {name for e in ledger for name in (e.key, e.file_sha256)}
    return [part for part in table.parts() if part not in known]


def take_out(table: LakeTable, entries: Iterable[FileEntry], drop: Iterable[str] = ()) -> None:
    """Remove rows that replays have accepted, and the parts to ``drop``.

    Doing it again changes nothing, so a crash before it is mended by it.
    """
    gone: dict[str, set[int]] = defaultdict(set)
    for entry in entries:
        if entry.replay_of:
            gone[entry.replay_of].update(entry.replayed_rows)
    live = table.parts()
    files, empty = [], list(drop)
    for part in sorted(gone.keys() & live.keys()):
        rows = _read(table, part)
        kept = rows.filter(pc.invert(pc.is_in(rows["row_number"], pa.array(sorted(gone[part]), pa.int64()))))
        if kept.num_rows == rows.num_rows:
            continue
        if kept.num_rows:
            files.append(table.write(part, live[part][0].fingerprint, [kept]))
        else:
            empty.append(part)
    if files or empty:
        table.commit(files, drop=empty)


def _read(table: LakeTable, part: str) -> pa.Table:
    paths = table.absolute(table.parts()[part])
    return pa.concat_tables([pq.read_table(path, schema=QUARANTINE_EVENTS.schema) for path in paths])


def _rows(lake: Lake) -> Iterable[tuple[str, Rows]]:
    table = lake.table(QUARANTINE_EVENTS)
    for part in table.parts():
        yield part, _read(table, part).to_pylist()


def classes(lake: Lake, *, examples: int = 3, show_values: bool = False) -> Rows:
    """Failure classes by source with their counts and some rows each; the raw text only with ``show_values``."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for _, rows in _rows(lake):
        for row in rows:
            key = (row["source"], row["failure_class"])
            told = found.setdefault(key, {"source": key[0], "failure_class": key[1], "rows": 0, "examples": []})
            told["rows"] += 1
            if len(told["examples"]) < examples:
                example = {"file": row["source_file"], "row": row["row_number"], "column": row["column_name"],
                           "message": row["message"]}  # fmt: skip
                if show_values:
                    example["raw"] = row["raw"][:_MOST_SHOWN].decode("utf-8", "backslashreplace")
                told["examples"].append(example)
    return [found[key] for key in sorted(found)]


def replays(
    lake: Lake, settings: Settings, failure_class: str, format_name: str = "", mapping: Path | None = None
) -> list[Delivery]:
    """Files made of the quarantined rows of a class, one per delivery they came with, ready to be ingested again.

    ``format_name`` limits them to a source; rows of ``generic`` need the mended ``mapping``. Raises UsageError where
    there is no such row.
    """
    folder = settings.home.staging / "replay"
    found: list[Delivery] = []
    known: set[str] = set()
    for part, rows in _rows(lake):
        known |= {r["failure_class"] for r in rows}
        mine = [r for r in rows if r["failure_class"] == failure_class and format_name in {"", r["source"]}]
        if mine:
            source = load_source(mine[0]["source"], mapping if mine[0]["source"] == "generic" else None)
            path = _write(folder, part, mine)
            found.append(Delivery(path, source, replay=Replay(part, tuple(r["row_number"] for r in mine))))
    if not found:
        msg = f"--class {failure_class}: no such rows in quarantine. There are: {', '.join(sorted(known)) or 'none'}."
        raise UsageError(msg)
    return found


def _write(folder: Path, part: str, rows: Rows) -> Path:
    """The rows as a file like the one they came with, in a folder of its own, so that it keeps its name."""
    first = rows[0]
    place = folder / hashlib.sha256(part.encode()).hexdigest()[:16]
    name = Path(first["source_file"].split(".")[0] + _SUFFIX[first["kind"]])
    head = [first["header"].encode()] if first["header"] and first["kind"] == "csv" else []
    with disk_errors(folder):
        place.mkdir(parents=True, exist_ok=True)
        reach("staging.replay")
        (place / name.name).write_bytes(b"".join(line + b"\n" for line in [*head, *(r["raw"] for r in rows)]))
    return place / name.name
