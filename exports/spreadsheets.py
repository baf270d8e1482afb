"""The aggregate profile for spreadsheets: a CSV file per table and one Excel workbook.

XlsxWriter writes the workbook: it only writes, needs nothing else, and gives the same bytes for the same cells. CSV is
UTF-8 without a mark, with a point in decimals, for programs; people open the workbook.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from exports.aggregate import MINIMUM, Aggregate, Column, Filled, Value, aggregate
from resources.disk import disk_errors, draft_of, make_folder
from resources.failpoints import reach

FOLDER = "aggregate"
WORKBOOK = "behavior-aggregate.xlsx"
README = "Read me"

# What a spreadsheet takes for a formula, also where it comes full-width or as the sign of mathematics.
_FORMULA = frozenset("=+-@\u2212\t\r\n\0")
_FORMATS = {"date": "yyyy-mm-dd", "int": "#,##0", "money": "#,##0.00", "number": "#,##0.00##", "share": "0.0%"}
_PRIVACY = ("No row is of a customer, a session or an order; figures of fewer than "
            f"{MINIMUM} customers are blank or folded into 'other'.")  # fmt: skip
_WIDEST, _NARROWEST = 60, 10


def write_spreadsheets(exports: Path, manifest: Mapping[str, Any], told: Aggregate | None = None) -> list[Path]:
    """Write ``aggregate/csv/<table>.csv`` and the workbook of a snapshot, each in one step; their paths.

    ``told`` spares computing the profile again. Files of tables that are no longer declared are removed.
    """
    told = told or aggregate(exports, manifest)
    folder = exports / FOLDER / "csv"
    written = []
    with disk_errors(exports / FOLDER):
        make_folder(folder)
        for name, filled in told.tables.items():
            written.append(folder / f"{name}.csv")
            with draft_of(written[-1]) as draft:
                reach("outlet.file")
                draft.write_bytes(csv_bytes(filled))
        for old in set(folder.glob("*.csv")) - set(written):
            old.unlink()
        written.append(exports / FOLDER / WORKBOOK)
        with draft_of(written[-1]) as draft:
            reach("outlet.file")
            draft.write_bytes(workbook_bytes(told))
    return written


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe before what could begin one, no NUL inside."""
    clean = text.replace("\0", "")
    seen = unicodedata.normalize("NFKC", text.lstrip(" \u00a0\u200b\ufeff"))[:1]
    return f"'{clean}" if text[:1] in _FORMULA or seen in _FORMULA else clean


def csv_bytes(filled: Filled) -> bytes:
    """A table as CSV: a header, dates as yyyy-mm-dd, empty cells where a figure is blank."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    names = [c.name for c in filled.table.columns]
    writer.writerow(names)
    writer.writerows([_cell(row[n]) for n in names] for row in filled.rows)
    return out.getvalue().encode()


def _cell(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, date):
        return value.isoformat()
    return harmless(value) if isinstance(value, str) else str(value)


def workbook_bytes(told: Aggregate) -> bytes:
    """The workbook: a sheet of definitions, then a sheet for each table, with typed cells and a frozen header."""
    import xlsxwriter

    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(out, options) as book:
        # The day of the data, not of the writing: the same snapshot gives the same bytes.
        day = told.data_through
        book.set_properties({"title": "Behavior Lakehouse, aggregate profile", "comments": f"Snapshot {told.snapshot}",
                             "created": datetime(day.year, day.month, day.day)})  # noqa: DTZ001 # fmt: skip
        styles = {kind: book.add_format({"num_format": form}) for kind, form in _FORMATS.items()}
        styles |= {"head": book.add_format({"bold": True, "bottom": 1}), "title": book.add_format({"bold": True}),
                   "wrap": book.add_format({"text_wrap": True, "valign": "top"})}  # fmt: skip
        _read_me(book.add_worksheet(README), told, styles)
        for name, filled in told.tables.items():
            _sheet(book.add_worksheet(name), filled, styles)
    return out.getvalue()


def _sheet(sheet: Any, filled: Filled, styles: Mapping[str, Any]) -> None:
    columns = filled.table.columns
    sheet.freeze_panes(1, 0)
    for at, column in enumerate(columns):
        sheet.write_string(0, at, column.name, styles["head"])
        shown = [len(str(r[column.name])) for r in filled.rows if r[column.name] is not None]
        sheet.set_column(at, at, min(max([_NARROWEST, len(column.name) + 2, *(n + 2 for n in shown)]), _WIDEST))
        for number, row in enumerate(filled.rows, 1):
            _write(sheet, number, at, row[column.name], column, styles)
    if filled.rows:
        sheet.autofilter(0, 0, len(filled.rows), len(columns) - 1)


def _write(sheet: Any, row: int, at: int, value: Value, column: Column, styles: Mapping[str, Any]) -> None:
    if value is None:
        return
    style = styles.get(column.kind)
    if isinstance(value, str):
        sheet.write_string(row, at, harmless(value))
    elif isinstance(value, date):
        sheet.write_datetime(row, at, datetime(value.year, value.month, value.day), style)  # noqa: DTZ001
    else:
        sheet.write_number(row, at, float(value) if isinstance(value, Decimal) else value, style)


def _read_me(sheet: Any, told: Aggregate, styles: Mapping[str, Any]) -> None:
    """What the workbook holds, of what, and what every column means."""
    sheet.set_column(0, 0, 22)
    sheet.set_column(1, 1, 26)
    sheet.set_column(2, 2, 24)
    sheet.set_column(3, 3, 100)
    lines: list[tuple[str, ...]] = [("Behavior Lakehouse: aggregate profile",)]
    if told.synthetic:
        lines.append(("SYNTHETIC DATA: a simulated shop, nothing of a real one.",))
    lines += [
        ("Snapshot", told.snapshot), ("Data", f"{told.first_day} to {told.data_through}"),
        ("Sources", harmless(", ".join(told.sources))),
        ("Privacy", _PRIVACY),
        ("Bots", "Visitors that say they are programs are left out of sessions; orders count whoever placed them."),
        ("Blank", "A blank figure is not known; it is never 0. The column notes, or the sheet blanks, says why."),
        ("Money", "In the shop's currency, as delivered; nothing is converted."),
        (), ("Sheet", "Column", "Unit", "Meaning"),
    ]  # fmt: skip
    for filled in told.tables.values():
        lines.append((filled.table.name, "", "", f"{filled.table.title}. One row is {filled.table.grain}."))
        lines += [("", c.name, c.unit, c.description) for c in filled.table.columns]
    for number, line in enumerate(lines):
        for at, text in enumerate(line):
            first = number == 0 or line[0] in {"Sheet", *told.tables} or text.startswith("SYNTHETIC")
            sheet.write_string(number, at, text, styles["title"] if first else None)
