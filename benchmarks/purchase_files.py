"""Reads files of purchases as others lay them out: a customer, a date and an amount in every row.

The mark between fields, the columns, the way dates are written and the decimal mark are found from the whole file, and
told. What cannot be told is an error that names the option to give. Days are those written; hours and zones are not
looked at, as the models count days.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from console import refuse

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from pathlib import Path

    from numpy.typing import NDArray

# Names in the order of preference, written without case, spaces and marks.
NAMES = {
    "customer": ("customerid", "customer", "custid", "customernumber", "customername", "userid", "user", "clientid",
                 "client", "buyerid", "memberid", "householdid", "household", "masterid", "visitorid", "email"),
    "date": ("date", "invoicedate", "orderdate", "transactiondate", "purchasedate", "saledate", "eventtime",
             "orderdt", "createdat", "purchasedat", "orderpurchasetimestamp", "timestamp", "datetime",
             "transactiontime", "time", "day", "week"),
    "amount": ("amount", "transactionamount", "purchaseamount", "orderamount", "totalamount", "amountspent", "revenue",
               "totalprice", "ordertotal", "ordervalue", "linetotal", "total", "value", "monetary", "monetaryvalue",
               "spend", "spent", "sales", "salesvalue", "netsales", "transactionvalue", "paymentvalue", "dollars"),
    "price": ("unitprice", "price", "itemprice"),
    "quantity": ("quantity", "qty", "units", "cds", "totalqty", "totalitems", "items"),
}  # fmt: skip
# Where no name is known, the only column whose name holds one of these is meant.
HINTS = {"customer": ("cust", "client", "user", "buyer", "member"), "date": ("date", "time"),
         "amount": ("amount", "value", "revenue", "spen", "total", "sales")}  # fmt: skip
NEVER = ("qty", "quantity", "item", "unit", "count", "discount", "tax", "vat", "fee", "ship", "lifetime")  # no amount
WANTED = ("customer", "date", "amount")
# Files without names: which fields are customer, date and amount. Four and five are the layouts of CDNOW.
PLACES = {3: (0, 1, 2), 4: (0, 1, 3), 5: (0, 2, 4)}
# Month first stands before day first: where no date tells which, it is read so, and told.
FORMATS = ("%Y-%m-%d", "%Y%m%d", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%Y/%m/%d", "%d.%m.%Y", "%Y.%m.%d",
           "%d.%m.%y", "%m-%d-%Y", "%d-%m-%Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
           "%b %d %Y", "%y/%m/%d", "%y-%m-%d", "%y%m%d")  # fmt: skip
# The text of a day: without hours, fractions and zones; seconds and milliseconds since 1970 as a day.
_DAY = r"""CASE WHEN regexp_full_match(date, '1\d{9}(\d{3})?')
    THEN strftime(make_timestamp(left(date, 10)::BIGINT * 1000000), '%Y%m%d')
    WHEN regexp_full_match(date, '[12]\d{13}') THEN left(date, 8)
    ELSE trim(regexp_replace(date, '[T ]\s*\d{1,2}:\d{2}.*$', '')) END"""
_YEARS = (1970, date.today().year + 1)  # noqa: DTZ011 - what is yet to come was not bought
MOST_UNREADABLE = 0.05
NOBODY = ("", "na", "n/a", "null", "nan", "none", "<na>", "nat")


@dataclass(frozen=True)
class Purchases:
    """Purchases [m]: customers as numbers, days since 1970, amounts; and how the file was read, in sentences."""

    customer: NDArray[np.int64]
    day: NDArray[np.int64]
    amount: NDArray[np.float64]
    notes: list[str]


def read(path: Path, columns: dict[str, str] | None = None, date_format: str | None = None) -> Purchases:
    """Purchases of a file. ``columns`` names the customer's, the date's and the amount's where their names do not.

    Raises SystemExit, with what to do, for a file that cannot be read or of which more than one row in twenty cannot.
    """
    notes: list[str] = []
    con = duckdb.connect()
    con.execute("SET threads = 1")  # row numbers in the order of the file
    _load(con, path, columns or {}, notes)
    day = _dates(con, path, date_format, notes)
    amount = _numbers(con, "amount", notes)
    con.execute(
        f"CREATE TABLE d AS SELECT n, regexp_replace(customer, '^(\\d+)\\.0$', '\\1') AS customer, {day} AS day, "
        f"{amount} AS amount, lower(coalesce(customer, '')) IN {NOBODY} AS nobody FROM t"
    )
    _judge(con, path, notes)
    good = con.execute(
        "SELECT dense_rank() OVER (ORDER BY customer) AS customer, (day - DATE '1970-01-01')::BIGINT AS day, amount "
        "FROM d WHERE NOT nobody AND day IS NOT NULL AND amount >= 0 AND isfinite(amount)"
    ).fetchnumpy()
    if not len(good["day"]):
        refuse(" ".join([f"{path.name}: no row is a purchase, with a customer, a date and an amount.", *notes]))
    found = (good["customer"].astype(np.int64), good["day"].astype(np.int64), good["amount"].astype(np.float64))
    return Purchases(*found, notes)


def _load(con: duckdb.DuckDBPyConnection, path: Path, columns: dict[str, str], notes: list[str]) -> None:
    """Table t: the row's number, customer, date and amount as they are written."""
    encoding = _encoding(path, notes)
    with path.open(encoding=encoding) as file:
        first = next((line for line in file if line.strip()), "")
    if not first:
        refuse(f"{path.name}: the file is empty.")
    if mark := _mark(first):
        try:
            con.execute(
                "CREATE TABLE raw AS SELECT * FROM read_csv($path, all_varchar = true, header = false, delim = $mark, "
                "quote = '\"', encoding = $encoding, null_padding = true, strict_mode = false)",
                {"path": str(path), "mark": mark, "encoding": encoding.removesuffix("-sig")},
            )
        except duckdb.Error as e:
            refuse(f"{path.name}: {str(e).splitlines()[0]}")
    else:
        rows = [line.split() for line in path.read_text(encoding).splitlines() if line.strip()]
        wrong = next((n for n, r in enumerate(rows, 1) if len(r) != len(rows[0])), 0)
        if wrong:
            refuse(f"{path.name}, row {wrong}: {len(rows[wrong - 1])} fields, but {len(rows[0])} in the first row.")
        fields = ", ".join(f"unnest(${n}) AS c{n}" for n in range(1, len(rows[0]) + 1))
        con.execute(f"CREATE TABLE raw AS SELECT {fields}", [list(c) for c in zip(*rows, strict=True)])
    header = [str(v or "").strip() for v in con.execute("SELECT * FROM raw LIMIT 1").fetchall()[0]]
    names = [f'"{d[0]}"' for d in con.execute("SELECT * FROM raw LIMIT 0").description or []]
    named = any(_bare(field) in known for field in header for known in NAMES.values()) or not any(
        re.match(r"[^\w]*\d", field) for field in header
    )
    if columns and not named:
        refuse(f"{path.name}: the first row names no columns, so --{next(iter(columns))} has nothing to choose from.")
    picked = _columns(path, header, columns) if named else _places(path, header)
    told = ", ".join(f"{what} {header[n] if named else f'field {n + 1}'}" for what, n in picked.items())
    notes.append(f"Columns: {told}.")
    chosen = ", ".join(f"trim({names[n]}) AS {what}" for what, n in picked.items())
    con.execute(
        f"CREATE TABLE t AS SELECT * FROM (SELECT row_number() OVER () AS n, {chosen} FROM raw) WHERE n > {int(named)}"
    )
    if not con.execute("SELECT count(*) FROM t").fetchall()[0][0]:
        refuse(f"{path.name}: there are no rows below the names.")
    if "price" in picked:
        price, quantity = _numbers(con, "price", notes), _numbers(con, "quantity", notes)
        con.execute("ALTER TABLE t ADD COLUMN amount VARCHAR")
        con.execute(f"UPDATE t SET amount = (({price}) * ({quantity}))::VARCHAR")


