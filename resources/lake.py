"""The lake: Delta tables whose every file goes through one writer and whose every commit replaces whole parts.

A *part* is what is replaced as one: a day (``2019-10-01``), a month of a closed fact, a landed file's rejects, or
the whole table. Each file's name carries the fingerprint of the inputs it was made from, so "is this day up to
date?" is answered by the table itself, and a crash between two commits can lose nothing but time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, CommitProperties, PostCommitHookProperties, RemoveAction, Transaction

from resources.disk import disk_errors, refusal, sync_path
from resources.errors import IntegrityError
from resources.failpoints import reach
from resources.parquet import DataFile, write_part

COMMIT_RETRIES = 5
ORIGINALS = ("bronze/", "quarantine/")  # layers that no other table can give back
_DATA_CHANGE = True  # a commit of ours always changes rows


@dataclass(frozen=True)
class TableSpec:
    """A lake table: its name ``layer/table``, columns, and whether ``event_date`` partitions it."""

    name: str
    schema: pa.Schema
    by_day: bool = False
    undictionaried: frozenset[str] = frozenset()

    @property
    def view(self) -> str:
        """The name under which queries see the table: ``gold/dim_date`` is ``gold_dim_date``."""
        return self.name.replace("/", "_")


class Lake:
    """All tables below ``<home>/lake``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def table(self, spec: TableSpec) -> LakeTable:
        """The table of a spec; it need not exist yet."""
        return LakeTable(self.root / spec.name, spec)


