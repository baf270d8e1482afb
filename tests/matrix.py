"""The runs that the fault matrix disturbs, below Dagster: what they do, and what a reader of the home then sees.

Run in children of ``tests.zygote``. The clock stands still, so that a disturbed run can be compared with an
undisturbed one to the last column. The *short* way brings up to date what needs little computing (bronze, quarantine,
a copy of bronze by day, a dimension, a fact) through the same code that writes everything; the *whole* way
brings up to date everything.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from resources import failpoints
from resources.disk import is_draft
from tests import power
from tests.conftest import Chain, rees46_row, write_rees46

BEGIN = datetime(2024, 6, 1, tzinfo=UTC)
SHORT = ("dim_source", "fact_data_quality", "refresh_info")
MAPPING = """columns: {{event_time: at, event_name: what, user_id: visitor, price: cost}}
events: {{{events}}}
delimiter: ";"
"""
DAYS = ("2024-05-01", "2024-05-02", "2024-05-03")
States = dict[str, list[str]]


# What is delivered


def first_delivery(home: Path) -> None:
    """Two days, and rows that go to quarantine: one whose event name the mapping does not know yet."""
    rows = [rees46_row(f"{day} {hour:02d}:{user:02d}:00", kind, f"p{user}", f"u{user}", session=f"{day}{user}")
            for day in DAYS[:2] for user in range(4) for hour, kind in ((10, "view"), (11, "cart"), (12, "purchase"))]
    landing = home / "landing"
    write_rees46(landing / "rees46" / "first.csv", [*rows, "yesterday,view,p1,20,toys,acme,1.00,u1,"])
    (landing / "generic").mkdir()
    (landing / "generic" / "shop.csv").write_text(
        "visitor;at;what;cost\nada;2024-05-01T10:00:00Z;look;1.50\nbob;2024-05-02T11:00:00Z;grab;2.50\n"
        "eve;2024-05-02T12:00:00Z;look;cheap\n", "utf-8",
    )  # fmt: skip
    (landing / "generic" / "mapping.yaml").write_text(MAPPING.format(events="look: view_item"), "utf-8")
    _settle(landing)


def second_delivery(home: Path) -> None:
    """Late and new rows in packed files, what was delivered before, files that are refused, a mended mapping."""
    landing = home / "landing" / "rees46"
    for number, users in enumerate((range(3, 6), range(6, 8))):
        rows = [rees46_row(f"{day} {hour:02d}:{user:02d}:30", kind, f"p{user}", f"u{user}", session=f"{day}{user}")
                for day in (DAYS[0], DAYS[2]) for user in users for hour, kind in ((10, "view"), (12, "purchase"))]
        bad = [f"{DAYS[2]} 12:00:00 UTC,glance,p1,20,,,1,u{number},", f"{DAYS[2]} 12:00:00 UTC,view"]
        file = write_rees46(landing / f"late{number}.csv", [*rows, *bad])
        (landing / f"late{number}.csv.gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))
        file.unlink()
        (landing / f"broken{number}.csv").write_text(f"a,b\n1,{number}\n", "utf-8")
    shutil.copyfile(next((home / "archive" / "rees46").glob("*")), landing / "again.csv")
    (home / "mended.yaml").write_text(MAPPING.format(events="look: view_item, grab: add_to_cart"), "utf-8")
    _settle(landing)


def _settle(landing: Path) -> None:
    for path in landing.rglob("*.*"):
        os.utime(path, (BEGIN.timestamp(), BEGIN.timestamp()))


def leave_over(home: Path) -> None:
    """What runs that were killed long ago left: drafts, and a data file that no commit names."""
    bronze = home / "lake" / "bronze" / "events"
    (bronze / f"event_date={DAYS[0]}" / f".{uuid.uuid4().hex}.tmp").write_bytes(b"PAR1")
    (home / "lake" / "gold" / "dim_source" / f".{uuid.uuid4().hex}.tmp").write_bytes(b"")
    orphan = bronze / f"event_date={DAYS[0]}" / f"{DAYS[0]}_b0-0_{'0' * 64}.parquet"
    orphan.write_bytes(b"PAR1")
    os.utime(orphan, (BEGIN.timestamp(), BEGIN.timestamp()))


def tear(home: Path) -> None:
    """What a power cut leaves of commits that were not on disk yet: an empty one, and one cut at a line's end."""
    for table, keep in (("bronze/events", 0), ("gold/dim_source", 1)):
        log = home / "lake" / table / "_delta_log"
        last = max(log.glob("*.json"))
        lines = last.read_text("utf-8").splitlines()[:keep]
        (log / f"{int(last.stem) + 1:020d}.json").write_text("\n".join(lines), "utf-8")