def _encoding(path: Path, notes: list[str]) -> str:
    with path.open("rb") as raw:
        begin = raw.read(4)
    if begin.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        refuse(f"{path.name}: the file is compressed, or a workbook. Unpack it, or save it as CSV.")
    if begin.startswith((b"\xff\xfe", b"\xfe\xff")):
        refuse(f"{path.name}: the text is UTF-16. Convert it, as by: iconv -f utf-16 -t utf-8")
    try:
        with path.open(encoding="utf-8") as file:
            while file.read(1 << 20):
                pass
    except UnicodeDecodeError:
        notes.append("The text is not UTF-8; it is read as Latin-1.")
        return "latin-1"
    return "utf-8-sig"


def _mark(first: str) -> str:
    """What stands between fields: the mark that cuts the first line most often; white space where none does."""
    counts = {mark: first.count(mark) for mark in ("\t", ";", "|", ",")}
    best = max(counts, key=lambda m: counts[m])
    alone = best == "," and counts[best] == 1 and len(first.split()) in PLACES  # of an amount between white space
    return best if counts[best] and not alone else ""


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _columns(path: Path, header: list[str], asked: dict[str, str]) -> dict[str, int]:
    """Places of the columns in a file that names them; price and quantity where there is no amount."""
    plain, found = [_bare(name) for name in header], _named(path, header, asked)
    _hint("customer", plain, found)
    if "customer" not in found and "id" in plain:
        found["customer"] = plain.index("id")
    _hint("date", plain, found)
    wanted: tuple[str, ...] = WANTED
    if "amount" not in found and {"price", "quantity"} <= found.keys():
        wanted = (*WANTED[:2], "price", "quantity")
    elif "amount" not in found and "price" in found:
        found["amount"] = found["price"]
    else:
        _hint("amount", plain, found)
    if missing := [what for what in wanted if what not in found]:
        options = " ".join(f"--{what} COLUMN" for what in missing)
        refuse(f"{path.name}: no column is known as {' or '.join(missing)}; give {options}. "
               f"The file has {', '.join(header)}")  # fmt: skip
    return {what: found[what] for what in wanted}


