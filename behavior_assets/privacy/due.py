"""What has to leave a home at a moment, layer by layer, by the settings ``keep_<layer>_days``; nothing is changed here.

Every layer of the registry is walked: a table is covered by being declared. Days count in the shop's zone, and what is
as old as the setting says still stays: with 1, today and yesterday are kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior_assets.ingestion.archive import original_of
from behavior_assets.ingestion.audit import part_names
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.landing import REASON
from behavior_assets.ingestion.ledger import read_ledger
from behavior_assets.privacy.marks import EXPIRED_KEY, Marks, read_marks
from behavior_assets.privacy.registry import Layer, registry
from behavior_assets.repair import DAMAGED
from behavior_assets.tables import all_tables
from exports.snapshot import read_manifest
from exports.tombstones import is_tombstone, read_tombstone
from resources.lake import Lake
from resources.models import ModelStore
from resources.parquet import DataFile
from resources.settings import Home, Settings
from resources.stamp import stamp
from resources.table import LakeTable

LAYERS = tuple(layer for layer in Layer if layer not in {Layer.decisions, Layer.forever})


@dataclass(frozen=True)
class Clock:
    """The moment, and how long each layer is kept."""

    settings: Settings
    now: datetime

    def days(self, layer: Layer) -> int:
        """The setting of a layer; 0: it is kept for ever."""
        return int(getattr(self.settings, f"keep_{layer}_days"))

    def first_day(self, layer: Layer) -> str:
        """The first event day that a layer keeps; empty where it keeps all."""
        today = self.now.astimezone(ZoneInfo(self.settings.timezone or "UTC")).date()
        days = self.days(layer)
        return (today - timedelta(days=days)).isoformat() if days else ""

    def moment(self, layer: Layer) -> datetime:
        """Before which what arrived in a layer has to leave it."""
        days = self.days(layer)
        return self.now.astimezone(UTC) - timedelta(days=days) if days else datetime.fromtimestamp(0, UTC)


@dataclass
class Due:
    """What has to leave. ``files`` are those of tables of bronze, quarantine and silver, ``gold`` counts rows."""

    marks: Marks
    files: dict[str, list[DataFile]] = field(default_factory=dict)
    gold: dict[str, int] = field(default_factory=dict)
    originals: list[tuple[str, str, Path]] = field(default_factory=list)  # source, sha256, where
    refused: list[Path] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)  # folders of what repairs put aside
    models: dict[str, list[str]] = field(default_factory=dict)
    snapshots: list[str] = field(default_factory=list)
    overdue: list[str] = field(default_factory=list)  # what serves is only told

    @property
    def reaches_gold(self) -> bool:
        """Whether the star is to be made again, and older snapshots are not to be kept."""
        return bool(self.gold or self.models or any(name.startswith("silver/") for name in self.files))

    def counts(self) -> dict[str, int]:
        """By layer or table: rows of tables, and files, versions or snapshots of the rest. What is 0 is left away."""
        told = {name: sum(f.rows for f in files) for name, files in self.files.items()} | self.gold
        told |= {"landing": len(self.refused), "damaged": len(self.damaged), "archive": len(self.originals),
                 "models": sum(map(len, self.models.values())), "exports": len(self.snapshots)}  # fmt: skip
        return {name: count for name, count in sorted(told.items()) if count}


def due(settings: Settings, now: datetime) -> Due:
    """What has to leave a home now."""
    clock, lake, home = Clock(settings, now), Lake(settings.home.lake), settings.home
    before = read_marks(home)
    told = lake.table(BRONZE_EVENTS).recorded(EXPIRED_KEY) or ""
    marks = replace(before, bronze=max(before.bronze, told, clock.first_day(Layer.bronze)),
                    silver=max(before.silver, clock.first_day(Layer.silver)),
                    gold=max(before.gold, clock.first_day(Layer.gold)))  # fmt: skip
    found = Due(marks)
    first = {Layer.bronze: marks.bronze, Layer.silver: marks.silver}
    for table, layer in _tables(lake):
        files: list[DataFile] = []
        if layer in first and table.spec.by_day:
            files = [f for f in table.files() if f.part < first[layer]]
        elif layer is Layer.quarantine:
            files = _arrived_before(lake, table, clock.moment(layer))
        elif layer is Layer.gold and (rows := _rows_before(table, marks.first_of_gold)):
            found.gold[table.spec.name] = rows
        if files:
            found.files[table.spec.name] = files
    found.originals = list(_originals(home, lake, clock.moment(Layer.archive)))
    found.refused = [p for p in _refused(home) if _put_there(p) < clock.moment(Layer.landing).timestamp()]
    put_aside = (p for p in (home.root / DAMAGED).glob("2*Z") if p.is_dir())
    found.damaged = sorted(p for p in put_aside if p.name < stamp(clock.moment(Layer.landing)))
    _models(found, home, clock.first_day(Layer.models))
    _snapshots(found, home, stamp(clock.moment(Layer.exports)))
    return found


def _tables(lake: Lake) -> Iterator[tuple[LakeTable, Layer]]:
    for spec in all_tables():
        table = lake.table(spec)
        if table.exists():
            yield table, registry()[spec.name].layer


def _arrived_before(lake: Lake, table: LakeTable, moment: datetime) -> list[DataFile]:
    """Files of quarantine whose delivery arrived earlier."""
    entries = read_ledger(lake.table(BRONZE_EVENTS))
    keys, arrived = part_names(entries), {e.key: e.arrived_ts_us for e in entries}
    until = moment.timestamp() * 1e6
    return [f for f in table.files() if f.part in keys and arrived[keys[f.part]] < until]


def _rows_before(table: LakeTable, first: str) -> int:
    """Rows of a fact whose day comes before; a table without days loses what nothing points at any more."""
    column = next((n for n in table.spec.schema.names if n.endswith("date_key")), None)
    if column is None or not first:
        return 0
    number, rows = int(first.replace("-", "")), 0
    for file, path in zip(table.files(), table.absolute(table.files()), strict=True):
        if file.part < first or not file.part[:1].isdigit():  # days and months that begin before
            keys = pq.read_table(path, columns=[column], partitioning=None)[column]
            rows += pc.sum(pc.less(keys, pa.scalar(number, keys.type))).as_py() or 0
    return rows


def _originals(home: Home, lake: Lake, moment: datetime) -> Iterator[tuple[str, str, Path]]:
    """Originals that arrived earlier; the same bytes may have come several times."""
    arrived: Counter[tuple[str, str]] = Counter()
    for entry in read_ledger(lake.table(BRONZE_EVENTS)):
        if not entry.replay_of:
            place = entry.source, entry.file_sha256
            arrived[place] = max(arrived[place], entry.arrived_ts_us)
    for (source, sha256), last in sorted(arrived.items()):
        path = original_of(home, source, sha256) if last < moment.timestamp() * 1e6 else None
        if path is not None:
            yield source, sha256, path


def _refused(home: Home) -> list[Path]:
    return sorted(p for p in home.refused.glob("*") if p.is_file() and not p.name.startswith("."))


def _put_there(path: Path) -> float:
    """When a file was refused: as its reason was written. A file keeps the time that it came with."""
    reason = path.with_name(path.name + REASON)
    return (reason if reason.exists() else path).stat().st_mtime


def _models(found: Due, home: Home, first: str) -> None:
    """Versions whose data end earlier."""
    store, told = ModelStore(home.models), defaultdict[str, list[str]](list)
    for name in [h.asset.removeprefix("models/") for h in registry().values() if h.layer is Layer.models]:
        for version in store.versions(name):
            if version[:8] < first.replace("-", ""):
                if version == store.champion(name):
                    found.overdue.append(f"models/{name}/{version}")
                else:
                    told[name].append(version)
    found.models = dict(told)


def _snapshots(found: Due, home: Home, first: str) -> None:
    """Snapshots that were published earlier."""
    current = (read_manifest(home.exports) or {}).get("snapshot", "")
    for path in sorted((home.exports / "snapshots").glob("*.json")):
        if path.stem < first and not is_tombstone(read_tombstone(path)):
            if path.stem == current:
                found.overdue.append(f"exports/{current}")
            else:
                found.snapshots.append(path.stem)
