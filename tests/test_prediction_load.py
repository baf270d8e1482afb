"""Sessions with their features from a lake: in order, with the visitor's past, the same whatever is read together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from behavior_assets.prediction import recipes
from behavior_assets.prediction.features import FEATURES
from behavior_assets.prediction.load import days_of, load_sessions, load_visitors
from behavior_assets.prediction.steps import CART, PURCHASE, VIEW
from resources.engine import engine
from tests.conftest import Chain, rees46_row, write_rees46


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Three days: u1 views and carts, comes back past midnight and buys; prices are half on the third."""
    base = tmp_path_factory.mktemp("shop")
    rows = [
        rees46_row("2024-05-01 10:00:00", "view", "p1", "u1", "40.00"),
        rees46_row("2024-05-01 10:00:00", "cart", "p1", "u1", "40.00"),
        rees46_row("2024-05-01 11:00:00", "view", "p2", "u2", "8.00"),
        rees46_row("2024-05-02 23:55:00", "view", "p1", "u1", "40.00"),
        rees46_row("2024-05-03 00:05:00", "purchase", "p1", "u1", "20.00"),
        rees46_row("2024-05-03 12:00:00", "view", "p2", "u2", "4.00"),
    ]
    chain = Chain.at(base / "home")
    chain.ingest([write_rees46(base / "shop.csv", rows)], "rees46")
    chain.build()
    return chain


def loaded(chain: Chain, *days: str) -> dict[int, dict[str, list[object]]]:
    """By session key: kinds, times and every feature."""
    with engine(chain.settings) as backend:
        found = load_sessions(backend, chain.lake, days, load_visitors(backend, chain.lake, "2024-05-31"))
    rows = found.features()
    told = {}
    for n, key in enumerate(found.steps.key.tolist()):
        at = slice(found.steps.begin[n], found.steps.begin[n] + found.steps.length[n])
        told[key] = {"kind": found.steps.kind[at].tolist(), "time": found.steps.time_us[at].tolist(),
                     **dict(zip(FEATURES, rows[at].T.tolist(), strict=True))}  # fmt: skip
    return told


def test_sessions_have_their_events_in_order_and_their_past(chain: Chain) -> None:
    told = loaded(chain, "2024-05-01", "2024-05-02", "2024-05-03")
    assert sorted(tuple(t["kind"]) for t in told.values()) == [(VIEW,), (VIEW,), (VIEW, CART), (VIEW, PURCHASE)]
    back = next(t for t in told.values() if t["kind"] == [VIEW, PURCHASE])
    assert np.allclose(back["log_visits_before"], np.log1p(1))
    assert np.allclose(back["open_cart_days"], (37 * 60 + 55) / (24 * 60))
    assert np.allclose(back["log_discount"], [0, np.log(0.5)])  # usual is the mean of the days before
    assert np.isnan(next(t for t in told.values() if t["kind"] == [VIEW, CART])["log_discount"]).all()


def test_nothing_depends_on_what_is_read_together(chain: Chain) -> None:
    whole = loaded(chain, "2024-05-01", "2024-05-02", "2024-05-03")
    apart = loaded(chain, "2024-05-01") | loaded(chain, "2024-05-02") | loaded(chain, "2024-05-03")
    assert whole.keys() == apart.keys()
    for key, told in whole.items():
        for name, values in told.items():
            assert np.array_equal(np.array(values), np.array(apart[key][name]), equal_nan=True), name


def test_what_cost_nothing_has_no_usual_price(tmp_path: Path) -> None:
    """Free for days, then sold: no discount is told, and nothing breaks."""
    lines = ["InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"]
    lines += [f"{536000 + 10 * day + n},A,GIFT,1,2011-01-{day:02d} 10:0{n}:00,{price},1234{n},France"
              for day, price in ((3, "0.00"), (4, "0.00"), (5, "2.50")) for n in range(3)]  # fmt: skip
    path = tmp_path / "free.csv"
    path.write_text("\n".join([*lines, ""]), "utf-8")
    chain = Chain.at(tmp_path / "home", "Europe/London")
    assert not chain.ingest([path], "online_retail").refused
    chain.build(star=True)
    with engine(chain.settings) as backend:
        days = days_of(chain.lake)
        found = load_sessions(backend, chain.lake, days, load_visitors(backend, chain.lake, days[-1]))
        assert np.isnan(found.steps.usual_price).all()
        assert np.isnan(found.discount).all()
        assert recipes._load_sessions(backend, chain.lake, days[-1]) is None, "nobody looks at anything"


def test_the_shop_s_prices_of_the_day_before_are_known(chain: Chain) -> None:
    told = loaded(chain, "2024-05-03")
    (late,) = told.values()
    assert np.allclose(late["shop_discount"], [np.round((0 + np.log(0.5)) / 2, 6)])