def _named(path: Path, header: list[str], asked: dict[str, str]) -> dict[str, int]:
    """Places of the columns that are asked for, or whose names are known."""
    plain, lower = [_bare(name) for name in header], [name.lower() for name in header]
    found: dict[str, int] = {}
    for what, known in NAMES.items():
        if name := asked.get(what):
            if name.lower() not in lower:
                refuse(f"{path.name}: --{what} {name}: there is no such column; there are {', '.join(header)}")
            found[what] = lower.index(name.lower())
        elif name := next((n for n in known if n in plain), ""):
            found[what] = plain.index(name)
    return found


def _hint(what: str, plain: list[str], found: dict[str, int]) -> None:
    """The only column whose name says something of the kind, where it is no other; nothing to do where one is known."""
    if what in found:
        return
    meant = [at for at, name in enumerate(plain) if at not in found.values() and any(h in name for h in HINTS[what])
             and not (what == "amount" and any(n in name for n in NEVER))]  # fmt: skip
    if len(meant) == 1:
        found[what] = meant[0]


def _places(path: Path, fields: list[str]) -> dict[str, int]:
    """Places of the columns in a file that names none."""
    if len(fields) not in PLACES:
        refuse(f"{path.name}: {len(fields)} fields without names. Wanted are names in the first row, or 3 fields "
               "(customer date amount), 4 (customer date quantity amount) or 5 (as in CDNOW's sample).")  # fmt: skip
    return dict(zip(WANTED, PLACES[len(fields)], strict=True))


def _dates(con: duckdb.DuckDBPyConnection, path: Path, date_format: str | None, notes: list[str]) -> str:
    """SQL that reads the dates in the one way that fits most of them."""
    con.execute("CREATE TABLE dates AS SELECT date, count(*) AS rows FROM t GROUP BY 1")

    def reading(form: str) -> str:
        form = form.replace("'", "''")
        found = f"try_strptime({_DAY}, '{form}')::DATE"
        return f"CASE WHEN year({found}) BETWEEN {_YEARS[0]} AND {_YEARS[1]} THEN {found} END"

    def fits(form: str) -> int:
        found = con.execute(f"SELECT sum(rows) FILTER (WHERE {reading(form)} IS NOT NULL) FROM dates").fetchall()
        return int(found[0][0] or 0)

    if date_format:
        form = re.sub(r"[T ]?%[HI].*$", "", date_format)  # as hours are cut off
        try:
            fitting = fits(form)
        except duckdb.Error as e:
            refuse(f"--date-format {date_format}: {str(e).splitlines()[0]}")
        if not fitting:
            refuse(f"{path.name}: --date-format {date_format} fits no date.")
        return reading(form)
    counts = {form: fits(form) for form in FORMATS}
    best = max(FORMATS, key=lambda form: counts[form])
    if not counts[best]:
        refuse(f"{path.name}: no date is written in a known way ({', '.join(FORMATS)}); give --date-format")
    alike = [form for form in FORMATS if counts[form] == counts[best] and form != best]
    also = f"; {' or '.join(alike)} would fit as well (--date-format)" if alike else ""
    notes.append(f"Dates are read as {best}{also}.")
    return reading(best)


