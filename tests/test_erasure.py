"""Erasing a person: from every layer, for good, without touching anybody else's rows."""

from __future__ import annotations

import json
import random
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from behavior_assets.ingestion.ledger import read_ledger, read_removed, sums_of
from behavior_assets.privacy.erasure import case as cases
from behavior_assets.privacy.erasure.case import states, welcome
from behavior_assets.privacy.erasure.erase import NotErasedError
from behavior_assets.privacy.erasure.proof import is_signed
from behavior_assets.privacy.erasure.subjects import IdKind
from behavior_assets.privacy.rotation import destroy_all
from behavior_assets.privacy.suppression import folder
from resources.errors import StorageError, UsageError
from resources.failpoints import armed
from tests.conftest import Chain, rees46_row, write_rees46
from tests.persons import ANN, ANNS, BOB, DAYS, EVE, Lake, again, called, erasure, problems, seen, visit

pytestmark = pytest.mark.usefixtures("no_outlets")


def test_nothing_of_a_person_is_left(chain: Chain) -> None:
    """P1: in all bytes and cells, by the test's own look; before, she is in every layer."""
    hers, home = called(chain), chain.settings.home.root
    layers = {"archive", "exports/tables", "lake/bronze", "lake/silver", "lake/gold", "lake/quarantine"}
    there = seen(home, hers)
    assert {layer for layer in layers if any(p.startswith(layer) for p in there)} == layers
    receipt = erasure(chain, ANN).run()
    assert seen(home, hers) == []
    assert receipt["rows"]["bronze/events"] == 6
    assert receipt["rows"]["quarantine/events"] == 1
    assert receipt["rows"]["gold/fact_sales"] == receipt["rows"]["gold/fact_session"] == 2
    assert receipt["original_records"] == 7
    assert receipt["days"] == ["2024-05-30", "2024-06-01"]
    assert problems(chain) == []


def test_everybody_else_stays_as_they_were(chain: Chain) -> None:
    """P3: what is left is what was there, without her rows; also after the next run."""
    before, hers = Lake.of(chain), called(chain)
    erasure(chain, ANN).run()
    after = Lake.of(chain)
    for name, rows in before.rows.items():
        assert after.rows[name] <= rows, name
        assert all(any(h in row for h in hers) for row in rows - after.rows[name]), name
    again(chain)
    assert Lake.of(chain) == after


def test_only_days_that_hold_the_person_are_rewritten(chain: Chain) -> None:
    before = Lake.of(chain).files
    erasure(chain, ANN).run()
    after = Lake.of(chain).files
    for name in ("bronze/events", "silver/events", "silver/sessions", "silver/customer_day", "silver/product_day"):
        gone = {path.split("/")[0] for path in before[name] - after[name]}
        assert gone == {"event_date=2024-05-30", "event_date=2024-06-01"}, name
    assert before["gold/fact_session"] & after["gold/fact_session"]  # the second of June is a part of its own


def test_sums_over_persons_are_made_again(chain: Chain) -> None:
    """The product that only she looked at is gone, and so is her revenue."""
    assert chain.rows("gold/dim_product", "SELECT count(*) FROM t WHERE product_id = 'p9'") == [(1,)]
    erasure(chain, ANN).run()
    assert chain.rows("gold/dim_product", "SELECT count(*) FROM t WHERE product_id = 'p9'") == [(0,)]
    sales = chain.rows("gold/fact_sales", "SELECT sum(revenue_net), count(*) FROM t")
    assert sales == chain.rows("gold/fact_product_day", "SELECT sum(revenue), sum(purchases) FROM t")


def test_what_was_accepted_is_present_or_erased(chain: Chain) -> None:
    erasure(chain, ANN).run()
    bronze = chain.table("bronze/events")
    accepted = sum(e.accepted for e in read_ledger(bronze))
    erased = sum(sums_of(read_removed(bronze), "records", "erased").values())
    assert (accepted, erased, bronze.rows()) == (30, 6, 24)


