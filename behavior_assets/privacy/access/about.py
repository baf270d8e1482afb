"""What a person is told beside the rows: what they are, what for, from where, for how long, and who else sees them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import read_ledger
from behavior_assets.privacy.access.held import Held
from behavior_assets.privacy.access.others import LEFT_OUT, Others
from behavior_assets.privacy.registry import HOLDINGS, Layer
from exports.contract import gold, published
from exports.snapshot import read_manifest
from exports.sql.target import Target
from resources.lake import Lake
from resources.settings import Settings

PURPOSES = (
    "To count visits and sales of the shop.",
    "To recognise a returning customer under a pseudonym, in tables of customers, segments and scores.",
    "Without consent nobody is recognised again: such events are counted only.",
    "No decision about a person is taken by this system alone. Nothing is sent to advertisers.",
)
LOGIC = {
    "session_purchase": "From the first events of a visit (what was viewed, carted, how fast, at which hour) the "
    "chance that it ends with a purchase.",
    "customer_purchase": "From visits, carts and orders up to a day the chance of an order within the next 7 or 30 "
    "days.",
    "customer_value": "From the dates and sums of orders up to a month's end the chance to come back, the expected "
    "orders and revenue, and a group of customers with similar orders.",
}
_TABLES = {
    "bronze/events": "Every event as it was delivered, in common columns; the IP address is shortened.",
    "bronze/consents": "What you decided about being recognised.",
    "quarantine/events": "Records that could not be read, as they were delivered, each with the reason.",
    "silver/events": "The events under a pseudonym, without what identifies.",
    "silver/session_parts": "Visits, cut by day.",
    "silver/sessions": "Visits.",
    "silver/customer_day": "Sums of one day.",
    "silver/commerce_events": "Events of carts and orders.",
}
_NOT_INCLUDED = (
    "The original files below archive/: the same records once more, with the whole IP address and with unused columns.",
    "Files in landing/ that are not taken in yet, and files that were refused as a whole.",
    "Published snapshots and databases repeat the rows of gold/.",
    "Models keep weights, no row of a person. The report and the aggregate profile tell of ten persons or more.",
    "Backups and copies outside of this system.",
)
_MOST = 20  # files that README.txt names
_RIGHTS = (
    "You may ask for correction or erasure, object, withdraw consent, and complain to a supervisory authority. Who is",
    "responsible, on what legal basis, and whom to ask, the shop tells you beside this.",
)
_LOGIN = re.compile(r"(?<=//)[^/@]*@|(?i:(?:uid|user id|user|pwd|password)\s*=[^;]*;?)")
_LEGEND = {
    "columns ending in _us": "microseconds since 1970-01-01 UTC",
    "columns ending in date_key": "days as yyyymmdd",
    "columns ending in _key": "numbers that stand for the thing; -1 is unknown",
    "CSV": "empty where a value is not known; a text that a spreadsheet might take for a formula has an apostrophe in "
    "front. The JSON files have every value as it is, money and long numbers as text",
    LEFT_OUT: "stands for a text that names somebody else",
}


def describe(held: Held) -> dict[str, Any]:
    """What a table is and what its columns tell."""
    name = held.holding.asset
    star = published().get(name.removeprefix("gold/")) if name.startswith("gold/") else None
    told = {c.name: c.description for c in star.columns} if star else {}
    columns = {n: {"tells": str(kind) if (kind := held.holding.columns.get(n)) else "thing or figure of the shop",
                   **({"meaning": told[n]} if n in told else {})} for n in held.columns}  # fmt: skip
    return {"what": f"One row is {star.grain}." if star else _TABLES.get(name, ""), "columns": columns}


def about(
    settings: Settings, others: Others, found: Iterable[Held], files: list[dict[str, Any]], now: datetime
) -> dict[str, Any]:
    """The contents of ``about.json``."""
    lake, manifest = Lake(settings.home.lake), read_manifest(settings.home.exports)
    return {
        "made_at": now.astimezone(UTC).isoformat(timespec="seconds"),
        "snapshot": manifest["snapshot"] if manifest else None,
        "known": any(f["rows"] for f in files), "files": files, "legend": _LEGEND, "purposes": list(PURPOSES),
        "recipients": _recipients(settings), "retention": _retention(settings),
        "source": _deliveries(lake, others), "models": _models(lake, found), "not_included": list(_NOT_INCLUDED),
    }  # fmt: skip


def _recipients(settings: Settings) -> list[str]:
    told = ["those who run this system: everything in these files"]
    if settings.publish_to:
        odbc = {} if "://" in settings.publish_to else {"odbc": settings.publish_to}
        target = _LOGIN.sub("", Target.parse(**odbc or {"url": settings.publish_to}).shown)
        readers = settings.publish_readers or "no role was given access by this system"
        told.append(f"database {target}, schema {settings.publish_schema}: the tables of gold/; readers: {readers}")
    told.append("readers of the published snapshot (Power BI, SQL, files): the tables of gold/, under a pseudonym")
    return [*told, "readers of the report and of the aggregate profile: no row of a person"]


def _retention(settings: Settings) -> dict[str, str]:
    """By layer: the setting ``keep_<layer>_days``."""
    layers = [layer for layer in Layer if layer is not Layer.forever and any(h.layer is layer for h in HOLDINGS)]
    kept = {str(layer): getattr(settings, f"keep_{layer}_days", None) for layer in (Layer.landing, *layers)}
    return {layer: f"{days} days" if days else "until it is erased" for layer, days in kept.items()}


def _deliveries(lake: Lake, others: Others) -> list[dict[str, str]]:
    """The files among which the person's events came, each by its format, its name and its time of arrival."""
    told = others.subjects.con.execute("SELECT DISTINCT batch_id FROM gone_row").fetchall()
    batches = {str(b) for (b,) in told}
    entries = [e for e in read_ledger(lake.table(BRONZE_EVENTS)) if e.batch_id in batches] if batches else []
    strange = others.inside({e.file_name for e in entries})
    return [{"format": e.source, "arrived": _moment(e.arrived_ts_us),
             "file": LEFT_OUT if e.file_name in strange else e.file_name}
            for e in sorted(entries, key=lambda e: (e.arrived_ts_us, e.file_name))]  # fmt: skip


