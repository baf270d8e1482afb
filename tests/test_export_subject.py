"""P14: an export holds every row of one person, and nothing of anybody else."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from behavior_assets.privacy.access.export import export_subject
from behavior_assets.privacy.access.files import cell
from behavior_assets.privacy.audit_log import open_audit
from behavior_assets.privacy.consents import Decision, record
from behavior_assets.privacy.erasure.subjects import Asked, IdKind
from behavior_assets.privacy.registry import registry
from behavior_assets.tables import all_tables
from resources.errors import UsageError
from resources.keys import load_key, pseudonym
from resources.settings import Settings
from tests.conftest import Chain, rees46_row, run_cli, write_rees46
from tests.persons import again, seen

ANN, BOB, EVE = "ann.long@example.org", "541312140", "eve.stone@example.org"
ANNS_CLIENT, BOBS_CLIENT, SHARED_CLIENT = "cl-a11a11a1", "cl-b0b0b0b0", "cl-5ha5ed5ha"
HOSTILE = '=1+1,"quoted"'
NOW = datetime(2024, 6, 9, 12, tzinfo=UTC)
MAPPING = """
columns: {event_time: at, event_name: what, user_id: user, client_id: client, session_id: visit, product_id: sku,
          price: price, quantity: pieces, transaction_id: order, url: url, search_query: search, campaign: campaign}