def test_what_comes_later_is_suppressed_and_counted(chain: Chain, tmp_path: Path) -> None:
    """Also a row that cannot be accepted, and in the archive; what comes of others is taken in."""
    erasure(chain, ANN).run()
    late = [*visit(ANN, "2024-06-02", "a11a11a1-9"), *visit(BOB, "2024-06-02", "b0b0b0b0-9"),
            rees46_row("2024-06-02 11:00:00", "view", "p1", f" {ANN.upper()}", price="dear")]  # fmt: skip
    entry = chain.ingest([write_rees46(tmp_path / "in" / "late.csv", late)], "rees46").entries[0]
    assert (entry.rows_in, entry.accepted, entry.suppressed, entry.quarantined) == (7, 3, 4, 0)
    again(chain)
    assert seen(chain.settings.home.root, (*ANNS, "a11a11a1-9")) == []
    assert problems(chain) == []


def test_who_is_welcome_again_is_taken_in_from_then_on(chain: Chain, tmp_path: Path) -> None:
    """And nothing from before: what was erased, and what came while she was kept out, stays blank in the archive."""
    from behavior_assets.privacy.audit_log import open_audit
    from behavior_assets.repair import repair_home

    def delivered(session: str) -> tuple[int, int]:
        path = write_rees46(tmp_path / "in" / f"{session[-1]}.csv", visit(ANN, "2024-06-02", session))
        entry = chain.ingest([path], "rees46").entries[0]
        return entry.accepted, entry.suppressed

    case = erasure(chain, ANN).run()["case"]
    other = erasure(chain, BOB).run()["case"]
    assert delivered("a11a11a1-7") == (0, 3)
    welcome(chain.settings, case)
    assert {c["case"]: c["lifted"] for c in states(chain.settings, datetime.now(UTC))} == {case: True, other: False}
    assert [e.told for e in open_audit(chain.settings).entries() if e.action == "erase.lifted"] == [{"case": case}]
    assert delivered("a11a11a1-8") == (3, 0)
    again(chain)
    bronze = chain.table("bronze/events")
    for file in bronze.files():
        (bronze.root / file.path).unlink()
    repair_home(chain.settings, lambda: again(chain) or [], lambda _what: None)
    came = "SELECT DISTINCT session_id FROM t WHERE session_id LIKE 'a11a%'"
    assert chain.rows("bronze/events", came) == [("a11a11a1-8",)]
    assert seen(chain.settings.home.root, ("a11a11a1-0", "a11a11a1-2", "a11a11a1-7", BOB)) == []
    assert problems(chain) == []


def test_a_case_that_is_open_or_unknown_is_not_lifted(chain: Chain) -> None:
    """Nobody comes back half erased."""
    with armed("privacy.taken:eio@2"), pytest.raises((OSError, StorageError)):
        erasure(chain, ANN).run()
    (case,) = cases.open_cases(chain.settings.home)
    for name in (case.name, "0123"):
        with pytest.raises(UsageError, match="no such case is verified"):
            welcome(chain.settings, name)
    assert (folder(chain.settings.home) / f"{case.name}.txt").exists()


def test_the_archive_does_not_bring_a_person_back(chain: Chain) -> None:
    """Bronze files that are lost are read again from originals in which her records are blank."""
    from behavior_assets.repair import repair_home

    erasure(chain, ANN).run()
    before = Lake.of(chain).rows
    bronze = chain.table("bronze/events")
    for file in bronze.files():
        (bronze.root / file.path).unlink()
    settings = chain.settings
    told = repair_home(settings, lambda: again(chain) or [], lambda _what: None)
    assert [p["where"] for p in told["problems"]] == ["quality/days"], told
    assert Lake.of(chain).rows == before
    assert seen(settings.home.root, ANNS) == []


