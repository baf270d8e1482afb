"""What is made of a snapshot: once, whole, of that snapshot; and from a figure back to what was delivered."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from behavior_assets.definitions import build_definitions
from behavior_assets.outlets_cli import shown
from exports import outlets
from exports.measures.catalog import measures
from exports.snapshot import alone, collect, read_manifest
from resources.disk import draft_of
from resources.errors import StorageError
from resources.failpoints import armed
from resources.settings import load_settings
from tests.conftest import rees46_row, run_cli, write_rees46
from tests.small_shop import shop

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("powerbi", "report", "aggregate", "database")


@pytest.fixture(scope="module")
def shop_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of a shop, published, with a database that every snapshot goes to."""
    base = tmp_path_factory.mktemp("shop")
    home = base / "home"
    home.mkdir()
    (home / "behavior.toml").write_text(f'publish_to = "sqlite:///{base}/bi.sqlite"\n')
    write_rees46(base / "1.csv", [
        rees46_row("2024-05-01 10:00:00", "view", "7", "1"), rees46_row("2024-05-01 10:01:00", "cart", "7", "1"),
        rees46_row("2024-05-01 10:02:00", "purchase", "7", "1"), rees46_row("2024-05-01 11:00:00", "view", "8", "2"),
    ])  # fmt: skip
    write_rees46(base / "2.csv", [rees46_row("2024-05-02 10:00:00", "purchase", "7", "3", price="20.00")])
    for name in ("1.csv", "2.csv"):
        done = run_cli("run", "--home", home, "--format", "rees46", "--source", base / name)
        assert done.code == 0, done.err
    return home