"""
HEADER = "at,what,user,client,visit,sku,price,pieces,order,url,search,campaign\n"
# One row is: time, what, user, client, visit, and what is not usual. Ann's are marked.
ROWS = (
    ("05-30 10:00", "view_item", "", ANNS_CLIENT, "v-a11a11a1-0", {}),  # Ann, before she logs in
    ("05-30 10:01", "view_item", "", "", "v-a11a11a1-0", {}),  # Ann: her visit alone tells that
    ("05-30 10:02", "view_item", " Ann.Long@Example.ORG ", ANNS_CLIENT, "v-a11a11a1-0", {"campaign": HOSTILE}),  # Ann
    ("05-30 10:03", "purchase", ANN, ANNS_CLIENT, "v-a11a11a1-0", {"order": "o-a11a11a1"}),  # Ann
    ("05-31 10:00", "add_to_cart", "", ANNS_CLIENT, "v-a11a11a1-1", {"search": "two\nlines"}),  # Ann
    ("05-31 11:00", "view_item", ANN, SHARED_CLIENT, "v-5ha5ed5ha", {}),  # Ann, in a visit that Bob shares
    ("05-31 11:01", "view_item", BOB, SHARED_CLIENT, "v-5ha5ed5ha", {}),
    ("05-31 11:02", "view_item", "", SHARED_CLIENT, "v-5ha5ed5ha", {}),  # nobody's: two persons use this browser
    ("06-01 23:50", "view_item", ANN, "", "v-a11a11a1-2",
     {"url": f"https://shop.example/?friend={EVE.replace('@', '%40')}"}),  # Ann, and her address for Eve
    ("05-31 12:00", "add_to_cart", BOB, BOBS_CLIENT, "v-b0b0b0b0-0", {}),
    ("05-31 12:01", "purchase", BOB, BOBS_CLIENT, "v-b0b0b0b0-0", {"order": "o-b0b0b0b0"}),
    ("06-01 11:00", "view_item", EVE, "", "v-e5e5e5e5-0", {}),
    ("06-02 11:00", "purchase", EVE, "", "v-e5e5e5e5-1", {"order": "o-e5e5e5e5"}),
    ("06-02 12:00", "view_item", ANN, "", "v-a11a11a1-3", {"price": "cheap"}),  # Ann: it cannot be accepted
    ("06-02 12:01", "view_item", ANN, "", "v-a11a11a1-3", {"price": "cheap", "search": f"mail {EVE}"}),  # and Eve
    ("06-02 12:02", "view_item", BOB, "", "v-b0b0b0b0-1", {"price": "cheap", "search": f"mail {ANN}"}),  # Bob's
    ("06-02 12:03", "view_item", EVE, "", "v-e5e5e5e5-2", {"price": "cheap"}),
    # Somebody whom no other event tells of, and who names Ann.
    ("06-02 12:04", "view_item", "zed.new@example.org", "", "v-2ed2ed2e", {"price": "cheap", "search": f"mail {ANN}"}),
)
STRANGERS = (BOB, EVE, BOBS_CLIENT, "b0b0b0b0", "e5e5e5e5", "zed.new")


def line(at: str, what: str, user: str, client: str, visit: str, more: dict[str, str]) -> str:
    cells = (f"2024-{at}:00", what, user, client, visit, "p1", more.get("price", "9.99"), "1", more.get("order", ""),
             more.get("url", ""), more.get("search", ""), more.get("campaign", ""))  # fmt: skip
    return ",".join('"' + c.replace('"', '""') + '"' for c in cells)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    chain = Chain.at(folder / "home", archive=True)
    (folder / "mapping.yaml").write_text(MAPPING)
    (folder / "log.csv").write_text(HEADER + "".join(line(*row) + "\n" for row in ROWS), newline="")
    assert not chain.ingest([folder / "log.csv"], "generic", folder / "mapping.yaml").refused
    rows = [rees46_row("2024-05-30 08:00:00", "view", "p2", user, session=f"r-{user[:3]}") for user in (ANN, BOB)]
    assert not chain.ingest([write_rees46(folder / f"mail-from-{EVE}.csv", rows)], "rees46").refused
    record(chain.lake, [Decision(who, "user", "granted", "1", 1) for who in (f" {ANN.upper()}", BOB)], 3)
    again(chain)
    for name, key in (("fact_session_prediction", "session_key"), ("fact_customer_prediction", "horizon_days")):
        predict(chain, name, key)
    return folder / "home"


def predict(chain: Chain, name: str, second: str) -> None:
    """A prediction for every customer: the chain of tests trains no model."""
    table = chain.table(f"gold/{name}")
    usual: dict[str, Any] = {"date_key": 20240602, "model_key": 77, "prefix": 1, "probability": 0.5, "decile": 5,
                             "outcome": None, "is_out_of_sample": "Yes", "horizon_days": 7}  # fmt: skip
    sessions = chain.rows("gold/fact_session", "SELECT session_key, customer_key FROM t")
    rows = [{**usual, "customer_key": c, **({second: s} if second == "session_key" else {})} for s, c in sessions]
    kept = [{n: row[n] for n in table.spec.schema.names} for row in rows]
    table.commit([table.write("all", "test", [pa.Table.from_pylist(kept, schema=table.spec.schema)])], replace=True)


@pytest.fixture
def chain(made: Path, tmp_path: Path) -> Chain:
    shutil.copytree(made, tmp_path / "home")
    return Chain.at(tmp_path / "home", archive=True)


def keys_of(chain: Chain, *ids: str) -> str:
    """Customer keys of persons as a list of SQL, told by the pseudonyms that the key gives."""
    known = [pseudonym(load_key(chain.settings, "pseudonym"), "customer", i) for i in ids]
    rows = chain.rows("gold/dim_customer", f"SELECT customer_key FROM t WHERE customer_id IN {(*known, '')}")
    assert len(rows) == len(ids)
    return f"({', '.join(str(k) for (k,) in rows)})"


def export(chain: Chain, out: Path, wanted: str = ANN, kind: IdKind = IdKind.user) -> dict[str, Any]:
    return export_subject(chain.settings, [Asked(wanted, kind)], out, NOW)


def rows_in(out: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table by its JSON lines; CSV has the same ones."""
    name = table.replace("/", "_")
    if not (out / f"{name}.jsonl").exists():
        return []
    told = [json.loads(text) for text in (out / f"{name}.jsonl").read_text().split("\n") if text]
    with (out / f"{name}.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{n: cell(v) for n, v in row.items()} for row in told], table
    return told


def all_rows(chain: Chain) -> dict[str, duckdb.DuckDBPyRelation]:
    con = duckdb.connect()
    tables = {spec.name: chain.lake.table(spec) for spec in all_tables() if registry()[spec.name].personal}
    return {n: con.read_parquet(t.absolute(t.files())) for n, t in tables.items() if t.files()}


def test_every_row_of_the_person_is_there(chain: Chain, tmp_path: Path) -> None:
    """Counted in each table by SQL of this test's own, and by eye in bronze and quarantine."""
    told = export(chain, tmp_path / "out")
    mine = keys_of(chain, ANN, ANNS_CLIENT)
    lake = all_rows(chain)
    alone = lake["silver/events"].filter("customer_key IS NULL OR customer_key = -1")  # the visit tells whose it is
    assert len(alone) == 1
    known = lake["silver/events"].filter("customer_key != -1")
    hers, others = ({c for (c,) in rows.select("chain_key").fetchall()} for rows in (
        known.filter(f"customer_key IN {mine}").union(alone), known.filter(f"customer_key NOT IN {mine}")))  # fmt: skip
    chains = tuple(hers - others)
    (visits,) = lake["silver/sessions"].filter(f"chain_key IN {chains}").aggregate("list(session_key)").fetchall()[0]
    expected = {"bronze/events": 7 + 1, "bronze/consents": 1, "quarantine/events": 1, "silver/events": 7 + 1,
                "silver/session_parts": len(lake["silver/session_parts"].filter(f"chain_key IN {chains}"))}  # fmt: skip
    for name, rows in lake.items():
        if name not in expected:
            by_visit = f" OR session_key IN {tuple(visits)}" if "session_key" in rows.columns else ""
            expected[name] = len(rows.filter(f"customer_key IN {mine}{by_visit}"))
    assert {f["table"]: f["rows"] for f in told["files"]} == expected
    assert {name: len(rows_in(tmp_path / "out", name)) for name in expected} == expected
    assert all(expected.values()), expected
    assert told["known"]


def test_nothing_of_anybody_else_is_there(chain: Chain, tmp_path: Path) -> None:
    """No id, pseudonym or key of theirs, in no spelling; before, each is in the home."""
    told = export(chain, tmp_path / "out")
    theirs = keys_of(chain, BOB, EVE, SHARED_CLIENT)
    needles = set(STRANGERS)
    for name, rows in all_rows(chain).items():
        if "customer_key" in rows.columns:
            names = [c for c in ("customer_key", "customer_id", "session_key", "event_key", "cart_key", "order_key")
                     if c in rows.columns]  # fmt: skip
            found = rows.filter(f"customer_key IN {theirs}").select(*names).fetchall()
            needles |= {str(v) for row in found for v in row}
            assert found, name
    assert len(needles) > 20
    assert seen(tmp_path / "out", needles, ()) == []
    assert seen(chain.settings.home.root, needles)
    quarantine = next(f for f in told["files"] if f["table"] == "quarantine/events")
    assert quarantine["left_out"] == 3  # hers that names Eve, and Bob's and Zed's that name her
    (url,) = [r["url"] for r in rows_in(tmp_path / "out", "bronze/events") if r["url"]]
    assert url == "(left out: it names another person)"
    assert [d["file"] for d in told["source"] if d["format"] == "rees46"] == ["(left out: it names another person)"]


def test_a_hostile_value_is_a_text_in_every_program(chain: Chain, tmp_path: Path) -> None:
    """JSON has it as it was delivered, CSV with an apostrophe before what begins a formula."""
    export(chain, tmp_path / "out")
    rows = rows_in(tmp_path / "out", "bronze/events")
    assert [r["campaign"] for r in rows if r["campaign"]] == [HOSTILE]
    assert [r["search_query"] for r in rows if r["search_query"]] == ["two\nlines"]
    with (tmp_path / "out" / "bronze_events.csv").open(newline="") as file:
        assert [r["campaign"] for r in csv.DictReader(file) if r["campaign"]] == ["'" + HOSTILE]
    assert (cell("-12.5"), cell("-1+2"), cell("\u2212x"), cell(None), cell(True)) == (
        "-12.5", "'-1+2", "'\u2212x", "", "true")  # fmt: skip


@pytest.mark.parametrize(("wanted", "kind"), [
    ("ANN.Long@example.org", IdKind.email), ("v-a11a11a1-2", IdKind.session), (f" {ANN}\n", IdKind.user),
])  # fmt: skip
def test_every_id_of_a_person_gives_the_same(chain: Chain, tmp_path: Path, wanted: str, kind: IdKind) -> None:
    told, same = export(chain, tmp_path / "a"), export(chain, tmp_path / "b", wanted, kind)
    assert told == same
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}  # fmt: skip


