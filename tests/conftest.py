"""What the tests share: the real files, a temporary home, the command line and the chain in this process."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker for each core: threads of one would only wait for the other's
    os.environ |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}

import random
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import duckdb
import pytest

from behavior_assets.incremental import derive_days
from behavior_assets.ingestion.ahead import Delivery
from behavior_assets.ingestion.ingest import Ingestion, IngestReport
from behavior_assets.ingestion.ledger import FileEntry
from behavior_assets.ingestion.sources import load_source
from behavior_assets.privacy.build import build_silver
from behavior_assets.privacy.registry import told_by
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.sessions.build import build_sessions
from behavior_assets.star import aggregates
from behavior_assets.star.build import StarBuilder
from behavior_assets.star.order import GOLD_INPUTS, OF_THIS_PROCESS, build_table
from behavior_assets.tables import all_tables
from exports.contract import gold
from exports.hashing import MODULUS, file_hashes
from resources.compute import DuckDB
from resources.engine import engine
from resources.lake import Lake
from resources.lock import exclusive
from resources.settings import Settings, create_home
from resources.table import LakeTable, TableSpec, shared_views

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

    from resources.compute import Compute
    from tests.zygote import Zygote

REPOSITORY = Path(__file__).resolve().parent.parent
SUBSTRATE = (
    (aggregates.CUSTOMER_DAY, aggregates.customer_day),
    (aggregates.PRODUCT_DAY, aggregates.product_day),
    (aggregates.COMMERCE_EVENTS, aggregates.commerce_events),
)
# What tells of the deliveries themselves or of trainings, and so may differ with their order and grouping.
ABOUT_DELIVERIES = {"fact_data_quality", "refresh_info", "dim_model", "model_card"}
REES46_HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"


# The files that take longest, the longest first: one that is left for the end would keep one worker busy alone.
LONGEST = (
    "test_models_in_the_chain", "test_fault_matrix_writers", "test_fault_matrix_runs", "test_repair", "test_homes",
    "test_full_disk", "test_incremental", "test_repair_again", "test_fault_matrix_events", "test_late_events",
    "test_fault_matrix_files", "test_fault_matrix_values",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Files are given to the workers in the order below; pytest-xdist would start with those of many tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; nothing else changes its place."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


class Result(NamedTuple):
    """What a command left: its exit code and its two streams."""

    code: int
    out: str
    err: str


def require_packages(*names: str) -> None:
    """Skip where a package is not installed. It is not imported: TensorFlow's log would close pytest's own files."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (the extra `models`)")


def absent(reason: str) -> NoReturn:
    """What a test needs is not there: it is skipped, or fails where CI says that all must be there."""
    if os.environ.get("BEHAVIOR_REQUIRE_SHARED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def require_shared(folder: str = "") -> Path:
    """A folder of ``../shared/data``. Absent: the test is skipped, or fails where they are required."""
    path = REPOSITORY.parent / "shared" / "data" / folder
    if not path.exists():
        absent(f"{path} is not there: the real files are not part of the repository")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """``../shared/data`` beside the repository."""
    return require_shared()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that is not there yet."""
    return tmp_path / "home"


def run_cli(*arguments: object) -> Result:
    """``behavior`` with these arguments, in this process: importing Dagster anew costs seconds."""
    import contextlib
    import io

    from behavior_assets import cli

    out, err = io.StringIO(), io.StringIO()
    before, environment = sys.argv, dict(os.environ)
    sys.argv = ["behavior", *(str(a) for a in arguments)]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as leaving:
        code = leaving.code or 0
    finally:
        sys.argv = before
        os.environ.clear()
        os.environ.update(environment)
    return Result(code if isinstance(code, int) else 1, out.getvalue(), err.getvalue())


def published(home: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query over the published tables."""
    with duckdb.connect(str(home / "exports" / "behavior.duckdb"), read_only=True) as con:
        return con.execute(query).fetchall()


@dataclass
class Chain:
    """The chain without Dagster and without quality checks, for tests that run it many times."""

    settings: Settings

    @classmethod
    def at(cls, home: Path, timezone: str = "", **changes: Any) -> Chain:
        """The chain of a home, with two threads, no archive, and UTC days unless said otherwise or recorded."""
        settings = create_home(home)
        zone = timezone or settings.timezone or "UTC"
        return cls(replace(settings, timezone=zone, **{"threads": 2, "archive": False, **changes}))

    @property
    def lake(self) -> Lake:
        """The home's lake."""
        return Lake(self.settings.home.lake)

    def ingest(self, paths: Iterable[Path], format_name: str, mapping: Path | None = None) -> IngestReport:
        """Files into bronze and quarantine."""
        source = load_source(format_name, mapping)
        with engine(self.settings) as backend:
            deliveries = [Delivery(p, source, p.is_relative_to(self.settings.home.landing)) for p in paths]
            return Ingestion(self.lake, self.settings, backend.con).run(deliveries)

    def build(self, *, star: bool = True, by: Callable[[Backend], Compute] = DuckDB) -> None:
        """Bring silver, sessions and the star up to date, as the assets do; ``by`` makes what computes them."""
        lake, settings = self.lake, self.settings
        with shared_views(), engine(settings, pseudonyms=True) as backend:
            build_silver(backend, lake, settings)
            compute = by(backend)
            build_sessions(compute, lake, settings)
            if not star:
                return
            for spec, build in SUBSTRATE:
                derive_days(compute, lake.table(SILVER_EVENTS), lake.table(spec), build, aggregates.VERSION,
                            settings.chunk_rows, told_by=told_by(spec.name))  # fmt: skip
            builder, here = (StarBuilder(c, lake, settings) for c in (compute, DuckDB(backend)))
            for name in GOLD_INPUTS:
                build_table(here if name in OF_THIS_PROCESS else builder, name)

    def hashes(self) -> dict[str, str]:
        """Rows and content hash of every gold table that is derived from events."""
        return self._hashes(gold(name) for name in GOLD_INPUTS if name not in ABOUT_DELIVERIES)

    def silver_hashes(self) -> dict[str, str]:
        """Rows and content hash of every silver table."""
        return self._hashes(spec for spec in all_tables() if spec.name.startswith("silver/"))

    def _hashes(self, specs: Iterable[TableSpec]) -> dict[str, str]:
        told = {}
        with duckdb.connect(":memory:") as con:
            for table in map(self.lake.table, specs):
                found = file_hashes(con, table.absolute(table.files()), table.spec.schema.names)
                name = table.spec.name.removeprefix("gold/")
                told[name] = f"{table.rows()} rows, {sum(found.values()) % MODULUS:016x}"
        return told

    def table(self, name: str) -> LakeTable:
        """A table of the lake by its name."""
        return self.lake.table({spec.name: spec for spec in all_tables()}[name])

    def rows(self, name: str, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query over one table of the lake, which it names ``t``."""
        table = self.table(name)
        with duckdb.connect(":memory:") as con:
            t = con.read_parquet(table.absolute(table.files()))  # noqa: F841 - the query names it
            return con.execute(query).fetchall()


def ingest_and_build(
    home: Path, deliveries: Iterable[Iterable[Path]], format_name: str, mapping: Path | None = None, **changes: Any
) -> Chain:
    """Deliver groups of files one after another, with the whole chain after each group."""
    timezone = load_source(format_name, mapping).timezone
    chain = Chain.at(home, timezone, **changes)
    for group in deliveries:
        report = chain.ingest(group, format_name, mapping)
        assert not report.refused, report.refused
        chain.build()
    return chain


def same_key(home: Path, other: Path) -> None:
    """Give another home the pseudonym key of this one, so that their keys can be compared."""
    target = other / "keys" / "pseudonym.key"
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.write_text((home / "keys" / "pseudonym.key").read_text())
    target.chmod(0o600)


def write_rees46(path: Path, rows: Iterable[str], end: str = "\n") -> Path:
    """A rees46 file of rows written ``time,type,product,…``; rows with fewer columns get usual values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + end for line in (REES46_HEADER, *rows)), newline="")
    return path


