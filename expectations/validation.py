"""The one place that talks to great-expectations: one context, and a validation per table."""

from __future__ import annotations

import os
from functools import lru_cache
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar

from expectations import sql

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    from expectations.rules import Rule

MOST_ASSETS = 128

# The context is shared, and so is the connection that its one data source reads through.
_lock = RLock()


def prepare() -> None:
    """Import great-expectations now: seconds that a thread can spend beside the database's work."""
    with _lock:
        _great_expectations()


def verdicts(
    connection: duckdb.DuckDBPyConnection, relation: str, rules: list[Rule]
) -> tuple[dict[str, bool], set[str]]:
    """Validate a relation in one go; return which rules hold, and which raised instead."""
    with _lock:
        from expectations.duckdb_dialect import lent

        with lent(connection):
            return _session().validate(relation, rules)


@lru_cache(maxsize=1)
def _great_expectations() -> Any:
    """Import great-expectations with its analytics off."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations

    return great_expectations


@lru_cache(maxsize=1)
def _session() -> _Session:
    return _Session()


class _Session:
    """An ephemeral context whose one data source is the connection lent at the moment."""

    def __init__(self) -> None:
        from expectations.duckdb_dialect import URL, register

        register()
        self.gx = _great_expectations()
        context = self.gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        self.source = context.data_sources.add_sql(
            "borrowed", connection_string=URL, create_temp_table=False
        )
        self.makers = _makers()
        self.batch_definitions: dict[str, Any] = {}

    def validate(self, relation: str, rules: list[Rule]) -> tuple[dict[str, bool], set[str]]:
        expectations = [self.makers[rule.kind](rule) for rule in rules]
        suite = self.gx.ExpectationSuite(name=relation, expectations=expectations)
        validation = (
            self._definition(relation).get_batch().validate(suite, result_format="BOOLEAN_ONLY")
        )
        # The results come in an order of their own, so each carries the name of its rule.
        found = {result.expectation_config.meta["rule"]: result for result in validation.results}
        raised = {
            rule.name
            for rule in rules
            if rule.name not in found or _raised(found[rule.name].exception_info)
        }
        return {name: bool(result.success) for name, result in found.items()}, raised

    def _definition(self, relation: str) -> Any:
        """Return the batch definition of a relation; it holds a name and nothing of the data."""
        if relation not in self.batch_definitions:
            if len(self.batch_definitions) >= MOST_ASSETS:
                # Whoever validates under ever new names must not fill the memory.
                oldest = next(iter(self.batch_definitions))
                del self.batch_definitions[oldest]
                self.source.delete_asset(oldest)
            asset = self.source.add_table_asset(relation, table_name=relation)
            self.batch_definitions[relation] = asset.add_batch_definition_whole_table("all")
        return self.batch_definitions[relation]


def _raised(info: dict[str, Any] | None) -> bool:
    """Whether an expectation raised; its information is one mapping, or one for each metric."""
    if not info:
        return False
    if "raised_exception" in info:
        return bool(info["raised_exception"])
    return any(_raised(part) for part in info.values() if isinstance(part, dict))


def _makers() -> dict[str, Callable[[Rule], Any]]:
    """Return what makes an expectation of a rule, by kind."""
    from great_expectations import expectations

    gxe: Any = expectations

    class ExpectNoRows(gxe.UnexpectedRowsExpectation):  # type: ignore[misc]
        """Expects that a query has no row, and never fetches one.

        Its parent runs the query twice, the first time for a sample of the rows.
        """

        metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.row_count",)

        def _validate(
            self, metrics: dict[str, Any], *_args: Any, **_kwargs: Any
        ) -> dict[str, bool]:
            return {"success": metrics["unexpected_rows_query.row_count"] == 0}

    def columns(rule: Rule) -> Any:
        if rule.exact:
            return gxe.ExpectTableColumnsToMatchOrderedList(
                column_list=list(rule.columns), meta=_meta(rule)
            )
        return gxe.ExpectTableColumnsToMatchSet(
            column_set=list(rule.columns), exact_match=False, meta=_meta(rule)
        )

    def not_null(rule: Rule) -> Any:
        return gxe.ExpectColumnValuesToNotBeNull(column=rule.columns[0], meta=_meta(rule))

    def in_set(rule: Rule) -> Any:
        return gxe.ExpectColumnValuesToBeInSet(
            column=rule.columns[0], value_set=list(rule.values), meta=_meta(rule)
        )

    def between(rule: Rule) -> Any:
        return gxe.ExpectColumnValuesToBeBetween(
            column=rule.columns[0],
            min_value=rule.minimum,
            max_value=rule.maximum,
            strict_min=rule.strict,
            strict_max=rule.strict,
            meta=_meta(rule),
        )

    def row_count(rule: Rule) -> Any:
        return gxe.ExpectTableRowCountToBeBetween(
            min_value=rule.minimum, max_value=rule.maximum, meta=_meta(rule)
        )

    def no_rows(rule: Rule) -> Any:
        from expectations.duckdb_dialect import shield

        # The braces of the batch are great-expectations' to fill, those of the rule are not.
        query = sql.over("{batch}", shield(sql.any_breach(rule)))
        return ExpectNoRows(unexpected_rows_query=query, meta=_meta(rule))

    native = {f.__name__: f for f in (columns, not_null, in_set, between, row_count)}
    return native | dict.fromkeys(sql.SQL_KINDS, no_rows)


def _meta(rule: Rule) -> dict[str, str]:
    return {"rule": rule.name}
