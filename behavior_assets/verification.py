"""``behavior verify``: all checks of lake, archive and exports, as one answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior_assets import unfinished
from behavior_assets.ingestion import audit
from behavior_assets.ingestion.archive import HERE, KEPT_KEY, noted
from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.ingestion.ledger import LEDGER_KEY, FileEntry, decode, removed_by
from behavior_assets.presence import has_ingested, has_published, require_originals
from behavior_assets.privacy.build import expected_days
from behavior_assets.privacy.consents import CONSENTS as CONSENT_TABLE
from behavior_assets.privacy.key_guard import KEY_ID, key_problem, keys_by_day
from behavior_assets.privacy.marks import EXPIRED_KEY, read_marks
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.quality import QUALITY_DAYS, held_days
from behavior_assets.tables import DAY_TABLES, ORIGINALS, all_tables
from exports import outlets
from exports.contract import gold, published
from exports.snapshot import PUBLISHER, alone
from exports.verify import SnapshotCheck, check_snapshots
from resources.commits import Commit, Log, live_files, number_of
from resources.errors import IntegrityError, UsageError
from resources.integrity import Problem, Sums
from resources.keys import key_place, was_destroyed
from resources.lake import Lake
from resources.lock import exclusive
from resources.models import ModelStore
from resources.parquet import DataFile
from resources.settings import CONSENTS, PROFILES, Home, Settings
from resources.table import LakeTable


def require_files(lake: Lake) -> None:
    """Raise IntegrityError naming an original table that is gone, or the first data file that is or has another size.

    Nothing is read, nor brought from a store, so that every run can afford it; whether the bytes are right is what
    ``verify_home`` finds out.
    """
    require_originals(lake)
    for spec in all_tables():
        lake.table(spec).require_files()


@dataclass
class TableCheck:
    """A table's state: what is wrong with its log (by path in its folder) and with its data files, and the live files.

    Where the log is damaged, the files are those that its whole commits tell of.
    """

    table: LakeTable
    log: dict[str, str] = field(default_factory=dict)
    unreadable: str = ""
    files: list[DataFile] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether the list of files is the whole truth."""
        return not self.log and not self.unreadable

    @property
    def damaged_commits(self) -> list[int]:
        """Numbers of the commits that are damaged or gone."""
        return sorted(number_of(Path(path).name) for path in self.log if path.endswith(".json"))

    def problems(self) -> list[Problem]:
        """All that is wrong with the table by itself."""
        name = self.table.spec.name
        found = [Problem(f"{name}/{path}", what) for path, what in (self.log | self.wrong).items()]
        return [*found, *([Problem(name, self.unreadable)] if self.unreadable else [])]


@dataclass
class Inspection:
    """What was found. ``entries`` are the ledger's, None where bronze's log is damaged."""

    tables: dict[str, TableCheck]
    problems: list[Problem]
    archive: audit.ArchiveCheck
    exports: SnapshotCheck
    key: str  # what is wrong with the pseudonym key; empty if nothing
    entries: list[FileEntry] | None
    orphan_days: dict[str, list[str]]  # by table, days that bronze does not have
    elsewhere: list[str]  # what other machines have, which share the lake; nothing is wrong with it


def inspect_home(settings: Settings, progress: Callable[[str], None] = lambda _what: None,
                 sums: Sums | None = None) -> Inspection:  # fmt: skip
    """Look at everything. What is damaged in one place does not keep the others from being looked at."""
    if not settings.home.root.exists():
        msg = f"--home {settings.home.root}: there is no such home."
        raise UsageError(msg)
    home, lake, sums = settings.home, Lake(settings.home.lake), sums or Sums()
    checks: dict[str, TableCheck] = {}
    problems: list[Problem] = []
    ingested, published_once = has_ingested(home), has_published(home)
    for spec in all_tables():
        if lake.table(spec).exists():
            progress(spec.name)
            checks[spec.name] = check_table(lake.table(spec), sums)
            problems += [*checks[spec.name].problems(), *_in_store(checks[spec.name])]
        elif ingested if spec is BRONZE_EVENTS else published_once and spec not in (QUARANTINE_EVENTS, CONSENT_TABLE):
            # These are made with their first row; everything else is there once something was published.
            problems.append(Problem(spec.name, "the table is missing"))
    bronze, quarantine = (checks.get(s.name) for s in ORIGINALS)
    commits = _commits(bronze)
    told = [e for _, entries in batches_of(commits) for e in entries]
    entries = told if bronze is not None and bronze.sound else None
    removed = [r for c in (*commits, *_commits(quarantine)) for r in removed_by(c.info)]
    if bronze is not None:
        problems += audit.check_ledger(told)
        problems += audit.check_bronze(told, bronze.files, removed)
    if entries is not None and (quarantine is None or quarantine.sound):
        problems += audit.check_quarantine(entries, quarantine.files if quarantine else [], removed)
    expired = max((str(c.info[EXPIRED_KEY]) for c in commits if EXPIRED_KEY in c.info), default="")
    unmarked = _marks(settings, expired)
    orphans = _orphan_days(checks, expired) if bronze is not None and bronze.sound else {}
    problems += [Problem(f"{name}/{path}", "a day that bronze does not have") for name, paths in orphans.items()
                 for path in paths]  # fmt: skip
    problems += unmarked or _stale_days(lake, checks)
    progress("archive")
    archived, others = _archived(commits, home, lake.machine)
    archive = audit.check_archive(home, entries if bronze is not None else [], archived if settings.archive else (),
                                  sums)  # fmt: skip
    progress("exports")
    behind = _published_elsewhere(lake, checks)
    exports = check_snapshots(home.exports, _gold(checks), sums, elsewhere=behind)
    progress("models")
    problems += outlets.problems(home.exports)
    problems += [*archive.problems, *exports.problems, *ModelStore(home.models).problems(), *unfinished.problems(home)]
    key = _key(settings, checks.get(SILVER_EVENTS.name))
    if key:
        where = key_place(settings).removeprefix(f"{home.root}{os.sep}")
        problems.append(Problem(where, key, repair=False))
    elsewhere = [f"archive: the originals of {len(others)} batches are kept by other machines"] if others else []
    elsewhere += ["exports: another machine has published since; `behavior run` publishes here, too"] if behind else []
    return Inspection(checks, problems, archive, exports, key, entries, orphans, elsewhere)


