"""No consent, or Global Privacy Control: no customer and no score, and yet every sale and visit is counted (P12)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from behavior_assets.privacy.consents import ALWAYS_US, Decision, _times, record
from behavior_assets.staleness import stale_days
from resources.errors import IntegrityError
from tests.conftest import Chain, run_cli, shuffled

MAPPING = """
columns: {event_time: at, event_name: what, user_id: who, client_id: browser, session_id: visit, product_id: sku,
          price: price, transaction_id: order, consent: consent, gpc: gpc, consent_version: text, consent_time: asked}
"""
HEADER = "at,what,who,browser,visit,sku,price,order,consent,gpc,text,asked"
ADA, BOB = "ada@example.org", "bob@example.org"
YES = "yes"


def row(moment: str, what: str, who: str, visit: str = "", **more: str) -> str:
    """One event; ``more``: browser, price, order, consent, gpc, text, asked."""
    said = [more.get(n, d) for n, d in (("price", ""), ("order", ""), ("consent", YES), ("gpc", ""), ("text", ""),
                                        ("asked", ""))]  # fmt: skip
    return ",".join([f"{moment}Z", what, who, more.get("browser", ""), visit, "lamp", *said])


def chain_of(base: Path, *files: Iterable[str], star: bool = True, **settings: Any) -> Chain:
    """A home with these files in it, built (without ``star`` only silver and sessions)."""
    base.mkdir(parents=True, exist_ok=True)
    (base / "mapping.yaml").write_text(MAPPING)
    chain = Chain.at(base / "home", **settings)
    for number, rows in enumerate(files):
        path = base / f"{number}.csv"
        path.write_text("\n".join([HEADER, *rows]) + "\n")
        report = chain.ingest([path], "generic", base / "mapping.yaml")
        assert not report.refused
    chain.build(star=star)
    return chain


def decide(chain: Chain, *decisions: tuple[str, str, str], kind: str = "user") -> None:
    """Record (id, state, moment)."""
    from datetime import datetime

    made = [Decision(who, kind, state, "v2", int(datetime.fromisoformat(f"{at}+00:00").timestamp()) * 10**6)
            for who, state, at in decisions]  # fmt: skip
    record(chain.lake, made, 1)


def files_of(chain: Chain, name: str) -> set[str]:
    return {f.path for f in chain.table(name).files()}


def reasons(chain: Chain) -> list[Any]:
    """Why each event is without consent, in their order."""
    return [r for (r,) in chain.rows("silver/events", "SELECT consent_reason FROM t ORDER BY event_ts_us")]


DAY = "2024-05-01T10:0"


SAID: list[tuple[dict[str, str], str | None, str | None]] = [  # and the reason where silence is a yes, and a no
    ({}, None, None),
    ({"consent": "granted"}, None, None),
    ({"consent": "no"}, "denied", "denied"),
    ({"consent": "perhaps"}, "denied", "denied"),
    ({"consent": ""}, None, "absent"),
    ({"gpc": "1"}, "gpc", "gpc"),
    ({"gpc": "true", "consent": "no"}, "gpc", "gpc"),
    ({"gpc": "?"}, "gpc", "gpc"),
    ({"gpc": "0"}, None, None),
    ({"gpc": "false", "consent": ""}, None, "absent"),
]


@pytest.mark.parametrize("absent", ["granted", "denied"])
def test_what_an_event_says_of_itself(tmp_path: Path, absent: str) -> None:
    """What cannot be read counts as a no, and Global Privacy Control is stronger than a yes."""
    rows = [row(f"{DAY}{n}:00", "view_item", f"user{n}", "v1", browser=f"b{n}", **more)
            for n, (more, *_) in enumerate(SAID)]  # fmt: skip
    chain = chain_of(tmp_path, rows, consent_when_absent=absent)
    found = chain.rows("silver/events", "SELECT consent_reason, consent, is_user, customer_id IS NULL, "
                       "customer_key IS NULL FROM t ORDER BY event_ts_us")  # fmt: skip
    reason = [yes if absent == "granted" else no for _, yes, no in SAID]
    assert found == [(r, "granted", True, False, False) if r is None else (r, "denied", False, True, True)
                     for r in reason]  # fmt: skip
    known = chain.rows("gold/dim_customer", "SELECT count(*) FROM t WHERE customer_key >= 0")
    assert known == [(reason.count(None),)]


def test_version_and_time_of_the_consent_are_kept_with_the_event(tmp_path: Path) -> None:
    rows = [row(f"{DAY}0:00", "view_item", ADA, text="banner-7", asked="2024-04-30T00:00:00Z"),
            row(f"{DAY}1:00", "view_item", ADA), row(f"{DAY}2:00", "view_item", ADA, asked="soon")]  # fmt: skip
    chain = chain_of(tmp_path, rows, star=False)
    for table in ("bronze/events", "silver/events"):
        kept = chain.rows(table, "SELECT consent_version, consent_ts_us FROM t ORDER BY event_ts_us")
        assert kept == [("banner-7", 1_714_435_200_000_000), (None, None)]
    assert chain.rows("quarantine/events", "SELECT row_number, failure_class, column_name FROM t") == [
        (3, "wrong_type", "asked")
    ]


def test_ga4_says_so_too(tmp_path: Path) -> None:
    import json

    said = [{"analytics_storage": "Yes"}, {"analytics_storage": "No"}, {"analytics_storage": "Unset"}, {},
            {"analytics_storage": "Maybe"}, {"uses_transient_token": "Yes"},
            {"analytics_storage": "Yes", "uses_transient_token": "No", "ads_storage": "No"}]  # fmt: skip
    events = [{"event_timestamp": str(1_714_557_600_000_000 + n), "event_name": "page_view", "user_pseudo_id": "c",
               "privacy_info": told} for n, told in enumerate(said)]  # fmt: skip
    events += [{**events[0], "event_timestamp": str(1_714_557_600_000_100 + n), "gpc": gpc}
               for n, gpc in enumerate((True, "1", 1, False, "0", 0, None))]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    chain = Chain.at(tmp_path / "home")
    assert not chain.ingest([tmp_path / "a.jsonl"], "ga4").refused
    chain.build(star=False)
    assert chain.rows("bronze/events", "SELECT list(consent ORDER BY event_ts_us) FROM t WHERE gpc IS NULL") == [
        (["granted", "denied", None, None, "denied", "denied", "granted", "granted"],)
    ]
    assert reasons(chain) == [None, "denied", None, None, "denied", "denied", None, "gpc", "gpc", "gpc", *[None] * 4]


def test_without_consent_a_visit_is_the_sessions_and_nothing_links_two(tmp_path: Path) -> None:
    """Two visits of one person are two strangers; two events of one visit are one visit; one without id is its own."""
    visits = ["v1", "v1", "v2", "", ""]
    rows = [row(f"{DAY}{n}:00", "view_item", ADA, visit, consent="no") for n, visit in enumerate(visits)]
    chain = chain_of(tmp_path, rows)
    chains = [c for (c,) in chain.rows("silver/events", "SELECT chain_key FROM t ORDER BY event_ts_us")]
    assert len(set(chains)) == 4
    assert chains[0] == chains[1]
    assert chain.rows("gold/fact_session", "SELECT count(*), sum(views), max(customer_key) FROM t") == [(4, 5, -1)]


def test_strangers_with_and_without_consent_are_not_one_visit(tmp_path: Path) -> None:
    """Though both are told by the session id alone: what is scored must not hold what is only counted."""
    rows = [row(f"{DAY}0:00", "view_item", "", "v1", consent="no"), row(f"{DAY}1:00", "view_item", "", "v1")]
    chain = chain_of(tmp_path, rows, star=False)
    assert chain.rows("silver/sessions", "SELECT events, customer_key FROM t") == [(1, None), (1, None)]


def test_who_agrees_during_a_visit_is_known_from_then_on(tmp_path: Path) -> None:
    """The two halves are two sessions, so that no model sees the first."""
    chain = chain_of(tmp_path, [row(f"{DAY}0:00", "view_item", ADA, "v1", consent="no"),
                                row(f"{DAY}1:00", "view_item", ADA, "v1")])  # fmt: skip
    assert chain.rows("gold/fact_session", "SELECT customer_key >= 0, events FROM t ORDER BY 1") == [
        (False, 1), (True, 1),
    ]  # fmt: skip


SHOP = [
    row("2024-05-01T10:00:00", "view_item", ADA, "v1"),
    row("2024-05-01T10:01:00", "purchase", ADA, "v1", price="10", order="o1"),
    row("2024-05-01T11:00:00", "purchase", BOB, "v2", price="20", order="o2"),
    row("2024-05-02T10:00:00", "view_item", BOB, "v3"),
    row("2024-05-03T10:00:00", "purchase", ADA, "v4", price="5.5", order="o3"),
    row("2024-05-04T10:00:00", "purchase", BOB, "v5", price="7", order="o4"),
    row("2024-06-02T10:00:00", "view_item", BOB, "v6"),
]
OF_CUSTOMERS = ("silver/events", "silver/sessions", "gold/fact_session", "gold/fact_sales", "gold/fact_cart_item",
                "gold/fact_customer_month", "gold/fact_customer_prediction",
                "gold/fact_session_prediction")  # fmt: skip
SOLD = "SELECT count(*), sum(revenue_net), count(DISTINCT order_key), sum((customer_key < 0)::INT) FROM t"


def test_revenue_is_the_same_with_and_without_consent(tmp_path: Path) -> None:
    full = chain_of(tmp_path / "full", SHOP)
    audience = chain_of(tmp_path / "audience", SHOP, profile="audience")
    assert full.rows("gold/fact_sales", SOLD) == [(4, 42.5, 4, 0)]
    assert audience.rows("gold/fact_sales", SOLD) == [(4, 42.5, 4, 4)]
    for table in ("gold/fact_product_day", "gold/fact_session"):
        counted = "SELECT sum(views), sum(purchases), sum(revenue) FROM t"
        assert full.rows(table, counted) == audience.rows(table, counted) == [(3, 4, 42.5)]


def test_the_audience_profile_knows_nobody(tmp_path: Path) -> None:
    chain = chain_of(tmp_path, SHOP, profile="audience")
    assert set(reasons(chain)) == {"audience"}
    assert chain.rows("gold/dim_customer", "SELECT customer_key FROM t") == [(-1,)]
    for table in ("fact_customer_month", "fact_customer_prediction", "fact_session_prediction"):
        assert chain.rows(f"gold/{table}", "SELECT count(*) FROM t") == [(0,)]
    back = Chain.at(chain.settings.home.root)  # one setting, everything else the same
    back.build()
    assert back.rows("gold/dim_customer", "SELECT count(*) FROM t WHERE customer_key >= 0") == [(2,)]


def test_rows_that_an_old_model_told_go_with_the_person() -> None:
    """Customer 7 is known since May 3, customer 8 is nobody any more, -1 are rows of nobody."""
    import pyarrow as pa

    from behavior_assets.star.strangers import without_strangers

    days = [20240502, 20240503, 20240503, 20240503, 20240601]
    rows = pa.table({"customer_key": [7, 7, 8, -1, 9], "date_key": days})
    known = pa.table({"customer_key": [7, 9], "since": [20240503, 20240101]})
    assert without_strangers(rows, known).to_pydict() == {
        "customer_key": [7, -1, 9], "date_key": [20240503, 20240503, 20240601],
    }  # fmt: skip
    assert without_strangers(rows, known.slice(0, 0))["customer_key"].to_pylist() == [-1]


def test_no_session_without_consent_reaches_a_model(tmp_path: Path) -> None:
    from behavior_assets.prediction.load import days_of, load_activity, load_sessions, load_visitors
    from resources.engine import engine

    rows = [*SHOP[:3], row("2024-05-01T12:00:00", "view_item", "eve", "v9", consent="no"),
            row("2024-05-01T12:01:00", "purchase", "eve", "v9", consent="no", price="1", order="o9")]  # fmt: skip
    chain = chain_of(tmp_path, rows)
    assert chain.rows("silver/sessions", "SELECT count(*) FROM t") == [(3,)]
    days = days_of(chain.lake)
    with engine(chain.settings) as backend:
        loaded = load_sessions(backend, chain.lake, days, load_visitors(backend, chain.lake, days[-1]))
        activity = load_activity(backend, chain.lake, days)
    assert sorted(loaded.steps.length.tolist()) == [1, 2]
    assert len(set(activity.customer.tolist())) == 2


@pytest.mark.parametrize("state", ["withdrawn", "denied"])
def test_a_withdrawal_reaches_every_table_in_one_build(tmp_path: Path, state: str) -> None:
    """Ada was there on two days, Bob on four: nothing but Ada's days is written anew, and nothing is lost."""
    chain = chain_of(tmp_path, SHOP)
    before = chain.rows("gold/dim_customer", "SELECT customer_key FROM t ORDER BY 1")
    silver = files_of(chain, "silver/events")
    assert stale_days(chain.lake, chain.settings) == []
    decide(chain, (" ADA@Example.org ", state, "2024-06-03T00:00:00"))
    assert stale_days(chain.lake, chain.settings) == ["2024-05-01", "2024-05-03"]
    chain.build()
    assert stale_days(chain.lake, chain.settings) == []
    after = chain.rows("gold/dim_customer", "SELECT customer_key FROM t ORDER BY 1")
    (ada,) = set(before) - set(after)
    assert len(after) == 2
    for table in OF_CUSTOMERS:
        assert chain.rows(table, f"SELECT count(*) FROM t WHERE customer_key = {ada[0]}") == [(0,)], table
    gone = {f.split("/")[0] for f in silver - files_of(chain, "silver/events")}
    assert gone == {"event_date=2024-05-01", "event_date=2024-05-03"}
    assert chain.rows("gold/fact_sales", SOLD) == [(4, 42.5, 4, 2)]


