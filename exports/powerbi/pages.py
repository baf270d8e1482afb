"""The report's pages: which figures stand where, on a canvas of 1280 by 720 pixels with a grid of twelve columns."""

from __future__ import annotations

from dataclasses import dataclass

from exports.powerbi.visuals import ACCENT, MUTED, SECOND, Visual, card_look, colours, slicer_mode, table_look

WIDTH, HEIGHT, EDGE, GAP = 1280, 720, 20, 12
_COLUMN = (WIDTH - 2 * EDGE - 11 * GAP) / 12
SLICERS, CARDS, CHARTS, LOWER = (16, 60), (88, 96), (196, 250), (458, 246)  # rows: top and height
SEGMENTS, MONTHS = (196, 316), (524, 180)  # of a page whose table is the longer part
DAY_TIP, PRODUCT = "day_tip", "product_detail"
Band = tuple[int, int]


@dataclass(frozen=True)
class Page:
    """A page; ``drill``: the column whose value a reader brings along; ``tip``: shown when pointing at a mark."""

    name: str
    title: str
    visuals: tuple[Visual, ...]
    drill: str = ""
    tip: bool = False
    size: tuple[int, int] = (WIDTH, HEIGHT)


def _at(band: Band, first: int, columns: int) -> tuple[int, int, int, int]:
    """Pixels of so many columns of a row, from column ``first`` (0 to 11)."""
    left = EDGE + first * (_COLUMN + GAP)
    return round(left), band[0], round(columns * (_COLUMN + GAP) - GAP), band[1]


def _cards(*names: str, band: Band = CARDS) -> tuple[Visual, ...]:
    """Equal cards over the whole width."""
    each = (WIDTH - 2 * EDGE - (len(names) - 1) * GAP) / len(names)
    return tuple(
        _card(name, (round(EDGE + n * (each + GAP)), band[0], round(each), band[1])) for n, name in enumerate(names)
    )


def _card(name: str, place: tuple[int, int, int, int]) -> Visual:
    return Visual("cardVisual", name, place, {"Data": (name,)}, objects=card_look())


# Slicers that choose among one kind of a page's figures are headed by whose.
_WHOSE = {
    "Session Predictions[Events Seen]": "Sessions: Events Seen", "Model Card[Metric]": "Model cards: Metric",
    "Customer Predictions[Horizon Days]": "Customers: Horizon Days",
}  # fmt: skip


def _slicers(*columns: str) -> tuple[Visual, ...]:
    """The date as a range, then at most three other columns as drop-down lists.

    Each reaches every figure of its page; where it does not, its head or the other visual's title says so.
    """
    found = [Visual("slicer", "Date", _at(SLICERS, 0, 3), {"Values": ("Date[Date]",)}, objects=slicer_mode("Between"))]
    for n, column in enumerate(columns):
        name = _WHOSE.get(column) or column.split("[")[-1].rstrip("]")
        found.append(Visual("slicer", name, _at(SLICERS, 3 + n * 3, 3), {"Values": (column,)},
                            objects=slicer_mode("Dropdown", head=name if column in _WHOSE else "")))  # fmt: skip
    return tuple(found)


def _chart(kind: str, title: str, place: tuple[int, int, int, int], by: str, *shown: str, alt: str = "",
           tooltip: str = "", biggest_first: bool = False) -> Visual:  # fmt: skip
    """A chart of measures by one column, in the page's colours; what only stands beside is muted."""
    tones = [MUTED if "Previous" in name else tone
             for name, tone in zip(shown, (ACCENT, SECOND, MUTED, MUTED), strict=False)]  # fmt: skip
    sort = (shown[0], "Descending") if biggest_first else (by, "Ascending")
    return Visual(kind, title, place, {"Category": (by,), "Y": shown}, alt, sort, tooltip,
                  colours(*zip(shown, tones, strict=False)))  # fmt: skip


def _table(title: str, place: tuple[int, int, int, int], *fields: str, by: str = "", total: bool = True) -> Visual:
    """A table; its last row is the total of all, unless there is none to tell."""
    return Visual("tableEx", title, place, {"Values": fields}, sort=(by, "Descending") if by else None,
                  objects=table_look(total=total))  # fmt: skip


_WHOLE_SLICERS = ("Country[Country]", "Channel[Channel]", "Source[Source]")

