"""CSV and Excel of the aggregate profile: typed cells, no formula from a product's name, the same bytes again."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exports.aggregate import Aggregate, aggregate
from exports.aggregate.declare import Filled, declared
from exports.spreadsheets import csv_bytes, harmless, workbook_bytes, write_spreadsheets
from tests.small_shop import HOSTILE, shop

WIDE = "\uff1d\uff0b\uff0d\uff20"  # full-width = + - @
DANGEROUS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\0=1", *(f"{c}1" for c in WIDE), "\ufe621",
             "\u22121", " =1")  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Aggregate:
    exports = tmp_path_factory.mktemp("exports")
    return aggregate(exports, shop(synthetic=True).write(exports))


@pytest.mark.parametrize("text", DANGEROUS)
def test_what_could_begin_a_formula_gets_an_apostrophe(text: str) -> None:
    assert harmless(text) == "'" + text.replace("\0", "")


@given(st.text(max_size=20))
@settings(max_examples=50, deadline=None)
def test_other_texts_stay_as_they_are(text: str) -> None:
    seen = harmless(text)
    assert seen in {text.replace("\0", ""), "'" + text.replace("\0", "")}
    assert seen[:1] not in set("=+-@\t\r\n\0" + WIDE)


def test_numbers_below_zero_stay_numbers() -> None:
    table = declared("t", "T", "a row", "name text : A name\nloss money [money] : A loss\nmoved share [all] : A change")
    filled = Filled(table, ({"name": "-5 %", "loss": Decimal("-12.30"), "moved": -0.25, "notes": None},))
    assert csv_bytes(filled) == b"name,loss,moved,notes\n'-5 %,-12.30,-0.25,\n"


def test_files_hold_the_tables(told: Aggregate, tmp_path: Path) -> None:
    (tmp_path / "aggregate" / "csv").mkdir(parents=True)
    (tmp_path / "aggregate" / "csv" / "gone.csv").write_text("a table of an older version")
    paths = write_spreadsheets(tmp_path, {}, told)
    assert {p.name for p in paths} == {*(f"{n}.csv" for n in told.tables), "behavior-aggregate.xlsx"}
    assert set((tmp_path / "aggregate" / "csv").iterdir()) == set(paths[:-1])
    week = duckdb.connect().execute(f"SELECT week, revenue_net, other_lines FROM '{paths[1]}'").fetchall()
    assert week == [(r["week"], float(r["revenue_net"]), None) for r in told.rows("week")]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "aggregate" / "csv" / "products.csv").read_text())))
    assert "'" + HOSTILE in {r["product"] for r in rows}


def test_the_workbook_has_typed_cells_and_says_what_they_are(told: Aggregate) -> None:
    book = openpyxl.load_workbook(io.BytesIO(workbook_bytes(told)))
    assert book.sheetnames == ["Read me", *told.tables]
    about = [tuple(c for c in row if c) for row in book["Read me"].iter_rows(values_only=True)]
    assert ("SYNTHETIC DATA: a simulated shop, nothing of a real one.",) in about
    described = {row[-1] for row in about if row}
    for name, filled in told.tables.items():
        sheet = book[name]
        assert sheet.freeze_panes == "A2"
        assert all(c.description in described for c in filled.table.columns)
        assert all(c.data_type != "f" for row in sheet.iter_rows() for c in row)
        for row, cells in zip(filled.rows, sheet.iter_rows(min_row=2), strict=True):
            for value, cell in zip(row.values(), cells, strict=True):
                if isinstance(value, date):
                    assert isinstance(cell.value, datetime)
                    assert cell.value.date() == value
                elif isinstance(value, str):
                    assert cell.value == harmless(value)
                else:
                    assert cell.value == (None if value is None else pytest.approx(float(value)))
    # The day of the data, not of the writing.
    assert (book.properties.created, book.properties.modified) == (datetime(2024, 4, 2), datetime(2024, 4, 2))  # noqa: DTZ001
    money = book["week"]["E2"]
    assert (money.number_format, type(money.value)) == ("#,##0.00", float)


def test_the_same_snapshot_gives_the_same_bytes(told: Aggregate, tmp_path: Path) -> None:
    again = aggregate(tmp_path, shop(synthetic=True).write(tmp_path))
    assert workbook_bytes(again) == workbook_bytes(told)
    assert [csv_bytes(f) for f in again.tables.values()] == [csv_bytes(f) for f in told.tables.values()]