def test_of_other_people_a_withdrawal_changes_ranks_only(tmp_path: Path) -> None:
    chain = chain_of(tmp_path, SHOP)
    told = "SELECT customer_key, recency_days, frequency, monetary, lifecycle FROM t ORDER BY 1"
    before = chain.rows("gold/fact_customer_month", told)
    decide(chain, (ADA, "withdrawn", "2024-06-03T00:00:00"))
    chain.build()
    left = chain.rows("gold/fact_customer_month", told)
    assert len(before) == 2
    assert left == [r for r in before if r[2:4] == (2, 27)]


def test_a_browser_is_a_person_too(tmp_path: Path) -> None:
    chain = chain_of(tmp_path, [row(f"{DAY}0:00", "view_item", "", browser="b1"),
                                row(f"{DAY}1:00", "view_item", "", browser="b2"),
                                row(f"{DAY}2:00", "view_item", ADA, browser="b1")], star=False)  # fmt: skip
    decide(chain, ("b1", "denied", "2024-05-02T00:00:00"), kind="client")
    chain.build(star=False)
    assert reasons(chain) == ["withdrawn", None, "withdrawn"]


@pytest.mark.parametrize(
    ("decisions", "until", "since"),
    [
        ([("granted", 5)], None, 5),
        ([("denied", 5)], ALWAYS_US, None),
        ([("granted", 1), ("withdrawn", 5)], ALWAYS_US, None),
        ([("withdrawn", 5), ("granted", 7)], 7, 7),
        ([("withdrawn", 5), ("granted", 7), ("granted", 9)], 7, 7),
        ([("withdrawn", 5), ("granted", 7), ("denied", 9)], ALWAYS_US, None),
        ([("withdrawn", 5), ("granted", 7), ("denied", 9), ("granted", 11)], 11, 11),
    ],
)
def test_what_decisions_come_to(decisions: list[tuple[str, int]], until: int | None, since: int | None) -> None:
    assert _times(decisions) == (until, since)


