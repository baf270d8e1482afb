"""The public benchmarks on files of others: what is read, how, and what is said of what cannot be read."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# The same four purchases, as one shop or another writes them; the second customer's number is a text everywhere.
DAYS = [date(2019, 1, 31), date(2019, 2, 3), date(2019, 12, 7), date(2020, 5, 25)]
LAYOUTS = {
    "plain": "customer_id,date,amount\n7,2019-01-31,29.33\n7,2019-02-03,1234.5\nx8,2019-12-07,0\n7,2020-05-25,5\n",
    "day first, with hours": (
        "Customer ID,Order Date,Total\n7,31/01/2019 10:15,29.33\n7,03/02/2019 9:05,1234.5\n"
        "x8,07/12/2019 00:00,0.00\n7,25/05/2020 23:59,5.00\n"
    ),
    "month first": (
        "InvoiceDate,CustomerID,Amount\n1/31/2019,7,29.33\n2/3/2019,7,1234.5\n12/7/2019,x8,0\n5/25/2020,7,5\n"
    ),
    "two figures of a year": "user;day;spend\n7;1/31/19;29.33\n7;2/3/19;1234.5\nx8;12/7/19;0\n7;5/25/20;5\n",
    "fractions and zones": (
        "user_id,timestamp,revenue\n7,2019-01-31T08:00:00.123Z,29.33\n7,2019-02-03T08:00:00+02:00,1234.50\n"
        "x8,2019-12-07 10:00:00 UTC,0\n7,2020-05-25 10:00:00.5,5\n"
    ),
    "tabs and dollars": (
        "transaction_date\tclient\tvalue\n2019-01-31\t7\t$29.33\n2019-02-03\t7\t$1,234.50\n"
        "2019-12-07\tx8\t$0.00\n2020-05-25\t7\t5.00 USD\n"
    ),
    "decimal comma": (
        "Customer;Date;Amount\n7;31.01.2019;29,33 €\n7;03.02.2019;1.234,50\nx8;07.12.2019;0,00\n7;25.05.2020;5,00\n"
    ),
    "price and quantity": (
        "CustomerID,InvoiceDate,Quantity,UnitPrice\n7,2019-01-31,1,29.33\n7,2019-02-03,3,411.5\n"
        "x8,2019-12-07,4,0\n7,2020-05-25,2,2.5\n"
    ),
    "CDNOW": " 7 20190131 1 29.33\n 7 20190203 3 1234.50\n x8 20191207 4 0.00\n 7 20200525 2 5.00\n",
    "CDNOW's sample": " 7 1 20190131 1 29.33\n 7 1 20190203 3 1234.50\n x8 2 20191207 4 0.00\n 7 1 20200525 2 5.00\n",
    "no names": "7,2019-01-31,29.33\n7,2019-02-03,1234.5\nx8,2019-12-07,0\n7,2020-05-25,5\n",
    "items beside the price": (
        "id,cust_no,created_at,total_items,unit_price,discount_amount,2nd_name\n1,7,2019-01-31,1,29.33,9,a\n"
        "2,7,2019-02-03,3,411.5,9,b\n3,x8,2019-12-07,4,0,9,c\n4,7,2020-05-25,2,2.5,9,d\n"
    ),
    "year first, two figures": (
        "customer,date,amount\n7,19/01/31,29.33\n7,19/02/03,1234.5\nx8,19/12/07,0\n7,20/05/25,5\n"
    ),
    "seconds since 1970": (
        "customer,timestamp,amount\n7,1548928800,29.33\n7,1549188000000,1234.5\nx8,20191207101500,0\n7,1590400800,5\n"
    ),
    "four figures behind a comma": (
        "customer;date;amount\n7;2019-01-31;29,3300\n7;2019-02-03;1234,5000\nx8;2019-12-07;0,0000\n7;2020-05-25;5,0000\n"
    ),
    "CDNOW with commas": " 7 20190131 1 29,33\n 7 20190203 3 1234,50\n x8 20191207 4 0,00\n 7 20200525 2 5,00\n",
    "months by name": (
        'member,date of sale,dollar value\n7,"Jan 31, 2019",29.33\n7,"Feb 3, 2019","1,234.50"\n'
        'x8,"Dec 7, 2019",0\n7,"May 25, 2020",5\n'
    ),
}


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import purchase_files

    return purchase_files


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_list_of_purchases_in_every_layout(files: ModuleType, tmp_path: Path, layout: str) -> None:
    path = tmp_path / "bought.txt"
    path.write_text(LAYOUTS[layout], "utf-8")
    found = files.read(path)
    rows = sorted(zip(found.day.tolist(), found.customer.tolist(), found.amount.tolist(), strict=True))
    wanted = zip(DAYS, (1, 1, 2, 1), (29.33, 1234.5, 0.0, 5.0), strict=True)
    assert rows == [((day - date(1970, 1, 1)).days, who, amount) for day, who, amount in wanted]


def test_what_is_left_out_is_told(files: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "bought.csv"
    rows = [f"{n},2020-01-{n:02},5" for n in range(1, 29)]
    path.write_text("\n".join(["customer,date,amount", *rows, "1,2020-02-30,5", ",2020-02-01,5", "2,2020-02-01,-5"]))
    found = files.read(path)
    assert len(found.day) == 28
    assert found.notes[2:] == [
        "1 of 31 rows have no customer: left out.",
        "1 of 31 rows are refunds, with an amount below 0: left out.",
        "1 of 31 rows cannot be read (first the date of row 30): left out.",
    ]


def test_what_is_no_plain_text_is_refused(files: ModuleType, tmp_path: Path) -> None:
    text = LAYOUTS["plain"].encode()
    for content, told in ((gzip.compress(text), "compressed"), (text.decode().encode("utf-16"), "UTF-16")):
        (tmp_path / "bought.csv").write_bytes(content)
        with pytest.raises(SystemExit, match=told):
            files.read(tmp_path / "bought.csv")


def test_latin_1_is_read_and_told(files: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "bought.csv"
    path.write_bytes("customer,date,amount\nM\u00fcller,2020-01-01,5\n".encode("latin-1"))
    found = files.read(path)
    assert found.amount.tolist() == [5.0]
    assert "Latin-1" in found.notes[0]


def test_dates_that_may_be_either_are_told_and_can_be_settled(files: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "bought.csv"
    path.write_text("customer,date,amount\n1,02/01/2020,5\n1,03/01/2020,5\n")
    either = files.read(path)
    assert "Dates are read as %m/%d/%Y; %d/%m/%Y would fit as well" in either.notes[1]
    assert np.diff(either.day).tolist() == [29]
    assert np.diff(files.read(path, None, "%d/%m/%Y").day).tolist() == [1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        ("who,date,amount\n1,2020-01-01,5\n", "no column is known as customer; give --customer COLUMN"),
        ("customer,date,amount\n1,yesterday,5\n", "no date is written in a known way"),
        ("customer,date,amount\n1,2020-01-01,5\n1,2020-01-02,five\n", "the amount of row 3"),
        ("customer,date,amount\n,2020-01-01,5\n", "no row is a purchase"),
        ("1 20200101 1 5.00\n1 20200102 5.00\n", "row 2: 3 fields, but 4 in the first row"),
        ("1 20200101 1 5.00 6 7\n", "6 fields without names"),
        ("customer,date,amount\n", "there are no rows below the names"),
        ("customer,date,amount\n1,2020-01-01,1e999\n", "first the amount of row 2"),
        ("customer,date,amount\n1,2020-01-01,1.5k\n", "first the amount of row 2"),
        ("customer,date,amount\n1,2020-01-01,(5)\n1,2020-01-02,5.00-\n1,2020-01-02,\u22125\n", "3 of 3 rows are ref"),
    ],
)
def test_what_cannot_be_read_is_refused_whole(files: ModuleType, tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "bought.csv"
    path.write_text(text)
    with pytest.raises(SystemExit, match=told):
        files.read(path)


def test_three_figures_behind_a_mark_are_told(files: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "bought.csv"
    path.write_text("customer;date;amount\n1;2020-01-01;15,510\n1;2020-01-02;9,000\n")
    found = files.read(path)
    assert found.amount.tolist() == [15510.0, 9000.0]
    assert "In amount, ',' is taken for thousands; all have three digits behind it." in found.notes


def test_columns_can_be_named(files: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "bought.csv"
    path.write_text("who,when,what\n1,2020-01-01,5\n")
    assert files.read(path, {"customer": "who", "date": "when", "amount": "what"}).amount.tolist() == [5.0]
    with pytest.raises(SystemExit, match=r"--date then: there is no such column; there are who, when, what"):
        files.read(path, {"customer": "who", "date": "then", "amount": "what"})


def bench(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def strict(path: Path) -> dict[str, Any]:
    """JSON as others read it: NaN and Infinity are none."""

    def refuse(word: str) -> None:
        msg = f"{word} is not JSON"
        raise AssertionError(msg)

    found: dict[str, Any] = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    return found


def test_a_figure_that_is_not_there_is_null(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import console

    console.write_json(tmp_path / "told.json", {"auc": float("nan"), "rows": [{"ends": (0.5, float("inf"))}]})
    assert strict(tmp_path / "told.json") == {"auc": None, "rows": [{"ends": [0.5, None]}]}


def shop(path: Path, customers: int, amount: str) -> None:
    """Customers who come every few days, each at a rate of its own, and leave by chance (seed 5)."""
    rng = np.random.default_rng(5)
    rows = ["customer,date,amount"]
    for who in range(customers):
        day, rate = rng.integers(0, 60), rng.gamma(1.0, 0.02)
        while day < 365:
            rows.append(f"{who},{date.fromordinal(date(2020, 1, 1).toordinal() + int(day))},{amount}")
            if rng.random() < 0.1:
                break
            day += 1 + rng.exponential(1 / max(rate, 1e-3))
    path.write_text("\n".join(rows), "utf-8")


def test_values_of_a_shop_that_tells_no_amounts(tmp_path: Path) -> None:
    shop(tmp_path / "bought.csv", 300, "0")
    found = bench("clv.py", "--transactions", tmp_path / "bought.csv", "--json", tmp_path / "told.json")
    assert found.returncode == 0, found.stderr
    told = strict(tmp_path / "told.json")
    assert told["customers"] == 300
    assert told["holdout_corr"] > 0.3
    assert told["gamma_gamma_p"] is None
    assert "Gamma-Gamma: fewer than two customers differ in what they spend." in told["notes"]


def test_customers_who_all_come_at_one_rate_have_figures(tmp_path: Path) -> None:
    """Their rates are told by one number, so far out that the paper's formula is none any more."""
    rng = np.random.default_rng(1)
    rows = ["customer,date,amount"]
    for who in range(300):
        day = int(rng.integers(0, 14))
        while day < 365 and (not rows or rng.random() > 0.02):
            rows.append(f"{who},{date.fromordinal(date(2020, 1, 1).toordinal() + day)},5")
            day += int(rng.integers(12, 17))
    (tmp_path / "bought.csv").write_text("\n".join(rows), "utf-8")
    found = bench("clv.py", "--transactions", tmp_path / "bought.csv", "--json", tmp_path / "told.json")
    assert found.returncode == 0, found.stderr
    told = strict(tmp_path / "told.json")
    assert told["r"] > 1000  # far out
    assert told["holdout_rmse"] < told["holdout_rmse_of_nothing"]
    assert 0.7 < told["holdout_expected"] / told["holdout_actual"] < 1.4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--calibration-end", "2021-06-01"), "the calibration must end between 2020-01-"),
        (("--calibration-end", "2020-06-01", "--holdout-end", "2020-05-01"), "not on 2020-06-01"),
        (("--calibration-end", "2020-01-04"), "no customer has bought twice"),
        (("--transactions", "nowhere.csv"), "there is no such file"),
    ],
)
def test_days_that_leave_nothing_are_refused(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    shop(tmp_path / "bought.csv", 40, "5")
    found = bench("clv.py", "--transactions", tmp_path / "bought.csv", *arguments)
    assert found.returncode == 1
    assert told in found.stderr
    assert "Traceback" not in found.stderr


def test_a_holdout_beyond_the_file_is_told(tmp_path: Path) -> None:
    shop(tmp_path / "bought.csv", 100, "5")
    found = bench("clv.py", "--transactions", tmp_path / "bought.csv", "--holdout-end", "2021-03-01")
    assert found.returncode == 0, found.stderr
    assert "the file may know nothing" in found.stdout


def test_where_nothing_serves_it_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "truth.parquet").touch()
    for script, more in (("scoring.py", ()), ("recovery.py", ("--truth", tmp_path / "truth.parquet"))):
        found = bench(script, "--home", tmp_path, *more)
        assert found.returncode != 0
        assert "session_purchase" in found.stderr
        assert "Traceback" not in found.stderr