def test_older_snapshots_are_tombstones(chain: Chain) -> None:
    exports = chain.settings.home.exports
    before = {p.stem for p in (exports / "snapshots").glob("*.json")}
    receipt = erasure(chain, ANN).run()
    told = {p.stem: json.loads(p.read_text()) for p in (exports / "snapshots").glob("*.json")}
    assert set(receipt["tombstones"]) == before == {s for s, t in told.items() if "tombstone" in t}
    assert json.loads((exports / "current.json").read_text())["snapshot"] == receipt["snapshot"]
    assert problems(chain) == []


def test_the_receipt_is_signed_and_names_nobody(chain: Chain) -> None:
    hers, settings = called(chain), chain.settings
    receipt = erasure(chain, ANN).run()
    kept = json.loads((cases.receipts(settings.home) / f"{receipt['case']}.json").read_text())
    assert is_signed(settings, kept)
    assert not is_signed(settings, {**kept, "rows": {}})
    assert not any(h in json.dumps(kept) for h in hers)
    assert cases.open_cases(settings.home) == []


PLACES = [
    ("privacy.case", 1), ("privacy.case", 3), ("privacy.suppress", 2), ("privacy.keys", 1),
    ("privacy.taken", 2), ("privacy.taken", 9), ("privacy.taken", 12), ("lake.commit", 8), ("lake.committed", 10),
    ("parquet.name", 5), ("privacy.tombstone", 2), ("privacy.redact", 1), ("privacy.redact", 5), ("privacy.purge", 1),
    ("lake.vacuum", 7), ("privacy.receipt", 1), ("audit.append", 4),
]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(persons: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The rows of every table after an erasure that nothing got in the way of."""
    home = tmp_path_factory.mktemp("undisturbed") / "home"
    shutil.copytree(persons, home)
    chain = Chain.at(home, archive=True)
    erasure(chain, ANN).run()
    return Lake.of(chain).rows


@pytest.mark.parametrize(("place", "number"), PLACES)
def test_an_erasure_goes_on_wherever_it_was_interrupted(
    chain: Chain, undisturbed: dict[str, set[str]], place: str, number: int
) -> None:
    """P5: no receipt before the end, and then the rows of others are as after an undisturbed one."""
    hers, home = called(chain), chain.settings.home
    with armed(f"{place}:eio@{number}"), pytest.raises((OSError, StorageError)):
        erasure(chain, ANN).run()
    assert not list(cases.receipts(home).glob("*.json"))
    erasure(chain, ANN).run()
    assert Lake.of(chain).rows == undisturbed
    assert seen(home.root, hers) == []
    assert problems(chain) == []


def test_where_something_is_left_there_is_no_receipt(chain: Chain) -> None:
    stray = chain.settings.home.root / "logs" / "notes.txt"
    stray.parent.mkdir(exist_ok=True)
    stray.write_text(f"called {ANN} back\n")
    with pytest.raises(NotErasedError, match=r"logs/notes\.txt") as told:
        erasure(chain, ANN).run()
    assert ANN not in str(told.value)
    assert [c["state"] for c in states(chain.settings, datetime.now(UTC))] == ["executed"]
    stray.unlink()
    erasure(chain, ANN).run()
    assert [c["state"] for c in states(chain.settings, datetime.now(UTC))] == ["verified"]


def test_an_overdue_erasure_is_told(chain: Chain) -> None:
    """P22: asked for, suppressed, executed, verified; thirty days after the first it should be the last."""
    waiting = erasure(chain, ANN)
    waiting.suppress()
    now = datetime.now(UTC)
    assert [(c["state"], c["overdue"]) for c in states(chain.settings, now + timedelta(days=29))] == [
        ("suppressed", False)]  # fmt: skip
    assert [c["overdue"] for c in states(chain.settings, now + timedelta(days=31))] == [True]
    waiting.run()
    told = states(chain.settings, now + timedelta(days=31))
    assert [(c["state"], c["overdue"], list(c["reached"])) for c in told] == [("verified", False, list(cases.STATES))]


def test_many_persons_take_one_pass(chain: Chain, tmp_path: Path) -> None:
    """Every file is written once, however many persons leave it."""
    crowd = [f"user-{n:05d}" for n in range(300)]
    rows = [row for n, user in enumerate(crowd) for row in visit(user, DAYS[n % 2], f"s-{user}")]
    chain.ingest([write_rees46(tmp_path / "in" / "crowd.csv", rows)], "rees46")
    again(chain)
    before = {name: table.version for name, table in tables(chain).items()}
    receipt = erasure(chain, *crowd[:250]).run()
    assert receipt["persons"] == 250
    assert receipt["rows"]["bronze/events"] == 750
    assert receipt["rows"]["gold/dim_customer"] == 250
    versions = {name: table.version - before[name] for name, table in tables(chain).items()}
    assert versions["bronze/events"] == versions["silver/events"] == versions["silver/sessions"] == 1
    assert seen(chain.settings.home.root, crowd[:5]) == []
    assert seen(chain.settings.home.root, crowd[250:251])


def tables(chain: Chain) -> dict[str, Any]:
    from behavior_assets.tables import all_tables

    return {spec.name: chain.lake.table(spec) for spec in all_tables()}


def test_a_session_names_its_person(chain: Chain) -> None:
    receipt = erasure(chain, "a11a11a1-2", kind=IdKind.session).run()
    assert receipt["rows"]["bronze/events"] == 6
    assert seen(chain.settings.home.root, ANNS) == []


def test_a_session_of_two_persons_names_nobody(chain: Chain, tmp_path: Path) -> None:
    rows = [*visit(BOB, DAYS[0], "5ha5ed"), *visit(EVE, DAYS[0], "5ha5ed")]
    chain.ingest([write_rees46(tmp_path / "in" / "two.csv", rows)], "rees46")
    with pytest.raises(UsageError, match="a session's that 2 persons share") as told:
        erasure(chain, "5ha5ed", kind=IdKind.session).run()
    assert "5ha5ed" not in str(told.value)


POISON = {
    "control characters": "\x01\x02{}", "a formula": "=HYPERLINK({})", "a long text": "{} " + "x" * 5000,
    "an escape": "%22{}%22", "a tag": "<b>{}</b>",
}  # fmt: skip


@pytest.mark.parametrize("field", range(9))
def test_poison_in_any_field_is_erased(chain: Chain, tmp_path: Path, field: int) -> None:
    """P1 also after a run with her id in a field where it does not belong, and rows that could not be accepted."""
    rows = []
    for n, text in enumerate(POISON.values()):
        cells = rees46_row(f"2024-06-02 12:0{n}:00", "view", "p1", ANN, session=f"a11a11a1-{n}5").split(",")
        cells[field] = text.format(ANN)
        rows.append(",".join(cells))
    entry = chain.ingest([write_rees46(tmp_path / "in" / "poison.csv", rows)], "rees46").entries[0]
    assert entry.accepted + entry.quarantined == len(rows)
    with armed("parquet.write:eio@2"), pytest.raises((OSError, StorageError)):  # a run that fails half way
        again(chain)
    erasure(chain, ANN).run()
    assert seen(chain.settings.home.root, (ANN, *(f"a11a11a1-{n}5" for n in range(5)))) == []


def test_models_that_learned_from_a_person_are_stale(chain: Chain) -> None:
    """P16: they are marked, due when the deadline has passed, and retire where no other takes their place."""
    from behavior_assets.recipes import RECIPES
    from behavior_assets.trainer import about, is_due, is_overdue
    from resources.models import ModelStore

    store, recipe = ModelStore(chain.settings.home.models), RECIPES["customer_value"]
    papers = {"card.md": b"# A test", "training.json": b'{"trained_at": "2024-06-02T00:00:00+00:00"}'}
    version = store.save(recipe.name, date(2024, 6, 2), {"data": {"dataset": "a test"}, "figures": []}, {}, papers)
    store.promote(recipe.name, version)
    receipt = erasure(chain, ANN).run()
    assert receipt["models"] == [recipe.name]
    now, told = datetime.now(UTC), store.stale(recipe.name)
    assert told is not None
    assert told["version"] == version
    data = about(chain.lake, recipe, ["2024-05-30"])
    for days, late in ((29, False), (31, True)):
        assert is_overdue(store, recipe, 30, now + timedelta(days=days)) is late
        assert is_due(store, recipe, data, overdue=late) or not late
    store.retire(recipe.name, "2024-06-02")
    assert (store.champion(recipe.name), store.stale(recipe.name)) == (None, None)


@pytest.mark.parametrize("place", ["", "privacy.taken:eio@6", "privacy.taken:eio@9", "privacy.taken:eio@12",
                                   "parquet.write:eio@8"])
def test_a_shared_browser_stays_with_the_others(tmp_path: Path, place: str) -> None:
    """What came before a login in her own browser is hers; of a visit that two share each keeps their own."""
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(MAPPING)
    rows = [
        ("10:00", "", "c-ann-7f3a91", "s-5e1d20"), ("10:01", "ann", "c-ann-7f3a91", "s-5e1d20"),  # her own browser
        ("11:00", "ann", "c-cafe", "s-2"), ("11:01", "bob", "c-cafe", "s-2"), ("11:02", "", "c-cafe", "s-2"),
        ("12:00", "bob", "c-bob", "s-3"),
    ]  # fmt: skip
    lines = [f"2024-05-30 {at}:00,view,{user},{client},{session},p1" for at, user, client, session in rows]
    (tmp_path / "events.csv").write_text("\n".join(["at,event,user,client,session,product", *lines, ""]))
    chain = Chain.at(tmp_path / "home", archive=True)
    report = chain.ingest([tmp_path / "events.csv"], "generic", mapping)
    assert [e.accepted for e in report.entries] == [6]
    again(chain)
    if place:  # and where it was interrupted
        with armed(place), pytest.raises((OSError, StorageError)):
            erasure(chain, "ann").run()
    receipt = erasure(chain, "ann").run()
    assert receipt["rows"]["bronze/events"] == 3
    left = chain.rows("bronze/events", "SELECT user_id, client_id, session_id FROM t ORDER BY event_ts_us")
    assert left == [("bob", "c-cafe", "s-2"), (None, "c-cafe", "s-2"), ("bob", "c-bob", "s-3")]
    assert chain.rows("silver/sessions", "SELECT events FROM t ORDER BY start_ts_us") == [(2,), (1,)]
    assert seen(chain.settings.home.root, ["c-ann-7f3a91", "s-5e1d20"]) == []
    assert problems(chain) == []


MAPPING = """
columns: {event_time: at, event_name: event, user_id: user, client_id: client, session_id: session, product_id: product}
events: {view: view_item}
time: {format: "%Y-%m-%d %H:%M:%S", zone: UTC}
"""


@pytest.mark.parametrize(("asked", "others"), [
    (ANN, ("joann.long@example.org", "ann.long@example.org.uk", "x-ann.long@example.org")),
    ("customer-1", ("customer-12", "mycustomer-1")), ("user_77.a", ("user_77.ab", "buser_77.a")),
    ("12345678", ("123456789", "912345678", "a12345678")),
])  # fmt: skip
def test_an_id_within_another_is_not_that_person(tmp_path: Path, asked: str, others: tuple[str, ...]) -> None:
    chain = Chain.at(tmp_path / "home", archive=True)
    rows = [row for n, user in enumerate((asked, *others)) for row in visit(user, DAYS[0], f"{n}e5510{n}-0")]
    chain.ingest([write_rees46(tmp_path / "in" / "alike.csv", rows)], "rees46")
    again(chain)
    receipt = erasure(chain, asked).run()
    assert receipt["rows"]["bronze/events"] == 3
    left = chain.rows("bronze/events", "SELECT DISTINCT user_id FROM t ORDER BY 1")
    assert left == sorted((o,) for o in others)


def test_the_last_customer_can_leave(tmp_path: Path) -> None:
    """What was published of her is a tombstone; an empty star is published."""
    chain = Chain.at(tmp_path / "home", archive=True)
    chain.ingest([write_rees46(tmp_path / "in" / "one.csv", visit(ANN, DAYS[0], "a11a11a1-0"))], "rees46")
    again(chain)
    receipt = erasure(chain, ANN).run()
    assert len(receipt["tombstones"]) == 1
    assert seen(chain.settings.home.root, ANNS) == []
    assert chain.rows("gold/fact_sales", "SELECT count(*) FROM t") == [(0,)]


def test_a_file_that_is_delivered_again_brings_nobody_back(tmp_path: Path) -> None:
    """Where the archive lacked its original: it is kept now, without her records."""
    from dataclasses import replace

    chain = Chain.at(tmp_path / "home", archive=True)
    rows = [*visit(ANN, DAYS[0], "a11a11a1-0"), *visit(BOB, DAYS[0], "b0b0b0b0-0")]
    file = write_rees46(tmp_path / "in" / "a.csv", rows)
    Chain(replace(chain.settings, archive=False)).ingest([file], "rees46")
    again(chain)
    erasure(chain, ANN).run()
    assert chain.ingest([file], "rees46").repeated == ["a.csv"]
    assert list((chain.settings.home.archive / "rees46").iterdir())
    assert seen(chain.settings.home.root, ANNS) == []
    assert problems(chain) == []


@pytest.mark.parametrize(("line", "whole"), [(b"x" * 80_000_000, True), (b"x" * 5_000_000, False)])
def test_a_refused_file_of_any_length_is_looked_at_a_piece_at_a_time(chain: Chain, line: bytes, whole: bool) -> None:
    """Lines that name her go; of a file with a line that no memory should hold everything does."""
    import gzip

    refused = chain.settings.home.refused
    refused.mkdir(parents=True, exist_ok=True)
    with gzip.open(refused / "long.csv.gz", "wb", 1) as file:
        file.writelines((b"head\r\n", line, b"\r\n", f"a,{ANN},b\n".encode(), b"tail"))
    assert erasure(chain, ANN).run()["refused_lines"] == 1
    left = [gzip.decompress(p.read_bytes()) for p in refused.glob("*.gz")]
    assert left == ([] if whole else [b"head\r\n" + line + b"\r\ntail"])


def test_after_the_key_was_destroyed_raw_rows_still_go(chain: Chain) -> None:
    """What is pseudonymous leads to nobody then and stays; bronze, quarantine and archive name her as before."""
    before = Lake.of(chain)
    destroy_all(chain.settings)
    receipt = erasure(chain, ANN).run()
    assert receipt["rows"] == {"bronze/events": 6, "quarantine/events": 1}
    assert any("key was destroyed" in told for told in receipt["not_covered"])
    assert seen(chain.settings.home.root, ANNS) == []
    after = Lake.of(chain)
    assert {n for n in before.rows if before.rows[n] != after.rows[n]} == {"bronze/events", "quarantine/events"}


def test_a_bad_row_in_another_spelling_is_erased(chain: Chain, tmp_path: Path) -> None:
    bad = rees46_row("2024-06-02 11:00:00", "view", "p1", ANN.upper(), price="dear")
    rows = [bad, *visit(BOB, DAYS[3], "b0b0b0b0-9")]
    chain.ingest([write_rees46(tmp_path / "in" / "capitals.csv", rows)], "rees46")
    erasure(chain, ANN).run()
    assert seen(chain.settings.home.root, (ANN, ANN.upper())) == []


def test_a_refused_file_that_nobody_can_open_goes(chain: Chain, tmp_path: Path) -> None:
    import gzip

    cut = tmp_path / "in" / "cut.csv.gz"
    cut.parent.mkdir(exist_ok=True)
    cut.write_bytes(gzip.compress(random.Random(5).randbytes(3000))[:1500])  # noqa: S311 - no secret
    assert chain.ingest([cut], "rees46").refused
    assert list(chain.settings.home.refused.glob("*.gz"))
    assert erasure(chain, ANN).run()["refused_lines"] == 1
    assert not list(chain.settings.home.refused.glob("*.gz"))
