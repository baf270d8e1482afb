"""Just enough of DAX's grammar to see brackets that do not close, functions that are none, and names that are used."""

from __future__ import annotations

import re
from collections.abc import Iterable

_TOKEN = re.compile(r"""
    (?P<text>"(?:[^"]|"")*")
  | (?P<table>'(?:[^']|'')*')
  | (?P<column>\[[^\]]*\])
  | (?P<word>[A-Za-z_@][\w.]*)
  | (?P<number>\d+(?:\.\d+)?)
  | (?P<sign>&&|\|\||<>|<=|>=|[-+*/^&=<>(){},])
  | (?P<blank>\s+)
""", re.VERBOSE)  # fmt: skip
_PAIRS = {")": "(", "}": "{"}
_KEYWORDS = {"VAR", "RETURN", "IN", "NOT", "DAY", "MONTH", "YEAR", "TRUE", "FALSE"}
# The functions that our measures and roles use. A name that is not here is a slip of the pen until it is added.
FUNCTIONS = frozenset("""
    ABS ALL ALLEXCEPT AVERAGE CALCULATE CALCULATETABLE COUNTROWS DATEDIFF DISTINCTCOUNT DIVIDE EDATE EOMONTH FALSE FILTER
    HASONEVALUE IF INTERSECT ISBLANK ISCROSSFILTERED ISEMPTY KEEPFILTERS MAX MIN REMOVEFILTERS SELECTCOLUMNS
    SELECTEDVALUE SUM SUMMARIZE SUMX TRIM UNION USERELATIONSHIP USERPRINCIPALNAME VALUES
""".split())


def _tokens(text: str) -> Iterable[tuple[str, str]]:
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            yield "wrong", text[place]
            place += 1
            continue
        place = found.end()
        if found.lastgroup and found.lastgroup != "blank":
            yield found.lastgroup, found[0]


def wrong(text: str) -> list[str]:
    """What is wrong with an expression's form."""
    found, open_, variables = [], list[str](), set[str]()
    tokens = list(_tokens(text))
    if not tokens:
        return ["no expression"]
    for n, (kind, token) in enumerate(tokens):
        following = tokens[n + 1][1] if n + 1 < len(tokens) else ""
        if kind == "wrong":
            found.append(f"the character {token!r} means nothing here")
        elif token in {"(", "{"}:
            open_.append(token)
        elif token in _PAIRS and (not open_ or open_.pop() != _PAIRS[token]):
            found.append(f"a {token!r} closes nothing")
        elif kind == "word" and n and tokens[n - 1][1].upper() == "VAR":
            variables.add(token)
        elif kind == "word" and following == "(" and token.upper() not in _KEYWORDS - {"FALSE", "TRUE"}:
            if token not in FUNCTIONS:
                found.append(f"{token} is not a function that is known here")
            elif re.search(rf"\b{token}\s+\(", text):
                found.append(f"{token}: a blank before its bracket")
        elif (kind == "word" and following != "[" and token.upper() not in _KEYWORDS and token not in variables
              and token not in _names(tokens)):  # fmt: skip
            found.append(f"{token} is no variable, keyword or table")
    return [*found, *(f"a {c!r} does not close" for c in open_)]


def _names(tokens: list[tuple[str, str]]) -> set[str]:
    """Words that stand where a table's name may: alone between a bracket and a comma or bracket."""
    return {
        token for n, (kind, token) in enumerate(tokens)
        if kind == "word" and 0 < n < len(tokens) - 1 and tokens[n - 1][1] == "(" and tokens[n + 1][1] in {",", ")"}
    }  # fmt: skip


def references(text: str) -> list[tuple[str, str]]:
    """Columns as (table, name) and measures as ('', name)."""
    found, before = [], ("", "")
    for kind, token in _tokens(text):
        if kind == "column":
            table = before[1].strip("'").replace("''", "'") if before[0] in {"table", "word"} else ""
            found.append(("" if table.upper() in _KEYWORDS else table, token[1:-1]))
        before = (kind, token)
    return found


def tables(text: str) -> list[str]:
    """Quoted table names, alone or before a column."""
    return [token[1:-1].replace("''", "'") for kind, token in _tokens(text) if kind == "table"]
