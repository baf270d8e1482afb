"""How good and how fresh the data are, and what they cannot tell."""

from __future__ import annotations

from exports.measures.measure import SHARE, WHOLE, Measure
from exports.measures.shapes import CAPABILITIES

_T, _F, _I, _FRESH = "fact_data_quality", "Data quality", "refresh_info", "Freshness"
_COUNTS = (
    ("Rows Delivered", "Rows In", "rows_in", "Records delivered, by the day of arrival."),
    ("Rows Accepted", "Accepted", "accepted", "Records accepted."),
    ("Rows Quarantined", "Quarantined", "quarantined", "Records held in quarantine, each with its reason."),
    ("Rows Delivered Before", "Duplicate", "duplicate", "Records that had been delivered before."),
    ("Rows Suppressed", "Suppressed", "suppressed", "Records of erased persons."),
    ("Rows Late", "Late", "late", "Accepted records older than the newest day known before."),
)
_LOST = " - ".join(f"SUM('Data Quality'[{c}])" for c in
                   ("Rows In", "Accepted", "Quarantined", "Duplicate", "Suppressed"))  # fmt: skip
_WORDS = {"prices": "revenue", "views": "conversion, bounces and engagement", "carts": "carts and their abandonment",
          "checkouts": "checkouts and their abandonment", "refunds": "refunds"}  # fmt: skip


def _silent() -> Measure:
    """Which figures no source can support, in words."""
    lines_dax, lines_sql = [], []
    for word, (column, shown) in CAPABILITIES.items():
        text = f"No source tells {word}: {_WORDS[word]} stay blank. "
        lines_dax.append(f"IF(ISEMPTY(FILTER('Source', 'Source'[{shown}] = \"Yes\")), \"{text}\", \"\")")
        lines_sql.append(
            f"CASE WHEN NOT EXISTS (SELECT 1 FROM {{dim_source}} WHERE {column} = 'Yes') THEN '{text}' ELSE '' END"
        )
    return Measure(
        "Not Measured", "dim_source", _F, "", "Which figures the chosen sources cannot support, and why.",
        "VAR _Told = TRIM(" + " & ".join(lines_dax) + ')\nRETURN IF(_Told <> "", _Told)',
        "nullif(trim(" + " || ".join(lines_sql) + "), '')", "where the sources tell everything",
    )  # fmt: skip


MEASURES = (
    *(Measure(name, _T, _F, WHOLE, description, f"SUM('Data Quality'[{column}])",
              f"SELECT sum({field}) FROM {{fact_data_quality}}", "where nothing arrived")
      for name, column, field, description in _COUNTS),
    Measure("Rows Unaccounted", _T, _F, WHOLE, "Records delivered that nothing accounts for: always 0.",
            _LOST, "SELECT sum(rows_in - accepted - quarantined - duplicate - suppressed) FROM {fact_data_quality}",
            "where nothing arrived"),
    Measure("Quarantine Rate", _T, _F, "0.00%", "Quarantined records, of all delivered.",
            "DIVIDE([Rows Quarantined], [Rows Delivered])", "[Rows Quarantined] / nullif([Rows Delivered], 0)",
            "where nothing arrived"),
    Measure("Accepted Share", _T, _F, SHARE, "Accepted records, of all delivered.",
            "DIVIDE([Rows Accepted], [Rows Delivered])", "[Rows Accepted] / nullif([Rows Delivered], 0)",
            "where nothing arrived"),
    _silent(),
    Measure("Data Through", _I, _FRESH, "yyyy-mm-dd", "Newest day that has data.",
            "MAX('Refresh Info'[Data Through Date])", "SELECT max(data_through) FROM {refresh_info}"),
    Measure("Data From", _I, _FRESH, "yyyy-mm-dd", "Oldest day that has data, whatever is chosen.",
            "VAR _First = CALCULATE(MIN('Sessions'[Date Key]), REMOVEFILTERS())\n"
            "RETURN CALCULATE(MIN('Date'[Date]), REMOVEFILTERS(), 'Date'[Date Key] = _First)",
            "SELECT min(date) FROM dim_date WHERE date_key = (SELECT min(date_key) FROM fact_session)"),
    Measure("Published At", _I, _FRESH, "yyyy-mm-dd hh:nn", "When the snapshot was published, UTC.",
            "MAX('Refresh Info'[Published at UTC])", "SELECT max(published_at) FROM {refresh_info}"),
    Measure("Data Age Days", _I, _FRESH, WHOLE, "Days from the newest day of data to the publication.",
            "DATEDIFF([Data Through], [Published At], DAY)", "date_diff('day', [Data Through], [Published At])"),
    Measure("Data Notice", _I, _FRESH, "", "Says so where any of the data was simulated.",
            "IF(MAX('Refresh Info'[Is Synthetic]) = \"Yes\", \"SYNTHETIC: a simulated shop\")",
            "SELECT CASE WHEN max(is_synthetic) = 'Yes' THEN 'SYNTHETIC: a simulated shop' END FROM {refresh_info}",
            "where all data are real"),
)  # fmt: skip
