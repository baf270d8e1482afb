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
FUNCTIONS = frozenset({
    "ABS", "ALL", "ALLEXCEPT", "AVERAGE", "CALCULATE", "CALCULATETABLE", "COUNTROWS", "DATEDIFF", "DISTINCTCOUNT",
    "DIVIDE", "EDATE", "EOMONTH", "FALSE", "FILTER", "HASONEVALUE", "IF", "INTERSECT", "ISBLANK", "ISFILTERED",
    "ISEMPTY", "KEEPFILTERS", "MAX", "MIN", "MINX", "REMOVEFILTERS", "SELECTCOLUMNS", "SELECTEDVALUE", "SUM",
    "SUMMARIZE", "SUMX", "TRIM", "UNION", "USERELATIONSHIP", "USERPRINCIPALNAME", "VALUES",
})  # fmt: skip


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
    tokens = list(_tokens(text))
    if not tokens:
        return ["no expression"]
    return [*_brackets(tokens), *_words(text, tokens)]


def _brackets(tokens: list[tuple[str, str]]) -> Iterable[str]:
    open_: list[str] = []
    for kind, token in tokens:
        if kind == "wrong":
            yield f"the character {token!r} means nothing here"
        elif token in _PAIRS.values():
            open_.append(token)
        elif token in _PAIRS and (not open_ or open_.pop() != _PAIRS[token]):
            yield f"a {token!r} closes nothing"
    yield from (f"a {c!r} does not close" for c in open_)


def _words(text: str, tokens: list[tuple[str, str]]) -> Iterable[str]:
    """Functions that are none, and words that are neither variable, keyword nor table."""
    before = [("", ""), *tokens]
    variables = {token for (_, var), (_, token) in zip(before, tokens, strict=False) if var.upper() == "VAR"}
    known = variables | _names(tokens)
    for (kind, token), (_, following) in zip(tokens, [*tokens[1:], ("", "")], strict=True):
        if kind != "word" or token.upper() in _KEYWORDS or token in known:
            continue
        if following == "(" and token not in FUNCTIONS:
            yield f"{token} is not a function that is known here"
        elif following == "(" and re.search(rf"\b{token}\s+\(", text):
            yield f"{token}: a blank before its bracket"
        elif following != "(" and not following.startswith("["):
            yield f"{token} is no variable, keyword or table"


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
