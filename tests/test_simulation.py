"""The simulated shop: seeded to the byte, shaped like its sources, and exact about what it knows."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from behavior_assets.simulation.intent import IntentModel, censor, make_model, purchase_later, walk
from behavior_assets.simulation.shop import Format, ShopConfig, SimulationReport, make_calendar, simulate

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ShopConfig(days=45, customers=4_000, seed=11, closed_weekday=6, products=400)
HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
DOCUMENTATION = [ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]


@pytest.fixture(scope="module")
def rees46(tmp_path_factory: pytest.TempPathFactory) -> SimulationReport:
    """One small shop in REES46's format."""
    return simulate(SMALL, tmp_path_factory.mktemp("rees46"), "rees46")


@pytest.fixture(scope="module")
def ga4(tmp_path_factory: pytest.TempPathFactory) -> SimulationReport:
    """One small shop in GA4's format."""
    return simulate(SMALL, tmp_path_factory.mktemp("ga4"), "ga4")


@pytest.fixture(scope="module")
def rows(rees46: SimulationReport) -> list[dict[str, str]]:
    """Every REES46 row, in file order."""
    return [row for path in rees46.files for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())]


@pytest.fixture(scope="module")
def events(ga4: SimulationReport) -> list[dict[str, Any]]:
    """Every GA4 event, in file order."""
    return [json.loads(line) for path in ga4.files for line in path.read_text(encoding="utf-8").splitlines()]


def parameters(event: dict[str, Any]) -> dict[str, Any]:
    """GA4's event parameters as a plain mapping."""
    return {p["key"]: next(iter(p["value"].values())) for p in event["event_params"]}