def explained(home: Path, measure: str, *filters: str) -> dict[str, Any]:
    words = [w for f in filters for w in ("--filter", f)]
    done = run_cli("explain", measure, *words, "--home", home, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_a_run_makes_every_outlet_and_verify_knows_them(shop_home: Path) -> None:
    exports = shop_home / "exports"
    for path in ("powerbi/Behavior.pbip", "report/index.html", "aggregate/behavior-aggregate.xlsx",
                 "aggregate/csv/week.csv"):  # fmt: skip
        assert (exports / path).stat().st_size, path
    snapshot = json.loads((exports / "current.json").read_text())["snapshot"]
    assert {n["snapshot"] for n in outlets.read_notes(exports).values()} == {snapshot}
    assert snapshot in (exports / "report" / "index.html").read_text()
    with sqlite3.connect(shop_home.parent / "bi.sqlite") as con:
        assert con.execute("SELECT snapshot FROM refresh_info").fetchall() == [(snapshot,)]
    assert str(exports) in (exports / "powerbi/Behavior.SemanticModel/definition/expressions.tmdl").read_text()
    assert run_cli("verify", "--home", shop_home).code == 0


def test_a_snapshot_of_another_version_is_refused_and_published_anew(shop_home: Path, tmp_path: Path) -> None:
    """Versions before did not tell the columns; where one has another name now, every reader would look in vain."""
    home = shutil.copytree(shop_home, tmp_path / "home")
    for path in (home / "exports" / "current.json", *(home / "exports" / "snapshots").glob("*.json")):
        told = json.loads(path.read_text())
        del told["tables"]["dim_date"]["columns"]
        path.write_text(json.dumps(told, indent=1))
    for words in (["explain", "Revenue"], ["publish", "--to", f"sqlite:///{tmp_path}/bi.sqlite"]):
        refused = run_cli(*words, "--home", home)
        assert (refused.code, "made by another version" in refused.err) == (2, True)
    assert run_cli("run", "--home", home).code == 0
    assert run_cli("explain", "Revenue", "--home", home).code == 0
    assert run_cli("verify", "--home", home).code == 0


def test_what_was_damaged_is_named_and_made_again(shop_home: Path, tmp_path: Path) -> None:
    home = shutil.copytree(shop_home, tmp_path / "home")
    report, sheet = home / "exports/report/index.html", home / "exports/aggregate/csv/week.csv"
    manifest = read_manifest(home / "exports")
    assert manifest is not None
    before = report.read_bytes()
    report.write_bytes(before[:-9])
    sheet.unlink()
    assert {p.where for p in outlets.problems(home / "exports")} == {"exports/report", "exports/aggregate"}
    assert "aggregate/csv/week.csv" in outlets.problems(home / "exports")[0].what
    assert outlets.report(home / "exports", manifest).new
    assert outlets.aggregate(home / "exports", manifest).new
    assert report.read_bytes() == before
    assert outlets.problems(home / "exports") == []
    assert not outlets.report(home / "exports", manifest).new  # nothing to do
    (home / "exports" / outlets.NOTES).write_text("[]")
    assert outlets.report(home / "exports", manifest).new  # notes that are lost cost a writing, nothing else


@pytest.mark.parametrize(("name", "place"), [
    ("report", "outlet.file:enospc"), ("report", "outlet.note:eio"), ("aggregate", "outlet.file:eio"),
    ("aggregate", "outlet.file:enospc@2"), ("aggregate", "outlet.note:enospc"), ("powerbi", "outlet.file:enospc"),
    ("powerbi", "outlet.file:eio@2"),
])  # fmt: skip
def test_where_the_disk_refuses_every_file_is_the_old_or_the_new_one(tmp_path: Path, name: str, place: str) -> None:
    exports, make, folder = tmp_path, getattr(outlets, name), tmp_path / name
    make(exports, shop(customers=20).write(exports))
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    lost = folder / "Behavior.pbip"
    lost.unlink(missing_ok=True)  # else there is nothing to write of a project that is there already
    after = shop(customers=30).write(exports) | {"snapshot": "20240404T000000000000Z"}
    with armed(place), pytest.raises(StorageError, match=str(exports)):
        make(exports, after)
    between = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert set(between) == set(before) - {lost}
    assert list(exports.rglob(".*.tmp*")) == []
    assert make(exports, after).new
    for path, content in between.items():
        assert content in {before[path], path.read_bytes()}, path
    assert outlets.problems(exports) == []


def test_every_outlet_is_an_asset_that_can_be_late(shop_home: Path) -> None:
    definitions = build_definitions(load_settings(shop_home))
    specs = {s.key.to_user_string(): s for s in definitions.resolve_all_asset_specs()}
    for name in NAMES:
        spec = specs[f"exports/{name}"]
        assert [d.asset_key.to_user_string() for d in spec.deps] == ["exports/snapshot"]
        assert spec.freshness_policy is not None
    assert specs["exports/snapshot"].freshness_policy is not None


def test_a_figure_is_led_back_to_the_delivery_it_came_with(shop_home: Path) -> None:
    told = explained(shop_home, "revenue", "Date=2024-05-02", "source=REES46")
    assert (told["measure"], told["figure"]) == ("Revenue", 20.0)
    assert [(d["events"], [f["name"] for f in d["files"]]) for d in told["deliveries"]] == [(1, ["2.csv"])]
    assert [t["table"] for t in told["tables"]] == ["dim_date", "dim_source", "fact_sales"]
    with duckdb.connect(str(shop_home / "exports" / "behavior.duckdb"), read_only=True) as con:
        assert con.execute(told["sql"]).fetchall() == [(20,)]
        assert all(con.execute(f"SELECT count(*) FROM '{f}'").fetchall() for t in told["tables"] for f in t["files"])
    both = explained(shop_home, "Revenue WoW")
    assert [f["name"] for d in both["deliveries"] for f in d["files"]] == ["1.csv", "2.csv"]


def test_a_blank_has_its_reason_and_a_filter_that_changes_nothing_is_named(shop_home: Path) -> None:
    told = run_cli("explain", "Checkout Abandonment Rate", "--filter", "Brand=acme", "--home", shop_home)
    assert told.out.startswith("Checkout Abandonment Rate: blank")
    assert "Blank where no source tells checkouts." in told.out
    assert "Product[Brand] changes nothing: Sessions has no key of Product" in told.out
    nothing = run_cli("explain", "Gross Sales", "--filter", "Date=2024-12-25", "--home", shop_home)
    assert "Blank where there are none." in nothing.out  # the source does tell prices


@pytest.mark.parametrize(("words", "wanted"), [
    (["Revenu"], "Did you mean Revenue"), (["Revenue", "--filter", "Contry=x"], "Did you mean Country[Country]"),
    (["Revenue", "--filter", "Country"], "write a column and its values"),
    (["Revenue", "--filter", "Source=rees64"], "has no member 'rees64'. Did you mean rees46?"),
    (["Revenue", "--filter", "Country="], "has no member ''"),
    (["--period", "2024-05-02", "--period", "2024-05-01"], "the earlier period first"),
    (["--period", "2024-05-01", "--period", "2024-05-03"], "data through 2024-05-02 only"),
    (["--period", "2024-05-01:2024-05-02", "--period", "2024-05-02"], "none that reaches into it"),
    (["Horizon Day"], "no such measure"),
    (["Revenue", "--filter", "Sales Forecasts[Horizon Day]=1"],
     "Did you mean Sales Forecasts[Horizon Days], Sales Forecasts[Origin Date Key]?"),  # each once
])  # fmt: skip
def test_what_is_misspelt_is_answered_with_what_is_near(shop_home: Path, words: list[str], wanted: str) -> None:
    done = run_cli("explain", *words, "--home", shop_home)
    assert done.code == 2
    assert wanted in done.err


def test_the_change_of_revenue_adds_up_to_the_cent(shop_home: Path) -> None:
    words = ["explain", "--period", "2024-05-01:2024-05-01", "--period", "2024-05-02", "--home", shop_home]
    told = json.loads(run_cli(*words, "--json").out)
    assert (told["revenue_before"], told["revenue_after"]) == ("9.99", "20.00")
    assert sum(Decimal(s["amount"]) for s in told["steps"]) == Decimal("10.01")
    # rees46 tells no refunds: that line would be a zero that nobody knows.
    assert [s["cause"] for s in told["steps"]] == ["traffic", "conversion", "basket", "price"]
    assert told["measured"] == "gross revenue"
    longer = ["explain", "--period", "2024-04-29:2024-04-30", "--period", "2024-05-02", "--home", shop_home]
    assert "the periods are of 2 and 1 days" in run_cli(*longer).out
    assert "+10.0" in run_cli(*words, "--filter", "Source=rees46").out
    assert "for one channel, device, country or source" in run_cli(*words, "--filter", "Brand=acme").err
    assert "name two" in run_cli(*words[:3], "--home", shop_home).err
    backwards = ["explain", "--period", "2024-05-02:2024-05-01", "--period", "2024-05-02", "--home", shop_home]
    assert "ends before it begins" in run_cli(*backwards).err


def test_explain_lists_every_measure(tmp_path: Path) -> None:
    done = run_cli("explain", "--list", "--json", "--home", tmp_path)
    assert [m["measure"] for m in json.loads(done.out)["measures"]] == list(measures())


def test_nothing_is_explained_before_anything_is_published(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = run_cli("explain", "Revenue", "--home", tmp_path / "home")
    assert (done.code, "nothing is published yet" in done.err) == (2, True)


def test_the_trades_short_names_are_understood(shop_home: Path) -> None:
    assert explained(shop_home, "AOV")["measure"] == "Average Order Value"


def test_figures_are_shown_in_their_format() -> None:
    assert [shown(v, f) for v, f in ((0.1234, "0.0%"), (-0.05, "+0.0%;-0.0%;0.0%"), (1234.5, "#,0.00"), (7, "#,0"),
                                     (None, "0"))] == ["12.3%", "-5.0%", "1,234.50", "7", "blank"]  # fmt: skip


@pytest.mark.parametrize(("words", "wanted"), [
    (["--source", "postgresql", "--server", "db"], "--database missing"),
    (["--source", "sqlserver"], "--server and --database missing"), (["--source", "duckdb"], "--dsn missing"),
    (["--source", "sqlserver", "--server", "db", "--database", "d", "--dsn", "x"], "--dsn: has no meaning with"),
    (["--dsn", "x"], "--dsn: has no meaning with --source parquet"),
])  # fmt: skip
def test_a_project_for_another_source_wants_its_parameters(tmp_path: Path, words: list[str], wanted: str) -> None:
    done = run_cli("powerbi", *words, "--out", tmp_path / "bi", "--home", tmp_path)
    assert done.code == 2
    assert wanted in done.err


def test_a_project_for_a_database_goes_to_an_empty_folder(tmp_path: Path) -> None:
    words = ["powerbi", "--source", "postgresql", "--server", "db:5432", "--database", "shop", "--home", tmp_path]
    done = run_cli(*words, "--out", tmp_path / "bi")
    assert done.code == 0, done.err
    assert '"db:5432"' in (tmp_path / "bi/Behavior.SemanticModel/definition/expressions.tmdl").read_text()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    refused = run_cli(*words, "--out", tmp_path / "mine")
    assert (refused.code, "something else in it" in refused.err) == (2, True)


def test_a_clean_up_waits_for_an_outlet_of_another_process(tmp_path: Path) -> None:
    """Outlets do not hold the lake: what they are writing is no draft of somebody who was killed."""
    target, writing, go_on = tmp_path / "report.html", threading.Event(), threading.Event()

    def write() -> list[Path]:
        with draft_of(target) as draft:
            draft.write_text("the week", "utf-8")
            writing.set()
            go_on.wait(60)
        return [target]

    def made_alone() -> outlets.Made:
        with alone(tmp_path):
            return outlets._made(tmp_path, "report", {"snapshot": "20240501T000000Z"}, write)

    with ThreadPoolExecutor(2) as others:
        made = others.submit(made_alone)
        assert writing.wait(60)
        cleaned = others.submit(collect, tmp_path, 3)
        with suppress(TimeoutError):  # time to do harm
            cleaned.result(0.5)
        go_on.set()
        assert made.result().new
        cleaned.result()
    assert target.read_text("utf-8") == "the week"