def _archived(commits: Iterable[Commit], home: Home, machine: str) -> tuple[set[str], set[str]]:
    """Batches whose originals were put into this home's archive, and into those of other machines."""
    kept = {e.batch_id: str(c.info[KEPT_KEY]) for c, batch in batches_of(commits) for e in batch if KEPT_KEY in c.info}
    if not machine:  # the lake is in no store, or not any more
        return set(kept), set()
    ours = {batch for batch, where in kept.items() if where == machine}
    nameless = {batch for batch, where in kept.items() if where == HERE}
    # From before the lake went to a store: of another machine where this one knows none of them, and there is another.
    if nameless & noted(home) or kept.keys() == nameless | ours:
        ours |= nameless
    return ours, kept.keys() - ours


def _published_elsewhere(lake: Lake, checks: Mapping[str, TableCheck]) -> bool:
    """Whether the last snapshot is that of another machine, with which this one shares the lake."""
    info = checks.get("gold/refresh_info")
    if not lake.machine or info is None or not info.sound:
        return False
    return info.table.recorded(PUBLISHER) not in {None, "", lake.machine}


def _in_store(check: TableCheck) -> list[Problem]:
    """What is wrong with a table in the store that its lake is kept in."""
    table = check.table
    found = {} if table.mirror is None else table.mirror.problems(table.journal, check.files)
    return [Problem(where, what, repair=False) for where, what in found.items()]


def _commits(check: TableCheck | None) -> list[Commit]:
    return Log(check.table.root).commits(check.log) if check is not None else []


def _key(settings: Settings, silver: TableCheck | None) -> str:
    if silver is None or was_destroyed(settings):  # which is no damage: nothing is to be added to such a home
        return ""
    told = [str(c.info[KEY_ID]) for c in Log(silver.table.root).commits(silver.log) if KEY_ID in c.info]
    return key_problem(settings, keys_by_day(silver.files, told[-1] if told else None).values())


def check_table(table: LakeTable, sums: Sums) -> TableCheck:
    """A table's log and data files."""
    log = Log(table.root)
    check = TableCheck(table, log.damage())
    try:
        check.files = table.files() if check.sound else live_files(log.commits(check.log))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a broken log makes delta-rs panic, which is no Exception
        check.unreadable = f"the log cannot be read ({type(error).__name__})"
    if table.spec is BRONZE_EVENTS:
        check.log |= {f"_delta_log/{c.number:020d}.json": "the ledger in it cannot be read"
                      for c in log.commits(check.log) if _entries(c) is None}  # fmt: skip
    if table.mirror is not None:
        with suppress(IntegrityError):  # what the store cannot give is missing here
            table.mirror.bring(table.root, check.files)
    found = sums.of(table.root / f.path for f in check.files)
    for file in check.files:
        what = _wrong(table, file, found.get(table.root / file.path))
        # Beside a damaged commit nobody knows whether a file that is gone was still wanted; bronze drops none.
        if what and (check.sound or table.root / file.path in found or table.spec is BRONZE_EVENTS):
            check.wrong[file.path] = what
    return check


def _entries(commit: Commit) -> list[FileEntry] | None:
    """The part of the ledger that a commit holds; None where it is not one."""
    try:
        return decode(commit.info[LEDGER_KEY]) if LEDGER_KEY in commit.info else []
    except ValueError:
        return None


def _wrong(table: LakeTable, file: DataFile, sha256: str | None) -> str:
    """What is wrong with a data file; empty if nothing."""
    if sha256 is None:
        return "the data file is missing"
    size = (table.root / file.path).stat().st_size
    if size != file.size:
        return f"has {size:,} bytes, the log says {file.size:,}"
    if sha256 != file.sha256:
        return "its bytes do not give the sha256 in its name" if sha256 else "the disk does not give its bytes"
    try:
        return _wrong_rows(table, file)
    except (pa.ArrowException, OSError):
        return "not a readable Parquet file"