def digest(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


# --- the truth is exact -------------------------------------------------------------------------------


def tiny() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four states and events 0, 1, 2 (2 is the target); state 1 is silent; no state is visited twice."""
    initial = np.array([[0.6, 0.3, 0.1, 0.0]])
    transition = np.array([[[0, 0.3, 0.4, 0.1], [0, 0, 0.5, 0.2], [0, 0, 0, 0.6], [0, 0, 0, 0]]], dtype=float)
    emission = np.array([[0.7, 0.3, 0.0], [0, 0, 0], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]])
    return initial, transition, emission


def enumerate_sequences() -> dict[tuple[int, ...], float]:
    """Probability of each visible event sequence, by listing every hidden path and every emission."""
    initial, transition, emission = tiny()
    silent, total = 1, defaultdict(float)
    for size in range(1, 5):
        for path in itertools.combinations(range(4), size):
            chance = initial[0, path[0]] * (1 - transition[0, path[-1]].sum())
            chance *= np.prod([transition[0, a, b] for a, b in itertools.pairwise(path)])
            visible = [state for state in path if state != silent]
            for shown in itertools.product(range(3), repeat=len(visible)):
                total[shown] += chance * np.prod([emission[s, e] for s, e in zip(visible, shown, strict=True)])
    return {sequence: chance for sequence, chance in total.items() if chance > 0 and sequence}


def test_filter_equals_brute_force() -> None:
    initial, transition, emission = tiny()
    model = IntentModel(*censor(initial, transition, emission.sum(axis=1) == 0), emission, target=2)
    sequences = enumerate_sequences()
    for sequence in sequences:
        length = np.array([len(sequence)])
        answer = purchase_later(model, np.array([0]), length, np.array(sequence, dtype=np.int8))
        for seen in range(1, len(sequence) + 1):
            same = {s: p for s, p in sequences.items() if s[:seen] == sequence[:seen]}
            expected = sum(p for s, p in same.items() if 2 in s[seen:]) / sum(same.values())
            assert answer[seen - 1] == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("fmt", ["rees46", "ga4"])
def test_model_agrees_with_its_own_draws(fmt: Format) -> None:
    model = make_model(fmt)
    assert np.allclose(model.initial.sum(axis=1), 1.0)
    sets = np.repeat([8, 18], 20_000)
    walks = walk(model, sets, np.random.default_rng(3))
    session = np.repeat(np.arange(len(sets)), walks.length)
    bought = np.bincount(session, walks.event == model.target) > 0
    for index in (8, 18):
        chosen = sets == index
        rate = model.purchase_rate()[index]
        assert abs(bought[chosen].mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / chosen.sum())
        spread = walks.length[chosen].std() / np.sqrt(chosen.sum())
        assert abs(walks.length[chosen].mean() - model.expected_length()[index]) < 4 * spread


@pytest.mark.parametrize("fmt", ["rees46", "ga4"])
def test_truth_is_calibrated(fmt: Format, request: pytest.FixtureRequest) -> None:
    report: SimulationReport = request.getfixturevalue(fmt)
    columns = ["event_index", "p_purchase_later", "purchase_later"]
    index, chance, later = (c.to_numpy() for c in pq.read_table(report.truth, columns=columns).columns)
    checked = 0
    for position in (0, 1, 2, 3, 5):  # one event of each session at a time: those are independent
        here = index == position
        p, y = chance[here], later[here].astype(float)
        for part in np.array_split(np.argsort(p, kind="stable"), 8):
            spread = np.sqrt((p[part] * (1 - p[part])).sum())
            assert abs(y[part].sum() - p[part].sum()) <= 4 * spread + 1e-6
            checked += 1
    assert checked == 40
    assert np.nanmax(chance) > 5 * np.nanmean(chance)  # there is something to learn


def test_truth_matches_what_happened(rees46: SimulationReport) -> None:
    truth = pq.read_table(rees46.truth).to_pylist()
    sessions = defaultdict(list)
    for row in truth:
        sessions[row["session_id"]].append(row)
    for session in sessions.values():
        session.sort(key=lambda row: row["event_index"])
        assert [row["event_index"] for row in session] == list(range(len(session)))
        names = [row["event_name"] for row in session]
        assert [row["purchase_later"] for row in session] == ["purchase" in names[i + 1 :] for i in range(len(names))]
        assert all(row["session_purchased"] == ("purchase" in names) for row in session)
        gaps = [b["event_time"] - a["event_time"] for a, b in itertools.pairwise(session)]
        assert all(timedelta(seconds=1) <= gap < timedelta(minutes=30) for gap in gaps)


# --- seeds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", ["rees46", "ga4"])
def test_seed_decides_every_byte(fmt: Format, tmp_path: Path) -> None:
    config = ShopConfig(days=6, customers=600, seed=5, products=50)
    for name in ("first", "second"):
        simulate(config, tmp_path / name, fmt)
    simulate(ShopConfig(days=6, customers=600, seed=6, products=50), tmp_path / "other", fmt)
    first, second, other = (digest(tmp_path / name) for name in ("first", "second", "other"))
    assert first == second
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_simulating_again_replaces_only_its_own(tmp_path: Path) -> None:
    simulate(ShopConfig(days=6, customers=300), tmp_path, "rees46")
    report = simulate(ShopConfig(days=4, customers=300), tmp_path, "rees46")
    assert sorted((tmp_path / "rees46").iterdir()) == sorted(report.files)
    foreign = tmp_path / "foreign"
    (foreign / "rees46").mkdir(parents=True)
    (foreign / "rees46" / "real.csv").write_text("keep me")
    with pytest.raises(FileExistsError, match="no simulation wrote"):
        simulate(ShopConfig(days=4, customers=300), foreign, "rees46")
    assert (foreign / "rees46" / "real.csv").read_text() == "keep me"


@pytest.mark.parametrize("wrong", [{"days": 0}, {"closed_weekday": 7}, {"events": 10**9}, {"currency": "euro"}])
def test_impossible_shops_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShopConfig(**wrong)


# --- the shop -----------------------------------------------------------------------------------------


def test_shares_and_volume(rees46: SimulationReport) -> None:
    share = {name: count / rees46.rows for name, count in rees46.counts.items()}
    assert share["view"] == pytest.approx(0.94, abs=0.015)
    assert 0.035 < share["cart"] < 0.055
    assert 0.01 < share["purchase"] < 0.022
    assert rees46.rows == pytest.approx(SMALL.target_events, rel=0.1)


@pytest.mark.parametrize("fmt", ["rees46", "ga4"])
def test_days_and_closed_weekday(fmt: Format, request: pytest.FixtureRequest) -> None:
    report: SimulationReport = request.getfixturevalue(fmt)
    days = [SMALL.start + timedelta(days=d) for d in range(SMALL.days)]
    assert [path.stem for path in report.files] == [d.isoformat() for d in days if d.weekday() != SMALL.closed_weekday]


def test_rhythm(rows: list[dict[str, str]]) -> None:
    hours = np.bincount([int(row["event_time"][11:13]) for row in rows], minlength=24)
    assert hours[18:21].sum() > 4 * hours[1:4].sum()
    days = defaultdict(int)
    for row in rows:
        days[date.fromisoformat(row["event_time"][:10])] += 1
    calendar = make_calendar(
        SMALL, np.random.Generator(np.random.PCG64(np.random.SeedSequence(SMALL.seed).spawn(2)[1]))
    )
    promoted = [n for d, n in days.items() if calendar.promotion[(d - SMALL.start).days]]
    plain = [n for d, n in days.items() if not calendar.promotion[(d - SMALL.start).days]]
    assert np.mean(promoted) > 1.2 * np.mean(plain)


def test_sessions_cross_midnight_but_never_into_a_closed_day(rows: list[dict[str, str]]) -> None:
    days = defaultdict(set)
    for row in rows:
        days[row["user_session"]].add(date.fromisoformat(row["event_time"][:10]))
    crossing = [d for d in days.values() if len(d) > 1]
    assert crossing
    assert all(day.weekday() != SMALL.closed_weekday for d in crossing for day in d)


def test_customers_return_and_recover_carts(rows: list[dict[str, str]]) -> None:
    sessions: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        sessions[row["user_id"]][row["user_session"]].append(row)
    visits = np.array([len(s) for s in sessions.values()])
    assert (visits == 1).any()
    assert visits.max() > 5 * visits.mean()  # heterogeneous
    recovered = 0
    for own in sessions.values():
        waiting: set[str] = set()
        for session in own.values():
            kinds = defaultdict(set)
            for row in session:
                kinds[row["event_type"]].add(row["product_id"])
            recovered += len(waiting & (kinds["purchase"] - kinds["cart"]))
            waiting = (waiting | kinds["cart"]) - kinds["purchase"]
    assert recovered > 20


# --- the formats --------------------------------------------------------------------------------------


def test_rees46_files(rees46: SimulationReport, rows: list[dict[str, str]]) -> None:
    for path in rees46.files:
        raw = path.read_bytes()
        assert raw.startswith(HEADER.encode() + b"\n")
        assert raw.endswith(b"\n")
        assert b"\r" not in raw
        assert b'"' not in raw
        times = [line[:23] for line in raw.decode().splitlines()[1:]]
        assert times == sorted(times)
        assert all(t[:10] == path.stem and t.endswith(" UTC") for t in times)
    assert {row["event_type"] for row in rows} == {"view", "cart", "purchase"}
    assert all(Decimal(row["price"]) > 0 and row["price"][-3] == "." for row in rows)
    assert {len(row["user_session"]) for row in rows} == {36}
    assert any(not row["category_code"] for row in rows)
    assert any(not row["brand"] for row in rows)
    assert all(row["brand"].startswith("synth-") for row in rows if row["brand"])
    assert len({tuple(row.values()) for row in rows}) == len(rows)  # an identical row would be one event
    assert sum(Decimal(row["price"]) for row in rows if row["event_type"] == "purchase") == rees46.revenue


def test_ga4_files(ga4: SimulationReport, events: list[dict[str, Any]]) -> None:
    assert len({e["event_id"] for e in events}) == len(events) == ga4.rows
    for event in events:
        moment = datetime.fromtimestamp(int(event["event_timestamp"]) / 1e6, UTC)
        assert event["event_date"] == f"{moment:%Y%m%d}"
        address = ip_address(event["ip"])
        assert any(address in net for net in DOCUMENTATION if net.version == address.version)
        assert event.get("user_id", "@example.com").endswith("@example.com")
        assert ("ga_session_id" in parameters(event)) == (event["event_name"] != "refund")
        assert ("search_term" in parameters(event)) == (event["event_name"] == "search")
        assert all(item["price"] > 0 and int(item["quantity"]) > 0 for item in event.get("items", []))
    for path in ga4.files:
        stamps = [int(json.loads(line)["event_timestamp"]) for line in path.read_text(encoding="utf-8").splitlines()]
        assert stamps == sorted(stamps)
    pages = [parameters(e).get("page_location", "") for e in events]
    for trace in ("gclid=", "utm_campaign=", "email=customer"):
        assert any(trace in page for page in pages)
    assert any("bot" in e["user_agent"].lower() for e in events)
    assert {e["privacy_info"]["analytics_storage"] for e in events} == {"Yes", "No"}
    counts = dict.fromkeys(ga4.counts, 0)
    for event in events:
        counts[event["event_name"]] += 1
    assert counts == ga4.counts
    assert all(counts.values())


def test_ga4_orders_and_refunds(ga4: SimulationReport, events: list[dict[str, Any]]) -> None:
    orders: dict[str, dict[str, Any]] = {}
    sold, refunded = Decimal(0), Decimal(0)
    for event in events:
        if event["event_name"] not in {"purchase", "refund"}:
            continue
        shop = event["ecommerce"]
        total = sum(Decimal(str(i["price"])) * int(i["quantity"]) for i in event["items"])
        if event["event_name"] == "purchase":
            assert shop["transaction_id"] not in orders
            assert Decimal(str(shop["purchase_revenue"])) == total
            orders[shop["transaction_id"]] = event
            sold += total
        else:
            order = orders[shop["transaction_id"]]
            assert Decimal(str(shop["refund_value"])) == total <= Decimal(str(order["ecommerce"]["purchase_revenue"]))
            assert event["user_pseudo_id"] == order["user_pseudo_id"]
            assert {i["item_id"] for i in event["items"]} <= {i["item_id"] for i in order["items"]}
            refunded += total
    assert (sold, refunded) == (ga4.revenue, ga4.refunded)


@pytest.mark.parametrize("fmt", ["rees46", "ga4"])
def test_truth_and_files_have_the_same_rows(fmt: Format, request: pytest.FixtureRequest) -> None:
    report: SimulationReport = request.getfixturevalue(fmt)
    truth = pq.read_table(report.truth).to_pylist()
    assert len(truth) == report.rows == sum(report.counts.values())
    lines = {
        path.stem: path.read_text(encoding="utf-8").splitlines()[1 if fmt == "rees46" else 0 :] for path in report.files
    }
    assert sum(map(len, lines.values())) == report.rows
    assert len({(row["file_date"], row["row"]) for row in truth}) == report.rows
    for row in truth:
        line = lines[row["file_date"].isoformat()][row["row"]]
        if fmt == "rees46":
            moment, kind, *_, session = line.split(",")
            assert moment == f"{row['event_time']:%Y-%m-%d %H:%M:%S} UTC"
            assert (kind, session) == (row["event_name"], row["session_id"])
        else:
            assert row["event_id"] in line
            assert f'"event_name":"{row["event_name"]}"' in line
        assert (row["p_purchase_later"] is None) == (row["event_name"] == "refund")


def test_output_says_that_it_is_synthetic(rees46: SimulationReport) -> None:
    home = rees46.truth.parent.parent
    assert "SYNTHETIC" in (home / "SYNTHETIC.txt").read_text(encoding="utf-8")
    assert b"SYNTHETIC" in pq.read_metadata(rees46.truth).metadata[b"synthetic"]
    assert rees46.truth.parent != rees46.files[0].parent


@pytest.mark.parametrize("fmt", ["rees46", "ga4"])
def test_a_shop_with_hardly_any_visit(fmt: Format, tmp_path: Path) -> None:
    for days in (1, 40):
        report = simulate(ShopConfig(days=days, customers=1, products=1, closed_weekday=0), tmp_path, fmt)
        assert pq.read_metadata(report.truth).num_rows == report.rows == sum(report.counts.values())


def test_progress_counts_days(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    simulate(ShopConfig(days=5, customers=50), tmp_path, "rees46", lambda done, days: seen.append((done, days)))
    assert seen == [(day, 5) for day in range(1, 6)]


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [("simulation", {"numpy", "pyarrow", "dagster"}), ("simulation.simulate", {"dagster", "duckdb"})],
)
def test_imports_stay_light(module: str, forbidden: set[str]) -> None:
    code = f"import sys, behavior_assets.{module}; print(sorted({forbidden!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
