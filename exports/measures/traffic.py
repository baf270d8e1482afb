"""Who came and how far they went: sessions, the funnel, carts, products looked at."""

from __future__ import annotations

from exports.measures.measure import MONEY, NUMBER, SHARE, WHOLE, Measure
from exports.measures.shapes import NoSource, before, change, money_per, no_source, of_sources, rate, running, told

_S, _TRAFFIC, _FUNNEL = "fact_session", "Traffic", "Funnel"
_C, _CARTS = "fact_cart_item", "Carts"
_P, _PRODUCTS = "fact_product_day", "Products"
_HUMAN = "KEEPFILTERS('Sessions'[Bot] = \"No\")"
_VIEWS, _HAS_CARTS, _CHECKOUTS = (no_source(n) for n in ("views", "carts", "checkouts"))


def _sessions(name: str, folder: str, column: str, flag: str, description: str, blank: str) -> Measure:
    """Sessions that a flag is said of."""
    return Measure(
        name, _S, folder, WHOLE, description, f"CALCULATE([Sessions], KEEPFILTERS('Sessions'[{column}] = \"Yes\"))",
        f"SELECT nullif(count(*), 0) FROM {{fact_session|human}} WHERE {flag} = 'Yes'", blank,
    )  # fmt: skip


def _items(name: str, status: str, description: str) -> Measure:
    """Cart items of one status."""
    return Measure(
        name, _C, _CARTS, WHOLE, description,
        f"CALCULATE(COUNTROWS('Cart Items'), KEEPFILTERS('Cart Items'[Status] = \"{status}\"))",
        f"SELECT nullif(count(*), 0) FROM {{fact_cart_item}} WHERE status = '{status}'", "where there are none",
    )  # fmt: skip


def _left(name: str, of: str, had: str, column: str, capability: str, blank: NoSource) -> Measure:
    """The share of sessions that came so far and bought nothing."""
    bought = "KEEPFILTERS('Sessions'[Has Purchase] = \"Yes\")"
    return Measure(
        name, _S, _FUNNEL, SHARE, f"Sessions with {had} and without an order, of all with {had}.",
        f"VAR _All = {of_sources(f'[{of}]', capability)}\n"
        f"VAR _Bought = {of_sources(f'[{of}]', capability, bought)}\n"
        "RETURN DIVIDE(_All - _Bought, _All)",
        f"(SELECT count(*) FILTER (has_purchase = 'No') / nullif(count(*), 0) FROM {{fact_session|human|{capability}}} "
        f"WHERE {column} = 'Yes')", blank,
    )  # fmt: skip


SESSIONS = Measure(
    "Sessions", _S, _TRAFFIC, WHOLE, "Sessions of people; visitors who say that they are programs do not count.",
    f"CALCULATE(COUNTROWS('Sessions'), {_HUMAN})", "SELECT nullif(count(*), 0) FROM {fact_session|human}",
    "where there are none",
)  # fmt: skip
CONVERSION = rate("Conversion Rate", _S, _FUNNEL, ("Sessions with Order", "Sessions"),
                  "Sessions with an order, of all, of sources that tell browsing.", _VIEWS, "views")  # fmt: skip

