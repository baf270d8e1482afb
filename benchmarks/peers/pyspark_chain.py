"""The peer: the chain's work from CSV files to a published snapshot, as PySpark on the same machine does it.

    python benchmarks/peers/pyspark_chain.py FILE… --out DIR [--threads 2] [--memory 8g] [--format delta --jars DIR]

It reads files of the format ``rees46``, writes bronze, silver and gold, asks the quality rules, and publishes gold as
Parquet files with a manifest. What it found goes to standard output, as one JSON object; the JVM's start is told apart
from the seconds. ``benchmarks/compare.py`` runs it beside the chain.

It needs pyspark (the extra ``spark``) and Java 17 or 21, and for Delta a folder of jars: the artifact
``io.delta:delta-spark_<Spark's version, like 4.2>_2.13`` with its dependencies, as ``mvn dependency:copy-dependencies``
puts them there. ``BEHAVIOR_PSEUDONYM_KEY`` (64 hex digits) is the key of the pseudonyms; without it one is made.

What it leaves away: models, reports and the Power BI project; the archive and the check of every byte of a delivery
(row numbers, line breaks inside quotes); consent, bots, addresses, searches, channels, devices and countries, of which
these files tell nothing; being incremental. Rules that only warn are not asked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as fn
from spark_customers import dim_customer, fact_customer_month, visits
from spark_dimensions import (
    Span,
    dim_category,
    dim_date,
    dim_hour,
    dim_nothing,
    dim_product,
    dim_source,
    product_versions,
)
from spark_events import Delivered, build_bronze, build_silver
from spark_expressions import Keys
from spark_facts import fact_cart_item, fact_data_quality, fact_product_day, fact_sales, fact_session
from spark_lake import DAY, Lake, Machine, files_of, peak_memory_mb, start
from spark_rules import Verdict, judge, lookups
from spark_sessions import build_commerce, build_customer_day, build_product_day, build_sessions

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

KEY_VARIABLE = "BEHAVIOR_PSEUDONYM_KEY"
SYNTHETIC_MARK = "SYNTHETIC.txt"  # beside the simulator's files or beside their folder
_BLOCK = 2**20


class BrokenRuleError(Exception):
    """A table breaks rules, and so nothing is published."""


@dataclass
class Chain:
    """One run over some files: every table by name once it is written, and what was found meanwhile."""

    lake: Lake
    files: list[Path]
    keys: Keys
    tables: dict[str, DataFrame] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    delivered: Delivered = field(default_factory=lambda: Delivered(0, 0, 0))

    def run(self, out: Path) -> None:
        """Everything from the files to the manifest."""
        with self._stage("bronze/events"):
            self.tables["bronze/events"], self.delivered = build_bronze(self.lake, self.files)
        self._judge("bronze/events")
        with self._stage("silver/events"):
            events = self.tables["silver/events"] = build_silver(self.lake, self.tables["bronze/events"], self.keys)
        self._judge("silver/events")
        builds = {"sessions": build_sessions, "customer_day": build_customer_day, "product_day": build_product_day,
                  "commerce_events": build_commerce}  # fmt: skip
        with self._stage("silver/sessions and days"):
            self._side_by_side({f"silver/{name}": partial(b, self.lake, events) for name, b in builds.items()})
        self._judge(*(f"silver/{name}" for name in builds))
        self._star()
        with self._stage("publication"):
            self._publish(out)

    def account(self) -> dict[str, int]:
        """What became of the rows delivered."""
        accepted = self.verdicts["bronze/events"].rows
        bad = self.delivered.rejected
        return {"rows_in": self.delivered.rows_in, "accepted": accepted, "quarantined": bad,
                "duplicate": self.delivered.rows_in - bad - accepted}  # fmt: skip

    def _star(self) -> None:
        """Gold: dimensions first, facts then; tables that do not wait for each other are made side by side."""
        spark, silver = self.lake.spark, {n: self.tables[f"silver/{n}"] for n in
                                          ("sessions", "customer_day", "product_day", "commerce_events")}  # fmt: skip
        arrived = datetime.fromtimestamp(self.delivered.arrived_us / 1e6, UTC).date()
        synthetic = any((folder / SYNTHETIC_MARK).exists() for f in self.files for folder in list(f.parents)[:2])
        came = visits(silver["sessions"], silver["commerce_events"])
        with self._stage("gold/dimensions"):
            span = _span(silver["sessions"])
            versions = product_versions(silver["product_day"]).persist()  # three tables are made of it
            self._gold({"dim_category": dim_category(versions)})
            self._gold({
                "dim_customer": dim_customer(silver["customer_day"], came, span),
                "dim_product": dim_product(silver["product_day"], versions, self.tables["dim_category"]),
                "dim_date": dim_date(spark, span, arrived),
                "dim_hour": dim_hour(spark),
                "dim_source": dim_source(spark, synthetic=synthetic),
                **{f"dim_{kind}": dim_nothing(spark, kind) for kind in ("channel", "device", "country")},
            })  # fmt: skip
            versions.unpersist()
        products, commerce = self.tables["dim_product"], silver["commerce_events"]
        with self._stage("gold/facts"):
            self._gold({
                "fact_session": fact_session(silver["sessions"], self.tables["dim_customer"]),
                "fact_sales": fact_sales(commerce, silver["sessions"], silver["customer_day"], products),
                "fact_product_day": fact_product_day(silver["product_day"], products),
                "fact_cart_item": fact_cart_item(commerce, products, span.end_us),
                "fact_customer_month": fact_customer_month(silver["customer_day"], came, span.month_ends),
                "fact_data_quality": fact_data_quality(spark, arrived, self.account()),
            })  # fmt: skip
        members = lookups(self.tables)
        self._judge(*(name for name in self.tables if "/" not in name), members=members)
        for keys in members.values():
            keys.unpersist()

    def _gold(self, tables: Mapping[str, DataFrame]) -> None:
        """Compute and write tables of the star."""
        self._side_by_side({name: partial(self.lake.write, f"gold/{name}", table) for name, table in tables.items()})

    def _side_by_side(self, writes: Mapping[str, Callable[[], DataFrame]]) -> None:
        """Write tables at once: a job leaves cores idle while the driver plans and commits."""
        with ThreadPoolExecutor(self._workers) as pool:
            written = {name: pool.submit(write) for name, write in writes.items()}
            self.tables.update({name: future.result() for name, future in written.items()})

    @property
    def _workers(self) -> int:
        return int(self.lake.spark.sparkContext.defaultParallelism)

    def _judge(self, *names: str, members: Mapping[str, DataFrame] | None = None) -> None:
        """Ask the rules of tables. Raises BrokenRuleError before anything is made of a wrong one."""
        with self._stage("rules"), ThreadPoolExecutor(self._workers) as pool:
            asked = {name: pool.submit(judge, name, self.tables[name], members or {}) for name in names}
            verdicts = {name: future.result() for name, future in asked.items()}
        self.verdicts |= verdicts
        if broken := {name: v.broken for name, v in verdicts.items() if v.broken}:
            raise BrokenRuleError(json.dumps(broken))

    def _publish(self, out: Path) -> None:
        """Gold's files under one folder, and a manifest that names them with their hashes."""
        told: dict[str, Any] = {}
        for name, table in self.tables.items():
            if "/" in name:
                continue
            folder = out / "published" / "tables" / name
            folder.mkdir(parents=True)
            files = []
            for number, origin in enumerate(files_of(table)):
                target = folder / f"{number:05d}-{_sha256(origin)}.parquet"
                target.hardlink_to(origin)
                files.append({"path": str(target.relative_to(out / "published")), "bytes": origin.stat().st_size})
            verdict = self.verdicts[name]
            told[name] = {"rows": verdict.rows, "hash": verdict.content, "columns": table.columns, "files": files}
        manifest = {"published_at": datetime.now(UTC).isoformat(), "tables": told}
        draft = out / "published" / ".current.json"
        draft.write_text(json.dumps(manifest, indent=1), "utf-8")
        draft.replace(draft.with_name("current.json"))

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.stages[name] = round(self.stages.get(name, 0.0) + time.perf_counter() - started, 3)


