"""A Spark session: of a Spark Connect server, of a cluster's master, or of this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from resources.errors import UsageError
from resources.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_PORTS = {"sc": 15002, "spark": 7077}
_LISTENS, _ANSWERS = 10, 30  # seconds until somebody must listen, and until that must be a server
_REMOTES = re.compile(r"(sc|spark|k8s)://[^/;?].*|yarn|local(\[.+\])?|local-cluster\[.+\]")
_SESSIONS: list[SparkSession] = []
_REMOTE = ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED", "SPARK_LOCAL_REMOTE")  # left by a remote session before
_MOST_TOLD = 200  # characters of Spark's own words
DELTA = "io.delta:delta-spark_4.2_2.13:4.4.0"


def spark_session(settings: Settings) -> SparkSession:
    """The session that the settings ``spark_remote`` and ``spark_jars`` tell; one for the whole process.

    Raises UsageError where there is none to be had, with what to do.
    """
    if importlib.util.find_spec("pyspark") is None:
        msg = "--engine spark: PySpark is not installed: run `make setup`."
        raise UsageError(msg)
    if _SESSIONS:
        return _SESSIONS[-1]
    remote = settings.spark_remote
    _require_address(remote)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if not remote and shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        msg = "--engine spark: a session of this machine needs Java 17. Install it, or name a server: --spark-remote."
        raise UsageError(msg)
    _silence()
    try:
        _require_listener(remote)
        made = _connected(remote) if remote.startswith("sc://") else _classic(settings)
        made.conf.set("spark.sql.session.timeZone", "UTC")
        made.sql("SELECT 1").collect()
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(_refused(remote, error)) from error
    _SESSIONS.append(made)
    return made


def _refused(remote: str, error: Exception) -> str:
    """Why there is no session, and what to do."""
    where = _shown(remote)  # Spark's own words may repeat the rest
    why = "" if where != remote else "".join(f": {line[:_MOST_TOLD]}" for line in str(error).strip().splitlines()[:1])
    check = f"Check that Delta Lake's jars are at hand (setting spark_jars, else {DELTA} by Maven)."
    if remote.startswith("sc://"):
        check = "Check that a Spark Connect server answers there, with Delta Lake."
    elif remote:
        check = f"Check that the master answers there. {check}"
    return f"--engine spark: no session of {where or 'this machine'} ({type(error).__name__}{why}). {check}"


def _shown(remote: str) -> str:
    """An address without what may be a password or a token."""
    shown = re.sub(r"//[^/@]*@", "//", re.split(r"[;?]", remote, maxsplit=1)[0])
    return "/".join(shown.split("/")[:3]) if shown.startswith("sc://") else shown


@contextmanager
def spark_at_hand(settings: Settings) -> Iterator[None]:
    """Find out whether there is a Spark, where the settings want one, before anything is done; end it afterwards."""
    if settings.engine == "spark":
        spark_session(settings)
    try:
        yield
    finally:
        stop_sessions()


def stop_sessions() -> None:
    """End what this process began: one whose server is gone would hold the process up for minutes at its end."""
    while _SESSIONS:
        with suppress(Exception):  # it is gone already
            _SESSIONS.pop().stop()


def _require_address(remote: str) -> None:
    """Raises UsageError for what Spark would look for minutes to understand."""
    if remote and not _REMOTES.fullmatch(remote):
        msg = (
            f"--spark-remote {_shown(remote)!r}: not an address of Spark. Write sc://host:15002 for a Spark "
            "Connect server, or a cluster's master: spark://host:7077, k8s://https://host:6443, yarn."
        )
        raise UsageError(msg)


def _require_listener(remote: str) -> None:
    """Spark's client would try for minutes. Raises OSError where nobody listens."""
    scheme, _, rest = remote.partition("://")
    if scheme not in _PORTS:
        return
    places = [urlsplit(f"{scheme}://{place}") for place in rest.partition(";")[0].split(",")]
    failed: OSError | None = None
    for place in places:  # of several masters one is in charge
        try:
            with socket.create_connection((place.hostname or "", place.port or _PORTS[scheme]), timeout=_LISTENS):
                return
        except OSError as error:
            failed = error
    if failed is not None:
        raise failed


def _require_server(remote: str) -> None:
    """Raises TimeoutError where somebody listens who does not speak gRPC: Spark's client would wait for ever."""
    import grpc
    from pyspark.sql.connect.client import DefaultChannelBuilder

    channel = DefaultChannelBuilder(remote).toChannel()
    try:
        grpc.channel_ready_future(channel).result(timeout=_ANSWERS)
    except grpc.FutureTimeoutError:
        msg = f"no answer within {_ANSWERS} s"
        raise TimeoutError(msg) from None
    finally:
        channel.close()


def _connected(remote: str) -> SparkSession:
    from pyspark.sql import SparkSession

    _require_server(remote)
    made: SparkSession = SparkSession.builder.remote(remote).getOrCreate()
    return made


def _silence() -> None:
    """PySpark logs every refused query with its text, which may quote a row; what went wrong is ours to tell."""
    from pyspark.logger import PySparkLogger

    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).disabled = True


def _jars(folder: Path) -> str:
    """The jars of a folder, as Spark wants them. Raises UsageError where Delta Lake's are not among them."""
    found = sorted(folder.glob("*.jar"))
    if not any("delta-spark" in path.name for path in found):
        msg = (
            f"spark_jars {str(folder)!r}: there are no jars of Delta Lake in {folder.resolve()}. Name a folder that "
            f"has {DELTA} and what it needs, or leave the setting away: Spark then asks Maven for them."
        )
        raise UsageError(msg)
    return ",".join(map(str, found))


def _classic(settings: Settings) -> SparkSession:
    from pyspark.sql import SparkSession

    scratch, jars = settings.home.staging / "spark", settings.spark_jars
    options = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.local.dir": str(scratch / "local"),
        "spark.ui.enabled": "false",
        "spark.log.level": "ERROR",
    }
    if jars:
        options["spark.jars"] = _jars(Path(jars))
    else:
        options["spark.jars.packages"] = DELTA
    if not settings.spark_remote:
        options |= {
            "spark.driver.memory": f"{settings.memory_limit // 2**20}m",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.shuffle.partitions": str(2 * settings.threads),
            # The log of a table is read in 50 tasks unless told otherwise: more than a machine's own tables need.
            "spark.databricks.delta.snapshotPartitions": str(settings.threads),
        }
    for name in _REMOTE:
        os.environ.pop(name, None)
    builder = SparkSession.builder.master(settings.spark_remote or f"local[{settings.threads}]").appName("behavior")
    for name, value in options.items():
        builder = builder.config(name, value)
    made: SparkSession = builder.getOrCreate()
    return made
