"""What was sold: revenue, orders, baskets, refunds."""

from __future__ import annotations

from exports.measures.measure import MONEY, NUMBER, WHOLE, Measure
from exports.measures.shapes import before, change, money_per, no_source, of_sources, rate, running

_T, _F, _NEW = "fact_sales", "Sales", "Sales\\New and returning"
_SALE = "KEEPFILTERS('Sales'[Line Type] = \"sale\")"
_PRICES = no_source("prices")

REVENUE = Measure(
    "Revenue", _T, _F, MONEY, "Value of all lines: sales, less refunds, plus shipping, fees and adjustments.",
    "SUM('Sales'[Revenue Net])", "SELECT sum(revenue_net) FROM {fact_sales}", _PRICES,
)  # fmt: skip
GROSS = Measure(
    "Gross Sales", _T, _F, MONEY, "Value of what was sold, before refunds and without shipping and fees.",
    "SUM('Sales'[Revenue Gross])", "SELECT sum(revenue_gross) FROM {fact_sales}", _PRICES,
)  # fmt: skip
_NUMBERS = "SUMMARIZE('Sales', 'Sales'[Date Key], 'Sales'[Order Number])"
ORDERS = Measure(
    "Orders", _T, _F, WHOLE, "Orders with a line that was sold; with a product or category chosen, those that hold it.",
    f"CALCULATE(COUNTROWS({_NUMBERS}), {_SALE})",
    "SELECT nullif(count(DISTINCT (date_key, order_number)), 0) FROM {fact_sales} WHERE line_type = 'sale'",
    "where there are none",
)  # fmt: skip
_CUSTOMERS = Measure(
    "Customers", _T, _F, WHOLE, "Known customers who bought something.",
    f"CALCULATE(DISTINCTCOUNT('Sales'[Customer Key]), {_SALE}, KEEPFILTERS('Sales'[Customer Key] <> -1))",
    "SELECT nullif(count(DISTINCT customer_key), 0) FROM {fact_sales} "
    "WHERE line_type = 'sale' AND customer_key <> -1", "where no buyer is known",
)  # fmt: skip

