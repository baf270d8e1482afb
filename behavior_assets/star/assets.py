"""Assets of the star: the per-day substrate, and one asset per gold table."""

from collections.abc import Callable

import dagster as dg
import ibis.expr.types as ir

from behavior_assets.incremental import derive_days
from behavior_assets.partitions import OWNERS, PROGRESS, asset_key, check_results, check_specs, column_schema
from behavior_assets.privacy.registry import told_by
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.quality import held_days, judge_table
from behavior_assets.star import aggregates
from behavior_assets.star.build import StarBuilder
from behavior_assets.star.order import GOLD_INPUTS, OF_THIS_PROCESS, build_table
from exports.contract import gold, published
from resources.home import HomeResource
from resources.table import TableSpec

SUBSTRATE: tuple[tuple[TableSpec, Callable[[ir.Table], ir.Table], str], ...] = (
    (aggregates.CUSTOMER_DAY, aggregates.customer_day, "What each customer did on each day."),
    (aggregates.PRODUCT_DAY, aggregates.product_day, "What happened to each product on each day."),
    (aggregates.COMMERCE_EVENTS, aggregates.commerce_events, "The events that carts and orders are made of."),
)


def _substrate_asset(
    spec: TableSpec, build: Callable[[ir.Table], ir.Table], description: str,
    condition: dg.AutomationCondition,  # type: ignore[type-arg]
) -> dg.AssetsDefinition:
    @dg.asset(
        key=asset_key(spec.name), deps=[asset_key("silver/events")], group_name="star", owners=OWNERS,
        kinds={"deltalake", "ibis", "silver"}, description=description, check_specs=check_specs(spec.name, gate=True),
        metadata={"dagster/column_schema": column_schema(spec)}, automation_condition=condition,
    )  # fmt: skip
    def substrate(home: HomeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        lake, settings = home.lake(), home.settings()
        events, table = lake.table(SILVER_EVENTS), lake.table(spec)
        days = set(events.parts()) - held_days(lake, "silver/events")
        with home.compute() as compute:
            done = derive_days(
                compute, events, table, build, aggregates.VERSION, settings.summed_rows, days, PROGRESS.get(),
                told_by=told_by(spec.name),
            )
            verdict = judge_table(compute, lake, table, [])
        return dg.MaterializeResult(
            metadata={"dagster/row_count": table.rows(), "days_written": len(done)},
            check_results=check_results(verdict),
        )

    return substrate


def _gold_asset(name: str, condition: dg.AutomationCondition) -> dg.AssetsDefinition:  # type: ignore[type-arg]
    table_of = published()[name]
    spec = gold(name)
    related = sorted({c.references for c in table_of.columns if c.references})

    @dg.asset(
        key=asset_key(spec.name), deps=[asset_key(n) for n in _deps(name, related)], group_name="star", owners=OWNERS,
        kinds={"deltalake", "ibis", "gold"}, description=f"One row is {table_of.grain}.",
        check_specs=check_specs(spec.name, gate=True),
        metadata={"dagster/column_schema": column_schema(spec, {c.name: c.description for c in table_of.columns})},
        automation_condition=condition,
    )  # fmt: skip
    def table(home: HomeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        lake, settings = home.lake(), home.settings()
        target = lake.table(spec)
        with home.compute(local=name in OF_THIS_PROCESS) as compute:
            written = build_table(StarBuilder(compute, lake, settings, PROGRESS.get()), name)
            verdict = judge_table(compute, lake, target, [gold(n) for n in related])
        return dg.MaterializeResult(
            metadata={"dagster/row_count": target.rows(), "parts_written": len(written)},
            check_results=check_results(verdict),
        )

    return table


def _deps(name: str, related: list[str]) -> list[str]:
    """What a table reads, and the dimensions that its rules compare it with."""
    inputs = [n.replace("bronze/events", "bronze/deliveries") for n in GOLD_INPUTS[name]]
    return sorted({*inputs, *(f"gold/{n}" for n in related)})


def build_assets(condition: dg.AutomationCondition) -> list[dg.AssetsDefinition]:  # type: ignore[type-arg]
    """The assets of this topic, materialised by themselves when their inputs change."""
    return [_substrate_asset(*entry, condition) for entry in SUBSTRATE] + [
        _gold_asset(name, condition) for name in GOLD_INPUTS
    ]
