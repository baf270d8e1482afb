"""The semantic model as data: tables, columns, relationships, role and perspective, derived from the contract."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from exports.contract import Column, PublishedTable, published
from exports.measures.catalog import measures
from exports.measures.measure import Measure
from exports.names import LEFT_OUT, TABLES, column_name, modelled

TYPES = {"key": "int64", "int": "int64", "money": "decimal", "number": "double", "text": "string", "flag": "string",
         "date": "dateTime", "timestamp": "dateTime"}  # fmt: skip
FORMATS = {"key": "0", "int": "0", "money": "#,0.00", "number": "0.0000", "date": "yyyy-mm-dd",
           "timestamp": "yyyy-mm-dd hh:nn:ss"}  # fmt: skip
_SORT = {"dim_date.month_name": "month_number", "dim_date.weekday_name": "weekday_number",
         "dim_hour.hour_label": "hour_key", "dim_hour.day_part": "day_part_number",
         "dim_product.price_band": "price_band_number"}  # fmt: skip
_HIERARCHIES = {
    "dim_date": (("Calendar", ("year", "quarter", "month_name", "date")), ("Weeks", ("week_start", "date"))),
    "dim_hour": (("Time of Day", ("day_part", "hour_label")),),
    "dim_category": (("Categories", ("category_1", "category_2", "category_3")),),
    "dim_product": (("Products by Brand", ("brand", "product_name")),),
}
# Columns that others tell better: the Category table says what a fact's category was.
_HIDDEN = {"dim_product.category_1", "dim_product.category_2", "dim_product.category_3"}
# Numbers that tell rows of a fact apart, for slicers and axes; all others are summed up by measures only.
_CHOICES = {"fact_session_prediction.prefix", "fact_session_prediction.decile", "fact_customer_prediction.horizon_days",
            "fact_customer_prediction.decile", "fact_sales_forecast.horizon_days", "fact_customer_month.r_score",
            "fact_customer_month.f_score", "fact_customer_month.m_score"}  # fmt: skip
DATE_TABLE = "dim_date"
ACCESS = "Country Access"
ROLE = "Countries of the reader"
EXECUTIVES = {  # the perspective: figures and what they are looked at by
    "dim_date": ("year", "calendar_month", "week_start", "date"), "dim_country": ("country_name",),
    "dim_channel": ("channel_name",), "dim_category": ("category_1",), "fact_customer_month": ("rfm_segment",),
}  # fmt: skip
EXECUTIVE_MEASURES = (
    "Revenue", "Revenue WoW", "Revenue YoY", "Revenue Month to Date", "Revenue Rolling 28 Days", "Orders", "Orders WoW",
    "Average Order Value", "Refund Rate", "Customers", "Repeat Rate", "Sessions", "Conversion Rate",
    "Conversion Rate WoW", "Cart Abandonment Rate", "Customers at Month End", "Churn Share", "Expected Revenue",
    "Forecast Units", "Forecast vs Actual", "Data Through", "Quarantine Rate", "Data Notice",
)  # fmt: skip


@dataclass(frozen=True)
class ModelColumn:
    """A column of the model; ``source`` is its published name, ``type`` Power BI's."""

    name: str
    source: str
    type: str
    format: str
    description: str
    hidden: bool
    is_key: bool = False
    sort_by: str = ""
    category: str = ""


@dataclass(frozen=True)
class ModelTable:
    """A table of the model. ``hierarchies``: name and column names from the top."""

    name: str
    source: str
    description: str
    columns: tuple[ModelColumn, ...]
    measures: tuple[Measure, ...]
    hierarchies: tuple[tuple[str, tuple[str, ...]], ...] = ()
    is_dates: bool = False
    is_fact: bool = False

    def column(self, source: str) -> ModelColumn:
        """The column made of a published one."""
        return next(c for c in self.columns if c.source == source)


@dataclass(frozen=True)
class Relationship:
    """Many rows of one table to one member of another. Of several dates of a fact, one is active."""

    many: str
    many_column: str
    one: str
    one_column: str
    is_active: bool

    @property
    def name(self) -> str:
        """Readable, and unique since a column has one relationship."""
        return f"{self.many}_{self.many_column}".replace(" ", "_")


@dataclass(frozen=True)
class Model:
    """The semantic model."""

    tables: tuple[ModelTable, ...]
    relationships: tuple[Relationship, ...]

    def table(self, source: str) -> ModelTable:
        """The table made of a published one."""
        return next(t for t in self.tables if t.source == source)


@cache
def build_model() -> Model:
    """The model of the contract."""
    tables = tuple(_table(t) for t in published().values())
    return Model(tables, tuple(r for t in published().values() for r in _relationships(t)))


def _table(table: PublishedTable) -> ModelTable:
    measured = table.is_fact or table.name == "model_card"
    return ModelTable(
        TABLES[table.name], table.name, f"One row is {table.grain}.",
        tuple(_column(table, c, measured=measured) for c in modelled(table)),
        tuple(m for m in measures().values() if m.table == table.name),
        tuple((name, tuple(column_name(table.name, c) for c in levels))
              for name, levels in _HIERARCHIES.get(table.name, ())),
        is_dates=table.name == DATE_TABLE, is_fact=table.is_fact,
    )  # fmt: skip


def _column(table: PublishedTable, column: Column, *, measured: bool) -> ModelColumn:
    place = f"{table.name}.{column.name}"
    is_number = column.kind in {"int", "money", "number"}
    sorts = place in {f"{p.split('.')[0]}.{by}" for p, by in _SORT.items()}
    hidden = (
        column.kind == "key" or place in _HIDDEN or sorts or (measured and is_number and place not in _CHOICES)
    )
    return ModelColumn(
        column_name(table.name, column.name), column.name, TYPES[column.kind], FORMATS.get(column.kind, ""),
        f"{column.description}.", hidden, is_key=table.name == DATE_TABLE and column.kind == "date"
        and column.name == "date", sort_by=column_name(table.name, _SORT[place]) if place in _SORT else "",
        category="Country" if place == "dim_country.country_name" else "",
    )  # fmt: skip


def _relationships(table: PublishedTable) -> list[Relationship]:
    """From facts to dimensions only: a dimension that points at another does so through the facts."""
    if not (table.is_fact or table.name == "model_card"):
        return []
    found: list[Relationship] = []
    for column in table.columns:
        if not column.references or column.name in LEFT_OUT:
            continue
        one = published()[column.references]
        roles = [c.name for c in table.columns if c.references == column.references]
        active = column.name == ("date_key" if "date_key" in roles else roles[0])
        found.append(Relationship(TABLES[table.name], column_name(table.name, column.name), TABLES[one.name],
                                  column_name(one.name, one.key[0]), active))  # fmt: skip
    return found


def role_filters(model: Model) -> dict[str, str]:
    """By table, which rows the example role reads: the reader's countries, and nothing of what has no country.

    Facts with a country are filtered through it; other facts, and the cards of models, tell of all countries at once.
    """
    countries, name = TABLES["dim_country"], column_name("dim_country", "country_name")
    with_country = {r.many for r in model.relationships if r.one == countries}
    mine = f"'{ACCESS}'[User] = USERPRINCIPALNAME()"
    found = {
        countries: f"'{countries}'[{name}] IN CALCULATETABLE(VALUES('{ACCESS}'[Country]), {mine})",
        ACCESS: mine,
    }
    for table in model.tables:
        if (table.is_fact or table.source == "model_card") and table.name not in with_country:
            found[table.name] = "FALSE()"
    return found