MEASURES = (
    REVENUE, GROSS,
    Measure("Refunds", _T, _F, MONEY, "Value of refunds, on the day of the refund, as a positive amount.",
            "SUM('Sales'[Refund Amount])", "SELECT sum(refund_amount) FROM {fact_sales}",
            "where there are none, or no source tells refunds"),
    rate("Refund Rate", _T, _F, ("Refunds", "Gross Sales"), "Refunds as a share of gross sales of the same days.",
         no_source("refunds"), "refunds"),
    Measure("Other Lines", _T, _F, MONEY, "Shipping, fees, adjustments and bad debt: what is neither sale nor refund.",
            "CALCULATE(SUM('Sales'[Revenue Net]), KEEPFILTERS(NOT 'Sales'[Line Type] IN {\"sale\", \"refund\"}))",
            "SELECT sum(revenue_net) FROM {fact_sales} WHERE line_type NOT IN ('sale', 'refund')",
            "where there are none"),
    ORDERS,
    Measure("Units Sold", _T, _F, WHOLE, "Units on lines that were sold, before returns.",
            f"CALCULATE(SUM('Sales'[Quantity]), {_SALE})",
            "SELECT sum(quantity) FROM {fact_sales} WHERE line_type = 'sale'", "where nothing was sold"),
    Measure("Average Order Value", _T, _F, MONEY, "Gross sales per order, of sources that tell prices.",
            of_sources("DIVIDE([Gross Sales], [Orders])", "prices"),
            money_per("[Gross Sales|prices]", "[Orders|prices]"), _PRICES),
    rate("Units per Order", _T, _F, ("Units Sold", "Orders"), "Units sold per order.", "without orders", shown=NUMBER),
    Measure("Average Unit Price", _T, _F, MONEY, "Gross sales per unit sold, of sources that tell prices.",
            of_sources("DIVIDE([Gross Sales], [Units Sold])", "prices"),
            money_per("[Gross Sales|prices]", "[Units Sold|prices]"), _PRICES),
    _CUSTOMERS,
    Measure("Revenue per Customer", _T, _F, MONEY, "Revenue of known customers per known customer who bought.",
            "DIVIDE(CALCULATE([Revenue], KEEPFILTERS('Sales'[Customer Key] <> -1)), [Customers])",
            money_per("(SELECT sum(revenue_net) FROM {fact_sales} WHERE customer_key <> -1)", "[Customers]"), _PRICES),
    Measure("Products Sold", _T, _F, WHOLE, "Different products that were sold; versions of a product count once.",
            f"CALCULATE(COUNTROWS(SUMMARIZE('Sales', 'Product'[Product Durable Key])), {_SALE}, "
            "KEEPFILTERS('Product'[Product Durable Key] <> -1))",
            "SELECT nullif(count(DISTINCT product_durable_key), 0) FROM {fact_sales} JOIN dim_product "
            "USING (product_key) WHERE line_type = 'sale' AND product_durable_key <> -1", "where none was sold"),
    Measure("First Orders", _T, _NEW, WHOLE, "Orders that were their customer's first.",
            "CALCULATE([Orders], KEEPFILTERS('Sales'[First Order] = \"Yes\"))",
            "SELECT nullif(count(DISTINCT (date_key, order_number)), 0) FROM {fact_sales} "
            "WHERE line_type = 'sale' AND is_first_order = 'Yes'", "where there are none, or no buyer is known"),
    Measure("Returning Orders", _T, _NEW, WHOLE, "Orders of known customers who had ordered before.",
            "CALCULATE([Orders], KEEPFILTERS('Sales'[First Order] = \"No\"), "
            "KEEPFILTERS('Sales'[Customer Key] <> -1))",
            "SELECT nullif(count(DISTINCT (date_key, order_number)), 0) FROM {fact_sales} "
            "WHERE line_type = 'sale' AND is_first_order = 'No' AND customer_key <> -1",
            "where there are none, or no buyer is known"),
    Measure("New Customer Sales", _T, _NEW, MONEY, "Gross sales of first orders.",
            "CALCULATE([Gross Sales], KEEPFILTERS('Sales'[First Order] = \"Yes\"))",
            "SELECT sum(revenue_gross) FROM {fact_sales} WHERE is_first_order = 'Yes'",
            "where there are none, or no buyer is known"),
    Measure("Returning Customer Sales", _T, _NEW, MONEY, "Gross sales of known customers after their first order.",
            "CALCULATE([Gross Sales], KEEPFILTERS('Sales'[First Order] = \"No\"), "
            "KEEPFILTERS('Sales'[Customer Key] <> -1))",
            "SELECT sum(revenue_gross) FROM {fact_sales} WHERE is_first_order = 'No' AND customer_key <> -1",
            "where there are none, or no buyer is known"),
    Measure("Returning Order Share", _T, _NEW, "0.0%", "Orders of customers who had ordered before, of those known.",
            "DIVIDE([Returning Orders] + 0, [Returning Orders] + [First Orders])",
            "coalesce([Returning Orders], 0) / "
            "nullif(coalesce([Returning Orders], 0) + coalesce([First Orders], 0), 0)",
            "where no buyer is known"),
    Measure("Repeat Customers", _T, _NEW, WHOLE, "Known customers with two orders or more within the chosen days.",
            "COUNTROWS(FILTER(VALUES('Sales'[Customer Key]), 'Sales'[Customer Key] <> -1 && [Orders] >= 2))",
            "SELECT nullif(count(*), 0) FROM (SELECT customer_key FROM {fact_sales} WHERE line_type = 'sale' AND "
            "customer_key <> -1 GROUP BY 1 HAVING count(DISTINCT (date_key, order_number)) >= 2)",
            "where there are none, or no buyer is known"),
    rate("Repeat Rate", _T, _NEW, ("Repeat Customers", "Customers"),
         "Customers with two orders or more within the chosen days, of all who bought.", "where no buyer is known"),
    before(REVENUE, "week_before"), change(REVENUE, "week_before", "WoW"),
    before(REVENUE, "year_before"), change(REVENUE, "year_before", "YoY"),
    running(REVENUE, "month_to_date"), running(REVENUE, "rolling_7"), running(REVENUE, "rolling_28"),
    before(ORDERS, "week_before"), change(ORDERS, "week_before", "WoW"),
    before(ORDERS, "year_before"), change(ORDERS, "year_before", "YoY"), running(ORDERS, "rolling_28"),
)  # fmt: skip
