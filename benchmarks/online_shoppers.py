"""UCI Online Shoppers Purchasing Intention: what can honestly be said, beside what a column made from the label says.

    python benchmarks/online_shoppers.py --train CSV [--test CSV] [--json FILE]

``PageValues`` is computed from purchases, so it knows the answer: the honest variant does without it. Copies of a row
stay in one fold. The test is the file given, else the last month of the training file, predicted from those before it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from behavior_assets.prediction import metrics
from behavior_assets.prediction.session_model import calibrate, probabilities
from console import refuse, start, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MONTHS = {name: float(n) for n, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}  # fmt: skip
LABEL, DERIVED, MONTH = "revenue", "pagevalues", "month"
FOLDS, DRAWS, SEED = 10, 400, 7
MISSING = {"", "na", "n/a", "null", "nan", "none", "?"}
# Features of the file; what else it holds (row numbers) is left out, as a number of its own makes a row no copy.
PAGES = ("administrative", "informational", "productrelated")
FEATURES = (*PAGES, *(f"{n}_duration" for n in PAGES), "bouncerates", "exitrates", DERIVED, "specialday",
            "operatingsystems", "browser", "region", "traffictype", "visitortype", "weekend")  # fmt: skip
TRUE = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "yes": 1.0, "no": 0.0, "1.0": 1.0, "0.0": 0.0}


def _number(text: str) -> float | None:
    """A finite number, if it is one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


class Table:
    """Columns by lower-case name as numbers; texts become the number of their value among ``words``.

    What is not there is NaN. A test is read as the training file that is ``like`` it.
    """

    def __init__(self, path: Path, like: Table | None = None) -> None:
        """Read a file. Raises SystemExit where the label or the month is missing or not understood."""
        con = duckdb.connect()
        con.execute("SET threads = 1")  # rows in the order of the file
        try:
            source = con.read_csv(str(path), all_varchar=True)
            names, rows = source.columns, source.fetchall()
        except (duckdb.Error, OSError) as error:
            refuse(f"{path}: {str(error).splitlines()[0]}")
        raw = {n.strip().lower(): [str(row[at] or "").strip() for row in rows] for at, n in enumerate(names)}
        if missing := [c for c in (LABEL, MONTH) if c not in raw]:
            refuse(f"{path.name}: the column {missing[0]} is missing; is this the Online Shoppers file?")
        if not rows:
            refuse(f"{path.name}: there are no rows below the names.")
        self.name, self.like = path.name, like
        self.label = self._known(LABEL, raw.pop(LABEL), TRUE)
        self.month = self._known(MONTH, [v[:3] for v in raw.pop(MONTH)], MONTHS).astype(np.int64)
        self.words: dict[str, list[str]] = like.words if like else {}
        raw = {name: values for name, values in raw.items() if name in FEATURES}
        if not raw:
            refuse(f"{path.name}: none of the columns {', '.join(FEATURES)} is there.")
        self.columns: dict[str, Floats] = {name: self._numbers(name, values) for name, values in raw.items()}
        told = np.array(["\x1f".join(row) for row in zip(*raw.values(), map(str, self.month), strict=True)])
        self.copy = np.unique(told, return_inverse=True)[1].reshape(-1)

    def _known(self, name: str, values: list[str], known: dict[str, float]) -> Floats:
        found = [known.get(v.lower()) for v in values]
        if None in found:
            row = found.index(None)
            refuse(f"{self.name}, row {row + 2}, column {name}: {values[row]!r} is none of {', '.join(known)}.")
        return np.array(found, dtype=np.float64)

    def _numbers(self, name: str, values: list[str]) -> Floats:
        low = [v.lower() for v in values]
        known = [v for v in low if v not in MISSING]
        if self.like and name in self.like.columns:
            is_words = name in self.words
        else:
            is_words = 2 * sum(v in TRUE or _number(v) is not None for v in known) < len(known)
        if is_words:
            words = self.words.setdefault(name, sorted(set(known)))
            return np.array([float(words.index(v)) if v in words else -1.0 for v in low])
        found = [np.nan if v in MISSING else TRUE.get(v, _number(v)) for v in low]
        if None in found:
            row = found.index(None)
            refuse(f"{self.name}, row {row + 2}, column {name}: {values[row]!r} is no number.")
        return np.array(found, dtype=np.float64)

    def features(self, names: list[str]) -> Floats:
        """Features [n, F]: the columns, the month, and what follows from them."""
        c = self.columns
        pages = [n for n in PAGES if n in c]
        whole = sum((c[n] for n in pages), np.zeros(len(self.label)))
        spent = sum((c[f"{n}_duration"] for n in pages if f"{n}_duration" in c), np.zeros(len(self.label)))
        return np.stack([*(c[n] for n in names), self.month.astype(float), whole, spent, spent / (whole + 1)], axis=1)


def candidates(seed: int) -> dict[str, list[Any]]:
    """Models by name; the predictions of several are averaged."""
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

    boosting = HistGradientBoostingClassifier(
        learning_rate=0.03, max_iter=150, max_leaf_nodes=12, min_samples_leaf=30, l2_regularization=5.0,
        max_features=0.5, early_stopping=False, random_state=seed,
    )  # fmt: skip
    trees = ExtraTreesClassifier(300, min_samples_leaf=4, max_features=0.5, n_jobs=-1, random_state=seed)
    return {"boosting": [boosting], "boosting and random trees": [boosting, trees]}


