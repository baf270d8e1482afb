"""Forecasts beside what came: of the serving version, at one level, each day told once."""

from __future__ import annotations

from exports.measures.measure import CHANGE, NUMBER, SHARE, Measure

_T, _F, _GOOD = "fact_sales_forecast", "Forecast", "Forecast\\How good"
_SERVING = "KEEPFILTERS('Prediction Model'[Serving] = \"Yes\")"
_LEVEL = "VAR _Level = IF(ISFILTERED('Category'), \"category\", \"total\")\n"
_AT_LEVEL = "KEEPFILTERS('Sales Forecasts'[Level] = _Level)"
_NONE = "where nothing is forecast: no model could be made, or a shop without categories has one chosen"
_ONE = (
    "HASONEVALUE('Date'[Date Key]) && (NOT ISFILTERED('Category') || HASONEVALUE('Category'[Category Key]))"
)
_OVER = "NOT ISBLANK('Sales Forecasts'[Actual])"


def _newest(name: str, column: str, field: str, description: str, *, over: bool = False) -> Measure:
    """A sum over days, each as told at the newest origin before it; with ``over`` of days that are over only."""
    more = f", KEEPFILTERS({_OVER})" if over else ""
    dax = (
        f"{_LEVEL}RETURN SUMX(VALUES('Sales Forecasts'[Date Key]), "
        f"VAR _Origin = CALCULATE(MAX('Sales Forecasts'[Origin Date Key]), {_SERVING}, {_AT_LEVEL}{more}) "
        f"RETURN CALCULATE(SUM('Sales Forecasts'[{column}]), {_SERVING}, {_AT_LEVEL}{more}, "
        "KEEPFILTERS('Sales Forecasts'[Origin Date Key] = _Origin)))"
    )
    where = " WHERE actual IS NOT NULL" if over else ""
    sql = (
        f"SELECT sum({field}) FROM (SELECT *, max(origin_date_key) OVER (PARTITION BY date_key) AS newest "
        f"FROM {{fact_sales_forecast|level|serving}}{where}) WHERE origin_date_key = newest"
    )
    return Measure(name, _T, _F, NUMBER, description, dax, sql, _NONE)


def _bound(side: str, share: int) -> Measure:
    """One end of an interval: of one day only, since ends of days do not add up."""
    column, field = f"{side} {share}", f"{side.lower()}_{share}"
    told = _newest(f"Forecast {column}", column, field,
                   f"{side} end of the interval that should hold {share} % of days; of a single day, and of all "
                   "categories or a single one.")  # fmt: skip
    return Measure(
        told.name, _T, _F, NUMBER, told.description,
        told.dax.replace("RETURN SUMX", f"RETURN IF({_ONE}, SUMX", 1) + ")",
        f"CASE WHEN (SELECT count(*) FROM {{dates}}) = 1 AND (SELECT count(*) FROM {{dim_category}}) IN "
        f"(1, (SELECT count(*) FROM dim_category)) THEN ({told.sql}) END",
        "with more than one day, or with several categories, chosen: ends of intervals do not add up",
    )  # fmt: skip


def _of_pairs(
    name: str, upper: str, upper_sql: str, description: str, shown: str, *, by_origin: bool = False
) -> Measure:
    """A share over all pairs of an origin and a day that is over."""
    role = ":origin_date_key" if by_origin else ""
    use = ", USERELATIONSHIP('Sales Forecasts'[Origin Date Key], 'Date'[Date Key])" if by_origin else ""
    return Measure(
        name, _T, _GOOD, shown, description,
        f"{_LEVEL}RETURN CALCULATE({upper}, {_SERVING}, {_AT_LEVEL}, KEEPFILTERS({_OVER}){use})",
        f"SELECT {upper_sql} FROM {{fact_sales_forecast|level|serving{role}}} WHERE actual IS NOT NULL",
        "where no forecast day is over",
    )  # fmt: skip


_SOLD = "SUM('Sales Forecasts'[Actual])"
_APART = "SUMX('Sales Forecasts', ABS('Sales Forecasts'[Forecast] - 'Sales Forecasts'[Actual]))"
_WAPE = (f"DIVIDE({_APART}, {_SOLD})", "sum(abs(forecast - actual)) / nullif(sum(actual), 0)")
_HELD = (
    "'Sales Forecasts'[Lower 80] <= 'Sales Forecasts'[Actual] && "
    "'Sales Forecasts'[Actual] <= 'Sales Forecasts'[Upper 80]"
)
_INSIDE = (
    f"DIVIDE(COUNTROWS(FILTER('Sales Forecasts', {_HELD})) + 0, COUNTROWS('Sales Forecasts'))",
    "count(*) FILTER (lower_80 <= actual AND actual <= upper_80) / nullif(count(*), 0)",
)
_CHOOSE = "choose a horizon with Horizon Days"

MEASURES = (
    _newest("Forecast Units", "Forecast", "forecast",
            "Units forecast for the chosen days, each day as told last before it."),
    _newest("Actual Units", "Actual", "actual", "Units sold on the days that were forecast."),
    _newest("Forecast Units of Past Days", "Forecast", "forecast",
            "Units forecast for those of the chosen days that are over.", over=True),
    _bound("Lower", 80), _bound("Upper", 80), _bound("Lower", 95), _bound("Upper", 95),
    Measure("Forecast vs Actual", _T, _F, CHANGE, "Units forecast for past days against units sold, as a share.",
            "DIVIDE([Forecast Units of Past Days] - [Actual Units], [Actual Units])",
            "([Forecast Units of Past Days] - [Actual Units]) / nullif([Actual Units], 0)",
            "where no forecast day is over"),
    _of_pairs("Forecast Bias",
              f"DIVIDE(SUM('Sales Forecasts'[Forecast]) - {_SOLD}, {_SOLD})",
              "(sum(forecast) - sum(actual)) / nullif(sum(actual), 0)",
              f"Forecast less actual, of actual, over all origins of past days (above 0: too much); {_CHOOSE}.",
              CHANGE),
    _of_pairs("Forecast Error", *_WAPE,
              f"Absolute error per unit sold (WAPE), over all origins of past days; {_CHOOSE}.", SHARE),
    _of_pairs("Forecast Error by Origin", *_WAPE,
              f"Absolute error per unit sold (WAPE), the chosen days being those it was told on; {_CHOOSE}.", SHARE,
              by_origin=True),
    _of_pairs("Days within 80 % Interval", *_INSIDE,
              "Past days whose units lay within the interval, of all: near 80 % is right.", SHARE),
)  # fmt: skip
