"""Customer value on any file of purchases: BG/NBD and Gamma-Gamma fitted on one period, tested on the next.

    python benchmarks/clv.py --transactions FILE [--calibration-end DATE --holdout-end DATE --unit week --json FILE]
        [--customer COLUMN --date COLUMN --amount COLUMN --date-format FORMAT]

Reads any file of customers, dates and amounts (``purchase_files``), and the whitespace-separated layout of CDNOW,
``customer date quantity amount`` (with a second customer number in its published sample). Without dates the calibration
ends half way and the holdout with the last purchase. Where the amounts tell nothing, Gamma-Gamma's figures are null.
"""

from __future__ import annotations

import argparse
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.days import day_of, number_of
from behavior_assets.segmentation.histories import bought_between, known_at
from behavior_assets.segmentation.value import fit_bg_nbd, fit_gamma_gamma
from console import refuse, start, write_json
from purchase_files import WANTED, Purchases, known_options, read
from resources.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNITS = {"day": 1.0, "week": 7.0, "month": 30.4375}
HIATUS_WEEKS = 12


def evaluate(bought: Purchases, calibration_end: date | None, holdout_end: date | None, unit: str) -> dict[str, Any]:
    """Fit on what lies until one day, test on what follows until another. Adds to the notes of the purchases.

    Raises SystemExit where the days leave nothing to fit or to test, and where BG/NBD cannot be fitted.
    """
    customer, day, amount = bought.customer, bought.day, bought.amount
    begin, last = int(day.min()), int(day.max())
    end = number_of(holdout_end) if holdout_end else last
    split = number_of(calibration_end) if calibration_end else (begin + min(end, last)) // 2
    if min(end, last) - begin < 2:  # noqa: PLR2004 - a day to learn from, and one to test on
        refuse(f"Purchases lie from {day_of(begin)} to {day_of(last)}: too few days to learn from and to test on.")
    if not begin < split < min(end, last):
        refuse(f"Purchases lie from {day_of(begin)} to {day_of(last)}: the calibration must end between "
               f"{day_of(begin + 1)} and {day_of(min(end, last) - 1)}, not on {day_of(split)}.")  # fmt: skip
    if end > last:
        bought.notes.append(f"The last purchase is of {day_of(last)}: of the holdout's last {end - last} days the file "
                            "may know nothing.")  # fmt: skip
    length = UNITS[unit]
    known = known_at(customer, day, amount, split, length)
    started = time.perf_counter()
    try:
        model = fit_bg_nbd(known.history)
    except TrainingError as e:
        refuse(f"Purchases until {day_of(split)} by {len(known.key):,} customers. {e}")
    seconds = time.perf_counter() - started
    if not model.tells_leaving:
        bought.notes.append("A model in which nobody leaves fits as well: a and b mean nothing by themselves.")
    horizon = (end - split) / length
    expected = model.expected(known.history, horizon)
    actual = bought_between(customer, day, known.key, split, end).astype(float)
    told: dict[str, Any] = {
        "customers": len(known.key), "calibration_end": day_of(split), "holdout_end": day_of(end), "unit": unit,
        "r": model.r, "alpha": model.alpha, "a": model.a, "b": model.b,
        "log_likelihood": model.log_likelihood(known.history),
        "holdout_corr": _correlation(expected, actual), "holdout_rmse": _rmse(expected, actual),
        "holdout_rmse_of_nothing": _rmse(np.zeros_like(actual), actual),
        "holdout_expected": float(expected.sum()), "holdout_actual": float(actual.sum()), "fit_seconds": seconds,
    }  # fmt: skip
    # Who buys again: the model beside the rule that a person would use.
    silent = known.history.age - known.history.recency
    told["top_tenth_of_model"] = _captured(expected, actual)
    told["top_tenth_of_hiatus"] = _captured(known.history.frequency * (silent * length <= HIATUS_WEEKS * 7), actual)
    told["top_tenth_of_frequency"] = _captured(known.history.frequency, actual)
    repeat = (known.history.frequency > 0) & (known.repeat_value > 0)
    try:
        worth = fit_gamma_gamma(known.history.frequency[repeat], known.repeat_value[repeat])
    except TrainingError as e:
        bought.notes.append(str(e))
        return told | {"gamma_gamma_p": None, "gamma_gamma_q": None, "gamma_gamma_v": None}
    return told | {"gamma_gamma_p": worth.p, "gamma_gamma_q": worth.q, "gamma_gamma_v": worth.v}


def _correlation(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> float | None:
    """None where either is the same for all."""
    if np.ptp(expected) == 0 or np.ptp(actual) == 0:
        return None
    return float(np.corrcoef(expected, actual)[0, 1])


def _rmse(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((expected - actual) ** 2)))


def _captured(score: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    """Share of all later purchases that the tenth of customers with the highest score makes."""
    best = np.argsort(-score, kind="stable")[: max(len(score) // 10, 1)]
    return float(actual[best].sum() / max(actual.sum(), 1))


def main() -> None:
    """Print a table, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=Path, required=True)
    parser.add_argument("--calibration-end", type=date.fromisoformat, metavar="YYYY-MM-DD")
    parser.add_argument("--holdout-end", type=date.fromisoformat, metavar="YYYY-MM-DD")
    parser.add_argument("--unit", choices=UNITS, default="week")
    parser.add_argument("--json", type=Path)
    known_options(parser)
    options = parser.parse_args()
    if not options.transactions.is_file():
        refuse(f"--transactions {options.transactions}: there is no such file.")
    columns = {what: getattr(options, what) for what in WANTED if getattr(options, what)}
    bought = read(options.transactions, columns, options.date_format)
    told = evaluate(bought, options.calibration_end, options.holdout_end, options.unit)
    for note in bought.notes:
        print(note)
    for name, value in told.items():
        shown = f"{value:,.4f}" if isinstance(value, float) else "-" if value is None else value
        print(f"{name:26} {shown}")
    if options.json:
        write_json(options.json, told | {"notes": bought.notes})


if __name__ == "__main__":
    start(main)