def _numbers(con: duckdb.DuckDBPyConnection, column: str, notes: list[str]) -> str:
    """SQL that reads a column of numbers: signs of currency are cut off, the decimal mark is found from all of them.

    What is written as thousands (1.5k), or on one side of an account (DR), is not read; a minus may stand behind.
    """
    bare = f"replace({column}, '\u2212', '-')"
    bare = f"regexp_replace(regexp_replace({bare}, '[A-Za-z]+\\.?', '', 'g'), '[^0-9.,()+-]', '', 'g')"
    bare = f"regexp_replace({bare}, '^\\((.*)\\)$', '-\\1')"  # as accountants write what is owed
    bare = f"regexp_replace({bare}, '^([0-9.,]+)-$', '-\\1')"
    exact = (f"WHEN regexp_matches({column}, '^[+-]?[0-9.]+[eE][+-]?[0-9]+$') THEN try_cast({column} AS DOUBLE) "
             f"WHEN regexp_matches({column}, '[0-9] *([kKmMbB]|[cCdD][rR])\\.?$') THEN NULL")  # fmt: skip
    commas, points, either = con.execute(
        f"SELECT count(*) FILTER (WHERE regexp_matches(v, ',(\\d{{1,2}}|\\d{{4,}})$')), "
        f"count(*) FILTER (WHERE regexp_matches(v, '\\.(\\d{{1,2}}|\\d{{4,}})$')), "
        f"max(regexp_extract(v, '^[+-]?\\d{{1,3}}([.,])\\d{{3}}$', 1)) FROM (SELECT {bare} AS v FROM t)"
    ).fetchall()[0]
    digits = f"replace({bare}, ',', '')"
    if commas > points:
        notes.append(f"A comma is the decimal mark of {column}.")
        digits = f"replace(replace({bare}, '.', ''), ',', '.')"
    elif either and not commas and not points:  # 15,510 and 15.510 may both be fifteen or fifteen thousand
        meant = "thousands" if either == "," else "a decimal mark"
        notes.append(f"In {column}, {either!r} is taken for {meant}; all have three digits behind it.")
    return f"CASE {exact} ELSE try_cast({digits} AS DOUBLE) END"


def _judge(con: duckdb.DuckDBPyConnection, path: Path, notes: list[str]) -> None:
    """Tell what is left out, and refuse a file that is not understood."""
    query = """SELECT count(*), count(*) FILTER (WHERE nobody),
        count(*) FILTER (WHERE NOT nobody AND (day IS NULL OR amount IS NULL OR NOT isfinite(amount))),
        min(n) FILTER (WHERE NOT nobody AND day IS NULL),
        min(n) FILTER (WHERE NOT nobody AND (amount IS NULL OR NOT isfinite(amount))),
        count(*) FILTER (WHERE NOT nobody AND amount < 0) FROM d"""
    rows, nobody, unreadable, day, amount, refunds = (int(v or 0) for v in con.execute(query).fetchall()[0])
    # The number of a row counts the row of names.
    where = " and ".join(f"the {what} of row {n:,}" for what, n in (("date", day), ("amount", amount)) if n)
    if unreadable > MOST_UNREADABLE * max(rows - nobody, 1):
        refuse(f"{path.name}: {unreadable:,} of {rows - nobody:,} rows with a customer cannot be read, first {where}. "
               "Mend them, or tell what they are: --date COLUMN, --amount COLUMN, --date-format FORMAT")  # fmt: skip
    for count, what in ((nobody, "have no customer"), (refunds, "are refunds, with an amount below 0"),
                        (unreadable, f"cannot be read (first {where})")):  # fmt: skip
        if count:
            notes.append(f"{count:,} of {rows:,} rows {what}: left out.")


def known_options(parser: ArgumentParser) -> None:
    """Options that say what the file does not."""
    for what in WANTED:
        parser.add_argument(f"--{what}", metavar="COLUMN", help=f"column of the {what}, where its name does not tell")
    parser.add_argument("--date-format", metavar="FORMAT", help="as %%d/%%m/%%Y, where the dates do not tell")