# The run


def advance(home: str, fault: str = "", attempt: int = 0, *, whole: bool = False) -> dict[str, int]:
    """What ``behavior run`` and then ``behavior replay`` do, without Dagster and the rules; how often it came where."""
    from behavior_assets import chain
    from behavior_assets.chain import prepare_instance, tidied
    from behavior_assets.verification import require_files
    from exports.snapshot import publish
    from resources.disk import disk_errors
    from resources.home import HomeResource
    from resources.lock import exclusive

    chain._DRAFT_SECONDS = -1.0  # the clock stands still here: whoever left a draft did it long ago
    failpoints.arm(fault or ",".join(f"{place}:kill@{10**9}" for place in failpoints.PLACES))
    if not whole:
        _shorten()
    resource = HomeResource(home=home)
    settings, lake = resource.settings(), resource.lake()
    with disk_errors(settings.home.root), exclusive(settings.home.dagster), tidied(settings):
        with exclusive(settings.home.lake):
            lake.recover()
            require_files(lake)
        prepare_instance(settings)
        with resource.engine() as backend:
            _ingest(settings, lake, backend)
        settings = resource.settings()
        if whole:
            Chain(settings).build()
        else:
            _build_short(resource)
        with resource.engine() as backend:
            publish(lake, settings, backend.con, date.fromisoformat(DAYS[2]), BEGIN + timedelta(hours=attempt),
                    synthetic=False)  # fmt: skip
    reached = dict(failpoints._hits)
    failpoints.arm("")
    return reached


def _ingest(settings: Any, lake: Any, backend: Any) -> None:
    from behavior_assets.ingestion.ahead import Delivery
    from behavior_assets.ingestion.arrivals import landed
    from behavior_assets.ingestion.ingest import Ingestion
    from behavior_assets.ingestion.quarantine import replays
    from behavior_assets.ingestion.sources import load_source
    from resources.errors import UsageError

    def ingest(deliveries: Iterable[Delivery]) -> None:
        Ingestion(lake, settings, backend.con, lambda: int(BEGIN.timestamp()) * 1_000_000).run(deliveries)

    wanted: list[Delivery] = []
    for name, files in landed(settings.home, ["rees46", "generic"], time.time()).items():
        source = load_source(name, settings.home.landing / name / "mapping.yaml" if name == "generic" else None)
        wanted += [Delivery(path, source, from_landing=True) for path in files]
    ingest(wanted)
    mended = settings.home.root / "mended.yaml"
    if mended.exists():
        try:
            ingest(replays(lake, settings, "unplanned_event", "generic", mended))
        except UsageError:  # an earlier attempt has taken all there was
            return


def _build_short(resource: Any) -> None:
    from behavior_assets.incremental import derive_days
    from behavior_assets.ingestion.canonical import BRONZE_EVENTS
    from behavior_assets.star.build import StarBuilder
    from resources.compute import DuckDB
    from resources.table import TableSpec

    lake, settings = resource.lake(), resource.settings()
    copies = TableSpec("silver/copies", BRONZE_EVENTS.schema, by_day=True)
    with resource.engine(pseudonyms=True) as backend:
        derive_days(DuckDB(backend), lake.table(BRONZE_EVENTS), lake.table(copies), lambda t: t, "copy", 30)
        builder = StarBuilder(DuckDB(backend), lake, settings)
        for table in SHORT[:-1]:
            getattr(builder, table)()
    _train(settings, lake.table(BRONZE_EVENTS))


