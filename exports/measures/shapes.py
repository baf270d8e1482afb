"""Shapes that measures share: rates, what only some sources can tell, and figures of other days."""

from __future__ import annotations

from dataclasses import dataclass

from exports.measures.measure import CHANGE, SHARE, Measure

# What a source must tell for a figure to have a meaning: the column of dim_source.
CAPABILITIES = {
    "prices": ("has_price", "Has Price"), "views": ("has_views", "Has Views"), "carts": ("has_cart", "Has Cart"),
    "checkouts": ("has_checkout", "Has Checkout"), "refunds": ("has_refunds", "Has Refunds"),
}  # fmt: skip
_SAID = {"views": "browsing"}  # capabilities whose name is not the word for them
NOTHING = "where there are none"


@dataclass(frozen=True)
class NoSource:
    """Why a measure tells nothing: there is nothing, or no source tells all of the capabilities that it ``needs``."""

    needs: tuple[str, ...]

    @property
    def lacking(self) -> str:
        """The second reason alone."""
        words = " and ".join(_SAID.get(n, n) for n in self.needs)
        return f"where no source tells {'both ' if len(self.needs) > 1 else ''}{words}"

    def __str__(self) -> str:
        """Both reasons."""
        return f"{NOTHING}, or {self.lacking}"


def no_source(*needs: str) -> NoSource:
    """The reason of a measure that needs all of these capabilities."""
    return NoSource(needs)


def told(capability: str) -> str:
    """The DAX filter that keeps those sources only that can tell something."""
    return f"KEEPFILTERS('Source'[{CAPABILITIES[capability][1]}] = \"Yes\")"


def of_sources(dax: str, capability: str, *more: str) -> str:
    """A DAX expression over those sources only that can tell something, under more filters."""
    return f"CALCULATE({', '.join((dax, *more, told(capability)))})"


def money_per(upper: str, lower: str) -> str:
    """SQL of money per something: Power BI's fixed decimals keep four places."""
    return f"round({upper} / nullif({lower}, 0), 4)"


def rate(
    name: str, table: str, folder: str, parts: tuple[str, str], description: str, blank: str | NoSource = "",
    capability: str = "", shown: str = SHARE,
) -> Measure:  # fmt: skip
    """One measure per another. Nothing of something is 0, anything of nothing is blank."""
    upper, lower = parts
    dax = f"DIVIDE([{upper}] + 0, [{lower}])"
    only = f"|{capability}" if capability else ""
    return Measure(
        name, table, folder, shown, description, of_sources(dax, capability) if capability else dax,
        f"coalesce([{upper}{only}], 0) / nullif([{lower}{only}], 0)", blank,
    )  # fmt: skip


_CHOSEN = (
    "VAR _Through = [Data Through]\n"
    "VAR _Chosen = FILTER(VALUES('Date'[Date]), 'Date'[Date] <= _Through)\n"
)  # fmt: skip
_ANCHOR = (
    "VAR _Through = [Data Through]\n"
    "VAR _Anchor = MIN(MAX('Date'[Date]), _Through)\n"
)  # fmt: skip
_WEEK = "SELECTCOLUMNS(_Chosen, \"Day\", 'Date'[Date] - 7)"
# A month's end is a month's end a year before as well, so that a whole February meets a whole February.
_YEAR = (
    "UNION(SELECTCOLUMNS(_Chosen, \"Day\", EDATE('Date'[Date], -12)), SELECTCOLUMNS(FILTER(_Chosen, "
    "'Date'[Date] = EOMONTH('Date'[Date], 0)), \"Day\", EOMONTH('Date'[Date], -12)))"
)
_FIRST = "MINX(_Chosen, 'Date'[Date])"
_SHIFTED = {  # window: which days are meant, the first of them, and what that is in words
    "week_before": (_WEEK, f"{_FIRST} - 7", "seven days before", "Previous Week"),
    "year_before": (_YEAR, f"EDATE({_FIRST}, -12)", "a year before", "Previous Year"),
}
_RUNNING = {  # window: from which day to the last one chosen, and what that is in words
    "rolling_7": ("_Anchor - 7", "the 7 days up to the last chosen day that has data", "Rolling 7 Days"),
    "rolling_28": ("_Anchor - 28", "the 28 days up to the last chosen day that has data", "Rolling 28 Days"),
    "month_to_date": ("EOMONTH(_Anchor, -1)", "the month up to the last chosen day that has data", "Month to Date"),
}


def before(base: Measure, window: str) -> Measure:
    """A measure of the chosen days, but a week or a year before."""
    moved, first, words, label = _SHIFTED[window]
    return Measure(
        f"{base.name} {label}", base.table, f"{base.folder}\\Over time", base.format,
        f"{base.name} of the days {words} the chosen ones; days that are not over do not count.",
        f"{_CHOSEN}RETURN IF({first} >= [Data From], CALCULATE([{base.name}], REMOVEFILTERS('Date'), "
        f"INTERSECT(ALL('Date'[Date]), {moved})))",
        f"[{base.name}@{window}]", "where some of those days lie before the first day of data",
    )  # fmt: skip


def change(base: Measure, window: str, label: str) -> Measure:
    """How much a measure has changed against a week or a year before, as a share."""
    earlier = f"{base.name} {_SHIFTED[window][3]}"
    return Measure(
        f"{base.name} {label}", base.table, f"{base.folder}\\Over time", CHANGE,
        f"Change of {base.name} against the days {_SHIFTED[window][2]}, as a share of what it was.",
        f"VAR _Now = [{base.name}]\nVAR _Earlier = [{earlier}]\n"
        "RETURN IF(NOT ISBLANK(_Now), DIVIDE(_Now - _Earlier, _Earlier))",
        f"[{base.name}] / nullif([{earlier}], 0) - 1", "where one of both is not known",
    )  # fmt: skip


def running(base: Measure, window: str) -> Measure:
    """A measure of the days up to the last chosen one that has data."""
    since, words, label = _RUNNING[window]
    return Measure(
        f"{base.name} {label}", base.table, f"{base.folder}\\Over time", base.format, f"{base.name} of {words}.",
        f"{_ANCHOR}RETURN IF(MIN('Date'[Date]) <= _Through, CALCULATE([{base.name}], "
        f"REMOVEFILTERS('Date'), FILTER(ALL('Date'[Date]), 'Date'[Date] > {since} && 'Date'[Date] <= _Anchor)))",
        f"[{base.name}@{window}]", "where all chosen days are still to come",
    )  # fmt: skip