def _span(sessions: DataFrame) -> Span:
    first, last, end = sessions.agg(fn.min(DAY), fn.max(DAY), fn.max("end_ts_us")).collect()[0]
    return Span(first, last, end)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def arguments() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, metavar="FILE", help="CSV files, or folders that hold them")
    parser.add_argument("--out", type=Path, required=True, help="an empty or new folder for all tables")
    parser.add_argument("--threads", type=int, default=2, help="threads of Spark (default: 2)")
    parser.add_argument("--memory", default="8g", help="heap of the driver, which does all work (default: 8g)")
    parser.add_argument("--format", choices=("delta", "parquet"), default="parquet", help="of the tables")
    parser.add_argument("--jars", type=Path, help="folder with the jars of delta-spark, for --format delta")
    return parser.parse_args()


def main() -> None:
    """Run the chain once and print what was found."""
    options = arguments()
    out: Path = options.out.resolve()
    if out.exists() and any(out.iterdir()):
        sys.exit(f"{out} is not empty; a run starts from nothing.")
    if options.format == "delta" and not options.jars:
        sys.exit("--format delta needs --jars, a folder with the jars of delta-spark. Without: --format parquet.")
    files = [f.resolve() for source in options.sources
             for f in (sorted(source.glob("*.csv*")) if source.is_dir() else [source])]  # fmt: skip
    keys = Keys(bytes.fromhex(os.environ.get(KEY_VARIABLE) or secrets.token_hex(32)))
    scratch = out / "scratch"
    scratch.mkdir(parents=True)
    started = time.perf_counter()
    jars = options.jars.resolve() if options.format == "delta" else None
    spark = start(Machine(options.threads, options.memory, scratch, jars), sum(f.stat().st_size for f in files))
    try:
        begun = time.perf_counter()
        chain = Chain(Lake(spark, out / "lake", options.format), files, keys)
        try:
            chain.run(out)
        except BrokenRuleError as error:
            sys.exit(f"blocking rules are broken, nothing is published: {error}")
        done = time.perf_counter()
        print(json.dumps(_told(chain, options, done - begun, begun - started)))
    finally:
        spark.stop()
        shutil.rmtree(scratch, ignore_errors=True)


def _told(chain: Chain, options: argparse.Namespace, seconds: float, jvm_seconds: float) -> dict[str, Any]:
    spark = chain.lake.spark
    jvm: Any = spark._jvm  # noqa: SLF001 - there is no other way to ask for Java's version
    java = jvm.java.lang.System.getProperty("java.version")
    peak = peak_memory_mb()
    return {
        "seconds": round(seconds, 3),
        "jvm_start_seconds": round(jvm_seconds, 3),
        "stages": chain.stages,
        "account": chain.account(),
        "rows": {name: verdict.rows for name, verdict in chain.verdicts.items()},
        "revenue": str(chain.tables["fact_sales"].agg(fn.sum("revenue_net")).collect()[0][0] or 0),
        "peak_memory_mb": sum(peak.values()),
        "peak_memory_of": peak,
        "threads": options.threads,
        "memory": options.memory,
        "format": options.format,
        "versions": {"spark": spark.version, "java": java, "python": platform.python_version()},
        "files": len(chain.files),
        "date": datetime.now(UTC).date().isoformat(),
    }


if __name__ == "__main__":
    main()