def _train(settings: Any, bronze: Any) -> None:
    """A model that knows how many rows there are, trained in every run as with ``--train``."""
    import numpy as np

    from behavior_assets.cards import FIELDS
    from behavior_assets.incremental import content
    from behavior_assets.trainer import About, Recipe, train
    from behavior_assets.training import Figure, Trained
    from resources.models import ModelStore

    rows = bronze.rows()
    found = Trained({"recipe": 1, "guards": {}}, {"counted": {"rows": np.array([rows])}}, (Figure("rows", rows),),
                    dict.fromkeys(FIELDS, "Counted."))  # fmt: skip
    recipe = Recipe("toy", "How many?", 1, (bronze.spec,), (), lambda *_: None, lambda *_: found, lambda *_: ())
    data = About(("rees46",), False, DAYS[0], DAYS[2], rows, content(bronze.files()), {})
    train(recipe, ModelStore(settings.home.models), None, data, 7)


def serving(home: Path) -> str | None:
    """The version of that model that serves, whole to the last byte."""
    from resources.models import ModelStore

    store = ModelStore(home / "models")
    return store.load("toy").version if store.champion("toy") else None


def _shorten() -> None:
    """Publish, and verify, only what the short way makes."""
    import behavior_assets.verification
    import exports.snapshot
    import exports.verify
    from exports.contract import published

    few = {name: table for name, table in published().items() if name in SHORT}
    for module in (exports.snapshot, exports.verify, behavior_assets.verification):
        vars(module)["published"] = lambda: few


# What a reader sees


def contents(home: Path) -> dict[str, str]:
    """Rows and content hash of each table of the lake, read as anybody reads a Delta table."""
    import duckdb
    from deltalake import DeltaTable

    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        return {name: _content(con, DeltaTable(str(path))) for name, path in _tables(home)}


def states(home: Path) -> States:
    """The contents of each table of the lake at all of its versions."""
    import duckdb
    from deltalake import DeltaTable

    found: States = {}
    with duckdb.connect(":memory:") as con:
        for name, path in _tables(home):
            newest = DeltaTable(str(path)).version()
            found[name] = [_content(con, DeltaTable(str(path), version=n)) for n in range(newest + 1)]
    return found


def _tables(home: Path) -> list[tuple[str, Path]]:
    logs = sorted((home / "lake").glob("*/*/_delta_log/*0.json"))
    return sorted({(f"{p.parts[-4]}/{p.parts[-3]}", p.parent.parent) for p in logs})


def _content(con: Any, table: Any) -> str:
    from exports.hashing import MODULUS, file_hashes

    files = [uri.removeprefix("file://") for uri in table.file_uris()]
    # What a batch is called depends on how many there were before it.
    columns = [f.name for f in table.schema().fields if f.name not in {"batch_id", "snapshot", "published_at"}]
    return f"{sum(file_hashes(con, files, columns).values()) % MODULUS:016x}"


def shown(home: Path) -> dict[str, dict[str, str]]:
    """The published tables by ``current.json`` and by ``behavior.duckdb``: hashes of what is in fact there."""
    import duckdb

    from exports.hashing import MODULUS, file_hashes, row_hash_sql

    exports = home / "exports"
    found: dict[str, dict[str, str]] = {}
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        if (exports / "current.json").exists():
            tables = json.loads((exports / "current.json").read_text("utf-8"))["tables"]
            found["manifest"] = {}
            for name, entry in tables.items():
                columns = con.read_parquet(str(exports / entry["files"][0]["path"])).columns
                made = file_hashes(con, [str(exports / f["path"]) for f in entry["files"]], columns)
                found["manifest"][name] = f"{sum(made.values()) % MODULUS:016x}"
                assert found["manifest"][name] == entry["hash"], f"{name}: not what its manifest says"
    if (exports / "behavior.duckdb").exists():
        with duckdb.connect(str(exports / "behavior.duckdb"), read_only=True) as con:
            found["database"] = {}
            for (name,) in con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall():
                value = row_hash_sql(con.table(name).columns)
                (total,) = con.sql(f'SELECT coalesce(sum({value}::HUGEINT), 0) % {MODULUS} FROM "{name}"').fetchall()[0]
                found["database"][name] = f"{int(total):016x}"
    for tables in found.values():
        tables.pop("refresh_info")
    return found


def kept(home: Path) -> list[str]:
    """What lies in ``landing/`` and ``archive/`` once a run is over; archived files are what their names say."""
    found = {p: p.relative_to(home) for top in ("landing", "archive") for p in (home / top).rglob("*") if p.is_file()}
    for path, name in found.items():
        if name.parts[0] == "archive" and not is_draft(name.name):
            assert path.name.startswith(hashlib.sha256(path.read_bytes()).hexdigest()[:16]), name
    return sorted(str(name) for name in found.values() if not is_draft(name.name))


