"""The Dagster resource that gives assets their home: settings, lake and engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import dagster as dg
from ibis.backends.duckdb import Backend

from resources.compute import Compute, DuckDB
from resources.disk import disk_errors
from resources.engine import engine
from resources.lake import Lake
from resources.settings import Settings, create_home, read_settings, resolve_home
from resources.wordless import wordless


class HomeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Points at a home; empty means ``BEHAVIOR_HOME`` or ``./data``, read when a run starts."""

    home: str = ""
    compute_engine: str = ""  # these two stand before the settings of the home
    spark_remote: str = ""

    def settings(self) -> Settings:
        """The home's settings with the zone of its lake; its folders are made if they are not there."""
        return create_home(self.home or None)

    def lake(self) -> Lake:
        """The home's lake."""
        return Lake(resolve_home(self.home or None).lake)

    @contextmanager
    def engine(self, *, pseudonyms: bool = False, others: bool = False) -> Iterator[Backend]:
        """A fresh engine with the home's limits; other processes that write to this lake wait meanwhile.

        ``others``: they need not, unless they want it for themselves.
        """
        settings = read_settings(self.home or None)
        lake = Lake(settings.home.lake)
        with wordless(), disk_errors(lake.root), lake.beside() if others else lake.alone():
            lake.recover()
            with engine(settings, pseudonyms=pseudonyms) as backend:
                yield backend

    @contextmanager
    def compute(self, *, local: bool = False, others: bool = False) -> Iterator[Compute]:
        """What computes tables from silver events on, by the setting ``engine``; the lake is locked as by ``engine``.

        ``local``: this process, whatever the setting says.
        """
        settings = self._chosen()
        with self.engine(others=others) as backend:
            if local or settings.engine == "duckdb":
                yield DuckDB(backend)
                return
            from resources.spark import Spark
            from resources.spark_session import spark_session

            yield Spark(spark_session(settings), backend)

    def _chosen(self) -> Settings:
        """Settings with what this process was told of the engine."""
        settings = self.settings()
        return replace(settings, engine=self.compute_engine or settings.engine,
                       spark_remote=self.spark_remote or settings.spark_remote)  # fmt: skip