def test_a_grant_after_a_withdrawal_holds_from_then_on(tmp_path: Path) -> None:
    chain = chain_of(tmp_path, [row(f"{DAY}{n}:00", "view_item", ADA) for n in range(4)], star=False)
    decide(chain, (ADA, "granted", f"{DAY}2:00"), (ADA, "withdrawn", f"{DAY}1:00"))
    chain.build(star=False)
    assert reasons(chain) == ["withdrawn", "withdrawn", None, None]


def test_a_grant_speaks_for_silent_events_but_not_against_a_denial(tmp_path: Path) -> None:
    said = ["", "no", "", "yes"]
    rows = [row(f"{DAY}{n}:00", "view_item", ADA, consent=c) for n, c in enumerate(said)]
    chain = chain_of(tmp_path, [*rows, row(f"{DAY}4:00", "view_item", ADA, gpc="1")], star=False,
                     consent_when_absent="denied")  # fmt: skip
    assert reasons(chain) == ["absent", "denied", "absent", None, "gpc"]
    decide(chain, (ADA, "granted", f"{DAY}2:00"))
    chain.build(star=False)
    assert reasons(chain) == ["absent", "denied", None, None, "gpc"]


def test_of_two_decisions_of_one_moment_the_no_holds(tmp_path: Path) -> None:
    chain = chain_of(tmp_path, [row(f"{DAY}0:00", "view_item", ADA)], star=False)
    decide(chain, (ADA, "withdrawn", f"{DAY}2:00"), (ADA, "granted", f"{DAY}2:00"))
    chain.build(star=False)
    assert reasons(chain) == ["withdrawn"]