def drafts(home: Path, *places: str) -> list[str]:
    """Files that are not whole and were left behind."""
    roots = [home / p for p in places] or [home]
    return [str(p.relative_to(home)) for root in roots for p in root.rglob(".*") if is_draft(p.name)]


# Cases; each is run in a child of its own


def prepare(base: str) -> dict[str, dict[str, int]]:
    """Homes for every kind of case, and what undisturbed runs make of them; how often those come by each place."""
    root = Path(base)
    home = root / "first"
    home.mkdir(parents=True)
    (home / "behavior.toml").write_text("threads = 2\n", "utf-8")
    first_delivery(home)
    shutil.copytree(home, root / "work")
    (home / "behavior.toml").unlink()
    reached = {"first": _undisturbed(root, "first")}
    advance(str(root / "work"))
    second_delivery(root / "work")
    leave_over(root / "work")
    shutil.copytree(root / "work", root / "second")
    shutil.copytree(root / "work", root / "torn")
    tear(root / "torn")
    reached["second"] = _undisturbed(root, "second")
    return reached


def prepare_whole(base: str) -> dict[str, int]:
    """The same for the whole way."""
    home = Path(base) / "whole"
    first_delivery(home)
    advance(str(home), whole=True)
    second_delivery(home)
    return _undisturbed(home.parent, "whole", whole=True)


def _undisturbed(root: Path, kind: str, *, whole: bool = False) -> dict[str, int]:
    home = root / f"{kind}-done"
    shutil.copytree(root / kind, home)
    before = shown(home)
    reached = advance(str(home), attempt=1, whole=whole)
    after = shown(home)
    told = {"before": before.get("manifest"), "after": after["manifest"], "states": states(home), "kept": kept(home),
            "verify": verified(home), "models": [serving(root / kind), serving(home)]}  # fmt: skip
    (root / f"{kind}.json").write_text(json.dumps(told), "utf-8")
    return reached


def verified(home: Path) -> list[Any]:
    """What ``behavior verify`` finds; tables that this way does not make are missing in an undisturbed home too."""
    from behavior_assets.verification import verify_home
    from resources.settings import read_settings

    problems: list[Any] = verify_home(read_settings(home))["problems"]
    return problems


def disturb(base: str, kind: str, home: str, fault: str) -> None:
    """A run on a home that is copied for it, with a failpoint armed."""
    if not Path(home).exists():
        shutil.copytree(_source(base, kind), home)
    _trouble(kind)
    advance(home, fault, attempt=1, whole=kind.startswith("whole"))


def _trouble(kind: str) -> None:
    """Disks that know no hard links, or an archive on another disk than the lake."""
    if kind.endswith("-unlinked"):
        def link(*_: object) -> None:
            raise OSError(errno.EPERM, "no hard links here")

        os.link = link
    if kind.endswith("-elsewhere"):
        replace = Path.replace

        def moved(path: Path, target: Path) -> Path:
            if "archive" in target.parts and not is_draft(path.name):
                raise OSError(errno.EXDEV, "another disk")
            return replace(path, target)

        vars(Path)  # a plain class
        Path.replace = moved  # type: ignore[method-assign,assignment]


def loses_power(base: str, kind: str, home: str) -> list[str]:
    """An undisturbed run, and what the disk would hold had the power gone: when landed files are gone, and at the end.

    A name that was removed is taken to be gone at once, all else to be there only once it was synced.
    """
    place, cuts = Path(home), []
    shutil.copytree(_source(base, kind), place)
    disk = power.Disk(place)

    def cut(path: Path) -> None:
        if path.parent == place / "landing" / "rees46":
            cuts.append(f"{home}-cut{len(cuts)}")
            disk.leave(Path(cuts[-1]))

    disk.removed = cut
    disk.watch()
    advance(home, attempt=1)
    cut(place / "landing" / "rees46" / "the end")
    return cuts


