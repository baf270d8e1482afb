"""The lake: Delta tables whose every file goes through one writer and whose every commit replaces whole parts.

A *part* is what is replaced as one: a day (``2019-10-01``), a month of a closed fact, a landed file's rejects, or
the whole table. Each file's name carries the fingerprint of the inputs it was made from, so "is this day up to
date?" is answered by the table itself, and a crash between two commits can lose nothing but time.

Nothing else writes to a table (``tests/test_one_way.py``). Each commit carries a number that the next one must follow,
so of two writers with the same view of a table one fails, and each commit is noted in the table's journal.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, CommitProperties, PostCommitHookProperties, RemoveAction, Transaction

from resources.disk import disk_errors, make_folder, refusal, sync_path
from resources.errors import ConflictError, IntegrityError
from resources.failpoints import reach
from resources.integrity import REMEDY
from resources.journal import ACTIONS_KEY, Journal
from resources.lock import TABLES, exclusive
from resources.mirror import mirror_of
from resources.parquet import DataFile, write_part
from resources.vacuum import sweep

COMMIT_ATTEMPTS = 5
BATCHES = "ingest"  # the marker that tells the last batch of deliveries
BATCH_KEY = "behavior.batch"  # what that batch was
_SEQUENCE = "behavior"  # the marker that every commit raises by one: delta-rs refuses two commits with one number
ORIGINALS = ("bronze/", "quarantine/")  # layers that no other table can give back
_DATA_CHANGE = True  # a commit of ours always changes rows


@dataclass(frozen=True)
class TableSpec:
    """A lake table: its name ``layer/table``, columns, and whether ``event_date`` partitions it.

    ``widened``: older files lack columns that came later, and nobody makes them anew.
    """

    name: str
    schema: pa.Schema
    by_day: bool = False
    undictionaried: frozenset[str] = frozenset()
    widened: bool = False

    @property
    def view(self) -> str:
        """The name under which queries see the table: ``gold/dim_date`` is ``gold_dim_date``."""
        return self.name.replace("/", "_")


@dataclass(frozen=True)
class Batch:
    """A batch of deliveries: its number, one above the last, and a digest of what it holds."""

    number: int
    digest: str


@dataclass
class _View:
    """What is known of a table: a handle, and the files of the version that was listed last."""

    handle: DeltaTable | None = None
    listed: tuple[int, list[DataFile]] = (-1, [])
    pulled: bool = False  # what the store of the lake has is here


_VIEWS: ContextVar[dict[Path, _View] | None] = ContextVar("views", default=None)


@contextmanager
def shared_views() -> Iterator[None]:
    """While this lasts, a table is opened once, however often it is asked for: a run asks hundreds of times.

    Commits of others are seen as before. What is done to a log by hand meanwhile need not be.
    """
    views = _VIEWS.get()
    token = _VIEWS.set({} if views is None else views)
    try:
        yield
    finally:
        _VIEWS.reset(token)


class LakeTable:
    """One Delta table, read at its newest version and written by whole parts."""

    def __init__(self, root: Path, spec: TableSpec, first_day: str = "") -> None:
        self.root = root
        self.spec = spec
        self.first_day = first_day
        self.journal = Journal(root)
        self.mirror = mirror_of(root.parent.parent)
        views = _VIEWS.get()
        self._view = _View() if views is None else views.setdefault(root, _View())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else commits to the table meanwhile."""
        with exclusive(self.locks):
            yield

    @property
    def locks(self) -> Path:
        """The folder of the table's locks: outside of the table, which other programs read."""
        return self.root.parent.parent / TABLES / self.spec.name.replace("/", ".")

    def require_log(self) -> None:
        """Raise IntegrityError where the log is damaged in what is read of it: of originals all, for the ledger."""
        self.journal.require_whole(all_of_it=self.spec.name.startswith(ORIGINALS))

    def recover(self) -> list[str]:
        """Make good what a crash left at the log's end, and bring here what a store has; of Journal.recover."""
        with self.alone():
            return self._recover(pull=not self._view.pulled)

    def _recover(self, *, pull: bool) -> list[str]:
        if self.mirror is not None and pull:
            self.mirror.pull(self.journal)
            self._view.pulled = True
            self._view.handle = None  # of a commit that may have been taken back
        return self.journal.recover() if self.journal.log.is_dir() else []

    def exists(self) -> bool:
        """Whether the table has been created."""
        if self.mirror is not None and not self._view.pulled:
            self.recover()
        return self.journal.log.is_dir()

    def handle(self) -> DeltaTable | None:
        """A handle on the newest version, None before the first write. Raises IntegrityError if unreadable."""
        if not self.exists():
            return None
        try:
            if self._view.handle is None:
                self._view.handle = DeltaTable(str(self.root), without_files=False)
            elif self._has_commit(self._view.handle.version() + 1):
                self._view.handle.update_incremental()
        except TableNotFoundError:
            return None
        except DeltaError as error:
            raise self._unreadable(error) from error
        return self._view.handle

    def _has_commit(self, version: int) -> bool:
        """A look for one name costs a thousandth of what delta-rs takes to find nothing new."""
        return os.path.lexists(self.root / "_delta_log" / f"{version:020d}.json")

    def _unreadable(self, error: Exception) -> IntegrityError:
        return IntegrityError(f"{self.spec.name}: the Delta log cannot be read ({type(error).__name__}). {REMEDY}")

    @property
    def version(self) -> int:
        """Newest version, -1 before the first write."""
        handle = self.handle()
        return -1 if handle is None else handle.version()

    def files(self) -> list[DataFile]:
        """Every live data file (of ``first_day`` and later), sorted by path."""
        handle = self.handle()
        return [] if handle is None else [f for f in self._files(handle) if f.part >= self.first_day]

    def _files(self, handle: DeltaTable) -> list[DataFile]:
        if self._view.listed[0] == handle.version():
            return list(self._view.listed[1])
        actions = pa.table(handle.get_add_actions(flatten=True)).select(["path", "size_bytes", "num_records"])
        rows = actions.to_pylist()
        found = [DataFile.parse(r["path"], r["num_records"], r["size_bytes"]) for r in rows]
        self._view.listed = (handle.version(), sorted(found, key=lambda f: f.path))
        return list(self._view.listed[1])

    def parts(self) -> dict[str, list[DataFile]]:
        """Live files by part, parts in order."""
        return _by_part(self.files())

    def fingerprints(self) -> dict[str, str]:
        """The input fingerprint of each part (parts of one file)."""
        return {part: files[0].fingerprint for part, files in self.parts().items()}

    def rows(self) -> int:
        """Row count by the log."""
        return sum(f.rows for f in self.files())

    def absolute(self, files: Iterable[DataFile]) -> list[str]:
        """Paths that DuckDB reads. Raises IntegrityError for a file that is gone or has another size."""
        files = list(files)
        if self.mirror is not None:
            self.mirror.bring(self.root, files)
        return [self._present(f) for f in files]

    def require_files(self) -> None:
        """Raise IntegrityError for the first live data file that is gone or has another size. Nothing is read.

        Of a lake that is kept in a store a file may be there instead, which its listing tells.
        """
        there = []
        for file in self.files():
            if self.mirror is None or (self.root / file.path).exists():
                self._present(file)
            else:
                there.append(file)
        if self.mirror is not None:
            self.mirror.require(self.root, there)

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
        if self.spec.name == "bronze/consents":
            remedy = "persons' decisions are nowhere else, so it can only come from a backup"
        elif self.spec.name.startswith(ORIGINALS):
            remedy = "`behavior verify --repair` reads its rows again from the archive"
        else:
            remedy = "`behavior verify --repair` makes it again from the tables before it"
        msg = (
            f"{self.spec.name}: the data file {file.path} {found}. `behavior verify` names everything that is broken; "
            f"{remedy}."
        )
        raise IntegrityError(msg)

    def write(
        self, part: str, fingerprint: str, batches: Iterable[pa.RecordBatch | pa.Table], origin: str = ""
    ) -> DataFile:
        """Write one file of a part. It becomes visible with ``commit``. ``origin``: of DataFile."""
        folder = f"event_date={part}" if self.spec.by_day else ""
        return write_part(self.root, folder, part, fingerprint, batches, self.spec.schema, self.spec.undictionaried,
                          origin)  # fmt: skip

    def commit(
        self,
        added: Iterable[DataFile],
        *,
        replace: bool = True,
        drop: Iterable[str] = (),
        remove: Iterable[DataFile] = (),
        metadata: Mapping[str, Any] | None = None,
        batch: Batch | None = None,
        seen: Mapping[str, list[DataFile]] | None = None,
    ) -> int:
        """Make files visible in one commit and return the version.

        With ``replace`` the parts of the added files lose their older files in the same commit; ``drop`` names
        further parts that go, ``remove`` single files. A commit that loses against another writer is made again on
        the table as that one left it. Of a ``batch`` that is in already nothing is done; raises ConflictError where
        another batch has its number or a later one, or where a part has no longer the files that were ``seen`` in it.
        """
        with self.alone():
            return self._commit_alone(
                list(added), set(drop), list(remove), metadata, batch, seen or {}, replace=replace
            )

    def _commit_alone(
        self, added: list[DataFile], drop: set[str], remove: list[DataFile], metadata: Mapping[str, Any] | None,
        batch: Batch | None, seen: Mapping[str, list[DataFile]], *, replace: bool,
    ) -> int:  # fmt: skip
        """Commit with the table's lock, which keeps out all but who cannot see it: such a commit is made again."""
        for attempt in range(1, COMMIT_ATTEMPTS + 1):
            try:
                handle = self._widened(self._created())
            except CommitFailedError as error:  # another machine made the table
                self._lost(error, attempt)
                continue
            if batch is not None and self._applied(handle, batch, replace=replace):
                return handle.version()
            # From here on nothing looks at the table again: the commit fails if it is not what this handle saw.
            live = _by_part(self._files(handle))
            if other := [part for part, files in seen.items() if live.get(part, []) != files]:
                msg = f"{self.spec.name}: another process has changed {other[0]}. Run the same command again."
                raise ConflictError(msg)
            gone_parts = ({f.part for f in added} if replace else set()) | drop
            kept = {f.path for f in added}
            leaving = kept | {f.path for f in remove}
            gone = [f for part in sorted(gone_parts) for f in live.get(part, []) if f.path not in leaving]
            present = {f.path for files in live.values() for f in files}
            gone += [f for f in remove if f.path in present - kept]
            fresh = [f for f in added if f.path not in present]
            if not fresh and not gone and metadata is None:
                return handle.version()
            try:
                self._commit(handle, fresh, gone, metadata or {}, batch)
            except CommitFailedError as error:
                self._lost(error, attempt)
            else:
                break
        self._view.handle = None
        return self.version

    def _lost(self, error: CommitFailedError, attempt: int) -> None:
        """A commit that came too late may be made again, unless it was the disk that refused it."""
        self._view.handle = None
        if refusal(error):
            raise error
        if attempt == COMMIT_ATTEMPTS:
            msg = f"{self.spec.name}: other processes keep changing the table. Run the same command again."
            raise ConflictError(msg) from error

    def _applied(self, handle: DeltaTable, batch: Batch, *, replace: bool) -> bool:
        """Whether a batch is in. Replacing what an unfinished batch of this number left is no conflict."""
        last = handle.transaction_version(BATCHES) or 0
        if batch.number > last:
            return False
        if batch.number == last and replace:  # made again, even the same: whoever reruns it has taken out what it left
            return False
        if batch.number == last and _recorded(handle, BATCH_KEY) == batch.digest:
            return True
        msg = f"{self.spec.name}: batch {batch.number} is refused, another process has committed batch {last}."
        raise ConflictError(msg)

    def _commit(
        self, handle: DeltaTable, fresh: list[DataFile], gone: list[DataFile], metadata: Mapping[str, Any],
        batch: Batch | None,
    ) -> None:  # fmt: skip
        """One commit through a handle: it fails if the table is no longer what the handle saw."""
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            AddAction(f.path, f.size, self._partition(f), now, _DATA_CHANGE, json.dumps({"numRecords": f.rows}))
            for f in fresh
        ]
        actions += [RemoveAction(f.path, _DATA_CHANGE, now, f.size, self._partition(f)) for f in gone]
        markers = [Transaction(_SEQUENCE, (handle.transaction_version(_SEQUENCE) or 0) + 1)]
        told = dict(metadata)
        if batch is not None:
            markers.append(Transaction(BATCHES, batch.number))
            told[BATCH_KEY] = batch.digest
        told[ACTIONS_KEY] = len(actions) + len(markers)
        with disk_errors(self.root):
            self._sync_folders(fresh)
            if self.mirror is not None:
                self.mirror.send(self.root, fresh)
            reach("lake.commit")
            handle.create_write_transaction(
                actions,
                "append",
                handle.schema(),
                ["event_date"] if self.spec.by_day else None,
                commit_properties=CommitProperties(
                    custom_metadata={k: v if isinstance(v, str) else json.dumps(v) for k, v in told.items()},
                    app_transactions=markers,
                    max_commit_retries=0,
                ),
                post_commithook_properties=PostCommitHookProperties(
                    create_checkpoint=True, cleanup_expired_logs=False
                ),
            )
            reach("lake.committed")
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Note the commit that was just made; where the lake is kept in a store, once that has it."""
        if self.mirror is not None and not self.mirror.acknowledge(self.journal):
            msg = "another machine was faster"
            raise CommitFailedError(msg)
        self.journal.note()

    def vacuum(self, grace_seconds: float) -> int:
        """Remove this table's drafts and the data files that no version since then names; how many it were."""
        if not self.exists():
            return 0
        live, since = {f.path for f in self.files()}, time.time() - grace_seconds
        gone = sweep(self.root, live, since)
        return gone if self.mirror is None else gone + self.mirror.sweep(self.root, live, since)

    def history(self) -> list[dict[str, Any]]:
        """Commits, oldest first, with their custom metadata."""
        handle = self.handle()
        try:
            return [] if handle is None else list(reversed(handle.history()))
        except DeltaError as error:
            raise self._unreadable(error) from error

    def recorded(self, key: str) -> str | None:
        """What the newest commit that speaks of a key says of it, None where none does."""
        handle = self.handle()
        try:
            return None if handle is None else _recorded(handle, key)
        except DeltaError as error:
            raise self._unreadable(error) from error

    def last_batch(self) -> int:
        """The number of the last committed batch, 0 if none."""
        handle = self.handle()
        return 0 if handle is None else handle.transaction_version(BATCHES) or 0

    def _partition(self, file: DataFile) -> dict[str, str | None]:
        return {"event_date": file.part} if self.spec.by_day else {}

    def _created(self) -> DeltaTable:
        with disk_errors(self.root):
            self._recover(pull=True)
            handle = self.handle()
            if handle is not None:
                return handle
            make_folder(self.root)
            for folder in (self.root.parent, self.root.parent.parent):  # writing a file may have made these
                sync_path(folder)
            reach("lake.create")
            DeltaTable.create(
                str(self.root),
                schema=self.spec.schema,
                partition_by=["event_date"] if self.spec.by_day else None,
                name=self.spec.view,
                mode="ignore",
            )
            self._acknowledge()
        return DeltaTable(str(self.root))

    def _widened(self, handle: DeltaTable) -> DeltaTable:
        """The table with the columns that its spec has gained since an older version of the program made it.

        They are a commit of their own, as delta-rs writes no new schema beside files that come and go. Rows without
        them are read as NULL until their part is made again, so a crash after it does no harm.
        """
        known = {field.name for field in handle.schema().fields}
        missing = pa.schema([field for field in self.spec.schema if field.name not in known])
        if not missing:
            return handle
        sequence = Transaction(_SEQUENCE, (handle.transaction_version(_SEQUENCE) or 0) + 1)
        told = {ACTIONS_KEY: "2"}  # the new schema and the marker
        try:
            with disk_errors(self.root):
                reach("lake.commit")
                handle.alter.add_columns(
                    list(Schema.from_arrow(missing).fields),
                    commit_properties=CommitProperties(told, max_commit_retries=0, app_transactions=[sequence]),
                    post_commithook_properties=PostCommitHookProperties(
                        create_checkpoint=True, cleanup_expired_logs=False
                    ),
                )
                self._acknowledge()
        except CommitFailedError as error:
            if refusal(error):
                raise
            msg = f"{self.spec.name}: another process has changed the table. Run the same command again."
            raise ConflictError(msg) from error
        finally:
            self._view.handle = None
        return self._created()

    def _sync_folders(self, files: Iterable[DataFile]) -> None:
        """delta-rs never calls fsync; a file's name must be on disk before a commit speaks of it."""
        folders = {(self.root / f.path).parent for f in files}
        for folder in sorted(folders | {self.root} if folders else folders, reverse=True):  # days before the table
            sync_path(folder)


def _by_part(files: Iterable[DataFile]) -> dict[str, list[DataFile]]:
    grouped: dict[str, list[DataFile]] = {}
    for file in sorted(files, key=lambda f: (f.part, f.path)):
        grouped.setdefault(file.part, []).append(file)
    return grouped


def _recorded(handle: DeltaTable, key: str) -> str | None:
    # The newest commit nearly always tells; all commits of a large table take long to read.
    for limit in (1, None):
        for commit in handle.history(limit):
            if key in commit:
                return str(commit[key])
    return None
