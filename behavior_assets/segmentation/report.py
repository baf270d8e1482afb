"""How good the value models are: figures on days after the fit, and the texts of their card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from behavior_assets import leakage
from behavior_assets.days import day_of
from behavior_assets.leakage import Verdict
from behavior_assets.prediction import metrics
from behavior_assets.segmentation import churn, clusters, guards, model
from behavior_assets.segmentation.fits import CLUSTER_FEATURES, EXPECTED_DAYS, UNIT_DAYS
from behavior_assets.segmentation.histories import bought_between
from behavior_assets.training import Figure, latency, seconds_of
from resources.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from behavior_assets.prediction.customer_model import Activity, Scored
    from behavior_assets.segmentation.fits import Fit

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

HIATUS_DAYS = 84  # twelve weeks without an order, after which a simple rule gives a customer up
BEST = 0.1
_RULES = {"days_since_visit": "days since the visit", "days_since_order": "days since the order"}
_OFF = 0.1  # expected purchases that are further off than this are told as a failure
DRAWS = 200
_FEWEST = 20  # of each kind in a slice


@dataclass(frozen=True)
class ChurnTest:
    """Customers [n] at a day whose outcome is known now, with the risks of a fit that did not know it.

    ``days`` taught the fit. ``rule`` is the better of the two rules that know nothing but how long ago the customer
    came or ordered.
    """

    day: int
    days: tuple[int, ...]
    asked: Scored
    away: Flags
    risk: Floats
    rule: str
    by_rule: Floats
    difference: metrics.Estimate


def told(
    activity: Activity, fits: list[Fit], seed: int
) -> tuple[tuple[Figure, ...], dict[str, str], list[Verdict]]:
    """Figures, the texts of the card's fields that can be told from here, and what the guards found."""
    newest = fits[-1]
    scored = len(model.customers_at(activity, newest.day).key)
    figures = [Figure("fits", len(fits)), Figure("customers", scored)]
    figures += _parameters(activity, newest)
    value, value_words = _value(activity, seed)
    tested, churn_words = churn_test(activity, seed)
    away = _churn(activity, tested, seed) if tested is not None else []
    groups, group_words = _groups(activity, fits)
    words = {"value": value_words, "churn": churn_words, "groups": group_words}
    verdicts = guards.verdicts(activity, tested, churn_words, seed)
    texts = _card(newest, fits, tested, [*value, *away, *groups], words, seed)
    texts |= {"leakage": leakage.lines(verdicts), "latency": _latency(activity, newest)}
    return (*figures, *value, *away, *groups), texts, verdicts


def _latency(activity: Activity, fit: Fit) -> str:
    """How long a month's end takes."""
    customers = len(model.customers_at(activity, fit.day).key)
    seconds = seconds_of(lambda: model.score_with(fit, activity, fit.day), 3)
    return latency(f"A month's end of {customers:,} customers, features and all", seconds)


def _parameters(activity: Activity, fit: Fit) -> list[Figure]:
    found = []
    if fit.value is not None:
        history = model.customers_at(activity, fit.day).history
        found += [Figure("bg_nbd_log_likelihood", fit.value.log_likelihood(history))]
        found += [Figure(f"bg_nbd_{n}", getattr(fit.value, n)) for n in ("r", "alpha", "a", "b")]
    if fit.worth is not None:
        found += [Figure(f"gamma_gamma_{n}", getattr(fit.worth, n)) for n in ("p", "q", "v")]
    return found


# Purchases and their value