def _models(lake: Lake, found: Iterable[Held]) -> list[dict[str, Any]]:
    """The versions of models that scored the person; of the one for months, which no row names, all that served."""
    scored, monthly = set[int](), False
    for held in found:
        if "model_key" in held.columns and held.places:
            for path, numbers in held.places.items():
                keys = pq.read_table(held.table.root / path, columns=["model_key"], partitioning=None)
                scored |= set(keys["model_key"].take(numbers).to_pylist())
        monthly |= held.holding.asset == "gold/fact_customer_month" and held.count() > 0
    versions = lake.table(gold("dim_model"))
    rows = [r for path in versions.absolute(versions.files()) for r in pq.read_table(path).to_pylist()]
    theirs = [r for r in rows if r["model_key"] in scored or (
        monthly and r["model"] == "customer_value" and r["state"] in {"serving", "served before"})]  # fmt: skip
    return [
        {"model": r["model"], "version": r["version"], "trained_on": r["dataset"], "state": r["state"],
         "trained_at": r["trained_at"].isoformat() if r["trained_at"] else None, "logic": LOGIC.get(r["model"], "")}
        for r in sorted(theirs, key=lambda r: (r["model"], r["version"]))
    ]  # fmt: skip


def _moment(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="seconds")


def readme(told: dict[str, Any]) -> str:
    """``README.txt``: the same for a reader; what every column is stands in ``about.json``."""
    lines = ["Everything that is held about you", "=" * 33, "",
             f"Made at {told['made_at']}, of the snapshot {told['snapshot'] or '(none)'}.", ""]  # fmt: skip
    lines += [] if told["known"] else ["Nothing is held about you: no table has a row of yours.", ""]
    lines += ["Files (each table twice: .csv for people, .jsonl for programs)", ""]
    for file in told["files"]:
        out = [f"{n:,} {what} left out, since they name somebody else"
               for n, what in ((file["left_out"], "rows"), (file["texts_left_out"], "texts")) if n]  # fmt: skip
        if file["rows"] or out:
            lines += [f"  {', '.join(file['files']) or file['table']}: {file['rows']:,} rows. {file['what']}",
                      *(f"    {o}" for o in out)]  # fmt: skip
    lines += ["", "How to read them", "", *(f"  {k}: {v}." for k, v in told["legend"].items())]
    for head, part in (("What it is used for", told["purposes"]), ("Who may see it", told["recipients"]),
                       ("Not in these files", told["not_included"])):  # fmt: skip
        lines += ["", head, "", *(f"  - {line}" for line in part)]
    lines += ["", "How long it is kept", "", *(f"  {layer}: {days}" for layer, days in told["retention"].items())]
    lines += ["", "Where it comes from: among the records of these files", "",
              *(f"  {d['file']} ({d['format']}, {d['arrived']})" for d in told["source"][:_MOST])]  # fmt: skip
    lines += [f"  and {more:,} more, which about.json names"] if (more := len(told["source"]) - _MOST) > 0 else []
    if told["models"]:
        lines += ["", "What was computed about you, and how", "",
                  *(f"  {m['model']} {m['version']}: {m['logic']}" for m in told["models"])]  # fmt: skip
    return "\n".join([*lines, "", *_RIGHTS, ""])
