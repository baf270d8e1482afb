"""UCI Online Retail: invoice lines of a British gift wholesaler, in London time, without browsing events.

An invoice has no line numbers, so identical lines of one file are separate lines; the same lines in another file
are duplicates. Invoices that begin with C are credit notes, with A bad-debt entries. Codes that are no products
(postage, fees, manual entries) keep their amount under a line type of their own.
"""

from __future__ import annotations

from behavior_assets.ingestion.sources.base import TIME, Check, Source, local_microseconds, money_checks, required

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
_TIME = local_microseconds("InvoiceDate", "%Y-%m-%d %H:%M:%S", "Europe/London")
_QUANTITY = "CASE WHEN regexp_full_match(Quantity, '[+-]?[0-9]{1,12}') THEN try_cast(Quantity AS BIGINT) END"
_CODE = "upper(trim(StockCode))"
_SHIPPING = "('POST', 'DOT', 'C2')"
_FEES = "('AMAZONFEE', 'BANK CHARGES', 'CRUK')"
_ADJUSTMENTS = "('M', 'D', 'S', 'PADS')"
_SERVICE = f"({_CODE} IN {_SHIPPING} OR {_CODE} IN {_FEES} OR {_CODE} IN {_ADJUSTMENTS} OR {_CODE} = 'B')"
_LINE_TYPE = f"""CASE
    WHEN InvoiceNo LIKE 'A%' OR {_CODE} = 'B' THEN 'bad_debt'
    WHEN {_CODE} IN {_SHIPPING} THEN 'shipping'
    WHEN {_CODE} IN {_FEES} THEN 'fee'
    WHEN {_CODE} IN {_ADJUSTMENTS} THEN 'adjustment'
    WHEN InvoiceNo LIKE 'C%' THEN 'refund'
    WHEN ({_QUANTITY}) < 0 THEN 'adjustment'
    ELSE 'sale' END"""

SOURCE = Source(
    name="online_retail",
    columns=COLUMNS,
    timezone="Europe/London",
    fields={
        "event_ts_us": _TIME,
        "event_name": f"CASE WHEN InvoiceNo LIKE 'C%' THEN 'refund' WHEN ({_LINE_TYPE}) IN ('bad_debt', 'adjustment')"
        " THEN 'adjustment' ELSE 'purchase' END",
        # The public files carry the number as a float ("17850.0").
        "user_id": "nullif(regexp_replace(CustomerID, '\\.0+$', ''), '')",
        "product_id": f"CASE WHEN NOT {_SERVICE} THEN {_CODE} END",
        "product_name": f"CASE WHEN NOT {_SERVICE} THEN nullif(trim(Description), '') END",
        "price": "try_cast(UnitPrice AS DECIMAL(18,4))",
        "quantity": _QUANTITY,
        "currency": "'GBP'",
        "transaction_id": "InvoiceNo",
        "line_type": _LINE_TYPE,
        "country": "nullif(trim(Country), '')",
    },
    identity="concat_ws(chr(31), " + ", ".join(f"coalesce({c}, '')" for c in COLUMNS) + ")",
    repeats_are_lines=True,
    checks=(
        *required("InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice"),
        Check("wrong_type", "InvoiceDate", f"{TIME} IS NULL", "not a time like 2010-12-01 08:26:00"),
        Check("wrong_type", "Quantity", f"({_QUANTITY}) IS NULL", "not a whole number"),
        *money_checks("UnitPrice", negative=f"({_LINE_TYPE}) IN ('bad_debt', 'adjustment', 'fee')"),
    ),
    order_column="InvoiceNo",
    decimals=("UnitPrice", "CustomerID"),
    capabilities={"has_price": True, "has_sessions": False, "has_views": False, "has_cart": False,
                  "has_country": True, "has_refunds": True},
)  # fmt: skip
