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
from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.ingestion.landing import COMPRESSIONS
from behavior_assets.ingestion.ledger import FileEntry, read_ledger
from behavior_assets.ingestion.reader import FileReading
from behavior_assets.ingestion.sources import load_source
from behavior_assets.presence import require_acknowledged, require_originals
from resources.disk import disk_errors
from resources.errors import UsageError
from resources.failpoints import reach
from resources.lake import Lake
from resources.settings import Settings
from resources.table import Batch as Marker
from resources.table import LakeTable

_SUFFIX = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".jsonl"}  # a Parquet row is kept as JSON
MOST_SHOWN = 120  # characters of a raw row
ID_CONFLICT = "id_conflict"
# Classes whose rows no replay brings back, and what helps instead.
NO_REPLAY = {
    ID_CONFLICT: "there is nothing to replay: these rows are in bronze, and of one id the payload with the smallest "
    "hash is served, however often they are read. Mend the ids at the source: a row under an id of its own is served.",
    "unterminated_record": "nobody can tell whether such a row is whole, so a replay would take it in cut. Deliver its "
    "file again with a line end after the last row: what is there already counts as duplicate.",
}
Rows = list[dict[str, Any]]


def put_in(table: LakeTable, readings: Iterable[FileReading], batch: Batch, marker: Marker) -> None:
    """Commit the rejects of a batch's files: a part per delivery, so that a rerun after a crash replaces them."""
    files = [table.write(r.staged.key, batch.batch_id, [rejected_rows(r, batch.arrived_us)]) for r in readings]
    if files:
        table.commit(files, batch=marker)


def rejected_rows(reading: FileReading, arrived_us: int) -> pa.Table:
    """The rejects of a file, in their order, as rows of the table."""
    staged = reading.staged
    rows = [
        {
            "source": reading.source.name, "source_file": staged.name, "file_sha256": staged.sha256,
            "row_number": r.row, "failure_class": r.failure_class, "column_name": r.column, "message": r.message,
            "raw": r.raw, "arrived_ts_us": arrived_us, "kind": staged.kind, "header": reading.header,
        }
        for r in (reading.rejects[n] for n in sorted(reading.rejects))
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=QUARANTINE_EVENTS.schema)


def unaccounted(table: LakeTable, ledger: Iterable[FileEntry]) -> list[str]:
    """Parts that no delivery in the ledger speaks for: their run ended before bronze's commit."""
    known = {name for e in ledger for name in (e.key, e.file_sha256)}
    return [part for part in table.parts() if part not in known]


def take_out(table: LakeTable, entries: Iterable[FileEntry], drop: Iterable[str] = ()) -> None:
    """Remove rows that replays have accepted, and the parts to ``drop``.

    Doing it again changes nothing, so a crash before it is mended by it.
    """
    gone = _brought_back(entries)
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


def still_there(deliveries: Iterable[Delivery], ledger: Iterable[FileEntry]) -> list[Delivery]:
    """Deliveries without replays of rows that another run has brought back meanwhile: they were read too early."""
    back = _brought_back(ledger)
    return [d for d in deliveries if d.replay is None or back[d.replay.part].isdisjoint(d.replay.rows)]


def _brought_back(ledger: Iterable[FileEntry]) -> dict[str, set[int]]:
    """Rows that replays have accepted, by the key of the delivery they came with."""
    gone: dict[str, set[int]] = defaultdict(set)
    for entry in ledger:
        if entry.replay_of:
            gone[entry.replay_of].update(entry.replayed_rows)
    return gone


def _read(table: LakeTable, part: str, columns: list[str] | None = None) -> pa.Table:
    paths = table.absolute(table.parts()[part])
    return pa.concat_tables([pq.read_table(path, schema=QUARANTINE_EVENTS.schema, columns=columns) for path in paths])