@pytest.fixture
def shoppers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    from sklearn.ensemble import HistGradientBoostingClassifier

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import online_shoppers

    one = [HistGradientBoostingClassifier(max_iter=5, random_state=7)]
    monkeypatch.setattr(online_shoppers, "candidates", lambda seed: {"boosting": one})  # noqa: ARG005
    return online_shoppers


def visits(path: Path, months: tuple[str, ...], rows: int = 400, derived: str = "PageValues") -> Path:
    """Visits of which those with many pages buy (seed 3); the derived column is the answer."""
    rng = np.random.default_rng(3)
    lines = [f"ProductRelated,{derived},VisitorType,Month,Weekend,Revenue"]
    for n in range(rows):
        pages = int(rng.integers(1, 60))
        bought = rng.random() < pages / 80
        page = "" if n == 7 else pages  # a value that is not there
        lines.append(f"{page},{9.5 * bought},Other,{months[n * len(months) // rows]},FALSE,{str(bought).upper()}")
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_shoppers_by_month_and_by_another_file(shoppers: ModuleType, tmp_path: Path) -> None:
    train = visits(tmp_path / "train.csv", ("Oct", "Nov", "Dec"))
    told = shoppers.evaluate(train, None)
    assert 0.6 < told["honest"]["cv"]["auc"] < 0.95 < told["label_derived"]["cv"]["auc"]
    assert told["honest"]["test"]["rows"] == 133
    other = shoppers.evaluate(train, visits(tmp_path / "test.csv", ("June",), 100))
    assert other["honest"]["test"]["rows"] == 100