def predict(models: list[Any], features: Floats, label: Floats, wanted: Floats) -> Floats:
    """Mean probability of models fitted on some rows, for others."""
    found = [m.fit(features, label).predict_proba(wanted)[:, 1] for m in models]
    mean: Floats = np.mean(found, axis=0)
    return mean


def cross_validate(features: Floats, label: Floats, copy: NDArray[np.int64], models: list[Any]) -> Floats:
    """Out-of-fold probabilities; copies of a row are in one fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    found = np.zeros(len(label))
    for train, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED).split(features, label, copy):
        found[test] = predict(models, features[train], label[train], features[test])
    return found


def rarest(label: Floats, copy: NDArray[np.int64]) -> int:
    """Rows of the rarer outcome, copies counted once."""
    return min(len(np.unique(copy[label == outcome])) for outcome in (0.0, 1.0))


def scores(label: Floats, chance: Floats, copy: NDArray[np.int64]) -> dict[str, Any]:
    """AUC, AP, Brier and ECE with intervals from drawing rows again, copies of a row together."""
    found = metrics.estimates(label > 0, chance, copy, ("auc", "ap", "brier", "ece"), seed=SEED, draws=DRAWS)
    told: dict[str, Any] = {name: e.value for name, e in found.items()}
    told |= {f"{name}_interval": [e.lower, e.upper] for name, e in found.items()}
    return told | {"prevalence": float(label.mean()), "accuracy_of_all_negative": float(1 - label.mean()),
                   "rows": len(label)}  # fmt: skip


def evaluate(train: Path, test: Path | None) -> dict[str, Any]:
    """Both variants; the model is the one that is better in cross-validation without the derived column.

    Raises SystemExit where there are too few buyers, or columns of the training are not in the test.
    """
    known = Table(train)
    if rarest(known.label, known.copy) < FOLDS:
        refuse(f"{train.name}: {int(known.label.sum()):,} of {len(known.label):,} visits bought; to learn and to test, "
               f"at least {FOLDS} must have bought and {FOLDS} not, copies of a row counted once.")  # fmt: skip
    other = Table(test, known) if test else None
    names = [n for n in known.columns if n != DERIVED]
    if other and (missing := [n for n in names if n not in other.columns]):
        refuse(f"{other.name}: the column {missing[0]} of {train.name} is missing.")
    told: dict[str, Any] = {"train": train.name, "test": test.name if test else "last month of the training file"}
    features = known.features(names)
    found = {n: cross_validate(features, known.label, known.copy, m) for n, m in candidates(SEED).items()}
    best = max(found, key=lambda n: metrics.average_precision(known.label > 0, found[n]))
    told["model"] = best
    for variant, columns in (("honest", names), ("label_derived", [*names, DERIVED])):
        if DERIVED in columns and not all(DERIVED in t.columns for t in (known, other) if t):
            told[variant] = None
            continue
        features = known.features(columns)
        chance = found[best] if variant == "honest" else \
            cross_validate(features, known.label, known.copy, candidates(SEED)[best])  # fmt: skip
        tested = _tested(known, other, columns, best)
        told[variant] = {"cv": scores(known.label, chance, known.copy), "test": tested}
    if told["honest"]["test"] is None:
        told["test"] = "none: before the last month of the training file too few bought; give --test"
    return told


def _tested(known: Table, other: Table | None, columns: list[str], best: str) -> dict[str, Any] | None:
    """Train on what is known, calibrate on folds of it, and test on another file or on the last month."""
    if other is not None:
        train = np.ones(len(known.label), dtype=bool)
        wanted, label, copy = other.features(columns), other.label, other.copy
    else:
        train = known.month < known.month.max()
        wanted, label, copy = known.features(columns)[~train], known.label[~train], known.copy[~train]
    if rarest(known.label[train], known.copy[train]) < FOLDS:
        return None
    features = known.features(columns)[train]
    models = candidates(SEED)[best]
    inside = cross_validate(features, known.label[train], known.copy[train], models)
    chance = predict(models, features, known.label[train], wanted)
    fit = calibrate(log_odds(inside), known.label[train] > 0)
    return scores(label, probabilities(log_odds(chance), fit), copy)


def log_odds(chance: Floats) -> Floats:
    """Logarithm of the odds of a chance, finite at 0 and 1."""
    safe = np.clip(chance, 1e-6, 1 - 1e-6)
    found: Floats = np.log(safe / (1 - safe))
    return found


def main() -> None:
    """Print a table, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    told = evaluate(options.train, options.test)
    told["seconds"] = time.perf_counter() - started
    print(f"model: {told['model']}; test: {told['test']}; {told['seconds']:.0f} s")
    print(f"{'':14} {'':5} {'rows':>6} {'buyers':>7} {'AUC':>22} {'AP':>22} {'Brier':>7} {'ECE':>6}")
    for variant in ("honest", "label_derived"):
        for name, s in (told[variant] or {}).items():
            if s is None:
                continue
            auc, ap = (f"{s[m]:.3f} [{s[f'{m}_interval'][0]:.3f}, {s[f'{m}_interval'][1]:.3f}]" for m in ("auc", "ap"))
            print(f"{variant:14} {name:5} {s['rows']:6,} {s['prevalence']:7.3f} {auc:>22} {ap:>22} {s['brier']:7.4f} "
                  f"{s['ece']:6.3f}")  # fmt: skip
    if options.json:
        write_json(options.json, told)


if __name__ == "__main__":
    start(main)