def _wrong_rows(table: LakeTable, file: DataFile) -> str:
    """What is wrong with the rows of a file whose bytes are right: as many as the log says, of the folder's day."""
    parquet = pq.ParquetFile(table.root / file.path)
    if parquet.metadata.num_rows != file.rows:
        return f"holds {parquet.metadata.num_rows:,} rows, the log says {file.rows:,}"
    if Path(file.path).parent.as_posix() != (f"event_date={file.part}" if table.spec.by_day else "."):
        return "lies in the folder of another day"
    if table.spec.by_day and file.rows:
        days = pc.unique(parquet.read(["event_date"])["event_date"]).to_pylist()
        if [day and day.isoformat() for day in days] != [file.part]:
            return f"holds rows of other days than {file.part}"
    return ""


def batches_of(commits: Iterable[Commit]) -> Iterator[tuple[Commit, list[FileEntry]]]:
    """The commits that hold a part of the ledger, each with that."""
    for commit in commits:
        if LEDGER_KEY in commit.info:
            yield commit, decode(commit.info[LEDGER_KEY])


def _marks(settings: Settings, expired: str) -> list[Problem]:
    """Whether it is known which days have expired: else what comes of them late would stand for all of them."""
    try:
        if read_marks(settings.home).bronze >= expired:
            return []
        what = f"it does not tell that bronze's days before {expired} have expired: `behavior retain` writes it again"
    except IntegrityError as error:
        what = str(error)
    return [Problem("privacy/expired.json", what, repair=False)]


def _orphan_days(checks: Mapping[str, TableCheck], expired: str) -> dict[str, list[str]]:
    """Days that bronze never had; those before ``expired`` it had, and silver may keep them longer."""
    days = {f.part for f in checks[BRONZE_EVENTS.name].files}
    found = {s.name: [f.path for f in checks[s.name].files if f.part not in days and f.part >= expired]
             for s in DAY_TABLES if s.name in checks}  # fmt: skip
    return {name: paths for name, paths in found.items() if paths}


def _stale_days(lake: Lake, checks: Mapping[str, TableCheck]) -> list[Problem]:
    """Days of silver that are not made from what bronze holds, held days apart, which keep what they had.

    By whatever setting of consent, and with whatever key of ours: a setting or a key that was changed is no damage.
    """
    bronze, silver, *others = (checks.get(s.name) for s in (BRONZE_EVENTS, SILVER_EVENTS, QUALITY_DAYS, CONSENT_TABLE))
    if bronze is None or silver is None or not all(c is None or c.sound for c in (bronze, silver, *others)):
        return []
    if any(c is not None and c.wrong for c in others):  # they tell which days are held, and who may not be known
        return []
    if bronze.wrong and others[1] is not None:  # then bronze must be read, too
        return []
    made = {file.part: file.fingerprint.partition("-")[0] for file in silver.files}
    held = held_days(lake, SILVER_EVENTS.name) | held_days(lake, BRONZE_EVENTS.name)
    settings = [expected_days(lake, consent, profile, None) for consent in CONSENTS for profile in PROFILES]
    stale = [day for day in sorted(settings[0].keys() - held)
             if made.get(day) not in {expected[day] for expected in settings}]  # fmt: skip
    what = (
        "is not made from what bronze holds of the day (did a run not end, or is this program newer than the table?): "
        "`behavior run` makes it again"
    )
    return [Problem(f"{SILVER_EVENTS.name}/event_date={day}", what) for day in stale]


def _gold(checks: Mapping[str, TableCheck]) -> dict[str, list[tuple[Path, DataFile]]]:
    """Gold's files by published name, of the tables whose log is whole."""
    sound = {n: checks[gold(n).name] for n in published() if gold(n).name in checks and checks[gold(n).name].sound}
    return {name: [(c.table.root / f.path, f) for f in c.files] for name, c in sound.items()}


def verify_home(
    settings: Settings, progress: Callable[[str], None] = lambda _what: None, sums: Sums | None = None
) -> dict[str, Any]:
    """Problems by file or table; ``ok`` is whether there are none."""
    found = inspect_home(settings, progress, sums)
    return {
        "ok": not found.problems,
        "tables": len(found.tables),
        "files": sum(len(c.files) - len(c.wrong) for c in found.tables.values()),
        "rows": sum(f.rows for c in found.tables.values() for f in c.files),
        "problems": [asdict(p) for p in found.problems],
        "elsewhere": found.elsewhere,
    }


def verify_at_rest(settings: Settings, progress: Callable[[str], None] = lambda _what: None) -> dict[str, Any]:
    """``verify_home`` while nobody writes: what a run has begun is no damage."""
    with ExitStack() as stack:
        progress("waiting for other commands")
        if os.access(settings.home.dagster, os.W_OK):
            stack.enter_context(exclusive(settings.home.dagster))
        if os.access(settings.home.lake, os.W_OK):
            stack.enter_context(Lake(settings.home.lake).alone())
        if os.access(settings.home.exports, os.W_OK):
            stack.enter_context(alone(settings.home.exports))
        return verify_home(settings, progress)
