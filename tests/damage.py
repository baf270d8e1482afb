"""A small home with a bit of everything, and the ways in which a disk can spoil it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from behavior_assets.ingestion.ahead import Delivery
from behavior_assets.ingestion.ingest import Ingestion
from behavior_assets.ingestion.quarantine import replays
from behavior_assets.ingestion.sources import load_source
from behavior_assets.quality import QUALITY_DAYS
from behavior_assets.verification import verify_home
from exports.snapshot import data_through, publish, write_duckdb
from resources.engine import engine
from resources.journal import Journal
from resources.settings import read_settings
from tests.conftest import Chain, rees46_row, write_rees46

HEAD = "visitor;at;what;cost;sku\n"
MAPPING = """columns: {{event_time: at, event_name: what, user_id: visitor, price: cost, product_id: sku}}
events: {{{events}}}
delimiter: ";"
"""
EVENTS = "look: view_item, buy: purchase"


def line(day: int, hour: int, user: str, what: str = "look", cost: str = "1.50") -> str:
    """One row of the generic files."""
    return f"{user}@example.org;2024-05-{day:02d}T{hour:02d}:00:00Z;{what};{cost};s{hour % 3}\n"


def make_home(base: Path, **changes: Any) -> Path:
    """Three batches (the second of two formats, the third a replay), rejects, five days, two snapshots."""
    home = base / "home"
    first, mended = base / "first.yaml", base / "mended.yaml"
    first.write_text(MAPPING.format(events=EVENTS), "utf-8")
    mended.write_text(MAPPING.format(events=f"{EVENTS}, grab: add_to_cart"), "utf-8")
    one, two = base / "one.csv", base / "two.csv"
    one.write_text(HEAD + "".join(line(d, h, f"u{h % 5}", "buy" if h % 4 == 0 else "look")
                                  for d in (1, 2, 3) for h in range(24))
                   + line(2, 5, "x", "grab") + line(2, 6, "x", "grab") + line(2, 6, "x", "grab", "cheap")
                   + line(2, 7, "y", "look", "none"), "utf-8")  # fmt: skip
    two.write_text(HEAD + "".join(line(d, h, f"u{h % 5}") for d in (2, 3, 4) for h in range(0, 24, 3))
                   + line(3, 9, "z", "look", "bad"), "utf-8")  # fmt: skip
    shop = write_rees46(base / "shop.csv", [rees46_row(f"2024-05-{d:02d} 1{n}:00:00", "view", f"p{n}", f"v{n}")
                                            for d in (3, 5) for n in range(6)]
                        + [rees46_row("2024-05-05 11:00:00", "view", "p1", "v1")])  # fmt: skip
    generic, rees46 = load_source("generic", first), load_source("rees46")
    chain = Chain.at(home, **{"archive": True, **changes})
    for number, deliver in enumerate((
        lambda: [Delivery(one, generic)], lambda: [Delivery(two, generic), Delivery(shop, rees46)],
        lambda: replays(chain.lake, chain.settings, "unplanned_event", "", mended),
    )):  # fmt: skip
        with engine(chain.settings) as backend:
            report = Ingestion(chain.lake, chain.settings, backend.con).run(deliver())
        assert not report.refused
        if number:  # two snapshots are enough
            bring_up_to_date(chain)
        if number == 1:
            for name in ("bronze/events", "gold/fact_session"):
                checkpoint(chain.table(name).root)
    return home


def bring_up_to_date(chain: Chain) -> list[str]:
    """All derived tables, and what is published, without Dagster and its verdicts."""
    chain.build()
    verdicts = chain.lake.table(QUALITY_DAYS)
    row = {"table_name": "silver/events", "day": "2024-05-01", "content": "c", "held": False, "breaches": "{}"}
    verdicts.commit([verdicts.write("silver-events", "days", [pa.Table.from_pylist([row], QUALITY_DAYS.schema)])])
    with engine(chain.settings) as backend:
        through = data_through(chain.table("silver/sessions"), chain.settings.home.exports)
        publish(chain.lake, chain.settings, backend.con, through, datetime.now(UTC), synthetic=False)
    return []


def checkpoint(root: Path) -> None:
    """What delta-rs writes by itself after some hundred commits."""
    DeltaTable(str(root)).create_checkpoint()
    Journal(root).note()


def copied(home: Path, target: Path) -> Path:
    """A home to spoil; its views read its own files, as after a publication there."""
    shutil.copytree(home, target)
    write_duckdb(target / "exports", json.loads((target / "exports" / "current.json").read_text("utf-8")))
    return target


def broken(home: Path) -> set[str]:
    """What ``behavior verify`` names, as paths in the home (of the lake's tables below ``lake/``)."""
    return {p["where"] for p in verify_home(read_settings(home))["problems"]}


def named(home: Path, path: Path) -> str:
    """How ``behavior verify`` names a file."""
    return path.relative_to(home).as_posix().removeprefix("lake/")


def flip(path: Path, position: int, bit: int) -> None:
    """Turn one bit round."""
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1 << bit
    path.write_bytes(raw)


def live(home: Path) -> dict[str, list[Path]]:
    """By kind, every file that belongs to the newest state of a home."""
    from behavior_assets.verification import all_tables

    chain = Chain.at(home)
    kinds: dict[str, list[Path]] = {}
    for spec in all_tables():
        table = chain.lake.table(spec)
        if not table.exists():  # decisions of persons, where nobody decided anything
            continue
        kinds[spec.name] = [table.root / f.path for f in table.files()]
        kinds[f"{spec.name} log"] = sorted((table.root / "_delta_log").glob("*.json"))
        kinds[f"{spec.name} journal"] = [table.root / "_commits.sha256"]
    kinds["checkpoint"] = sorted((home / "lake").rglob("*.checkpoint.parquet"))
    kinds["hint"] = sorted((home / "lake").rglob("_last_checkpoint"))
    for folder in sorted((home / "archive").iterdir()):
        kinds[f"archive/{folder.name}"] = sorted(folder.iterdir())
    kinds["published"] = sorted((home / "exports" / "tables").rglob("*.parquet"))
    kinds["manifest"] = [home / "exports" / "current.json", *sorted((home / "exports" / "snapshots").glob("*.json"))]
    kinds["views"] = [home / "exports" / "behavior.duckdb"]
    return kinds


def places(path: Path, chance: random.Random) -> list[int]:
    """Positions in a file: its first and last byte, the middle, and one at random."""
    size = path.stat().st_size
    return [0, size - 1, size // 2, chance.randrange(size)]


def spoil(kind: str) -> Callable[[Path], object]:
    """A way to spoil a file: cut in half, cut by one byte, emptied, deleted."""
    return {
        "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "a byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
        "empty": lambda path: path.write_bytes(b""),
        "gone": lambda path: path.unlink(),
    }[kind]


def everything(home: Path, tables: Iterable[str]) -> dict[str, Any]:
    """Rows of tables, in an order of their own, as texts."""
    chain = Chain.at(home)
    return {t: sorted(map(repr, chain.rows(t, "SELECT * FROM t"))) for t in tables}