def rees46_row(moment: str, kind: str, product: str, user: str, price: str = "9.99", **more: str) -> str:
    """One rees46 row; ``more``: session, category_id, category, brand."""
    return ",".join((
        f"{moment} UTC", kind, product, more.get("category_id", "20"), more.get("category", "toys.bricks"),
        more.get("brand", "acme"), price, user, more.get("session", ""),
    ))  # fmt: skip


def shuffled(items: Iterable[Any], seed: int) -> list[Any]:
    """The items in an order that the seed tells."""
    order = list(items)
    random.Random(seed).shuffle(order)  # noqa: S311 - no secret
    return order


def bad_rows(chain: Chain, entry: FileEntry, person: str) -> list[tuple[int, str, str]]:
    """The quarantined rows of the only file as (row, class, column): accounted for, and none tells ``person``."""
    assert entry.rows_in == entry.accepted + entry.quarantined + entry.duplicate
    if not entry.quarantined:
        return []
    found = chain.rows("quarantine/events", "SELECT row_number, failure_class, column_name, message FROM t ORDER BY 1")
    assert not [message for *_, message in found if person in message]
    return [row[:3] for row in found]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home that every ``whole`` is a copy of: whichever worker asks first makes it for all of them."""
    from tests.damage import make_home

    own = tmp_path_factory.getbasetemp()
    base = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made"
    with exclusive(base):
        if not (base / "done").exists():
            make_home(base)
            (base / "done").touch()
    return base / "home"


@pytest.fixture(scope="module")
def whole(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that nothing is wrong with; one for each file of tests, which may spoil it and make it good again."""
    from tests.damage import broken, copied

    home = copied(made, tmp_path_factory.mktemp("whole") / "copy")
    assert not broken(home)
    return home


@pytest.fixture(scope="session")
def persons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a shop of a few persons, published; tests take a copy of it."""
    from tests.persons import shop

    folder = tmp_path_factory.mktemp("persons")
    shop(folder)
    return folder / "home"


@pytest.fixture
def chain(persons: Path, tmp_path: Path) -> Chain:
    """The chain over a copy of that shop, in ``tmp_path / "home"``."""
    shutil.copytree(persons, tmp_path / "home")
    return Chain.at(tmp_path / "home", archive=True)


@pytest.fixture
def no_outlets(monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure makes nothing for people of its snapshot: it takes seconds; test_erase_command.py looks at it."""
    made = SimpleNamespace(**{name: lambda *_of: None for name in ("powerbi", "report", "aggregate")})
    monkeypatch.setattr("behavior_assets.privacy.erasure.republish.outlets", made)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """A warm process whose children run, and may be killed."""
    from tests.zygote import Zygote

    warm = Zygote()
    try:
        yield warm
    finally:
        warm.close()
