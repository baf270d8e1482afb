"""A lake that is kept in an object store: what lies below the home is a working copy of it.

Every file has the same name and the same bytes in both, so other programs read the store's tables as they would ours.
Data files come here when they are read. A commit is one when the store has taken it: its number can be put there only
once, by whichever machine is first. The journal follows it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from resources.commits import Log, live_files, number_of, read_commit
from resources.disk import disk_errors, draft_in, draft_of, make_folder, sync_path
from resources.errors import IntegrityError, UsageError
from resources.failpoints import reach
from resources.integrity import sha256_of
from resources.journal import JOURNAL, Journal, lines_of, text_of
from resources.parquet import DataFile
from resources.settings import SETTINGS_FILE, read_settings, unreadable
from resources.store import Store, TakenError
from resources.vacuum import is_ours, spare

Item = TypeVar("Item")
Made = TypeVar("Made")

_AT_ONCE = 4  # files that travel at a time
_HINT = "_last_checkpoint"


@dataclass(frozen=True)
class Mirror:
    """The store of a lake. Whatever changes a table's log needs the table's lock."""

    lake: Path
    store: Store

    def name(self, path: Path) -> str:
        """The name in the store of a file of the lake."""
        return path.relative_to(self.lake).as_posix()

    # What comes from the store

    def tables(self) -> set[str]:
        """The names ``layer/table`` of the folders there that tables may lie in. Raises StoreError."""
        layers = [name for name in self.store.folders() if not name.startswith(("_", "."))]
        return {table for layer in layers for table in self.store.folders(layer)}

    def bring(self, root: Path, files: Iterable[DataFile]) -> None:
        """Fetch those data files of a table that are not here. Raises IntegrityError, StoreError."""
        _at_once(lambda f: self._bring(root / f.path, f.sha256), [f for f in files if not (root / f.path).exists()])

    def fetch_anew(self, root: Path, file: DataFile, away: Callable[[Path], object]) -> None:
        """Fetch a data file of a table, and give the damaged one that is here to ``away``. Raises as ``bring``.

        Nothing is changed where the store's is damaged as well.
        """
        self._bring(root / file.path, file.sha256, away)

    def _bring(self, target: Path, sha256: str, away: Callable[[Path], object] = lambda _path: None) -> None:
        with disk_errors(self.lake):
            make_folder(target.parent)
            with draft_of(target) as draft:
                reach("mirror.fetch")
                try:
                    self.store.fetch(self.name(target), draft)
                except FileNotFoundError:
                    raise self._damaged(target, "is missing") from None
                if sha256_of(draft) != sha256:
                    raise self._damaged(target, "has other bytes than its name says")
                if target.exists():
                    away(target)

    def pull(self, journal: Journal) -> None:
        """Make the log of a table here what it is in the store, and bring there what a crash kept from it.

        A table that the store knows nothing of is put there whole. Raises IntegrityError, also where the two have
        different histories, and StoreError.
        """
        here, noted = journal.present(), journal.noted()
        journal.require_notes(here, noted)  # else commits whose lines are lost would be taken for such as came too late
        stored = self._stored(journal, here, noted)
        theirs = self._their_lines(journal) if noted or stored else {}
        self._require_same(journal, noted, theirs, stored)
        last = max((n for n in noted if n.endswith(".json")), default="")
        if last and last not in stored:
            if last in theirs:
                raise self._damaged(journal.log / last, "is missing, though it was acknowledged")
            if theirs:
                raise self._other(journal, min(n for n in noted if n.endswith(".json") and n not in theirs))
            self._send_all(journal, noted)
        fresh = [n for n in here if n.endswith(".json") and n not in noted]
        for name in fresh:
            if name in stored and not self._is_ours(journal, name, noted):
                self._withdraw(journal, name)  # another machine was faster, and this one died before it saw that
        self._fetch_log(journal, [n for n in stored if not (journal.log / n).exists()], noted, theirs)
        left = [n for n in fresh if (journal.log / n).exists() and journal.is_whole(n)]
        for name in left:
            self._send_again(journal, name, taken=name in stored)
        if left:
            self.acknowledge(journal)

    def _require_same(
        self, journal: Journal, noted: Mapping[str, str], theirs: Mapping[str, str], stored: Collection[str]
    ) -> None:
        """Raise IntegrityError where a commit that was acknowledged here is another one there.

        By both journals; theirs follows a commit, so one that it does not tell of is read. A line that is damaged
        tells nothing: the newest of the commits whose lines differ is read as well.
        """
        commits = sorted(n for n in noted if n.endswith(".json"))
        differing = [n for n in commits if theirs.get(n, noted[n]) != noted[n]]
        untold = [n for n in commits if n in stored and n not in theirs]
        if not all(self._is_ours(journal, n, noted) for n in (*differing[-1:], *untold)):
            raise self._other(journal, min(differing + untold))

    def _is_ours(self, journal: Journal, name: str, noted: Mapping[str, str]) -> bool:
        """Whether a commit there is the one that is here, or was when it was noted. Raises IntegrityError."""
        path = journal.log / name
        try:
            content = self.store.read(self._of(journal, name))
        except FileNotFoundError:
            raise self._damaged(path, "is missing, though it was acknowledged") from None
        told = hashlib.sha256(content).hexdigest()
        return told == noted.get(name) or (path.exists() and path.read_bytes() == content)

    def _stored(self, journal: Journal, here: Collection[str], noted: Mapping[str, str]) -> list[str]:
        """The log's files in the store from the last one on that is here, and noted, with all before it."""
        absent = [n for n in noted if n.endswith(".json") and n not in here]
        known = [n for n in noted if n.endswith(".json") and n not in absent]
        first = int(min([max(known, default=f"{0:020d}"), *absent]).split(".")[0])
        after = self._of(journal, f"{first - 1:020d}.json") if first else ""
        found = (n.rsplit("/", 1)[1] for n in self.store.listed(self.name(journal.log), after))
        return [n for n in found if journal.is_commit(n)]

    def _fetch_log(
        self, journal: Journal, names: list[str], noted: Mapping[str, str], theirs: Mapping[str, str]
    ) -> None:
        """Bring commits and checkpoints here. The journal is first: what it tells of is fetched again."""
        if not names:
            return
        with disk_errors(self.lake):
            make_folder(journal.log)
            drafts = dict(zip(names, _at_once(lambda n: self._draft(journal, n), names), strict=True))
            told = dict(noted)
            for name, draft in drafts.items():
                told[name] = sha256_of(draft)
                for lines in (noted, theirs):
                    if lines.get(name, told[name]) != told[name]:
                        draft.unlink()
                        raise self._damaged(journal.log / name, f"has other bytes than {JOURNAL} tells")
            with draft_of(journal.path) as draft:
                draft.write_text(text_of(told), "utf-8")
            reach("mirror.log")
            for name in sorted(drafts):
                drafts[name].replace(journal.log / name)
            sync_path(journal.log)

    def _draft(self, journal: Journal, name: str) -> Path:
        draft = draft_in(journal.log)
        reach("mirror.fetch")
        self.store.fetch(self._of(journal, name), draft)
        sync_path(draft)
        return draft

    def _their_lines(self, journal: Journal) -> dict[str, str]:
        try:
            return lines_of(self.store.read(self.name(journal.path)).decode("utf-8", "replace"))
        except FileNotFoundError:
            return {}

    # What goes to the store

    def send(self, root: Path, files: Iterable[DataFile]) -> None:
        """Put data files of a table there, before a commit speaks of them."""
        _at_once(self._send, [root / f.path for f in files])

    def send_anew(self, root: Path, file: DataFile) -> None:
        """Put a data file there in the place of one that is damaged, or lost."""
        self.store.put(self.name(root / file.path), root / file.path)

    def _send(self, path: Path) -> None:
        if self.store.size(self.name(path)) != path.stat().st_size:  # the name tells the bytes
            self.store.put(self.name(path), path)

    def _send_again(self, journal: Journal, name: str, *, taken: bool) -> None:
        """The data of a commit that a dead run left: there no version named it, so it may have been removed.

        What is gone for good takes the commit with it, unless the store has that. Raises IntegrityError.
        """
        for path, (size, _rows) in read_commit(journal.log / name).added.items():
            file = journal.path.parent / path
            if file.exists() and file.stat().st_size == size:
                self._send(file)
            elif self.store.size(self.name(file)) != size:
                if taken:
                    raise self._damaged(file, "is missing")
                self._withdraw(journal, name)
                msg = (
                    f"{journal.table}/{path}: a run that died left a commit with this data file, which is neither here "
                    f"nor in {self.store.url}. Nobody was told of the commit, and it is taken away: run the same "
                    "command again, which makes anew what it brought."
                )
                raise IntegrityError(msg)

    def acknowledge(self, journal: Journal) -> bool:
        """Put the commits there that are not noted yet, with the journal that will tell of them.

        False where another machine was faster: then ours is taken away.
        """
        noted = journal.noted()
        for name in [n for n in journal.present() if n.endswith(".json") and n not in noted]:
            content = (journal.log / name).read_bytes()
            reach("mirror.commit")
            try:
                self.store.put(self._of(journal, name), content, new=True)
            except TakenError:
                # The store may have had it from us, and died before it could say so.
                if not self._is_ours(journal, name, noted):
                    self._withdraw(journal, name)
                    return False
        fresh = {n: sha256_of(journal.log / n) for n in journal.present() if n not in noted}
        self._follow(journal, dict(noted) | fresh)
        return True

    def _follow(self, journal: Journal, told: Mapping[str, str]) -> None:
        """What follows a commit: the journal with the lines that it gets here next, a checkpoint and its hint."""
        reach("mirror.journal")
        self.store.put(self.name(journal.path), text_of(told).encode())
        last = max((n for n in journal.present() if n in told and not n.endswith(".json")), default="")
        if last and self.store.size(self._of(journal, last)) is None:
            self.store.put(self._of(journal, last), journal.log / last)
            if (journal.log / _HINT).exists():
                self.store.put(self._of(journal, _HINT), journal.log / _HINT)

    def _send_all(self, journal: Journal, noted: Mapping[str, str]) -> None:
        """A table that was made before the lake had a store: its data, then its log in order, then the journal.

        Where another run died in the middle of it, the rest. Raises IntegrityError where the log there is not the
        beginning of that here, or where something is damaged that would go there, or lost.
        """
        self._require_whole(journal, noted)
        there = {n.rsplit("/", 1)[1] for n in self.store.listed(self.name(journal.log))}
        for name in sorted(n for n in there if n.endswith(".json")):
            self._require_ours(journal, name, noted)
        _at_once(self._send, [p for p in journal.path.parent.rglob("*.parquet") if is_ours(p.name)])
        for name in sorted(n for n in noted if n.endswith(".json") and n not in there):
            reach("mirror.commit")
            try:
                self.store.put(self._of(journal, name), (journal.log / name).read_bytes(), new=True)
            except TakenError:
                self._require_ours(journal, name, noted)
        self._follow(journal, noted)

    def _require_ours(self, journal: Journal, name: str, noted: Mapping[str, str]) -> None:
        if not self._is_ours(journal, name, noted):
            raise self._other(journal, name)

    def _require_whole(self, journal: Journal, noted: Mapping[str, str]) -> None:
        """Raise IntegrityError where a commit that is noted is damaged, or live data is neither here nor there."""
        wrong = {f"_delta_log/{n}": what for n, what in journal.problems().items() if n in noted}
        for file in () if wrong else live_files(Log(journal.path.parent).commits()):
            path = journal.path.parent / file.path
            size = path.stat().st_size if path.exists() else self.store.size(self.name(path))
            if size != file.size:
                wrong[file.path] = "is missing" if size is None else f"has {size:,} bytes, the log says {file.size:,}"
        for where, what in wrong.items():
            msg = (
                f"{journal.table}/{where}: {what}. So the table is not put into {self.store.url}: take the setting "
                "lake_store out, run `behavior verify --repair`, and set it again."
            )
            raise IntegrityError(msg)

    def _withdraw(self, journal: Journal, name: str) -> None:
        """Take a commit away that no longer can be one, with the checkpoint that holds it."""
        reach("mirror.withdraw")
        number = name.split(".", maxsplit=1)[0]
        for path in (journal.log / _HINT, *journal.log.glob(f"{number}.checkpoint*"), journal.log / name):
            path.unlink(missing_ok=True)
        sync_path(journal.log)

    # What nobody needs any more

    def sweep(self, root: Path, live: Collection[str], since: float) -> int:
        """Remove data files there that no version since a moment (seconds) names; how many. As ``vacuum.sweep``."""
        stored = self.store.listed(self.name(root))
        names = {n.removeprefix(f"{self.name(root)}/"): s for n, s in stored.items()}
        gone = spare(root, names, live, since, lambda path: names[path].modified)
        self.store.remove(f"{self.name(root)}/{path}" for path in gone)
        return len(gone)

    def strays(self, live: Collection[str]) -> list[str]:
        """Names of data files there that are not among those of all tables."""
        return [n for n in self.store.listed() if is_ours(n.rsplit("/", 1)[-1]) and n not in live]

    def problems(self, journal: Journal, files: Iterable[DataFile]) -> dict[str, str]:
        """What is wrong with a table there, by name: commits and data that are gone or have another size."""
        root = journal.path.parent
        wanted = {f"{self.name(root)}/{f.path}": f.size for f in files}
        wanted |= {self._of(journal, n): (journal.log / n).stat().st_size for n in journal.present()}
        return {f"{self.store.url}/{name}": what for name, what in self._differing(root, wanted).items()}

    def require(self, root: Path, files: Iterable[DataFile]) -> None:
        """Raise IntegrityError for the first of a table's data files that is not there or has another size."""
        for name, what in self._differing(root, {f"{self.name(root)}/{f.path}": f.size for f in files}).items():
            raise self._damaged(self.lake / name, what)

    def _differing(self, root: Path, wanted: Mapping[str, int]) -> dict[str, str]:
        """What a listing tells of those objects of a table that have not the bytes that they should have, by name."""
        stored = self.store.listed(self.name(root)) if wanted else {}
        found = {n: stored[n].size if n in stored else None for n in wanted}
        return {n: "is missing" if size is None else f"has {size:,} bytes, not {wanted[n]:,}"
                for n, size in found.items() if size != wanted[n]}  # fmt: skip

    def evict(self, most: int) -> int:
        """Take the data files away from here that were not read for longest, until no more than so many bytes are left.

        Only such as are in the store. How many files went.
        """
        stamps = {p: p.stat() for p in self.lake.glob("*/*/**/*.parquet") if is_ours(p.name)}
        left, gone = sum(s.st_size for s in stamps.values()), 0
        for path in sorted(stamps, key=lambda p: stamps[p].st_atime):
            if left <= most:
                break
            if self.store.size(self.name(path)) == stamps[path].st_size:
                path.unlink()
                left, gone = left - stamps[path].st_size, gone + 1
        return gone

    def _of(self, journal: Journal, name: str) -> str:
        return f"{self.name(journal.log)}/{name}"

    def _damaged(self, path: Path, what: str) -> IntegrityError:
        msg = (
            f"{self.store.url}/{self.name(path)}: {what}. Bring it back from a backup or an older version of the "
            "object; or, where the working copy below the home is whole, name an empty place: the lake is put there."
        )
        return IntegrityError(msg)

    def _other(self, journal: Journal, name: str) -> IntegrityError:
        msg = (
            f"{journal.table}: from commit {number_of(name)} on, what lies below the home has another history "
            f"than what is kept in {self.store.url}. Either that is another home's lake, or the setting lake_store "
            "named something else while this home was worked on. Name an empty place in it, and the lake of this home "
            f"is put there; or move the folder {self.lake} away, and the lake of the store takes its place."
        )
        return IntegrityError(msg)


def _at_once(act: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
    """Some transfers beside each other; the first that fails is raised when all have ended."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="mirror") as pool:
        return list(pool.map(act, items))


_KNOWN: dict[Path, tuple[tuple[int, int], Mirror | None]] = {}


def mirror_of(lake: Path) -> Mirror | None:
    """The mirror of a lake, by the settings of its home; None where it lies on this machine alone.

    Raises UsageError for settings that cannot be read: a lake that is kept in a store must not be taken for another.
    """
    file = lake.parent / SETTINGS_FILE
    try:
        told = file.stat()
        stamp = (told.st_mtime_ns, told.st_size)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(file, error) from error
    if lake not in _KNOWN or _KNOWN[lake][0] != stamp:
        settings = read_settings(lake.parent)
        made = None
        if settings.lake_store:
            try:
                store = Store.at(settings.lake_store, settings.store_endpoint, settings.store_region)
            except UsageError as error:
                msg = f"{file}: lake_store: {error}"
                raise UsageError(msg) from None
            made = Mirror(lake, store)
        _KNOWN[lake] = (stamp, made)
    return _KNOWN[lake][1]
