"""What the card of ``session_purchase`` says, field by field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from behavior_assets import leakage
from behavior_assets.days import day_of
from behavior_assets.prediction import guards, metrics
from behavior_assets.prediction.features import BEFORE, FEATURES, SO_FAR, STEP
from behavior_assets.prediction.session_model import FEWEST_TEST, GRU, PARTS, PREFIXES, SHARES
from behavior_assets.prediction.steps import USUAL_DAYS

if TYPE_CHECKING:
    from behavior_assets.leakage import Verdict
    from behavior_assets.prediction.session_training import Judged

WORDS = {GRU: "the recurrent network (a causal GRU over events, Keras)",
         "boosting": "boosted trees (scikit-learn's HistGradientBoosting)"}  # fmt: skip


def card_texts(judged: Judged, verdicts: Iterable[Verdict]) -> dict[str, str]:
    """Markdown by field of ``cards.FIELDS``, but for what the training's desk knows (data, time, versions)."""
    told, served = judged.told, judged.served
    loser = next(kind for kind in WORDS if kind != served)
    apart = guards.most_apart(judged.data, FEATURES)
    best = {kind: f"{value:.4f}" for kind, value in told["validation_ap"].items()}
    return {
        "use": "Ranks sessions that are going on by how likely a purchase is to follow, for attention, offers and "
               "forecasts of the day. Not for decisions about single persons, and not for prices.",
        "failures": "Sessions whose source has no browsing events cannot be told apart. New kinds of events, "
                    "categories and products are treated as unknown. Strangers have no past. A change of the shop's "
                    "pages changes what events mean: see drift. After the 20th event the network sees no more.",
        "unit": f"A session after its events number {', '.join(map(str, PREFIXES))}, as long as it has bought nothing; "
                "told at the moment of the event.",
        "label": "Whether a purchase follows in the same session. The window is the rest of the session; it is known "
                 "when the session is over.",
        "features": f"With the event itself: {', '.join(STEP)}. From the session so far: {', '.join(SO_FAR)}. Known "
                    f"when the session begins: {', '.join(BEFORE)}. Usual prices are those of {USUAL_DAYS} days before "
                    "the event's day. The network reads the first and the last kind and keeps a state of its own.",
        "split": _split(judged),
        "prevalence": _prevalence(judged),
        "baselines": f"Served is {WORDS[served]}, with an average precision of {best[served]} on validation; "
                     f"{WORDS[loser]} has {best[loser]}. Beside them stand: nobody buys (`all_negative`), a rule "
                     "(`rule`: checkouts, then items in the cart, then views) and how often the product at hand is put "
                     "into a cart (`popularity`). Figures below.",
        "seeds": f"Seed {told['seed']}, one training. Intervals are of 95 %, from drawing the customers of the test "
                 "200 times; of another seed they tell nothing (`benchmarks/recovery.py --seeds 5` does).",
        "reliability": _reliability(judged),
        "lift": "How many times more buyers the tenth with the highest chances holds: `lift_at_10` below.",
        "slices": "New and returning visitors, length of the session, month, and the moment of the first add_to_cart: "
                  "below. The length is known only afterwards.",
        "leakage": leakage.lines(verdicts),
        "latency": judged.latency() + " The chain scores days at once: `benchmarks/scoring.py` tells how many sessions "
                   "a second.",
        "drift": "`adversarial_auc` below: how well training and test are told apart by their features (.5: not at "
                 f"all). By `{apart[0]}` alone: {apart[1]:.2f}. What counts days or visits grows with the shop's age, "
                 "whether behaviour changes or not. While it serves, the drift of its scores is told in `model_card` "
                 "as `drift_psi`.",
    }  # fmt: skip


def _split(judged: Judged) -> str:
    part, day = judged.data.part, judged.data.steps.day
    rows = []
    for number, name in enumerate(PARTS):
        mine = part == number
        first, last = (day_of(d) for d in (day[mine].min(), day[mine].max()))
        rows.append(f"- {name}: {first} to {last}, {int(mine.sum()):,} sessions")
    shares = " / ".join(f"{share:.0%}" for share in (1 - sum(SHARES), *SHARES))
    cut = int((part < 0).sum())
    parts = "\n".join(rows)
    return (f"By days, in their order ({shares}):\n{parts}\n\n{cut:,} sessions that a boundary cuts are in no part. "
            "Nothing is drawn twice or balanced.")  # fmt: skip


def _prevalence(judged: Judged) -> str:
    told = []
    for k in PREFIXES:
        rows = judged.at(k)
        told.append(f"{judged.data.label[rows].mean():.2%} after event {k}" if rows.any() else f"no session has {k}")
    return f"Of the test's sessions that are still open to buy: {', '.join(told)}."


def _reliability(judged: Judged) -> str:
    rows = ["| prefix | tenth | chance told | share that bought | rows |", "|---|---|---|---|---|"]
    for k in PREFIXES:
        at = judged.at(k)
        if judged.data.label[at].sum() < FEWEST_TEST // len(PREFIXES):
            continue
        for n, bin_ in enumerate(metrics.reliability(judged.data.label[at], judged.chances[judged.served][at]), 1):
            rows.append(f"| {k} | {n} | {bin_['told']:.4f} | {bin_['came']:.4f} | {bin_['rows']:,.0f} |")
    return "Calibrated by Platt's method on a slice of days between validation and test.\n\n" + "\n".join(rows)
