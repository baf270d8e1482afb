"""A shop of a few persons, and what a test must know to erase them and to look for them by itself."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from behavior_assets.privacy.erasure.case import open_case
from behavior_assets.privacy.erasure.erase import Erasure
from behavior_assets.privacy.erasure.subjects import Asked, IdKind
from behavior_assets.privacy.registry import registry
from behavior_assets.tables import all_tables
from behavior_assets.verification import verify_home
from exports.snapshot import publish
from resources.engine import engine
from resources.lock import exclusive
from tests.conftest import Chain, rees46_row, write_rees46

ANN, BOB, EVE = "ann.long@example.org", "541312140", "eve-7c0ffee5"
ANNS = (ANN, "a11a11a1-0", "a11a11a1-2")
DAYS = ("2024-05-30", "2024-05-31", "2024-06-01", "2024-06-02")


def visit(user: str, day: str, session: str, product: str = "p1") -> list[str]:
    """A visit that ends with an order."""
    return [rees46_row(f"{day} 10:0{n}:00", kind, product, user, session=session)
            for n, kind in enumerate(("view", "cart", "purchase"))]  # fmt: skip


def deliveries(folder: Path) -> list[Path]:
    """A file per day: Ann on the first and the third, Bob and Eve on all. One bad row of each on the second."""
    files = []
    for n, day in enumerate(DAYS):
        rows = [*visit(BOB, day, f"b0b0b0b0-{n}"), *visit(EVE, day, f"e5e5e5e5-{n}", f"p{n}")]
        if n in {0, 2}:
            rows += visit(ANN, day, f"a11a11a1-{n}", "p9" if n else "p1")
        if n == 1:
            rows += [rees46_row(f"{day} 11:00:00", "view", "p1", user, price="cheap", session=f"{user[:3]}-bad")
                     for user in (ANN, BOB, EVE)]  # fmt: skip
        files.append(write_rees46(folder / f"{day}.csv", rows))
    return files


def shop(folder: Path) -> Chain:
    """A home with those deliveries, published twice."""
    chain = Chain.at(folder / "home", archive=True)
    files = deliveries(folder / "in")
    for group in (files[:3], files[3:]):
        assert not chain.ingest(group, "rees46").refused
        again(chain)
    return chain


def again(chain: Chain) -> None:
    """Bring everything up to date and publish it."""
    chain.build()
    with engine(chain.settings) as backend:
        publish(chain.lake, chain.settings, backend.con, date(2024, 6, 2), datetime.now(UTC), synthetic=False)


def erasure(chain: Chain, *ids: str, kind: IdKind = IdKind.user) -> Erasure:
    """The erasure of these persons, with a chain that asks no rules and trains nothing."""
    def run(_settings: Any, _tell: Any) -> list[str]:
        with exclusive(chain.settings.home.dagster), exclusive(chain.settings.home.lake):
            again(chain)
        return []

    case = open_case(chain.settings, [Asked(i, kind) for i in ids], datetime.now(UTC))
    return Erasure(chain.settings, case, run)


def called(chain: Chain) -> set[str]:
    """Ann's raw ids, pseudonyms and keys, before she is erased."""
    (ids,) = chain.rows("gold/dim_customer", "SELECT list(customer_id) FROM t WHERE first_seen_date = '2024-05-30' "
                        "AND last_seen_date = '2024-06-01'")[0]  # fmt: skip
    assert len(ids) == 1
    (key,) = chain.rows("gold/dim_customer", f"SELECT customer_key FROM t WHERE customer_id = '{ids[0]}'")[0]
    sessions = chain.rows("gold/fact_session", f"SELECT session_key FROM t WHERE customer_key = {key}")
    return {*ANNS, *ids, str(key), *(str(s) for (s,) in sessions)}


def problems(chain: Chain) -> list[Any]:
    """What ``behavior verify`` finds."""
    told: list[Any] = verify_home(chain.settings)["problems"]
    return [p for p in told if p["where"] != "quality/days"]  # the chain of tests asks no rules


def seen(home: Path, needles: Iterable[str], apart: tuple[str, ...] = ("keys",)) -> list[str]:
    """Files whose name, bytes, unpacked bytes or cells hold a needle: the test's own, simple look."""
    wanted = [n for needle in needles for n in _spellings(needle)]
    found = []
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        if path.is_file() and not name.startswith(apart) and any(w in data for data in _layers(path) for w in wanted):
            found.append(name)
    return found


def _spellings(text: str) -> set[bytes]:
    raw = text.encode()
    codes = {base64.b64encode(b"x" * n + raw)[4 if n else 0 : -4] for n in range(3)}
    return {raw, raw.upper(), text.replace("@", "%40").encode(), *(c for c in codes if len(c) > 6)}


def _layers(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    yield data
    yield path.name.encode()
    if path.suffix == ".gz":
        try:
            yield gzip.decompress(data)
        except (OSError, zlib.error):
            return
    if path.suffix == ".parquet":
        yield repr(pq.read_table(path, partitioning=None).to_pydict()).encode()


@dataclass(frozen=True)
class Lake:
    """The rows of every table of a home that holds rows of persons, as sets, and its files."""

    rows: dict[str, set[str]]
    files: dict[str, set[str]]

    @classmethod
    def of(cls, chain: Chain) -> Lake:
        """As it is now. A row is the text of all its values."""
        rows, files = {}, {}
        with duckdb.connect() as con:
            for spec in all_tables():
                table = chain.lake.table(spec)
                files[spec.name] = {f.path for f in table.files()}
                if registry()[spec.name].personal and files[spec.name]:
                    read = con.read_parquet(table.absolute(table.files()))
                    rows[spec.name] = {repr(r) for r in read.fetchall()}
        return cls(rows, files)
