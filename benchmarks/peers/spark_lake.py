"""The peer's lake: a Spark session fit for one machine, and tables as folders of Delta or Parquet."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

import pyspark
from pyspark.sql import SparkSession

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

MIB = 2**20
DAY = "event_date"
_SHUFFLE_BYTES = 32 * MIB  # of CSV per shuffle partition: such a one fits into a task's memory; AQE joins small ones
_MOST_PARTITIONS = 400
_BROADCAST = "64m"  # of a heap of gigabytes; Spark's 10 MB is meant for a cluster's network
_DISTINCT = ("event_id", "event_key", "session_key", "cart_key")
_DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # Smallest and greatest values of every column take as long as the writing, and nothing here reads them.
    "spark.databricks.delta.stats.collect": "false",
}


@dataclass(frozen=True)
class Machine:
    """What Spark may use. ``scratch`` is for what shuffles and sorts spill; ``jars`` holds Delta's, or is None."""

    threads: int
    memory: str
    scratch: Path
    jars: Path | None = None


def start(machine: Machine, csv_bytes: int) -> SparkSession:
    """A local session, its shuffles fit to so many bytes of CSV."""
    partitions = min(max(2 * machine.threads, csv_bytes // _SHUFFLE_BYTES), _MOST_PARTITIONS)
    settings: dict[str, object] = {
        "spark.driver.memory": machine.memory,
        # Two cores have no use for G1's concurrent threads; a batch wants throughput.
        "spark.driver.extraJavaOptions": "-XX:+UseParallelGC",
        "spark.local.dir": machine.scratch,
        "spark.sql.warehouse.dir": machine.scratch / "warehouse",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.shuffle.partitions": partitions,
        "spark.sql.autoBroadcastJoinThreshold": _BROADCAST,
        "spark.sql.broadcastTimeout": 3600,
        # A day's rows need no sort before they are written: a task holds few days.
        "spark.sql.maxConcurrentOutputFileWriters": 64,
        "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": 2,
        # Nearly distinct values: trying a dictionary costs time and saves nothing.
        **{f"spark.hadoop.parquet.enable.dictionary#{name}": "false" for name in _DISTINCT},
    }
    if machine.jars is not None:
        settings |= _DELTA
        settings["spark.databricks.delta.snapshotPartitions"] = machine.threads
        settings["spark.driver.extraClassPath"] = os.pathsep.join(map(str, delta_jars(machine.jars)))
    builder = SparkSession.builder.master(f"local[{machine.threads}]").appName("behavior-peer")
    for name, value in settings.items():
        builder = builder.config(name, str(value))
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def delta_jars(folder: Path) -> list[Path]:
    """Delta's jars and what they need that Spark does not bring itself; its own versions must stay in front."""
    own = {_artifact(jar) for jar in (Path(pyspark.__file__).parent / "jars").glob("*.jar")}
    found = sorted(jar for jar in folder.glob("*.jar") if _artifact(jar) not in own)
    if not any(jar.name.startswith("delta-spark") for jar in found):
        sys.exit(f"{folder}: no jar of delta-spark is there. Copy it there with Maven, or take --format parquet.")
    return found


def _artifact(jar: Path) -> str:
    return re.sub(r"-\d.*", "", jar.name)


@dataclass(frozen=True)
class Lake:
    """Tables below one folder, each named ``layer/table``, all in one format: ``delta`` or ``parquet``."""

    spark: SparkSession
    root: Path
    format: str

    def write(self, name: str, rows: DataFrame, *, by_day: bool = False) -> DataFrame:
        """Compute a table, write it (``by_day``: a folder per day), and give back what reads it."""
        writer = rows.write.format(self.format).mode("overwrite")
        if by_day:
            writer = writer.partitionBy(DAY)
        writer.save(str(self.root / name))
        reader = self.spark.read.format(self.format)
        if self.format == "parquet":  # else Spark reads a file first, to learn what is known here
            reader = reader.schema(rows.schema)
        return reader.load(str(self.root / name))


def files_of(table: DataFrame) -> list[Path]:
    """The data files that a table is read from."""
    return sorted(Path(unquote(urlparse(uri).path)) for uri in table.inputFiles())


def peak_memory_mb() -> dict[str, int]:
    """Largest resident sizes so far, MiB: of this process (Python) and of the Java processes that it started."""
    own = os.getpid()
    below = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _descends(int(p.name), own)]
    java = sum(_high_water(pid) for pid in below)
    return {"java": java // 1024, "python": _high_water(own) // 1024}


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        text = _status(pid)
        pid = int(found[1]) if (found := re.search(r"^PPid:\s+(\d+)", text, re.MULTILINE)) else 0
        if pid == ancestor:
            return True
    return False


def _high_water(pid: int) -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB", _status(pid), re.MULTILINE)
    return int(found[1]) if found else 0


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:  # it has ended meanwhile
        return ""