def test_order_of_delivery_and_decision_does_not_matter(tmp_path: Path) -> None:
    """A home that learns everything at once has the same gold as those that learn it in another order."""
    from tests.conftest import same_key

    whole = chain_of(tmp_path / "whole", SHOP)
    decide(whole, (ADA, "withdrawn", "2024-05-02T00:00:00"), (BOB, "denied", "2024-05-01T00:00:00"),
           (BOB, "granted", "2024-05-03T00:00:00"))  # fmt: skip
    whole.build()
    for seed in range(2):
        other = tmp_path / f"other-{seed}"
        same_key(whole.settings.home.root, other / "home")
        rows = shuffled(SHOP, seed)
        chain = chain_of(other, rows[:3])
        decide(chain, (BOB, "granted", "2024-05-03T00:00:00"), (ADA, "withdrawn", "2024-05-02T00:00:00"))
        chain = chain_of(other, rows[:3], rows[3:])
        decide(chain, (BOB, "denied", "2024-05-01T00:00:00"))
        chain.build()
        assert chain.hashes() == whole.hashes()


def test_a_home_without_decisions_pays_nothing(tmp_path: Path) -> None:
    """No table of decisions is made, and a decision about somebody else makes no day stale."""
    chain = chain_of(tmp_path, SHOP, star=False)
    assert not (chain.lake.root / "bronze" / "consents").exists()
    made = chain.table("silver/events").fingerprints()
    decide(chain, ("nobody@example.org", "withdrawn", "2024-05-01T00:00:00"))
    chain.build(star=False)
    assert chain.table("silver/events").fingerprints() == made


