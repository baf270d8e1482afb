"""Who the customers are and what is expected of them: segments at a month's end, churn, value."""

from __future__ import annotations

from exports.measures.measure import MONEY, NUMBER, SHARE, WHOLE, Measure

_T, _F, _VALUE = "fact_customer_month", "Segments", "Segments\\Expected"
# One month end only, the newest of the chosen days: months of one customer never add up.
_LATEST = "VAR _Latest = CALCULATE(MAX('Customer Months'[Date Key]), ALLEXCEPT('Customer Months', 'Date'))\n"
_AT = "KEEPFILTERS('Customer Months'[Date Key] = _Latest)"
_NO_MONTH = "where no month within the chosen days is closed"
_NO_MODEL = f"{_NO_MONTH}, or no model could be made"


def _at_month_end(
    name: str, expression: str, sql: str, description: str, shown: str = WHOLE, blank: str = _NO_MONTH,
    folder: str = _F, where: str = "", *, priced: bool = False,
) -> Measure:  # fmt: skip
    more = f", KEEPFILTERS('Customer Months'{where})" if where else ""
    dax, told = f"CALCULATE({expression}, {_AT}{more})", f"SELECT {sql} FROM {{fact_customer_month@latest}}"
    if priced:  # a shop without prices has customers of value 0: nobody knows what they are worth
        dax = f"IF(NOT ISEMPTY(FILTER('Source', 'Source'[Has Price] = \"Yes\")), {dax})"
        told = f"CASE WHEN EXISTS (SELECT 1 FROM {{dim_source}} WHERE has_price = 'Yes') THEN ({told}) END"
        blank = f"{blank}, or no source tells prices"
    return Measure(
        name, _T, folder, shown, f"{description}, at the newest month's end of the chosen days.",
        f"{_LATEST}RETURN {dax}", told, blank,
    )  # fmt: skip


MEASURES = (
    _at_month_end("Customers at Month End", "COUNTROWS('Customer Months')", "nullif(count(*), 0)",
                  "Customers with an order by then"),
    _at_month_end("Dormant Customers", "COUNTROWS('Customer Months')",
                  "nullif(count(*) FILTER (lifecycle = 'Dormant'), 0)",
                  "Customers whose last order is more than 120 days ago", where='[Lifecycle] = "Dormant"',
                  blank="where there are none"),
    Measure("Churn Share", _T, _F, SHARE,
            "Customers whose last order is more than 120 days ago, of all, at the newest month's end.",
            "DIVIDE([Dormant Customers] + 0, [Customers at Month End])",
            "coalesce([Dormant Customers], 0) / nullif([Customers at Month End], 0)", _NO_MONTH),
    _at_month_end("Average Recency Days", "AVERAGE('Customer Months'[Recency Days])", "avg(recency_days)",
                  "Days since the last order, mean", NUMBER),
    _at_month_end("Average Orders per Customer", "AVERAGE('Customer Months'[Frequency])", "avg(frequency)",
                  "Orders so far, mean", NUMBER),
    _at_month_end("Average Revenue per Customer", "AVERAGE('Customer Months'[Monetary])", "avg(monetary)",
                  "Net revenue so far, mean", MONEY, priced=True),
    _at_month_end("Average Churn Risk", "AVERAGE('Customer Months'[Churn Risk])", "avg(churn_risk)",
                  "Chance that no order follows within 60 days, mean", SHARE, _NO_MODEL, _VALUE),
    _at_month_end("Average Chance Alive", "AVERAGE('Customer Months'[P Alive])", "avg(p_alive)",
                  "Chance that a customer still buys here, mean", SHARE, _NO_MODEL, _VALUE),
    _at_month_end("Expected Order Days", "SUM('Customer Months'[Expected Purchases])", "sum(expected_purchases)",
                  "Days with an order that are expected within 90 days", NUMBER, _NO_MODEL, _VALUE),
    _at_month_end("Expected Revenue", "SUM('Customer Months'[Expected Value])", "sum(expected_value)",
                  "Revenue expected within 90 days", MONEY, _NO_MODEL, _VALUE, priced=True),
)  # fmt: skip