class LakeTable:
    """One Delta table, read at its newest version and written by whole parts."""

    def __init__(self, root: Path, spec: TableSpec) -> None:
        self.root = root
        self.spec = spec
        self._handle: DeltaTable | None = None
        self._listed: tuple[int, list[DataFile]] = (-1, [])

    def exists(self) -> bool:
        """Whether the table has been created."""
        return (self.root / "_delta_log").is_dir()

    def handle(self) -> DeltaTable | None:
        """A handle on the newest version, None before the first write. Raises IntegrityError if unreadable."""
        if not self.exists():
            return None
        try:
            if self._handle is None:
                self._handle = DeltaTable(str(self.root), without_files=False)
            else:
                self._handle.update_incremental()
        except TableNotFoundError:
            return None
        except DeltaError as error:
            msg = f"{self.spec.name}: the Delta log cannot be read ({type(error).__name__}). Run `behavior verify`."
            raise IntegrityError(msg) from error
        return self._handle

    @property
    def version(self) -> int:
        """Newest version, -1 before the first write."""
        handle = self.handle()
        return -1 if handle is None else handle.version()

    def files(self) -> list[DataFile]:
        """Every live data file, sorted by path."""
        handle = self.handle()
        if handle is None:
            return []
        if self._listed[0] == handle.version():
            return list(self._listed[1])
        actions = pa.table(handle.get_add_actions(flatten=True)).select(["path", "size_bytes", "num_records"])
        rows = actions.to_pylist()
        found = [DataFile.parse(r["path"], r["num_records"], r["size_bytes"]) for r in rows]
        self._listed = (handle.version(), sorted(found, key=lambda f: f.path))
        return list(self._listed[1])

    def parts(self) -> dict[str, list[DataFile]]:
        """Live files by part, parts in order."""
        grouped: dict[str, list[DataFile]] = {}
        for file in sorted(self.files(), key=lambda f: (f.part, f.path)):
            grouped.setdefault(file.part, []).append(file)
        return grouped

    def fingerprints(self) -> dict[str, str]:
        """The input fingerprint of each part (parts of one file)."""
        return {part: files[0].fingerprint for part, files in self.parts().items()}

    def rows(self) -> int:
        """Row count by the log."""
        return sum(f.rows for f in self.files())

    def absolute(self, files: Iterable[DataFile]) -> list[str]:
        """Paths that DuckDB reads. Raises IntegrityError for a file that is gone or has another size."""
        return [self._present(f) for f in files]

    def _present(self, file: DataFile) -> str:
        # The engine's own words for a lost file name neither the table nor what to do.
        path = os.path.join(self.root, file.path)  # noqa: PTH118 - thousands of times in a run
        try:
            size = os.stat(path).st_size  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            found = "is missing"
        else:
            if size == file.size:
                return path
            found = f"has {size:,} bytes, the log says {file.size:,}"
        if self.spec.name.startswith(ORIGINALS):
            remedy = "put it back from a backup, or load the archive into a new home"
        else:
            remedy = f"put it back from a backup, or remove the folder {self.root}: the next run makes the table again"
        msg = (
            f"{self.spec.name}: the data file {file.path} {found}. `behavior verify` names everything that is broken; "
            f"{remedy}."
        )
        raise IntegrityError(msg)

    def write(
        self, part: str, fingerprint: str, batches: Iterable[pa.RecordBatch | pa.Table]
    ) -> DataFile:
        """Write one file of a part. It becomes visible with ``commit``."""
        folder = f"event_date={part}" if self.spec.by_day else ""
        return write_part(self.root, folder, part, fingerprint, batches, self.spec.schema, self.spec.undictionaried)

    def commit(
        self,
        added: Iterable[DataFile],
        *,
        replace: bool = True,
        drop: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        transaction: tuple[str, int] | None = None,
    ) -> int:
        """Make files visible in one commit and return the version.

        With ``replace`` the parts of the added files lose their older files in the same commit; ``drop`` names
        further parts that go. ``transaction`` is an (application, number) marker kept in the log.
        """
        added = list(added)
        handle = self._created()
        live = self.parts()
        gone_parts = ({f.part for f in added} if replace else set()) | set(drop)
        kept = {f.path for f in added}
        gone = [f for part in sorted(gone_parts) for f in live.get(part, []) if f.path not in kept]
        present = {f.path for files in live.values() for f in files}
        fresh = [f for f in added if f.path not in present]
        if not fresh and not gone and metadata is None:
            return handle.version()
        with disk_errors(self.root):
            self._sync_folders(fresh)
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            AddAction(f.path, f.size, self._partition(f), now, _DATA_CHANGE, json.dumps({"numRecords": f.rows}))
            for f in fresh
        ]
        actions += [RemoveAction(f.path, _DATA_CHANGE, now, f.size, self._partition(f)) for f in gone]
        properties = CommitProperties(
            custom_metadata={k: v if isinstance(v, str) else json.dumps(v) for k, v in (metadata or {}).items()},
            app_transactions=[Transaction(*transaction)] if transaction else None,
            max_commit_retries=COMMIT_RETRIES,
        )
        with disk_errors(self.root):
            try:
                reach("lake.commit")
                handle.create_write_transaction(
                    actions,
                    "append",
                    handle.schema(),
                    ["event_date"] if self.spec.by_day else None,
                    commit_properties=properties,
                    post_commithook_properties=PostCommitHookProperties(
                        create_checkpoint=True, cleanup_expired_logs=False
                    ),
                )
            except CommitFailedError as error:
                if refusal(error):
                    raise
                msg = f"{self.spec.name}: another process changed the table meanwhile. Run the same command again."
                raise IntegrityError(msg) from error
            reach("lake.committed")
            self._sync_log()
        self._handle = None
        return self.version

    def history(self) -> list[dict[str, Any]]:
        """Commits, oldest first, with their custom metadata."""
        handle = self.handle()
        return [] if handle is None else list(reversed(handle.history()))

    def recorded(self, key: str) -> str | None:
        """What the newest commit that speaks of a key says of it, None where none does."""
        handle = self.handle()
        if handle is None:
            return None
        # The newest commit nearly always tells; all commits of a large table take long to read.
        for limit in (1, None):
            for commit in handle.history(limit):
                if key in commit:
                    return str(commit[key])
        return None

    def transaction(self, application: str) -> int:
        """The last committed number of an application's marker, 0 if none."""
        handle = self.handle()
        version = None if handle is None else handle.transaction_version(application)
        return version or 0

    def _partition(self, file: DataFile) -> dict[str, str | None]:
        return {"event_date": file.part} if self.spec.by_day else {}

    def _created(self) -> DeltaTable:
        handle = self.handle()
        if handle is not None:
            return handle
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            DeltaTable.create(
                str(self.root),
                schema=self.spec.schema,
                partition_by=["event_date"] if self.spec.by_day else None,
                name=self.spec.view,
                mode="ignore",
            )
        return DeltaTable(str(self.root))

    def _sync_folders(self, files: Iterable[DataFile]) -> None:
        """delta-rs never calls fsync; a file's name must be on disk before a commit speaks of it."""
        for folder in {(self.root / f.path).parent for f in files}:
            sync_path(folder)

    def _sync_log(self) -> None:
        log = self.root / "_delta_log"
        newest = max(log.glob("*.json"), default=None)
        if newest is not None:
            sync_path(newest)
        sync_path(log)
