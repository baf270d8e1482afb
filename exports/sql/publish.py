"""Loading the current snapshot into a database, so that readers see the whole of it or the whole of the last one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from exports.sql.outlet import Outlet
from exports.sql.plan import Plan, check_schema
from exports.sql.source import Source
from exports.sql.target import Target
from resources.errors import PublishError
from resources.failpoints import reach
from resources.settings import Settings

SCHEMA = "mart"


@dataclass(frozen=True)
class SqlPublished:
    """What a publication did. ``new`` is False where the target served this snapshot already."""

    target: str
    database: str
    schema: str  # empty where the database has none
    snapshot: str
    new: bool
    tables: dict[str, int]
    seconds: float
    left: list[str] = field(default_factory=list)  # what could not be removed yet, with the reason
    newer: str = ""  # a snapshot that was published meanwhile


def publish(
    settings: Settings, target: Target, schema: str = SCHEMA, readers: Sequence[str] = (),
    tell: Callable[[str, int], None] = lambda _what, _rows: None, *, force: bool = False,
) -> SqlPublished:  # fmt: skip
    """Publish the current snapshot of a home to a database's schema. Raises PublishError, UsageError, BehaviorError.

    The tables are loaded beside those that are served and swapped in when keys and numbers of rows are right.
    """
    check_schema(schema)
    begun = time.monotonic()
    with Source.current(settings) as source:
        tell("connecting", 0)
        session, kind = target.connect()
        try:
            plan = Plan.of(source.manifest, source.widths(), kind, schema)
            outlet = _outlet(kind)(session, plan)
            with outlet.alone():
                outlet.check(readers)
                new = force or not outlet.up_to_date()
                left = outlet.sweep()
                if new:
                    _load(outlet, source, readers, tell)
                    left = outlet.sweep()
                else:
                    outlet.grant(readers)
        except session.error as error:
            msg = f"{target.shown}: {session.told(error)}"
            raise PublishError(msg) from error
        finally:
            session.close()
        return SqlPublished(target.shown, kind, outlet.live, source.snapshot, new, dict(plan.rows),
                            time.monotonic() - begun, left, source.newer())  # fmt: skip


def _load(outlet: Outlet, source: Source, readers: Sequence[str], tell: Callable[[str, int], None]) -> None:
    outlet.prepare()
    for table in outlet.plan.tables:
        what = f"loading {table.name}"
        tell(what, 0)
        outlet.load(table, source.batches(table.name), lambda rows, what=what: tell(what, rows))  # type: ignore[misc]
    tell("adding keys", 0)
    reach("publish.keys")
    outlet.complete()
    loaded = outlet.counts(outlet.next)
    wrong = [f"{name} has {loaded.get(name, 0):,} of {rows:,}"
             for name, rows in outlet.plan.rows.items() if loaded.get(name) != rows]  # fmt: skip
    if wrong:
        msg = f"not every row arrived ({'; '.join(wrong)}); what was served before still is."
        raise PublishError(msg)
    outlet.swap(readers)


def _outlet(kind: str) -> type[Outlet]:
    """The class for a kind of database."""
    from exports.sql.mssql import SqlServer
    from exports.sql.mysql import MySql
    from exports.sql.postgres import Postgres
    from exports.sql.sqlite import Sqlite

    kinds: dict[str, type[Outlet]] = {"postgresql": Postgres, "mysql": MySql, "mssql": SqlServer, "sqlite": Sqlite}
    return kinds[kind]