def classes(lake: Lake, *, examples: int = 3, show_values: bool = False) -> Rows:
    """Failure classes by source with their counts and some rows each; the raw text only with ``show_values``.

    Raises IntegrityError where the counts would be short.
    """
    require_acknowledged(lake, (BRONZE_EVENTS, QUARANTINE_EVENTS))
    require_originals(lake)
    table = lake.table(QUARANTINE_EVENTS)
    columns = [n for n in QUARANTINE_EVENTS.schema.names if n != "raw" or show_values]  # it may be large
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for part in table.parts():
        rows = _read(table, part, columns)
        for group in rows.group_by(["source", "failure_class"]).aggregate([([], "count_all")]).to_pylist():
            key = (group["source"], group["failure_class"])
            told = found.setdefault(key, {"source": key[0], "failure_class": key[1], "rows": 0, "examples": [],
                                          "instead": NO_REPLAY.get(key[1], "")})  # fmt: skip
            told["rows"] += group["count_all"]
            mine = rows.filter(pc.and_(*(pc.equal(rows[n], group[n]) for n in ("source", "failure_class"))))
            told["examples"] += [_example(r) for r in mine.slice(0, examples - len(told["examples"])).to_pylist()]
    return [found[key] for key in sorted(found)]


def count(lake: Lake, failure_class: str, format_name: str = "") -> int:
    """How many rows of a class are in quarantine, of all sources or of one."""
    table, rows = lake.table(QUARANTINE_EVENTS), 0
    for part in table.parts():
        told = _read(table, part, ["source", "failure_class"])
        mine = pc.equal(told["failure_class"], failure_class)
        rows += pc.sum(pc.and_(mine, pc.equal(told["source"], format_name)) if format_name else mine).as_py() or 0
    return rows


def _example(row: dict[str, Any]) -> dict[str, Any]:
    told = {"file": row["source_file"], "row": row["row_number"], "column": row["column_name"],
            "message": row["message"]}  # fmt: skip
    if "raw" in row:
        told["raw"] = row["raw"][:MOST_SHOWN].decode("utf-8", "backslashreplace")
    return told


def replays(
    lake: Lake, settings: Settings, failure_class: str, format_name: str = "", mapping: Path | None = None
) -> list[Delivery]:
    """Files made of the quarantined rows of a class, one per delivery they came with, ready to be ingested again.

    ``format_name`` limits them to a source; rows of ``generic`` need the mended ``mapping``. There is nothing to ingest
    where a replay that died had accepted all rows and not yet taken them out of quarantine. Raises UsageError where
    there is no such row, or no replay can help.
    """
    if failure_class in NO_REPLAY:
        msg = f"--class {failure_class}: {NO_REPLAY[failure_class]}"
        raise UsageError(msg)
    folder, table = settings.home.staging / "replay", lake.table(QUARANTINE_EVENTS)
    back = _brought_back(read_ledger(lake.table(BRONZE_EVENTS)))  # of a run that died before it took them out
    found: list[Delivery] = []
    known: set[str] = set()
    died = False
    for part in table.parts():
        told = _read(table, part, ["source", "failure_class"])
        known |= set(pc.unique(told["failure_class"]).to_pylist())
        if failure_class not in known or format_name not in {"", *pc.unique(told["source"]).to_pylist()}:
            continue
        rows = _read(table, part)
        rows = rows.filter(pc.equal(rows["failure_class"], failure_class))
        mine = [r for r in rows.to_pylist() if r["row_number"] not in back[part]]
        died |= len(mine) < rows.num_rows
        if mine:
            source = load_source(mine[0]["source"], mapping if mine[0]["source"] == "generic" else None)
            path = as_file(folder, part, mine)
            found.append(Delivery(path, source, replay=Replay(part, tuple(r["row_number"] for r in mine))))
    if not found and not died:
        msg = (
            f"--class {failure_class}: no such rows in quarantine. There are: {', '.join(sorted(known)) or 'none'}. "
            "(What a replay that was killed had begun, `behavior run` brings to its end.)"
        )
        raise UsageError(msg)
    return found


def as_file(folder: Path, part: str, rows: Rows) -> Path:
    """The rows as a file like the one they came with, in a folder of its own, so that it keeps its name."""
    first = rows[0]
    place = folder / hashlib.sha256(part.encode()).hexdigest()[:16]
    name = f"{_stem(first['source_file'])}{_SUFFIX[first['kind']]}"
    head = [first["header"].encode()] if first["header"] and first["kind"] == "csv" else []
    with disk_errors(folder):
        place.mkdir(parents=True, exist_ok=True)
        reach("staging.replay")
        (place / name).write_bytes(b"".join(line + b"\n" for line in [*head, *(r["raw"] for r in rows)]))
    return place / name


def _stem(name: str) -> str:
    """A file's name without what says how it is packed and what it holds."""
    path = Path(name)
    return Path(path.stem if path.suffix.lower() in COMPRESSIONS else name).stem
