"""Dagster's SQLite event log, with its connections kept open.

Dagster opens a database anew, and compiles each statement anew, for every event that it notes; a run of this chain
notes some 300. Keeping the connections halves that time. What it looks up again for every event, though it never
changes once it is there (a table, a column, the newest revision of the schema), is looked up once; and the disk is
waited for at checkpoints only. Everything else is Dagster's own storage, files included.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

if TYPE_CHECKING:
    from dagster._config import UserConfigSchema
    from dagster._serdes import ConfigurableClassData

BUSY_SECONDS = 60
_REVISION = text("SELECT version_num FROM alembic_version")
_MOST_OPEN = 8  # every run has a database of its own, and a web server looks at many


def _wait_less(connection: Any, _record: object) -> None:
    # A power cut may cost the last events of a history that holds nothing of the data; the file stays whole (WAL).
    connection.execute("PRAGMA synchronous=NORMAL")


class PooledEventLog(SqliteEventLogStorage):
    """Named in ``dagster.yaml``; its databases lie below DAGSTER_HOME, where Dagster's own storage has them."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing to set."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> PooledEventLog:
        """The storage of the instance that DAGSTER_HOME names."""
        del config_value
        return cls(str(Path(os.environ["DAGSTER_HOME"]) / "history" / "runs"), inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> Engine:
        """The engine of a database; the one that was not used for longest is closed for a new one."""
        engines: OrderedDict[str, Engine] = self.__dict__.setdefault("_engines", OrderedDict())
        engine = engines.pop(shard, None)
        if engine is None:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                pool_size=1,
                # One thread at a time uses it, under the lock, but not always the same one.
                connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            )
            event.listen(engine, "connect", _wait_less)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        engines[shard] = engine
        while len(engines) > _MOST_OPEN:
            engines.popitem(last=False)[1].dispose()
        return engine

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:  # noqa: FBT001, FBT002 - Dagster's
        """Dagster's, which reads all its migrations even where only whether there is a revision is asked for."""
        with engine.connect() as connection:
            if connection.dialect.has_table(connection, "alembic_version") and connection.scalar(_REVISION):
                return
        super()._initdb(engine, for_index_shard)

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; none is ever taken away."""
        return self._once("table", table_name, lambda: super(PooledEventLog, self).has_table(table_name))

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        found = super()._has_asset_key_col_on_connection
        return self._once("column", column_name, lambda: found(conn, column_name))

    def _once(self, kind: str, name: str, look: Callable[[], bool]) -> bool:
        known: set[tuple[str, str]] = self.__dict__.setdefault("_known", set())
        if (kind, name) not in known and look():
            known.add((kind, name))
        return (kind, name) in known

    def wipe(self) -> None:
        """Remove every event; an open database would outlive its file."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close every database."""
        self._close()
        super().dispose()

    def _close(self) -> None:
        for engine in self.__dict__.pop("_engines", {}).values():
            engine.dispose()
