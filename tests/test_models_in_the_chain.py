"""Models in the chain: trained once, scored every day, kept with proof, and the same rows whatever came first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from behavior_assets.star.registry import model_key
from exports.hashing import MODULUS, file_hashes
from resources.models import ModelStore
from tests.conftest import Chain, rees46_row, require_packages, run_cli, same_key, write_rees46

PREDICTIONS = ("fact_session_prediction", "fact_customer_prediction")
MODELS = ("session_purchase", "customer_purchase")
LAST_DAYS = 3


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a made-up shop of 70 days that sells enough for every gate."""
    require_packages("sklearn", "tensorflow")
    base = tmp_path_factory.mktemp("shop")
    size = ("--days", "70", "--customers", "9000", "--events", "180000", "--seed", "3")
    told = run_cli("simulate", "--home", base, *size)
    assert told.code == 0, told.err
    return base / "simulated" / "rees46"


@pytest.fixture(scope="module")
def grown(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """A home that trained on all but the last days and got these later, with what each of its three runs said."""
    home = tmp_path_factory.mktemp("grown")
    files = sorted(shop.glob("*.csv"))
    runs = []
    for group in (files[:-LAST_DAYS], files[-LAST_DAYS:], []):
        sources = [word for path in group for word in ("--source", str(path))]
        told = run_cli("run", "--home", home, "--format", "rees46", *sources, "--json")
        assert told.code == 0, told.err
        runs.append(json.loads(told.out))
    yield home, runs
    shutil.rmtree(home, ignore_errors=True)


def query(home: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query over the published tables."""
    with duckdb.connect(str(home / "exports" / "behavior.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


def copied(home: Path, folder: Path) -> Chain:
    """The chain of a copy, below ``folder``, of the tables and models of a home."""
    shutil.copytree(home, folder / "home", ignore=shutil.ignore_patterns("dagster", "archive"))
    return Chain.at(folder / "home")


def test_a_run_trains_where_nothing_serves_and_no_later_one_does(grown: tuple[Path, list[dict[str, Any]]]) -> None:
    home, runs = grown
    store = ModelStore(home / "models")
    first = runs[0]["models"]
    assert first["sales_forecast"]["outcome"] == "not enough data"  # 70 days
    for name in ("customer_value", *MODELS):
        assert first[name]["outcome"] == "serving", first
        assert [run["models"][name]["version"] for run in runs] == [first[name]["version"]] * len(runs)
        assert store.versions(name) == [first[name]["version"]]
        assert store.load(name).papers["card.md"].decode().startswith("# ")
    states = query(home, "SELECT model, version, state, is_champion FROM dim_model WHERE model_key >= 0 ORDER BY model")
    told = {row[0]: row[1:] for row in states}
    assert {n: told[n] for n in MODELS} == {n: (first[n]["version"], "serving", "Yes") for n in MODELS}
    assert not runs[2]["snapshot_is_new"]


def test_what_is_told_can_be_read_and_is_honest(grown: tuple[Path, list[dict[str, Any]]]) -> None:
    """Of the days that made the model nothing is called out of sample; new days are; an open session has no outcome."""
    home, _ = grown
    model = ModelStore(home / "models").load("session_purchase")
    key = model_key(model.name, model.version)
    ((rows, first, wrong),) = query(home, f"""
        SELECT count(*), min(date_key), count(*) FILTER ((date_key >= {compact(model.told["days"]["test"])})
            <> (is_out_of_sample = 'Yes'))
        FROM fact_session_prediction WHERE model_key = {key}""")
    assert rows > 5_000
    assert first == compact(model.told["days"]["validation"])
    assert wrong == 0
    assert query(home, "SELECT DISTINCT prefix FROM fact_session_prediction ORDER BY 1") == [(1,), (3,), (5,), (10,)]
    ((told, came, deciles),) = query(home, """
        SELECT avg(probability), avg(outcome), count(DISTINCT decile) FROM fact_session_prediction
        WHERE prefix = 1 AND is_out_of_sample = 'Yes'""")
    assert abs(told - came) < 0.02
    assert deciles >= 8
    ((bought, others),) = query(home, """
        SELECT avg(probability) FILTER (outcome = 1), avg(probability) FILTER (outcome = 0)
        FROM fact_session_prediction WHERE prefix = 3 AND is_out_of_sample = 'Yes'""")
    assert bought > 1.2 * others
    # An outcome is known when the horizon is over, and not before.
    open_, over = query(home, """
        SELECT horizon_days, max(date_key) FILTER (outcome IS NULL), max(date_key) FILTER (outcome IS NOT NULL)
        FROM fact_customer_prediction GROUP BY 1 ORDER BY 1""")[0], None
    assert over is None
    assert open_[1] > (open_[2] or 0)


def compact(day: int) -> int:
    """Yyyymmdd of a day since 1970."""
    ((text,),) = duckdb.sql(f"SELECT strftime(DATE '1970-01-01' + {day}, '%Y%m%d')").fetchall()
    return int(text)


def test_rows_depend_on_the_version_and_not_on_what_was_delivered_when(
    shop: Path, grown: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """The whole shop at once, with the models of the home that grew: the same content hash of every prediction."""
    home, _ = grown
    same_key(home, tmp_path)
    shutil.copytree(home / "models", tmp_path / "models")
    whole = Chain.at(tmp_path)
    whole.ingest(sorted(shop.glob("*.csv")), "rees46")
    whole.build()
    there = Chain.at(home).hashes()
    assert {n: h for n, h in whole.hashes().items() if n in PREDICTIONS} == {n: there[n] for n in PREDICTIONS}


def test_a_late_event_changes_what_is_told_of_its_day_and_after(
    grown: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    home, _ = grown
    chain = copied(home, tmp_path)
    table = chain.table("gold/fact_session_prediction")
    before = {f.part: f.path for f in table.files()}
    days = sorted(part.partition(".")[0] for part in before)
    middle = days[len(days) // 2]
    path = tmp_path / "late.csv"
    write_rees46(path, [rees46_row(f"{middle} 12:00:00", "view", "1", "777")])
    chain.ingest([path], "rees46")
    chain.build()
    changed = sorted(f.part.partition(".")[0] for f in table.files() if before.get(f.part) != f.path)
    assert changed == [d for d in days if d >= days[days.index(middle) - 2]]  # sessions of two days before may reach it
    assert chain.rows("gold/fact_session_prediction", "SELECT count(*) FROM t") > [(0,)]


def test_outcomes_are_known_after_days_on_which_nothing_came(
    grown: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Six weeks without a file, then one event: all that was asked before has come true by then, or has not."""
    home, _ = grown
    chain = copied(home, tmp_path)
    untold = "SELECT count(DISTINCT date_key) FROM t WHERE outcome IS NULL AND date_key < 20240401"
    assert chain.rows("gold/fact_customer_prediction", untold) > [(0,)]
    path = tmp_path / "later.csv"
    write_rees46(path, [rees46_row("2024-04-25 12:00:00", "view", "1", "777")])
    chain.ingest([path], "rees46")
    chain.build()
    assert chain.rows("gold/fact_customer_prediction", untold) == [(0,)]


def test_a_serving_version_of_an_older_program_stops_nothing(
    grown: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """It scores nothing new, and lacks what drift is measured by; what it told stays."""
    home, _ = grown
    chain = copied(home, tmp_path)
    store = ModelStore(tmp_path / "home" / "models")
    for name in MODELS:
        model = store.load(name)
        told = {k: v for k, v in model.told.items() if k != "decile_rows"} | {"recipe": 1}
        store.promote(name, store.save(name, date(2024, 3, 10), told, model.arrays, model.papers), "2024-03-10")
    before = {name: chain.hashes()[name] for name in PREDICTIONS}
    chain.build()
    assert {name: chain.hashes()[name] for name in PREDICTIONS} == before
    served = "SELECT count(*) FROM t WHERE starts_with(slice, 'served')"
    assert chain.rows("gold/model_card", served) == [(0,)]


def test_a_card_can_be_computed_again_and_damage_is_named(
    grown: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    home, runs = grown
    for name in ("customer_value", *MODELS):
        told = run_cli("models", "recompute", name, "--home", home, "--json")
        assert told.code == 0, told.err
        assert json.loads(told.out)["ok"]
    copy = tmp_path / "home"
    shutil.copytree(home, copy)
    version = runs[0]["models"]["session_purchase"]["version"]
    path = copy / "models" / "session_purchase" / version / "gru.npz"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    for words in (("run",), ("models", "card", "session_purchase"), ("verify",)):
        told = run_cli(*words, "--home", copy)
        assert told.code == 5, (words, told.out, told.err)
        assert "gru.npz" in told.err + told.out
    assert run_cli("verify", "--repair", "--home", copy).code == 0
    stores = (ModelStore(place / "models") for place in (copy, home))
    served, lost = (store.load("session_purchase").told["data"]["last"] for store in stores)
    assert served > lost, "trained again, on the days that came since as well"
    assert list((copy / "damaged").glob(f"*/models/session_purchase/{version}/gru.npz"))
    assert run_cli("verify", "--home", copy).code == 0


def test_one_step_back(grown: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    """Training anew makes a version that serves; rolling back lets the first serve again, with its rows."""
    home, runs = grown
    copy = tmp_path / "home"
    shutil.copytree(home, copy)
    first = runs[0]["models"]["customer_purchase"]["version"]
    before = told_by(copy, first)
    told = run_cli("run", "--home", copy, "--train", "--json")
    assert told.code == 0, told.err
    second = json.loads(told.out)["models"]["customer_purchase"]["version"]
    assert second != first  # three more days of data
    states = "SELECT version, state FROM t WHERE model = 'customer_purchase' ORDER BY 1"
    assert Chain.at(copy).rows("gold/dim_model", states) == [(first, "served before"), (second, "serving")]
    told = run_cli("models", "rollback", "customer_purchase", "--home", copy, "--json")
    assert json.loads(told.out) == {"model": "customer_purchase", "serves": first, "served_before": second}
    assert run_cli("run", "--home", copy, "--json").code == 0
    key = model_key("customer_purchase", first)
    assert told_by(copy, first) == before
    assert Chain.at(copy).rows("gold/dim_model", f"SELECT is_champion FROM t WHERE model_key = {key}") == [("Yes",)]
    assert run_cli("models", "promote", "customer_purchase", second, "--home", copy).code == 0
    assert run_cli("run", "--home", copy, "--json").code == 0
    assert ModelStore(copy / "models").served("customer_purchase") == [first, second]
    assert told_by(copy, first) == before, "what served before is not told otherwise"
    # The older one again: what the newer one told stays, and is known from the store, not from what the table holds.
    newer = told_by(copy, second)
    assert run_cli("models", "promote", "customer_purchase", first, "--home", copy).code == 0
    assert run_cli("run", "--home", copy, "--json").code == 0
    assert (told_by(copy, first), told_by(copy, second)) == (before, newer)
    assert run_cli("models", "promote", "customer_purchase", first, "--home", copy).out.endswith("serves already.\n")
    table = Chain.at(copy).table("gold/fact_customer_prediction")
    for version in (first, second):
        lost = next(f for f in table.files() if f.part.endswith(version[-8:]))
        (table.root / lost.path).unlink()
    told = run_cli("verify", "--repair", "--home", copy)
    assert told.code == 0, told.err
    assert (told_by(copy, first), told_by(copy, second)) == (before, newer)


def told_by(home: Path, version: str) -> str:
    """The content hash of what one version told of customers."""
    table = Chain.at(home).table("gold/fact_customer_prediction")
    files = [f for f in table.files() if f.part.endswith(version[-8:])]
    with duckdb.connect(":memory:") as con:
        found = file_hashes(con, table.absolute(files), table.spec.schema.names)
    return f"{sum(f.rows for f in files)} rows, {sum(found.values()) % MODULUS:016x}"


def test_a_shop_that_only_sells_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    days = (f"2024-03-{n % 28 + 1:02d} 10:00:00" for n in range(50))
    write_rees46(path, (rees46_row(day, "purchase", str(n), str(n)) for n, day in enumerate(days)))
    told = run_cli("run", "--home", tmp_path / "home", "--format", "rees46", "--source", path)
    assert told.code == 0, told.err
    assert "Model session_purchase: not enough data: the sources have no browsing events" in told.out
    home = tmp_path / "home"
    assert query(home, "SELECT state, reason FROM dim_model WHERE model = 'session_purchase'") == [
        ("not enough data", "the sources have no browsing events")
    ]
    assert query(home, "SELECT count(*) FROM fact_session_prediction") == [(0,)]
    assert ("not enough data",) in query(home, "SELECT DISTINCT metric FROM model_card")
    card = run_cli("models", "card", "session_purchase", "--home", home)
    assert card.out == "# Will this session buy?\n\nnot enough data: the sources have no browsing events\n"
    assert run_cli("models", "recompute", "session_purchase", "--home", home).code == 2