PAGES = (
    Page("overview", "Overview", (
        *_slicers(*_WHOLE_SLICERS),
        *_cards("Revenue", "Revenue Rolling 28 Days", "Orders", "Average Order Value", "Sessions", "Conversion Rate"),
        _chart("lineChart", "Revenue by day, and a week before", _at(CHARTS, 0, 8), "Date[Date]", "Revenue",
               "Revenue Previous Week", tooltip=DAY_TIP),
        _chart("clusteredBarChart", "Revenue by category", _at(CHARTS, 8, 4), "Category[Category Level 1]", "Revenue",
               biggest_first=True),
        _chart("clusteredColumnChart", "Revenue by month, and a year before", _at(LOWER, 0, 4), "Date[Year Month]",
               "Revenue", "Revenue Previous Year"),
        _table("Weeks, and the change from the week before", _at(LOWER, 4, 5), "Date[Week Beginning]", "Revenue",
               "Revenue WoW", "Orders", "Conversion Rate", by="Date[Week Beginning]", total=False),
        _card("Data Through", _at((458, 72), 9, 3)),
        _table("About these data", _at((542, 162), 9, 3), "Data Notice", "Not Measured", total=False),
    )),
    Page("funnel", "Funnel and carts", (
        *_slicers("Device[Device]", "Channel[Channel]", "Source[Source]"),
        *_cards("Sessions", "Bounce Rate", "Conversion Rate", "Cart Rate", "Cart Abandonment Rate",
                "Checkout Abandonment Rate"),
        Visual("funnel", "How far sessions go", _at(CHARTS, 0, 5),
               {"Y": ("Sessions", "Sessions with Cart", "Sessions with Checkout", "Sessions with Order")}),
        _chart("lineChart", "Conversion by day, 28 days running", _at(CHARTS, 5, 7), "Date[Date]", "Conversion Rate",
               "Conversion Rate Rolling 28 Days", tooltip=DAY_TIP),
        _chart("clusteredColumnChart", "Conversion by hour", _at(LOWER, 0, 4), "Hour[Hour]", "Conversion Rate"),
        _chart("clusteredBarChart", "All cart items, by status", _at(LOWER, 4, 3),
               "Cart Items[Status]", "Cart Items", biggest_first=True),
        _table("Channels and devices", _at(LOWER, 7, 5), "Channel[Channel]", "Device[Device]", "Sessions",
               "Bounce Rate", "Cart Rate", "Conversion Rate", "Gross Sales", by="Sessions"),
    )),
    Page("customers", "Customers and segments", (
        *_slicers("Customer Months[RFM Segment]", "Customer Months[Lifecycle]", "Customer Months[Behaviour Type]"),
        *_cards("Customers at Month End", "Dormant Customers", "Churn Share", "Average Churn Risk", "Expected Revenue",
                "Average Recency Days"),
        _table("Segments", _at(SEGMENTS, 0, 8), "Customer Months[RFM Segment]", "Customers at Month End",
               "Average Recency Days", "Average Orders per Customer", "Average Revenue per Customer",
               "Average Churn Risk", by="Customers at Month End"),
        _chart("clusteredBarChart", "Expected revenue by RFM segment, 90 days", _at(SEGMENTS, 8, 4),
               "Customer Months[RFM Segment]", "Expected Revenue", biggest_first=True),
        _chart("columnChart", "Sales to new and returning customers, all segments", _at(MONTHS, 0, 6),
               "Date[Year Month]", "New Customer Sales", "Returning Customer Sales"),
        _chart("clusteredColumnChart", "Customers, and the dormant among them", _at(MONTHS, 6, 6), "Date[Year Month]",
               "Customers at Month End", "Dormant Customers"),
    )),
    Page("products", "Products", (
        *_slicers("Category[Category Level 1]", "Product[Brand]", "Product[Price Band]"),
        *_cards("Gross Sales", "Units Sold", "Average Unit Price", "Product Views", "Purchases per View",
                "Abandoned Value"),
        _table("Products (right click: drill through)", _at((196, 508), 0, 7), "Product[Product Number]",
               "Product[Product]", "Product[Brand]", "Gross Sales", "Units Sold", "Product Views",
               "Purchases per View", by="Gross Sales"),
        _chart("clusteredBarChart", "Gross sales by brand", _at(CHARTS, 7, 5), "Product[Brand]", "Gross Sales",
               biggest_first=True),
        _chart("clusteredBarChart", "Purchases per view by category", _at(LOWER, 7, 5), "Category[Category Level 1]",
               "Purchases per View", biggest_first=True),
    )),
    Page("forecast", "Forecast", (
        *_slicers("Category[Category Level 1]", "Sales Forecasts[Horizon Days]"),
        *_cards("Forecast Units of Past Days", "Actual Units", "Forecast vs Actual", "Forecast Bias", "Forecast Error",
                "Days within 80 % Interval"),
        _chart("lineChart", "Units by day: forecast, sold, and the interval for 80 % of days", _at(CHARTS, 0, 12),
               "Date[Date]", "Forecast Units", "Actual Units", "Forecast Lower 80", "Forecast Upper 80"),
        _chart("clusteredColumnChart", "Error by days ahead", _at(LOWER, 0, 4), "Sales Forecasts[Horizon Days]",
               "Forecast Error"),
        _chart("clusteredColumnChart", "Error by the day it was told on", _at(LOWER, 4, 4), "Date[Date]",
               "Forecast Error by Origin"),
        _table("Categories", _at(LOWER, 8, 4), "Category[Category Level 1]", "Forecast Units of Past Days",
               "Actual Units", "Forecast Error", by="Actual Units"),
    )),
    Page("predictions", "Predictions", (
        *_slicers("Session Predictions[Events Seen]", "Customer Predictions[Horizon Days]", "Model Card[Metric]"),
        *_cards("Judged Sessions", "Session Actual Rate", "Session Lift of Top Decile", "Judged Customers",
                "Customer Actual Rate", "Customer Lift of Top Decile"),
        _chart("clusteredColumnChart", "Sessions: told and come true, by decile of chance", _at(CHARTS, 0, 6),
               "Session Predictions[Decile]", "Session Predicted Rate", "Session Actual Rate"),
        _chart("clusteredColumnChart", "Customers: told and come true, by decile of chance", _at(CHARTS, 6, 6),
               "Customer Predictions[Decile]", "Customer Predicted Rate", "Customer Actual Rate"),
        _table("Model cards, of whole test periods (not by date)", _at(LOWER, 0, 12), "Prediction Model[Model]",
               "Prediction Model[Version]", "Prediction Model[Serving]", "Model Card[Metric]",
               "Model Card[Of Which Rows]", "Model Card[Baseline]",
               "Card Figure", "Card Baseline", total=False),
    )),
    Page("quality", "Data quality", (
        *_slicers("Source[Source]"),
        *_cards("Data Through", "Rows Delivered", "Rows Accepted", "Quarantine Rate", "Rows Late", "Rows Unaccounted"),
        _chart("columnChart", "Rows by arrival day: accepted, quarantined, delivered before", _at(CHARTS, 0, 7),
               "Date[Date]", "Rows Accepted", "Rows Quarantined", "Rows Delivered Before"),
        _table("The snapshot, and what no source tells", _at(CHARTS, 7, 5), "Published At", "Data Notice",
               "Not Measured", total=False),
        _table("Sources and what they tell", _at(LOWER, 0, 12), "Source[Source]", "Source[Is Synthetic]",
               "Source[Has Price]", "Source[Has Views]", "Source[Has Cart]", "Source[Has Checkout]",
               "Source[Has Refunds]", "Source[Has Country]", "Source[Has Consent]", "Rows Delivered", "Rows Accepted"),
    )),
    Page(PRODUCT, "Product in detail", (
        *_slicers("Product[Price Band]", "Product[Current Version]"),
        *_cards("Gross Sales", "Units Sold", "Average Unit Price", "Product Views", "Purchases per View",
                "Item Abandonment Rate"),
        _chart("clusteredColumnChart", "Units sold by day", _at(CHARTS, 0, 6), "Date[Date]", "Units Sold"),
        _chart("lineChart", "Views by day", _at(CHARTS, 6, 6), "Date[Date]", "Product Views"),
        _table("Versions", _at(LOWER, 0, 12), "Product[Product Number]", "Product[Product]", "Product[Brand]",
               "Product[Price Band]", "Product[Valid From]", "Product[Valid To]", "Product[Current Version]",
               "Gross Sales", by="Gross Sales"),
    ), drill="Product[Product Number]"),
    Page(DAY_TIP, "Day", (
        *(_card(name, (8 + n % 2 * 156, 8 + n // 2 * 76, 148, 68))
          for n, name in enumerate(("Revenue", "Revenue WoW", "Orders", "Sessions", "Conversion Rate",
                                    "Average Order Value"))),
    ), tip=True, size=(320, 240)),
)  # fmt: skip
