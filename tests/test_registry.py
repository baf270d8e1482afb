"""Every asset says what it holds of persons (P6)."""

from __future__ import annotations

from pathlib import Path

import pytest

from behavior_assets.definitions import build_definitions
from behavior_assets.privacy import registry as told
from behavior_assets.privacy.registry import (
    ALWAYS_PERSONAL,
    HOLDINGS,
    Kind,
    Purge,
    Subject,
    UndeclaredError,
    registry,
    require_declared,
)
from behavior_assets.tables import all_tables
from exports.contract import published
from resources.settings import create_home

TABLES = {spec.name: list(spec.schema.names) for spec in all_tables()}
ASSETS = [h.asset for h in HOLDINGS]


def test_the_graph_shows_what_its_assets_hold(tmp_path: Path) -> None:
    specs = {s.key.to_user_string(): s for s in build_definitions(create_home(tmp_path)).resolve_all_asset_specs()}
    shown = specs["gold/fact_session"].metadata
    assert shown["personal_data"].data["customer_key"] == Kind.surrogate
    assert shown["purge"] == Purge.filter
    assert all("personal_data" in s.metadata for s in specs.values())


def test_the_graph_does_not_load_with_an_asset_that_nobody_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "HOLDINGS", tuple(h for h in HOLDINGS if h.asset != "gold/fact_sales"))
    with pytest.raises(UndeclaredError, match=r"gold/fact_sales: say in .* what it holds of persons"):
        build_definitions(create_home(tmp_path))


def test_a_new_table_a_new_key_and_a_lost_column_are_refused() -> None:
    with pytest.raises(UndeclaredError, match="silver/wishes: say in"):
        require_declared(ASSETS, TABLES | {"silver/wishes": ["customer_key"]})
    with pytest.raises(UndeclaredError, match="gold/fact_product_day: declare customer_key as personal"):
        require_declared(ASSETS, TABLES | {"gold/fact_product_day": ["customer_key", "views"]})
    with pytest.raises(UndeclaredError, match=r"gold/dim_customer: .* declares .*, but it has no such column"):
        require_declared(ASSETS, TABLES | {"gold/dim_customer": ["customer_key", "customer_id"]})
    with pytest.raises(UndeclaredError, match=r"gold/fact_sales: the registry .* there is no such asset"):
        require_declared([a for a in ASSETS if a != "gold/fact_sales"],
                         {n: c for n, c in TABLES.items() if n != "gold/fact_sales"})  # fmt: skip


def test_what_is_personal_has_a_subject_by_which_its_rows_are_found() -> None:
    by = {Subject.customer: "customer_key", Subject.visit: "chain_key", Subject.session: "session_key"}
    for holding in HOLDINGS:
        assert bool(holding.columns) == holding.personal, holding.asset
        assert holding.personal == (holding.purge in {Purge.filter, Purge.publish}), holding.asset
        if holding.asset in TABLES and holding.subject in by:
            assert by[holding.subject] in TABLES[holding.asset], holding.asset


def test_the_published_contract_agrees() -> None:
    """A published table with a key of customers or sessions is one of persons."""
    for name, table in published().items():
        keys = {c.name for c in table.columns} & ALWAYS_PERSONAL
        assert registry()[f"gold/{name}"].personal == bool(keys), name
