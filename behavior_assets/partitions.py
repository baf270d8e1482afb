"""Days, asset keys, groups and owners: the vocabulary that all topics' assets share."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import date, timedelta

import dagster as dg
import pyarrow as pa

from behavior_assets.incremental import Progress, quiet
from behavior_assets.quality import Verdict
from resources.table import TableSpec

OWNERS = ["team:data-engineering"]
BLOCKING_CHECK = "blocking_rules"
ADVISORY_CHECK = "advisory_rules"

# Set by the command line; assets that run elsewhere report to Dagster alone.
PROGRESS: ContextVar[Progress] = ContextVar("progress", default=quiet)


def daily(first_day: date, last_day: date | None = None) -> dg.DailyPartitionsDefinition:
    """One partition per shop's day; tomorrow's is there too, since events may come up to 24 hours ahead."""
    end = (last_day + timedelta(days=1)).isoformat() if last_day else None
    return dg.DailyPartitionsDefinition(start_date=first_day.isoformat(), end_date=end, end_offset=2)


def asset_key(table: str) -> dg.AssetKey:
    """``silver/events`` as an asset key."""
    return dg.AssetKey(table.split("/"))


def wanted_days(context: dg.AssetExecutionContext) -> list[str]:
    """The days that a run is about."""
    return list(context.partition_keys)


def column_schema(spec: TableSpec, descriptions: dict[str, str] | None = None) -> dg.TableSchema:
    """A table's columns for the UI."""
    texts = descriptions or {}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(f.name, _type_name(f.type), description=texts.get(f.name)) for f in spec.schema
        ]
    )


def _type_name(kind: pa.DataType) -> str:
    return str(kind)


def check_specs(table: str, *, gate: bool) -> list[dg.AssetCheckSpec]:
    """The two checks of a table. ``gate`` False for day-wise tables, whose days are held back one by one instead."""
    key = asset_key(table)
    return [
        dg.AssetCheckSpec(BLOCKING_CHECK, asset=key, blocking=gate, description="Rules without which nobody may read."),
        dg.AssetCheckSpec(ADVISORY_CHECK, asset=key, description="Rules that warn."),
    ]


def check_results(verdict: Verdict) -> list[dg.AssetCheckResult]:
    """A verdict as Dagster's check results: counts and days, never a value."""
    key = asset_key(verdict.table)

    def told(found: dict[str, tuple[bool, int, list[str]]]) -> dict[str, dg.MetadataValue]:
        return {
            "rules": dg.MetadataValue.int(verdict.rules),
            "breaches": dg.MetadataValue.json(
                {name: {"rows": rows, "days": days[:50]} for name, (_, rows, days) in found.items()}
            ),
            "held_days": dg.MetadataValue.json(sorted(verdict.held)[:50]),
        }

    return [
        dg.AssetCheckResult(
            passed=not verdict.blocking, check_name=BLOCKING_CHECK, asset_key=key,
            severity=dg.AssetCheckSeverity.ERROR, metadata=told(verdict.blocking),
        ),
        dg.AssetCheckResult(
            passed=not verdict.advisory, check_name=ADVISORY_CHECK, asset_key=key,
            severity=dg.AssetCheckSeverity.WARN, metadata=told(verdict.advisory),
        ),
    ]  # fmt: skip
