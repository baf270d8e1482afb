"""Customer value on any file of purchases: BG/NBD and Gamma-Gamma fitted on one period, tested on the next.

    python benchmarks/clv.py --transactions FILE [--calibration-end DATE --holdout-end DATE --unit week --json FILE]

Reads a CSV (columns found by their names: customer, date, amount) and the whitespace-separated layout of CDNOW,
``customer date quantity amount`` (with a second customer number in its published sample). Without dates the calibration
ends half way and the holdout with the last purchase.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from behavior_assets.days import day_of, number_of
from behavior_assets.segmentation.histories import bought_between, known_at
from behavior_assets.segmentation.value import fit_bg_nbd, fit_gamma_gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNITS = {"day": 1.0, "week": 7.0, "month": 30.4375}
NAMES = {
    "customer": ("customer_id", "customerid", "customer", "user_id", "userid", "user", "client_id", "id"),
    "date": ("date", "invoicedate", "order_date", "orderdate", "event_time", "timestamp", "time", "day"),
    "amount": ("amount", "value", "revenue", "monetary", "monetary_value", "spend", "sales", "total", "price"),
}
FORMATS = ("%Y%m%d", "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S UTC", "%m/%d/%Y %H:%M",
           "%d.%m.%Y", "%Y/%m/%d")  # fmt: skip
TABULATED = {4: (0, 1, 3), 5: (0, 2, 4)}  # fields of a line: which are customer, date and amount
HIATUS_WEEKS = 12


def read(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Purchases: customers as numbers, days since 1970, amounts. Raises SystemExit for what is no such file."""
    con = duckdb.connect()
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
    tabulated = "," not in first and ";" not in first
    con.execute("CREATE TABLE t (customer VARCHAR, day VARCHAR, amount VARCHAR)")
    if not first.strip():
        sys_exit(f"{path.name}: the file is empty.")
    if tabulated:
        rows = [line.split() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        rows = rows[rows[0][-1][:1].isalpha() :] if rows else rows  # the master file has a line of names
        wrong = next((n for n, r in enumerate(rows, 1) if len(r) not in TABULATED or len(r) != len(rows[0])), None)
        if wrong is not None:
            wanted = "4 fields (customer date quantity amount), or 5 as in the published sample of CDNOW"
            sys_exit(f"{path.name}, line {wrong}: wanted {wanted}.")
        told = TABULATED[len(rows[0])]
        columns = [[r[n] for r in rows] for n in told]
        con.execute("INSERT INTO t SELECT unnest($1), unnest($2), unnest($3)", columns)
    else:
        source = con.read_csv(str(path), all_varchar=True)
        names = {name.lower().replace(" ", ""): name for name in source.columns}
        found = {what: next((names[n] for n in known if n in names), None) for what, known in NAMES.items()}
        if missing := [what for what, name in found.items() if name is None]:
            sys_exit(f"{path.name}: no column for {', '.join(missing)}; known names: {NAMES[missing[0]]}")
        picked = ", ".join(f'"{found[what]}"' for what in ("customer", "date", "amount"))
        con.execute(f"INSERT INTO t SELECT * FROM (SELECT {picked} FROM source)")
    con.execute(f"CREATE TABLE d AS SELECT customer, try_strptime(day, {list(FORMATS)})::DATE AS day, "
                "try_cast(amount AS DOUBLE) AS amount FROM t")  # fmt: skip
    bad = con.execute("SELECT count(*) FROM d WHERE day IS NULL OR amount IS NULL OR customer IS NULL").fetchall()[0][0]
    good = con.execute(
        "SELECT dense_rank() OVER (ORDER BY customer) AS customer, (day - DATE '1970-01-01')::BIGINT AS day, amount "
        "FROM d WHERE day IS NOT NULL AND amount IS NOT NULL AND customer IS NOT NULL"
    ).fetchnumpy()
    if bad:
        print(f"{bad:,} rows without customer, date or amount are left out.")
    if not len(good["day"]):
        sys_exit(f"{path.name}: no row has a customer, a date and an amount. Dates may look like {', '.join(FORMATS)}")
    return good["customer"].astype(np.int64), good["day"].astype(np.int64), good["amount"].astype(np.float64)


def sys_exit(message: str) -> None:
    """End with a message."""
    raise SystemExit(message)


def evaluate(path: Path, calibration_end: date | None, holdout_end: date | None, unit: str) -> dict[str, Any]:
    """Fit on what lies until one day, test on what follows until another."""
    customer, day, amount = read(path)
    begin = int(day.min())
    end = number_of(holdout_end) if holdout_end else int(day.max())
    split = number_of(calibration_end) if calibration_end else (begin + end) // 2
    if not begin < split < end:
        sys_exit(f"The calibration must end between {day_of(begin)} and {day_of(end)}, not on {day_of(split)}.")
    length = UNITS[unit]
    known = known_at(customer, day, amount, split, length)
    started = time.perf_counter()
    model = fit_bg_nbd(known.history)
    seconds = time.perf_counter() - started
    horizon = (end - split) / length
    expected = model.expected(known.history, horizon)
    actual = bought_between(customer, day, known.key, split, end).astype(float)
    told: dict[str, Any] = {
        "customers": len(known.key), "calibration_end": day_of(split), "holdout_end": day_of(end), "unit": unit,
        "r": model.r, "alpha": model.alpha, "a": model.a, "b": model.b,
        "log_likelihood": model.log_likelihood(known.history),
        "holdout_corr": float(np.corrcoef(expected, actual)[0, 1]), "holdout_rmse": _rmse(expected, actual),
        "holdout_rmse_of_nothing": _rmse(np.zeros_like(actual), actual),
        "holdout_expected": float(expected.sum()), "holdout_actual": float(actual.sum()), "fit_seconds": seconds,
    }  # fmt: skip
    # Who buys again: the model beside the rule that a person would use.
    silent = known.history.age - known.history.recency
    told["top_tenth_of_model"] = _captured(expected, actual)
    told["top_tenth_of_hiatus"] = _captured(known.history.frequency * (silent * length <= HIATUS_WEEKS * 7), actual)
    told["top_tenth_of_frequency"] = _captured(known.history.frequency, actual)
    repeat = (known.history.frequency > 0) & (known.repeat_value > 0)
    worth = fit_gamma_gamma(known.history.frequency[repeat], known.repeat_value[repeat])
    told |= {"gamma_gamma_p": worth.p, "gamma_gamma_q": worth.q, "gamma_gamma_v": worth.v}
    return told


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
    parser.add_argument("--calibration-end", type=date.fromisoformat)
    parser.add_argument("--holdout-end", type=date.fromisoformat)
    parser.add_argument("--unit", choices=UNITS, default="week")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.transactions.is_file():
        sys_exit(f"--transactions {options.transactions}: there is no such file.")
    told = evaluate(options.transactions, options.calibration_end, options.holdout_end, options.unit)
    for name, value in told.items():
        print(f"{name:26} {value:,.4f}" if isinstance(value, float) else f"{name:26} {value}")
    if options.json:
        options.json.write_text(json.dumps(told, indent=1), "utf-8")


if __name__ == "__main__":
    main()