def test_decisions_that_are_lost_stop_the_chain(tmp_path: Path) -> None:
    """Without them a person who said no would be a customer again."""
    chain = chain_of(tmp_path, SHOP[:3], star=False)
    decide(chain, (ADA, "withdrawn", "2024-06-03T00:00:00"))
    (file,) = chain.table("bronze/consents").files()
    (chain.lake.root / "bronze/consents" / file.path).unlink()
    with pytest.raises(IntegrityError, match=r"bronze/consents: .* only come from a backup"):
        chain.build(star=False)


def test_events_of_an_older_program_are_read_with_what_they_do_not_say(tmp_path: Path) -> None:
    """Their files lack the new columns, beside those of today and alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from resources.table import TableSpec

    chain = chain_of(tmp_path, SHOP[:3], star=False)
    bronze = chain.table("bronze/events")
    (file,) = bronze.files()
    new = {"gpc", "consent_version", "consent_ts_us"}
    old = pa.schema([f for f in bronze.spec.schema if f.name not in new])
    rows = pq.ParquetFile(bronze.root / file.path).read().drop_columns(sorted(new))
    older = chain.lake.table(TableSpec(bronze.spec.name, old, by_day=True))
    older.commit([older.write(file.part, file.fingerprint, [rows])], replace=False, remove=[file])
    chain.build(star=False)
    assert reasons(chain) == [None] * 3
    again = chain_of(tmp_path, SHOP[:3], [row("2024-05-01T23:00:00", "view_item", ADA, gpc="1")], star=False)
    assert reasons(again) == [None, None, None, "gpc"]


# The command


def test_the_command_end_to_end(tmp_path: Path) -> None:
    """A withdrawal and one run without files: no table and no export has the person as a customer."""
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    (tmp_path / "shop.csv").write_text("\n".join([HEADER, *SHOP]) + "\n")
    home = tmp_path / "home"
    assert run_cli("run", "--home", home, "--format", "generic", "--mapping", tmp_path / "mapping.yaml", "--source",
                   tmp_path / "shop.csv").code == 0  # fmt: skip
    done = run_cli("consent", "--home", home, "--subject", ADA, "--state", "withdrawn", "--version", "banner-7",
                   "--at", "2024-06-01T00:00:00Z")  # fmt: skip
    assert done.code == 0, done.err
    ran = run_cli("run", "--home", home)
    assert ran.code == 0, ran.err
    from tests.conftest import published

    assert published(home, "SELECT count(*) FROM dim_customer WHERE customer_key >= 0") == [(1,)]
    assert published(home, "SELECT sum(revenue_net), count(DISTINCT customer_key) FROM fact_sales") == [(42.5, 2)]
    assert run_cli("verify", "--home", home).code == 0
    told = run_cli("status", "--home", home)
    shown = run_cli("consent", "--home", home, "--subject", ADA.upper(), "--show")
    assert "3 withdrawn" in told.out
    assert shown.out == "2024-06-01T00:00:00Z  withdrawn  banner-7\n"
    assert ADA not in done.out + done.err + ran.out + ran.err + told.out + shown.out + shown.err


def test_decisions_of_a_file_are_recorded_all_or_none(tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home")
    file = tmp_path / "consents.csv"
    good = f"{ADA},user,withdrawn,v1,2024-05-01T10:00:00+02:00\nb1,client,granted,,2024-05-02\n"
    file.write_text(f"subject,id_kind,state,version,at\n{good}")
    done = run_cli("consent", "--home", tmp_path / "home", "--file", file, "--json")
    assert (done.code, json.loads(done.out)) == (0, {"recorded": 2, "suppressed": 0})
    for bad, told in (
        (f"{ADA},mail,granted,,", "row 3: id_kind: one of user, client is wanted"),
        (f"{ADA},user,yes,,", "row 3: state: one of granted, denied, withdrawn is wanted"),
        (f"{ADA},user,granted,,yesterday", "row 3: at: not a time"),
        (f"{ADA},user,granted,,2999-01-01", "row 3: at: a time that has not come yet"),
        (",user,granted,,", "row 3: subject: it is empty"),
        ("\u200b,user,granted,,", "row 3: subject: it is empty"),
        ("x,user,granted,,0001-01-01T00:00:00+14:00", "row 3: at: a time before 1970"),
        (f"{ADA},user", "row 3: 5 fields are wanted"),
    ):
        file.write_text(f"subject,id_kind,state,version,at\n{good}{bad}\n")
        refused = run_cli("consent", "--home", tmp_path / "home", "--file", file)
        assert refused.code == 2
        assert f"{file}: {told}" in refused.err
        assert ADA not in refused.err
    found = chain.rows("bronze/consents", "SELECT subject, id_kind, state, version, at_us FROM t ORDER BY 1")
    assert found == [(ADA, "user", "withdrawn", "v1", 1_714_550_400_000_000),
                     ("b1", "client", "granted", "", 1_714_608_000_000_000)]  # fmt: skip


def test_the_id_can_be_kept_off_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    chain = Chain.at(tmp_path / "home")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{ADA}\n"))
    assert run_cli("consent", "--home", tmp_path / "home", "--subject", "-", "--state", "denied").code == 0
    assert chain.rows("bronze/consents", "SELECT subject, state FROM t") == [(ADA, "denied")]
    missing = run_cli("consent", "--home", tmp_path / "home", "--subject", ADA)
    assert missing.code == 2
    assert "--state is missing" in missing.err
    assert ADA not in missing.err


def test_what_erased_persons_decide_is_not_kept(tmp_path: Path) -> None:
    """Their id would be back in the home."""
    from tests.persons import ANN, erasure, seen, shop

    chain = shop(tmp_path)
    home = chain.settings.home.root
    erasure(chain, ANN).run()
    file = tmp_path / "decisions.csv"
    file.write_text(f"subject,id_kind,state,version,at\n{ANN.upper()},user,withdrawn,,\n{BOB},user,denied,,\n")
    done = run_cli("consent", "--home", home, "--file", file, "--json")
    assert (done.code, json.loads(done.out)) == (0, {"recorded": 1, "suppressed": 1})
    assert run_cli("consent", "--home", home, "--subject", ANN, "--state", "denied").code == 0
    assert seen(home, [ANN]) == []
