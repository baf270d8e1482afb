"""What stands behind the figures: deliveries by day, what each source can tell, and why figures are blank."""

from __future__ import annotations

from collections.abc import Iterable

from exports.aggregate.declare import Filled, Row, declared
from exports.aggregate.shop import LACKS, Shop

DATA_QUALITY = declared("data_quality", "Data quality", "one source on one day on which files arrived", """
    date date : Day on which the files arrived
    source text : Name of the input format
    rows_in int [records] : Records delivered
    accepted int [records] : Records accepted
    set_aside int [records] : Records that go no further: in quarantine, or of persons whose events stay out
    duplicate int [records] : Records delivered before
    late int [records] : Accepted records older than the newest day already known
    accepted_share share [of records] : Accepted, or delivered before, among those delivered
""")
SOURCES = declared("sources", "What the sources tell", "one thing that one source tells or does not", """
    source text : Name of the input format
    is_synthetic text : Yes where a simulator made the data
    capability text : What it is about, as named in dim_source
    told text : Yes or No
    meaning text : What the source lacks, where it does
""")
BLANKS = declared("blanks", "Why figures are blank", "one column (or table) that is empty, with the reason", """
    table text : Name of the table
    column text : Name of the column, or which rows are missing; empty for the whole table
    reason text : Why
""")


def data_quality(shop: Shop) -> Filled:
    """Deliveries by arrival day and source. Records are counted, not persons; those of erased persons not apart."""
    rows = shop.rows("""
        SELECT date, source_name AS source, rows_in, accepted,
               quarantined + suppressed AS set_aside, duplicate, late,
               round((accepted + duplicate) / nullif(rows_in, 0), 6) AS accepted_share
        FROM fact_data_quality JOIN dim_source USING (source_key) JOIN (
            SELECT date_key, CAST(strptime(CAST(date_key AS VARCHAR), '%Y%m%d') AS DATE) AS date
            FROM (SELECT DISTINCT date_key FROM fact_data_quality)) USING (date_key)
        ORDER BY date, source""")
    told = tuple({c.name: r.get(c.name) for c in DATA_QUALITY.columns} for r in rows)
    return Filled(DATA_QUALITY, told, {} if told else {"": "nothing was delivered yet"})


def sources(shop: Shop) -> Filled:
    """Capabilities by source."""
    synthetic = {r["source_name"]: r["is_synthetic"] for r in shop.rows("SELECT * FROM dim_source")}
    rows: list[Row] = [
        {"source": source, "is_synthetic": synthetic[source], "capability": flag,
         "told": "No" if source in shop.lacking[flag] else "Yes",
         "meaning": f"no {LACKS[flag]}" if source in shop.lacking[flag] else None, "notes": None}
        for source in shop.sources for flag in shop.lacking
    ]  # fmt: skip
    return Filled(SOURCES, tuple(rows))


def blanks(tables: Iterable[Filled]) -> Filled:
    """Everything that is blank as a whole."""
    rows: list[Row] = [
        {"table": t.table.name, "column": column or None, "reason": reason, "notes": None}
        for t in tables for column, reason in t.blank.items()
    ]  # fmt: skip
    return Filled(BLANKS, tuple(rows))
