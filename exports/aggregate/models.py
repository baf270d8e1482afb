"""What models tell: units forecast and sold, and every figure by which the serving versions were judged."""

from __future__ import annotations

from exports.aggregate.declare import Filled, declared
from exports.aggregate.guard import MINIMUM, note
from exports.aggregate.shop import Shop

FORECAST = declared("forecast", "Units forecast and sold", "one day, as the serving model told it at one origin", """
    origin date : Last day that was known
    date date : Day that is told
    is_newest text : Yes for the newest origin, whose days lie ahead
    forecast number [units] : Units expected
    lower_80 number [units] : Lower end of the interval that should hold 80 % of days
    upper_80 number [units] : Its upper end
    lower_95 number [units] : Lower end of the interval that should hold 95 % of days
    upper_95 number [units] : Its upper end
    actual int [units] : Units sold, empty until the day is over
""")
QUALITY = declared("model_quality", "How good the models are", "one figure of a serving version, or why none", """
    model text : Name of the model
    version text : Last day of its data and the beginning of its hash
    state text : serving, or why none serves
    trained_on text : Sources and days
    metric text : What is measured
    slice text : Of which rows
    value number [by metric] : Its value
    lower number [by metric] : Lower end of its 95 % interval
    upper number [by metric] : Upper end of it
    baseline text : What it is compared with
    baseline_value number [by metric] : The same of that
""")


def forecast(shop: Shop, days: Filled) -> Filled:
    """Forecasts of all units: the newest origin, and the newest one of which every day is over.

    ``days``: the table `day`; what was sold is what it tells.
    """
    rows = shop.rows("""
        WITH told AS (
            SELECT o.date AS origin, d.date AS date, forecast, lower_80, upper_80, lower_95, upper_95,
                   CAST(actual AS BIGINT) AS actual
            FROM fact_sales_forecast f JOIN dim_date d USING (date_key)
            JOIN dim_date o ON o.date_key = f.origin_date_key JOIN dim_model USING (model_key)
            WHERE level = 'total' AND dim_model.is_champion = 'Yes'
        ), chosen AS (
            SELECT max(origin) AS origin FROM told
            UNION ALL SELECT max(origin) FROM (SELECT origin FROM told GROUP BY 1 HAVING count(*) = count(actual))
        )
        SELECT origin, date, CASE WHEN origin = (SELECT max(origin) FROM told) THEN 'Yes' ELSE 'No' END AS is_newest,
               round(forecast, 2) AS forecast, round(lower_80, 2) AS lower_80, round(upper_80, 2) AS upper_80,
               round(lower_95, 2) AS lower_95, round(upper_95, 2) AS upper_95, actual
        FROM told WHERE origin IN (SELECT DISTINCT origin FROM chosen)
        ORDER BY origin, date""")
    sold = {r["date"]: r["units"] for r in days.rows}
    for row in rows:
        if row["actual"] is None:
            continue
        row["actual"] = sold.get(row["date"])
        if row["actual"] is None:
            note(row, f"fewer than {MINIMUM} buyers, here or in a row told by this one: actual")
    told = tuple({c.name: r.get(c.name) for c in FORECAST.columns} for r in rows)
    if told:
        return Filled(FORECAST, told)
    return Filled(FORECAST, (), {"": _why_none(shop, "sales_forecast")})


def _why_none(shop: Shop, model: str) -> str:
    found = shop.rows("SELECT state, reason FROM dim_model WHERE model = $m ORDER BY model_key LIMIT 1", m=model)
    return f"no version of {model} serves: {found[0]['state']}. {found[0]['reason']}" if found else "never trained"


def quality(shop: Shop) -> Filled:
    """Figures of the versions that serve; models of which none serves, with the reason."""
    rows = shop.rows("""
        SELECT model, version, state, dataset AS trained_on, metric, slice, round(value, 6) AS value,
               round(lower, 6) AS lower, round(upper, 6) AS upper, baseline, round(baseline_value, 6) AS baseline_value,
               CASE WHEN reason <> '' THEN reason END AS notes
        FROM dim_model JOIN model_card USING (model_key)
        WHERE model_key <> -1 AND (is_champion = 'Yes' OR state = 'not enough data')
          AND (model_key, slice) NOT IN (SELECT (model_key, slice) FROM model_card
                                         WHERE metric IN ('rows', 'customers', 'sessions') AND value < $few)
        ORDER BY model, version, metric, slice, baseline""", few=MINIMUM)
    told = tuple({c.name: r.get(c.name) for c in QUALITY.columns} for r in rows)
    return Filled(QUALITY, told, {} if told else {"": "no model was trained yet"})
