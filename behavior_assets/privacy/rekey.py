"""A rotated key reaches silver: the vault's map is made, and days that bronze cannot give again are re-keyed.

Every other day is stale by its fingerprint and is made again from bronze, like under a new rule.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from behavior_assets.incremental import fingerprint, read_parts
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.privacy.key_guard import key_mark, silver_keys
from behavior_assets.privacy.silver import SILVER_EVENTS, persons
from behavior_assets.privacy.vault import map_path, write_map
from resources.compute import DuckDB
from resources.engine import (
    former_customer,
    install_former_pseudonym,
    key_event,
    key_session,
    pseudonym_customer,
    pseudonym_transaction,
    surrogate_key,
)
from resources.failpoints import reach
from resources.keys import KeyVersion, key_versions
from resources.lake import Lake
from resources.parts import Days
from resources.settings import Settings


def carry_out(
    backend: Backend, lake: Lake, settings: Settings, held: Collection[str], metadata: Mapping[str, str]
) -> list[str]:
    """What a rotation leaves to do before silver is made again; days that were re-keyed as they are.

    The map comes first and is made while all of silver is under the former key; of a run that was killed the next
    one finds it there. ``held`` days of bronze take no part in a run, so silver keeps what it has of them.
    """
    bronze, silver = lake.table(BRONZE_EVENTS), lake.table(SILVER_EVENTS)
    *older, key = key_versions(settings)
    done: list[str] = []
    for former in older:
        days = sorted(day for day, carried in silver_keys(silver).items() if carried == former.id)
        if not days:
            continue
        path = map_path(settings, former.number, key.number)
        if not path.exists():
            install_former_pseudonym(backend.con, former.secret)
            people = persons(read_parts(backend, bronze, bronze.parts()))
            write_map(path, backend.to_pyarrow(_map(read_parts(backend, silver, days), people)))
        stuck = [day for day in days if day not in bronze.parts() or day in held]
        if stuck:
            _rekey(backend, lake, stuck, backend.read_parquet(str(path)), key, metadata)
        done += stuck
    return done


def _map(silver: ir.Table, people: ir.Table) -> ir.Table:
    """Every customer of silver with the pseudonym under the new key: of the person, else of the former pseudonym."""
    held = silver.filter(silver.customer_id.notnull()).select(former="customer_id").distinct()
    known = people.select(former=former_customer(people.person), renewed=pseudonym_customer(people.person)).distinct()
    joined = held.left_join(known, "former")
    return joined.select("former", customer_id=ibis.coalesce(joined.renewed, pseudonym_customer(joined.former)))


def _rekey(
    backend: Backend, lake: Lake, days: list[str], renewed: ir.Table, key: KeyVersion, metadata: Mapping[str, str]
) -> None:
    """Put days under a key without their bronze: persons by the map, everything else as a function of what it was.

    Their fingerprint is none that bronze could give, so that a day that was held is made again once it is mended.
    """
    silver = lake.table(SILVER_EVENTS)
    live = silver.parts()
    files = []
    for day in days:
        mark = fingerprint("re-keyed", *(f.fingerprint for f in live[day])) + key_mark(key)
        day_now = rekeyed(read_parts(backend, silver, [day]), renewed)
        files += DuckDB(backend).write(silver, day_now, Days(), {day: mark})()
    reach("keys.rekey")
    silver.commit(files, metadata=metadata)


def rekeyed(events: ir.Table, renewed: ir.Table) -> ir.Table:
    """Silver events under the new key."""
    joined = events.left_join(renewed.select("former", renewed="customer_id"), [events.customer_id == renewed.former])
    customer = ibis.coalesce(joined.renewed, pseudonym_customer(joined.customer_id))
    return joined.mutate(
        customer_id=customer,
        customer_key=surrogate_key("dim_customer", customer),
        chain_key=key_session(joined.chain_key.cast("string")),
        event_key=key_event(joined.event_key.cast("string")),
        transaction_id=pseudonym_transaction(joined.transaction_id),
    ).drop("former", "renewed")