MEASURES = (
    SESSIONS,
    Measure("Bot Sessions", _S, _TRAFFIC, WHOLE, "Sessions of visitors who say that they are programs.",
            "CALCULATE(COUNTROWS('Sessions'), KEEPFILTERS('Sessions'[Bot] = \"Yes\"))",
            "SELECT nullif(count(*), 0) FROM {fact_session} WHERE is_bot = 'Yes'", "where there are none"),
    Measure("Visitors", _S, _TRAFFIC, WHOLE, "Known people who came.",
            f"CALCULATE(DISTINCTCOUNT('Sessions'[Customer Key]), {_HUMAN}, "
            "KEEPFILTERS('Sessions'[Customer Key] <> -1))",
            "SELECT nullif(count(DISTINCT customer_key), 0) FROM {fact_session|human} WHERE customer_key <> -1",
            "where nobody is known"),
    _sessions("New Visitor Sessions", _TRAFFIC, "New Visitor", "is_new_customer", "Sessions on a visitor's first day.",
              "where there are none"),
    rate("New Visitor Share", _S, _TRAFFIC, ("New Visitor Sessions", "Sessions"),
         "Sessions on a visitor's first day, of all.", _VIEWS, "views"),
    _sessions("Bounced Sessions", _TRAFFIC, "Bounce", "is_bounce", "Sessions with a single event.",
              "where there are none"),
    rate("Bounce Rate", _S, _TRAFFIC, ("Bounced Sessions", "Sessions"), "Sessions with a single event, of all.",
         _VIEWS, "views"),
    _sessions("Engaged Sessions", _TRAFFIC, "Engaged", "is_engaged",
              "Sessions above 10 seconds, with two views or with an order.", "where there are none"),
    rate("Engaged Rate", _S, _TRAFFIC, ("Engaged Sessions", "Sessions"),
         "Sessions above 10 seconds, with two views or with an order, of all.", _VIEWS, "views"),
    Measure("Views", _S, _TRAFFIC, WHOLE, "Product and page views of people's sessions.",
            f"CALCULATE(SUM('Sessions'[Views of Session]), {_HUMAN})", "SELECT sum(views) FROM {fact_session|human}",
            "without sessions"),
    rate("Views per Session", _S, _TRAFFIC, ("Views", "Sessions"), "Product and page views per session.", _VIEWS,
         "views", NUMBER),
    Measure("Average Session Seconds", _S, _TRAFFIC, WHOLE, "Seconds from a session's first to its last event, mean.",
            of_sources("AVERAGE('Sessions'[Duration S])", "views", _HUMAN),
            "SELECT avg(duration_s) FROM {fact_session|human|views}", _VIEWS),
    Measure("Revenue per Session", _S, _TRAFFIC, MONEY,
            "Gross sales per session, of sources that tell browsing and prices.",
            of_sources("DIVIDE([Gross Sales] + 0, [Sessions])", "views", told("prices")),
            money_per("coalesce([Gross Sales|views|prices], 0)", "[Sessions|views|prices]"),
            no_source("views", "prices")),
    before(SESSIONS, "week_before"), change(SESSIONS, "week_before", "WoW"), running(SESSIONS, "rolling_28"),
    _sessions("Sessions with Cart", _FUNNEL, "Has Cart", "has_cart", "Sessions in which an item went into the cart.",
              "where there are none"),
    _sessions("Sessions with Checkout", _FUNNEL, "Has Checkout", "has_checkout", "Sessions that began a checkout.",
              "where there are none"),
    _sessions("Sessions with Order", _FUNNEL, "Has Purchase", "has_purchase", "Sessions in which something was bought.",
              "where there are none"),
    CONVERSION, before(CONVERSION, "week_before"), change(CONVERSION, "week_before", "WoW"),
    running(CONVERSION, "rolling_28"),
    rate("Cart Rate", _S, _FUNNEL, ("Sessions with Cart", "Sessions"), "Sessions with a cart, of all.", _HAS_CARTS,
         "carts"),
    rate("Checkout Rate", _S, _FUNNEL, ("Sessions with Checkout", "Sessions"), "Sessions with a checkout, of all.",
         _CHECKOUTS, "checkouts"),
    _left("Cart Abandonment Rate", "Sessions with Cart", "a cart", "has_cart", "carts", _HAS_CARTS),
    _left("Checkout Abandonment Rate", "Sessions with Checkout", "a checkout", "has_checkout", "checkouts", _CHECKOUTS),
    Measure("Cart Items", _C, _CARTS, WHOLE, "Products put into a cart, by the day of adding.",
            "COUNTROWS('Cart Items')", "SELECT nullif(count(*), 0) FROM {fact_cart_item}", _HAS_CARTS),
    _items("Abandoned Items", "abandoned", "Items that nobody touched for the window of abandonment."),
    _items("Recovered Items", "recovered", "Items bought after a silence of the window of abandonment."),
    _items("Open Items", "open", "Items touched within the window of abandonment: not yet settled."),
    Measure("Item Abandonment Rate", _C, _CARTS, SHARE, "Abandoned items, of all that are settled.",
            "DIVIDE([Abandoned Items] + 0, [Cart Items] - [Open Items])",
            "coalesce([Abandoned Items], 0) / nullif([Cart Items] - coalesce([Open Items], 0), 0)", _HAS_CARTS),
    Measure("Recovery Rate", _C, _CARTS, SHARE, "Items bought after a silence, of all that fell silent.",
            "DIVIDE([Recovered Items] + 0, [Recovered Items] + [Abandoned Items])",
            "coalesce([Recovered Items], 0) / "
            "nullif(coalesce([Recovered Items], 0) + coalesce([Abandoned Items], 0), 0)",
            _HAS_CARTS),
    Measure("Abandoned Value", _C, _CARTS, MONEY, "Value of abandoned items at their last known price.",
            "CALCULATE(SUM('Cart Items'[Value]), KEEPFILTERS('Cart Items'[Status] = \"abandoned\"))",
            "SELECT sum(value) FROM {fact_cart_item} WHERE status = 'abandoned'", "where there are none, or no prices"),
    Measure("Cart Items Bought by Purchase Day", _C, _CARTS, WHOLE, "Items bought, by the day of the purchase.",
            "CALCULATE(COUNTROWS('Cart Items'), KEEPFILTERS(NOT ISBLANK('Cart Items'[Purchased Date Key])), "
            "USERELATIONSHIP('Cart Items'[Purchased Date Key], 'Date'[Date Key]))",
            "SELECT nullif(count(*), 0) FROM {fact_cart_item:purchased_date_key} WHERE purchased_date_key IS NOT NULL",
            "where there are none"),
    Measure("Items Abandoned by Last Touch Day", _C, _CARTS, WHOLE, "Abandoned items, by the day of the last touch.",
            "CALCULATE([Abandoned Items], USERELATIONSHIP('Cart Items'[Last Date Key], 'Date'[Date Key]))",
            "SELECT nullif(count(*), 0) FROM {fact_cart_item:last_date_key} WHERE status = 'abandoned'",
            "where there are none"),
    Measure("Product Views", _P, _PRODUCTS, WHOLE, "Views of products.", "SUM('Product Activity'[Views])",
            "SELECT sum(views) FROM {fact_product_day}", "where nothing happened to the products"),
    Measure("Added to Cart", _P, _PRODUCTS, WHOLE, "Times that products were added to a cart.",
            "SUM('Product Activity'[Carts])", "SELECT sum(carts) FROM {fact_product_day}",
            "where nothing happened to the products"),
    Measure("Product Purchases", _P, _PRODUCTS, WHOLE, "Order lines of products.",
            "SUM('Product Activity'[Purchases])", "SELECT sum(purchases) FROM {fact_product_day}",
            "where nothing happened to the products"),
    rate("Purchases per View", _P, _PRODUCTS, ("Product Purchases", "Product Views"),
         "Order lines of products per view.", "without views"),
    Measure("Products Viewed", _P, _PRODUCTS, WHOLE, "Different products seen; versions of a product count once.",
            "CALCULATE(COUNTROWS(SUMMARIZE('Product Activity', 'Product'[Product Durable Key])), "
            "KEEPFILTERS('Product Activity'[Views] > 0), KEEPFILTERS('Product'[Product Durable Key] <> -1))",
            "SELECT nullif(count(DISTINCT product_durable_key), 0) FROM {fact_product_day} JOIN dim_product "
            "USING (product_key) WHERE views > 0 AND product_durable_key <> -1", "without views"),
)  # fmt: skip