def _value(activity: Activity, seed: int) -> tuple[list[Figure], str]:
    """How well purchases and the best customers of the last days were told by a fit to the days before."""
    first, last = int(activity.day.min()), int(activity.day.max())
    horizon = min(EXPECTED_DAYS, (last - first + 1) // 2)
    day = last - horizon
    fit = model.fit_value(activity, day)
    if fit.value is None:
        return [], f"Purchases could not be tested: {fit.reasons.get('value', 'nothing was fitted')}."
    known = model.customers_at(activity, day)
    expected = fit.value.expected(known.history, horizon / UNIT_DAYS)
    who, when, _ = model.purchases(activity)
    came = bought_between(who, when, known.key, day, last).astype(float)
    orders = known.history.frequency + 1.0
    rule = np.where(day - known.last_day <= HIATUS_DAYS, orders, 0.0) + 1e-9 * known.total_value
    spent = model.spent_between(activity, known.key, day, last)
    if fit.worth is not None and (spent > 0).any():
        count = np.where(known.repeat_value > 0, known.history.frequency, 0.0)
        money = expected * fit.worth.expected(count, known.repeat_value)
        money = np.where(np.isfinite(money), money, expected)
    else:
        money, spent = expected, came
    draws = _draws(len(came), seed)
    together = _interval(lambda rows: _correlation(expected[rows], came[rows]), draws)
    best = _interval(lambda rows: captured(money[rows], spent[rows]), draws)
    everyone = np.arange(len(came))
    found = [
        Figure("purchases_correlation", _correlation(expected, came), "all", *together, "orders so far",
               _correlation(orders, came)),
        Figure("purchases_told_per_purchase", float(expected.sum() / max(came.sum(), 1))),
        Figure("best_customers_captured", captured(money[everyone], spent), "all", *best,
               f"orders so far, none after {HIATUS_DAYS // 7} weeks' silence", captured(rule, spent)),
        Figure("orders_value_correlation",
               _correlation(known.history.frequency[orders > 1], known.repeat_value[orders > 1])),
    ]  # fmt: skip
    words = (f"Purchases: fitted to what was known on {day_of(day)}, tested on the {horizon} days after it "
             f"({int(came.sum()):,} days with an order of {len(came):,} customers).")  # fmt: skip
    return [f for f in found if np.isfinite(f.value)], words


def captured(told_of: Floats, came: Floats) -> float:
    """Share of the best tenth by what came [n] that is in the best tenth by what was told [n]; NaN if none came."""
    size = min(int(np.ceil(len(came) * BEST)), int((came > 0).sum()))
    if not size:
        return float("nan")
    best = np.argsort(-came, kind="stable")[:size]
    chosen = np.argsort(-told_of, kind="stable")[: int(np.ceil(len(came) * BEST))]
    return float(np.isin(best, chosen).mean())


def _correlation(one: Floats, other: Floats) -> float:
    if len(one) < 3 or not np.ptp(one) or not np.ptp(other):  # noqa: PLR2004 - two points are a line
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def _draws(count: int, seed: int) -> list[NDArray[np.int64]]:
    dice = np.random.default_rng(seed)
    return [dice.integers(0, count, count) for _ in range(DRAWS)]


def _interval(figure: Callable[[NDArray[np.int64]], float], draws: list[NDArray[np.int64]]) -> tuple[float, float]:
    found = [figure(rows) for rows in draws]
    if not np.isfinite(found).any():
        return float("nan"), float("nan")
    lower, upper = np.nanquantile(found, [0.025, 0.975])
    return float(lower), float(upper)


# Churn


def churn_test(activity: Activity, seed: int) -> tuple[ChurnTest | None, str]:
    """The newest day whose outcome is known now, scored by a fit to what was known on it."""
    day = int(activity.day.max()) - churn.HORIZON_DAYS
    try:
        fit = churn.fit(activity, day, seed)
    except TrainingError as error:
        return None, f"Churn could not be tested on {day_of(day)}: {error}."
    asked = churn.asked_at(activity, day)
    away, risk = churn.stays_away(activity, asked), fit.risk(asked)
    if min(away.sum(), (~away).sum()) < _FEWEST:
        return None, f"Churn could not be tested: on {day_of(day)} nearly all customers are of one kind."
    rules = {words: asked.features[:, churn.FEATURES.index(name)] for name, words in _RULES.items()}
    rule = max(rules, key=lambda words: metrics.auc(away, rules[words]))
    paired = metrics.difference(away, risk, rules[rule], asked.customer, "auc", seed=seed, draws=DRAWS)
    words = (
        f"Churn: learnt from {len(fit.days)} days a week apart, {day_of(fit.days[0])} to {day_of(fit.days[-1])}, whose "
        f"outcomes were known on {day_of(day)}; tested on that day's customers and the {churn.HORIZON_DAYS} days "
        "after it. Every fourth customer calibrates and is not learnt from."
    )
    return ChurnTest(day, fit.days, asked, away, risk, rule, rules[rule], paired), words


def _churn(activity: Activity, test: ChurnTest, seed: int) -> list[Figure]:
    since = test.by_rule
    several = test.asked.features[:, churn.ORDER_DAYS] > 1
    names = ("auc", "ap", "brier", "brier_skill", "ece", "lift_at_10")
    found = metrics.estimates(test.away, test.risk, test.asked.customer, names, seed=seed, draws=DRAWS)
    rule = {"auc": metrics.auc(test.away, since), "ap": metrics.average_precision(test.away, since),
            "lift_at_10": metrics.Ranked.of(test.away, since).weighed().lift()}  # fmt: skip
    figures = [
        Figure(f"churn_{n}", e.value, "all", e.lower, e.upper, test.rule if n in rule else "",
               rule.get(n, float("nan")))
        for n, e in found.items()
    ]  # fmt: skip
    d = test.difference
    figures.append(Figure("churn_auc_above_recency", d.value, "all", d.lower, d.upper, test.rule, 0.0))
    then = churn.asked_at(activity, test.days[-1])
    apart = leakage.days_told_apart(then, test.asked)
    figures.append(Figure("churn_adversarial_auc", apart, baseline="no drift", baseline_value=0.5))
    for name, rows in (("one order", ~several), ("several orders", several)):
        if min(test.away[rows].sum(), (~test.away[rows]).sum()) >= _FEWEST:
            value = metrics.auc(test.away[rows], test.risk[rows])
            figures.append(Figure("churn_auc", value, name, baseline=test.rule,
                                  baseline_value=metrics.auc(test.away[rows], since[rows])))  # fmt: skip
    return figures


# Groups


def _groups(activity: Activity, fits: list[Fit]) -> tuple[list[Figure], str]:
    newest = fits[-1]
    if newest.groups is None:
        return [], f"Groups: none. {newest.reasons.get('groups', '')}"
    g = newest.groups
    found = [Figure("groups", len(g.labels)), Figure("groups_stability", g.stability),
             Figure("groups_eta_squared_when_chosen", g.holdout)]  # fmt: skip
    words = f"Groups: {len(g.labels)}, their number chosen with the spending until {day_of(g.chosen)}."
    last = fits[-2] if len(fits) > 1 else None
    if last is not None and last.groups is not None:
        then = model.customers_at(activity, last.day)
        group = last.groups.clusters.assign(model.cluster_features(activity, then, last.day))
        spent = model.spent_between(activity, then.key, last.day, newest.day)
        found.append(Figure("groups_eta_squared_in_the_month_after", clusters.eta_squared(group, spent)))
        now = model.cluster_features(activity, model.customers_at(activity, newest.day), newest.day)
        moved = last.groups.clusters.assign(now) != g.clusters.assign(now)
        found.append(Figure("groups_relabelled", float(moved.mean())))
        words += (f" {moved.mean():.1%} of the customers of {day_of(newest.day)} have another group than the fit "
                  f"of {day_of(last.day)} would give them.")  # fmt: skip
    return found, words


# The card


def _card(
    newest: Fit, fits: list[Fit], tested: ChurnTest | None, figures: list[Figure], words: dict[str, str], seed: int
) -> dict[str, str]:
    by_name = {f.metric: f for f in reversed(figures)}
    return {
        "use": "To see which customers are worth an effort: who still buys, how much is expected of them within "
               f"{EXPECTED_DAYS} days, who will stay away for {churn.HORIZON_DAYS} days, and which groups there "
               "are. Not for decisions about single persons (prices, credit), nor for what a campaign changes: nothing "
               "here is causal.",
        "failures": _failures(newest, fits, tested, by_name),
        "unit": "A customer with at least one order, at the end of a month. A month is scored with the newest fit that "
                f"is not later: {', '.join(day_of(f.day) for f in fits)}.",
        "label": f"Churn: no order within {churn.HORIZON_DAYS} days. Purchases: days with an order within "
                 f"{EXPECTED_DAYS} days. Value: net revenue of them. Groups have no label; their number is "
                 "chosen by the spending in the month after.",
        "features": f"Churn: {', '.join(churn.FEATURES)}. Purchases and value: repeat orders, weeks from the first to "
                    f"the last order and to today, mean value. Groups: {', '.join(CLUSTER_FEATURES)}. All are "
                    "known at the end of the day that is scored.",
        "split": " ".join(words.values()),
        "prevalence": f"{tested.away.mean():.1%} of {len(tested.away):,} customers stayed away."
                      if tested is not None else "Not known: " + words["churn"],
        "baselines": "Churn: days since the visit or since the order, whichever is better. Purchases: orders so far. "
                     f"Best customers: orders so far of those with an order in the last {HIATUS_DAYS // 7} weeks.",
        "seeds": f"Seed {seed}; one thread, so that the same data give the same model. Intervals: {DRAWS} draws of "
                 "customers with replacement.",
        "reliability": _reliability(tested) if tested is not None else "Not known: " + words["churn"],
        "lift": _lift(by_name),
        "slices": _slices(figures),
        "drift": _drift(by_name),
    }  # fmt: skip


def _drift(by_name: dict[str, Figure]) -> str:
    said = []
    if "churn_adversarial_auc" in by_name:
        said.append("`churn_adversarial_auc` below: how well the newest day of training and the test's are told apart "
                    "by the features of churn (.5: not at all; in a young shop customers are known for longer each "
                    "week).")
    if "groups_relabelled" in by_name:
        said.append("`groups_relabelled`: how many customers change their group with the newest fit.")
    return " ".join([*said, "A fit is made for each month, so what drifts is learnt anew."])


def _failures(newest: Fit, fits: list[Fit], tested: ChurnTest | None, by_name: dict[str, Figure]) -> str:
    said = [
        "A customer with one order counts as alive for certain: BG/NBD lets nobody leave before a second order.",
        "Seasons, sales and what the shop does are not known to it; customers who buy once a year need years of data.",
    ]
    untold = [day_of(f.day) for f in fits if f.value is not None and not f.value.tells_leaving]
    if untold:
        said.append("**These data do not tell how often customers leave**: a model in which nobody does fits as well, "
                    f"so `p_alive` is empty on {', '.join(untold)}.")  # fmt: skip
    if tested is None and newest.churn is not None:
        said.append("**Churn could not be tested yet**, so nothing says that `churn_risk` is better than the days "
                    "since the last visit.")  # fmt: skip
    ratio = by_name.get("purchases_told_per_purchase")
    if ratio is not None and abs(ratio.value - 1) > _OFF:
        said.append(f"**{ratio.value:.2f} purchases are told for each that came**: trust the order of customers more "
                    "than the sums.")  # fmt: skip
    if tested is not None and tested.difference.lower <= 0:
        d = tested.difference
        said.append(f"**Churn does not beat {tested.rule}**: AUC {d.value:+.3f} "
                    f"({d.lower:+.3f} to {d.upper:+.3f}). The rule would do.")  # fmt: skip
    best = by_name.get("best_customers_captured")
    if best is not None and best.value <= best.baseline_value:
        said.append(f"**The best customers are found as well by a rule** ({best.baseline}): {best.baseline_value:.1%} "
                    f"of them against {best.value:.1%}.")  # fmt: skip
    if newest.groups is not None and newest.groups.stability < clusters.STABLE:
        said.append(f"**The groups are not stable** ({newest.groups.stability:.2f} below {clusters.STABLE}): other "
                    "customers would give others.")  # fmt: skip
    said += [f"Missing at {day_of(newest.day)}: {reason}." for reason in newest.reasons.values()]
    return "\n".join(f"- {line}" for line in said)


def _reliability(test: ChurnTest) -> str:
    rows = metrics.reliability(test.away, test.risk)
    return "\n".join(["| risk told | stayed away | customers |", "|---|---|---|",
                      *(f"| {r['told']:.1%} | {r['came']:.1%} | {r['rows']:,.0f} |" for r in rows)])  # fmt: skip


def _lift(by_name: dict[str, Figure]) -> str:
    said = []
    if (lift := by_name.get("churn_lift_at_10")) is not None:
        said.append(f"The tenth with the highest risk holds {lift.value:.2f} times as many who stay away as a tenth "
                    f"drawn blindly; by {lift.baseline} {lift.baseline_value:.2f}.")  # fmt: skip
    if (best := by_name.get("best_customers_captured")) is not None:
        said.append(f"Of the best tenth by what was spent later, {best.value:.1%} are in the best tenth by expected "
                    f"value; by the rule {best.baseline_value:.1%}.")  # fmt: skip
    return " ".join(said) or "Not known: nothing could be tested."


def _slices(figures: list[Figure]) -> str:
    sliced = [f for f in figures if f.slice != "all"]
    said = [f"{f.metric}, {f.slice}: {f.value:.3f} ({f.baseline}: {f.baseline_value:.3f})" for f in sliced]
    return "; ".join(said) + "." if said else "Not known: churn could not be tested, or on too few of each kind."