def test_about_tells_what_for_whom_and_how_long(chain: Chain, tmp_path: Path) -> None:
    from dataclasses import replace

    home = chain.settings.home.root
    (home / "behavior.toml").write_text('publish_to = "postgresql://joe:secret@db.example/mart"\n'
                                        'publish_readers = "analysts"\n')  # fmt: skip
    settings = replace(Settings(chain.settings.home, timezone="UTC"),
                       publish_to="postgresql://joe:secret@db.example/mart", publish_readers="analysts")  # fmt: skip
    told = export_subject(settings, [Asked(ANN)], tmp_path / "out", NOW)
    text = (tmp_path / "out" / "about.json").read_text() + (tmp_path / "out" / "README.txt").read_text()
    assert "db.example/mart" in text
    assert "analysts" in text
    assert "secret" not in text
    assert "joe" not in text
    assert json.loads((tmp_path / "out" / "about.json").read_text()) == told
    assert {*told["retention"]} == {
        "landing", "archive", "bronze", "decisions", "quarantine", "silver", "gold", "models", "exports"}  # fmt: skip
    assert told["snapshot"] == json.loads((home / "exports" / "current.json").read_text())["snapshot"]
    columns = {f["table"]: f["columns"] for f in told["files"]}
    assert columns["gold/fact_session"]["duration_s"] == {
        "tells": "figure about one person", "meaning": "Seconds from the first to the last event"}  # fmt: skip
    assert columns["bronze/events"]["user_id"] == {"tells": "raw identifier"}
    assert date.fromisoformat(told["made_at"][:10]) == NOW.date()