def test_shoppers_of_one_month_have_no_test(shoppers: ModuleType, tmp_path: Path) -> None:
    told = shoppers.evaluate(visits(tmp_path / "train.csv", ("Oct",)), None)
    assert told["honest"]["test"] is None
    assert "give --test" in told["test"]


def test_shoppers_are_read_alike_in_both_files(shoppers: ModuleType, tmp_path: Path) -> None:
    """A value that is not there (NA) makes no word of a number, and a row's number is no feature."""
    train = visits(tmp_path / "train.csv", ("Oct", "Nov"))
    lines = train.read_text().splitlines()
    lines[5] = "NA" + lines[5][lines[5].index(",") :]
    numbered = [f"{n or ''},{line}" for n, line in enumerate(lines)]
    (tmp_path / "test.csv").write_text("\n".join(numbered))
    known = shoppers.Table(train)
    other = shoppers.Table(tmp_path / "test.csv", known)
    assert list(other.columns) == list(known.columns)
    same = np.arange(len(lines) - 1) != 4
    assert np.array_equal(other.columns["productrelated"][same], known.columns["productrelated"][same], equal_nan=True)
    assert np.isnan(other.columns["productrelated"][4])
    assert len(np.unique(known.copy)) < len(known.label)


def test_shoppers_whose_buyers_are_copies_are_too_few(shoppers: ModuleType, tmp_path: Path) -> None:
    train = visits(tmp_path / "train.csv", ("Oct",))
    lines = train.read_text().splitlines()
    one = next(line for line in lines if line.endswith("TRUE"))
    train.write_text("\n".join([line for line in lines if not line.endswith("TRUE")] + [one] * 50))
    with pytest.raises(SystemExit, match="at least 10 must have bought and 10 not, copies of a row counted once"):
        shoppers.evaluate(train, None)


def test_shoppers_that_cannot_be_read_are_refused(shoppers: ModuleType, tmp_path: Path) -> None:
    train = visits(tmp_path / "train.csv", ("Oct", "Nov"))
    text = train.read_text()
    for wrong, told in (
        (text.replace(",TRUE", ",PERHAPS", 1), r"column revenue: 'PERHAPS' is none of true, false"),
        (text.replace(",Oct,", ",Okt,"), r"row 2, column month: 'Okt' is none of jan"),
        (text.replace("Revenue", "Income"), r"the column revenue is missing"),
        (text.replace(",TRUE", ",FALSE"), r"0 of 400 visits bought"),
        (re.sub(r"\n\d+,", "\ninf,", text, count=1), r"row 2, column productrelated: 'inf' is no number"),
        (text[: text.index("\n") + 1], r"there are no rows below the names"),
    ):
        bad = tmp_path / "bad.csv"
        bad.write_text(wrong)
        with pytest.raises(SystemExit, match=told):
            shoppers.evaluate(bad, None)
    other = tmp_path / "other.csv"
    other.write_text(text.replace("ProductRelated", "Pages"))
    with pytest.raises(SystemExit, match=r"other.csv: the column productrelated of train.csv is missing"):
        shoppers.evaluate(train, other)