def finds_damage(base: str, home: str, damage: str) -> dict[str, Any]:
    """The newest commit of bronze, which was acknowledged, is damaged: what a run and ``behavior verify`` say."""
    from resources.errors import IntegrityError

    shutil.copytree(_source(base, "second"), home)
    commit = max((Path(home) / "lake" / "bronze" / "events" / "_delta_log").glob("*.json"))
    mangle(commit, damage)
    before = sorted((Path(home) / "landing").rglob("*.csv*"))
    said = ""
    try:
        advance(home)
    except IntegrityError as error:
        said = str(error)
    assert sorted((Path(home) / "landing").rglob("*.csv*")) == before, "a run went on"
    return {"commit": commit.name, "run": said, "verify": verified(Path(home))}


def mangle(file: Path, damage: str) -> None:
    """What a power cut, or a disk, makes of a file."""
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({
            "empty": b"", "zeros": bytes(len(whole)), "first line": lines[0], "last line gone": b"".join(lines[:-1]),
            "cut in a line": whole[: len(whole) // 2], "one bit": bytes([whole[0] ^ 1]) + whole[1:],
        }[damage])  # fmt: skip


def tears(base: str, home: str, damage: str) -> None:
    """The power goes right after bronze's commit, before it is noted: of the commit only a part is on the disk."""
    log = Path(home) / "lake" / "bronze" / "events" / "_delta_log"
    newest = max(log.glob("*.json")).name
    assert newest not in (log.parent / "_commits.sha256").read_text("utf-8")
    mangle(log / newest, damage)
    recovers(base, "second", home, look=False)


def recovers(base: str, kind: str, home: str, *, look: bool = True) -> None:
    """After a death: what readers see is whole; a rerun gives what an undisturbed run gives."""
    place = Path(home)
    if look:
        _look(base, kind, place)
    advance(home, attempt=2, whole=kind.startswith("whole"))
    _compare(base, kind, place)


def refuses(base: str, kind: str, home: str, place: str, number: int, action: str) -> None:
    """A refusal at a place: it is told in the user's words and leaves all whole; then a run completes."""
    from resources.errors import StorageError

    shutil.copytree(_source(base, kind), home)
    before = set(drafts(Path(home)))
    _trouble(kind)
    text = ""
    try:
        advance(home, f"{place}:{action}@{number}", attempt=1, whole=kind.startswith("whole"))
    except StorageError as error:
        text = str(error)
    assert text.startswith(home), f"{place} was not reached, or the error does not say where: {text}"
    why = {"enospc": "no space left", "eio": "it fails to read or write, or is full"}[action]
    assert f": the disk refused a write ({why}). " in text, text
    assert text.endswith("run the same command again."), text
    assert set(drafts(Path(home))) <= before, "something half-written was left"
    _look(base, kind, Path(home))
    advance(home, attempt=2, whole=kind.startswith("whole"))
    _compare(base, kind, Path(home))


def _source(base: str, kind: str) -> Path:
    return Path(base) / kind.partition("-")[0]


def _reference(base: str, kind: str) -> dict[str, Any]:
    """What an undisturbed run of this kind of home makes of it."""
    name = _source(base, kind).name
    told: dict[str, Any] = json.loads((Path(base) / f"{'second' if name == 'torn' else name}.json").read_text("utf-8"))
    return told


def _look(base: str, kind: str, home: Path) -> None:
    """Every reader finds the old state or the new one, or of a table of the lake one between two commits."""
    told = _reference(base, kind)
    assert serving(home) in told["models"]
    for reader, tables in shown(home).items():
        assert tables in (told["before"], told["after"]), (reader, tables)
    if kind != "torn":  # until a run has looked, a torn commit hides a table's newest state
        for name, content in contents(home).items():
            assert content in told["states"][name], name


def _compare(base: str, kind: str, home: Path) -> None:
    """As if nothing had happened, with what killed runs left behind swept up."""
    from resources.lake import Lake

    told = _reference(base, kind)
    found = shown(home)
    assert found == {"manifest": told["after"], "database": told["after"]}, (found, told["after"])
    assert drafts(home) == []
    assert not (home / "lake" / ".staging").exists()
    Lake(home / "lake").vacuum(0)
    assert contents(home) == {name: found[-1] for name, found in told["states"].items()}
    assert kept(home) == told["kept"], (kept(home), told["kept"])
    assert serving(home) == told["models"][-1]
    assert verified(home) == told["verify"]