def test_the_models_that_scored_a_person_are_named(chain: Chain, tmp_path: Path) -> None:
    table = chain.table("gold/dim_model")
    told = {"trained_at": None, "dataset": "generic", "state": "serving", "reason": "", "is_champion": "Yes"}
    rows = [{"model_key": key, "model": name, "version": f"v{key}", **told}
            for key, name in ((77, "session_purchase"), (78, "customer_purchase"), (79, "customer_value"))]  # fmt: skip
    table.commit([table.write("all", "test", [pa.Table.from_pylist(rows, schema=table.spec.schema)])], replace=True)
    models = export(chain, tmp_path / "out")["models"]
    assert [(m["model"], m["version"]) for m in models] == [("customer_value", "v79"), ("session_purchase", "v77")]
    assert all(m["logic"] for m in models)


def test_files_are_for_their_owner_and_never_among_others(chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    export(chain, out)
    assert {oct(p.stat().st_mode & 0o777) for p in out.iterdir()} == {"0o600"}
    assert oct(out.stat().st_mode & 0o777) == "0o700"
    for place, why in ((out, "is not empty"), (chain.settings.home.root / "out", "in the home")):
        with pytest.raises(UsageError, match=why) as told:
            export(chain, place)
        assert ANN not in str(told.value)


def test_the_audit_log_tells_that_it_was_done_and_of_nobody(chain: Chain, tmp_path: Path) -> None:
    export(chain, tmp_path / "out")
    (entry,) = open_audit(chain.settings).entries()
    assert (entry.action, entry.told["rows"]) == ("export-subject", sum(
        len(rows_in(tmp_path / "out", name)) for name in registry()))  # fmt: skip
    assert seen(chain.settings.home.root / "logs", (ANN, "a11a11a1")) == []


def test_nothing_is_left_of_a_failed_export(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("behavior_assets.privacy.access.export.readme", lambda _told: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(chain, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(chain: Chain, tmp_path: Path) -> None:
    """Its output tells no id; of somebody unknown it says so and that is no error."""
    home = chain.settings.home.root
    done = run_cli("export-subject", "--subject", ANN, "--out", tmp_path / "a", "--home", home, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["known"], told["rows"]["bronze/events"], told["left_out"]) == (True, 8, 4)
    unknown = run_cli("export-subject", "--subject", "nobody@example.org", "--out", tmp_path / "b", "--home", home)
    assert unknown.code == 0
    assert "nobody is known" in unknown.out
    assert json.loads((tmp_path / "b" / "about.json").read_text())["known"] is False
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["README.txt", "about.json"]
    again_there = run_cli("export-subject", "--subject", ANN, "--out", tmp_path / "a", "--home", home)
    assert again_there.code == 2
    for result in (done, unknown, again_there):
        assert ANN not in result.out + result.err
        assert "nobody@" not in result.out + result.err
