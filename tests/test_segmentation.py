"""Segments by rules that a person can read, and clusters that the data has."""

from __future__ import annotations

import ibis
import numpy as np
import pytest

from behavior_assets.segmentation import clusters, rules

CON = ibis.duckdb.connect()


def told(table: ibis.Table, *columns: ibis.Value) -> list[tuple[object, ...]]:
    """Values of expressions over the rows of a small table, in the order of its ``n``."""
    made = table.select("n", **{f"c{i}": c for i, c in enumerate(columns)}).order_by("n")
    return [tuple(r.values())[1:] for r in CON.to_pyarrow(made).to_pylist()]


def test_fifths_are_of_the_month_and_ties_are_one() -> None:
    rows = [{"n": n, "month": 1, "days": n * 10} for n in range(10)]
    rows += [{"n": 10 + n, "month": 2, "days": d} for n, d in enumerate((5, 5, 5, 5, 100))]
    table = ibis.memtable(rows)
    found = told(table, rules.fifths(table.days, table.month), rules.fifths(table.days, table.month, best_is_low=True))
    assert [f for f, _ in found[:10]] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [f for _, f in found[:10]] == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]
    assert [f for f, _ in found[10:]] == [1, 1, 1, 1, 5]


CASES = [  # r, f, m, orders
    (5, 5, 5, 9, "Champions"), (4, 1, 3, 1, "New"), (3, 4, 2, 5, "Loyal"), (5, 2, 5, 2, "Promising"),
    (1, 5, 5, 9, "Cannot lose"), (2, 3, 1, 3, "At risk"), (3, 2, 2, 2, "Needs attention"), (2, 1, 1, 1, "Hibernating"),
    (1, 1, 5, 1, "Lost"), (1, 5, 5, 1, "Lost"),
]  # fmt: skip


def test_each_segment_has_its_rule() -> None:
    table = ibis.memtable([{"n": n, "r": r, "f": f, "m": m, "orders": o} for n, (r, f, m, o, _) in enumerate(CASES)])
    found = told(table, rules.rfm_segment(table.r, table.f, table.m, table.orders))
    assert [f for (f,) in found] == [name for *_, name in CASES]
    assert {name for *_, name in CASES} == set(rules.RFM_SEGMENTS)


def test_every_score_has_a_segment_that_is_described() -> None:
    rows = [(r, f, m, o) for r in range(1, 6) for f in range(1, 6) for m in range(1, 6) for o in (1, 4)]
    table = ibis.memtable([{"n": n, "r": r, "f": f, "m": m, "o": o} for n, (r, f, m, o) in enumerate(rows)])
    names = {f for (f,) in told(table, rules.rfm_segment(table.r, table.f, table.m, table.o))}
    assert names == set(rules.RFM_SEGMENTS)


def test_lifecycles() -> None:
    cases = [(3, 3, None, "New"), (10, 400, 200, "Returned"), (10, 400, 20, "Active"), (60, 400, None, "Active"),
             (61, 400, None, "Slipping"), (121, 400, 10, "Dormant"), (30, 30, 5, "New")]  # fmt: skip
    table = ibis.memtable(
        [{"n": n, "recency": r, "first": f, "pause": p} for n, (r, f, p, _) in enumerate(cases)],
        schema={"n": "int64", "recency": "int64", "first": "int64", "pause": "int64"},
    )
    found = told(table, rules.lifecycle(table.recency, table.first, table.pause))
    assert [f for (f,) in found] == [name for *_, name in cases]
    assert {name for *_, name in cases} == set(rules.LIFECYCLES)


def test_behaviours() -> None:
    cases = [(3, True, 9, 3, 9, "Loyal"), (1, True, 0, 1, 9, "Quick buyer"), (0, True, 1, 0, 9, "Cart abandoner"),
             (1, False, 1, 1, 5, "Explorer"), (1, False, 0, 1, 1, "Buyer"), (0, False, 0, 0, 1, "Browser")]  # fmt: skip
    names = ("orders", "quick", "abandoned", "bought", "categories")
    table = ibis.memtable([{"n": n, **dict(zip(names, row, strict=False))} for n, row in enumerate(cases)])
    found = told(table, rules.behaviour(*(table[n] for n in names)))
    assert [f for (f,) in found] == [name for *_, name in cases]
    assert {name for *_, name in cases} | {"Churn risk"} == set(rules.BEHAVIOURS)


def test_clusters_are_those_that_the_data_has() -> None:
    """Three kinds of customers, who go on as they did: two would be as stable, but tell less of the future."""
    pytest.importorskip("sklearn")
    dice = np.random.default_rng(3)
    kinds = dice.integers(0, 3, 1500)
    centre = np.array([[200.0, 1.0, 20.0], [60.0, 4.0, 200.0], [10.0, 12.0, 1500.0]])[kinds]
    values = centre * dice.lognormal(0, 0.08, centre.shape)
    later = np.array([0.0, 100.0, 900.0])[kinds] * dice.lognormal(0, 0.1, 1500)
    found, tried = clusters.choose(values, later)
    assert len(found.centres) == 3
    assert [c.k for c in tried] == list(clusters.CANDIDATES)
    by_k = {c.k: c for c in tried}
    assert by_k[3].stability >= clusters.STABLE
    assert by_k[3].holdout > by_k[2].holdout
    groups = found.assign(values)
    assert {len(set(groups[kinds == k].tolist())) for k in range(3)} == {1}
    again, _ = clusters.choose(values, later)
    assert np.array_equal(again.centres, found.centres)


def test_customers_who_are_all_alike_are_one_group() -> None:
    found, tried = clusters.choose(np.full((40, 3), 7.0), np.zeros(40))
    assert (len(found.centres), tried) == (1, [])
    assert found.assign(np.full((3, 3), 9.0)).tolist() == [0, 0, 0]


def test_eta_squared_by_hand() -> None:
    assert clusters.eta_squared(np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 3.0, 3.0])) == 1.0
    assert clusters.eta_squared(np.array([0, 1, 0, 1]), np.array([1.0, 1.0, 3.0, 3.0])) == 0.0
    assert clusters.eta_squared(np.array([0, 0]), np.array([2.0, 2.0])) == 0.0
