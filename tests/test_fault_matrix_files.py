"""The fault matrix, rows 4 to 10: what may be wrong with a file, through the command line and through landing/.

One home is brought through one history: files named to ``run --source``, then files dropped into landing/, then both
again, then a replay. The tests look at what each of these told and left.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_assets import terminal
from behavior_assets.ingestion import arrivals, landing, names
from resources.errors import InputRefusedError
from tests.conftest import Chain, Result, run_cli

MAPPING = "columns: {{event_time: at, event_name: what, user_id: who}}\nevents: {{{events}}}\n"
HEADER = "at,what,who"
UNKNOWN = "grab"  # an event name that the mapping learns to know at the end


def line(user: str, what: str = "look") -> str:
    """One event of a user, who stands in no other."""
    return f"2024-05-01T10:00:00Z,{what},{user}"


def text(*rows: str, end: str = "\n", last: str | None = None) -> bytes:
    """A CSV file."""
    whole = end.join((HEADER, *rows)) + (end if last is None else last)
    return whole.encode()


def as_json(row: str) -> str:
    """A row as a JSON object."""
    return json.dumps(dict(zip(HEADER.split(","), row.split(","), strict=True)))


def parquet(*rows: str) -> bytes:
    """A Parquet file."""
    sink = io.BytesIO()
    columns = zip(*(r.split(",") for r in rows), strict=True)
    pq.write_table(pa.table(dict(zip(HEADER.split(","), columns, strict=True))), sink)
    return sink.getvalue()


def zst(data: bytes) -> bytes:
    """Packed."""
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


# Row 9. Each is a good file; each would match, escape, break a line or run something where names are not only names.
NAMES = (
    "a*.csv", "a?.csv", "[ab].csv", "{x,y}.csv", "**.csv", "it's.csv", 'say "hi".csv', "a..b.csv", "line\nbreak.csv",
    "100%s.csv", "%2e%2e.csv", "-rf.csv", "--json.csv", "ünï-日本.csv", "turned\u202egnp.csv", "\x1b[31mred.csv",
    "tab\t.csv", "[bold].csv", "[slash].csv", " space.csv", "semi;colon.csv", "$(touch x).csv", "back\\slash.csv",
    "comma,name.csv", ".dot.csv", "\n" * 120 + ".csv", "long" + "g" * 247 + ".csv", os.fsdecode(b"caf\xe9.csv"),
)  # fmt: skip
# In landing/ what begins with a dot is nobody's business: it may be half of a file.
DROPPED = [number for number, name in enumerate(NAMES) if not name.startswith(".")]
NEIGHBOURS = ("ab.csv", "a.csv", "b.csv", "x.csv", "aa.csv", "bold.csv", "rf.csv", "so it's.csv")
FOLDERS = ("[in]box", "in\nbox", "%s %d", "it's", "a*", "-x", "..dots..", "über")
FOLDER_NEIGHBOURS = ("ibox", "nbox", "ab")

# Row 7: none of their rows is taken.
LOST = text(*(line(f"lost{n}") for n in range(3000)))
BROKEN = {
    "cut.csv.gz": gzip.compress(LOST)[:-200],
    "cut_in_trailer.csv.gz": gzip.compress(LOST)[:-4],
    "cut.csv.zst": zst(LOST)[:-200],
    "cut.parquet": parquet(line("lost"))[:-20],
    "cut_head.parquet": b"PAR1 and then nothing",
    "no_gzip.csv.gz": LOST,
    "nothing.csv.gz": gzip.compress(b""),
}


def cut_files(mark: str) -> dict[str, tuple[bytes, bytes]]:
    """Row 8: three rows, the last cut inside its last value; the bytes of that."""
    made = {}
    for name, end, last in (("cut.csv", "\n", ""), ("cut_crlf.csv", "\r\n", ""), ("cut_in_crlf.csv", "\r\n", "\r")):
        rows = [line(f"{mark}-{name}-{n}") for n in range(3)]
        whole = text(*rows, end=end, last=last)
        made[name] = (whole if last else whole[:-2], (rows[2] if last else rows[2][:-2]).encode())
    for name, pack in (("packed.csv.gz", gzip.compress), ("packed.csv.zst", zst)):
        rows = [line(f"{mark}-{name}-{n}") for n in range(3)]
        made[name] = (pack(text(*rows)[:-3]), rows[2][:-2].encode())
    rows = [as_json(line(f"{mark}-lines-{n}")) for n in range(3)]
    made["lines.jsonl"] = ("\n".join(rows).encode()[:-3], rows[2][:-3].encode())
    return made


def write(path: Path, content: bytes, age: float = 1000) -> Path:
    """A file that was written a while ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def irregular(folder: Path, outside: Path) -> dict[str, str]:
    """Row 10: what is no file, by name, and what it is called."""
    folder.mkdir(parents=True, exist_ok=True)
    write(outside / "real.csv", text(line("outside")))
    (folder / "link.csv").symlink_to(outside / "real.csv")
    (folder / "link_to_folder").symlink_to(outside, target_is_directory=True)
    (folder / "link_to_nothing.csv").symlink_to(outside / "nothing.csv")
    (folder / "link_to_itself.csv").symlink_to("link_to_itself.csv")
    os.mkfifo(folder / "pipe.csv")
    made = {"link.csv": "a link", "link_to_folder": "a link", "link_to_nothing.csv": "a link",
            "link_to_itself.csv": "a link", "pipe.csv": "a pipe", "socket.csv": "a socket"}  # fmt: skip
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path must be short
        listening.bind("socket.csv")
        os.chdir(here)
    try:
        os.mknod(folder / "device.csv", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:  # only root may; /dev/null stands for it where files are named
        return made
    return made | {"device.csv": "a device"}


@dataclass
class History:
    """The home, what was delivered, and what each command told."""

    base: Path
    results: dict[str, Result] = field(default_factory=dict)
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    irregular: dict[str, str] = field(default_factory=dict)
    cut: dict[str, dict[str, tuple[bytes, bytes]]] = field(default_factory=dict)
    left: dict[str, bytes] = field(default_factory=dict)  # in landing/ after the second run

    @property
    def home(self) -> Path:
        """The home."""
        return self.base / "home"

    @property
    def inbox(self) -> Path:
        """Where generic files are dropped."""
        return self.home / "landing" / "generic"

    def run(self, which: str, *arguments: object) -> None:
        """A command whose answer is kept."""
        done = run_cli(*arguments, "--home", self.home)
        self.results[which] = done
        self.told[which] = json.loads(done.out) if "--json" in arguments else {}

    def users(self) -> set[str]:
        """Whose events are in bronze."""
        return {user for (user,) in Chain.at(self.home).rows("bronze/events", "SELECT DISTINCT user_id FROM t")}

    def rejects(self) -> list[tuple[str, int, str, bytes]]:
        """What is in quarantine."""
        query = "SELECT source_file, row_number, failure_class, raw FROM t"
        found = Chain.at(self.home).rows("quarantine/events", query)
        return [(str(a), int(b), str(c), bytes(d)) for a, b, c, d in found]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """Three runs: named, dropped, both again."""
    made = History(tmp_path_factory.mktemp("matrix"))
    mapping = write(made.base / "mapping.yaml", MAPPING.format(events="look: view_item").encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrivals, "_SETTLED_SECONDS", 600)  # so that the speed of this machine does not count
        _send(made, mapping, patch)
        _drop(made, mapping, patch)
        _again(made, mapping)
        yield made


def _send(made: History, mapping: Path, patch: pytest.MonkeyPatch) -> None:
    folder = made.base / "sent"
    for number, name in enumerate(NAMES):
        write(folder / name, text(line(f"sent{number}"), line(f"grabbed{number}", UNKNOWN)))
    for number, name in enumerate(FOLDERS):
        write(folder / name / "events.csv", text(line(f"folder{number}")))
    for name in NEIGHBOURS:
        write(folder / name, text(line("neighbour")))
    for name in FOLDER_NEIGHBOURS:
        write(folder / name / "events.csv", text(line("neighbour")))
    write(folder / "up.csv", text(line("up")))
    made.cut["sent"] = cut_files("sent")
    for name, content in BROKEN.items():
        write(folder / "broken" / name, content)
    for name, (content, _) in made.cut["sent"].items():
        write(folder / "cut" / name, content)
    made.irregular = irregular(folder / "irregular", made.base / "outside")
    write(folder / "irregular" / "sound.csv", text(line("sound")))
    grows = write(folder / "grows.csv", text(line("half")))
    patch.chdir(folder)
    sources = [*NAMES, *FOLDERS, "[in]box/../up.csv", "broken", "cut", "irregular", "grows.csv"]
    sources += [f"irregular/{n}" for n in made.irregular] + ["/dev/null"]
    with growing(grows):
        named = (f"--source={s}" for s in sources)
        made.run("sent", "run", "--format", "generic", "--mapping", mapping, *named, "--json")


def _drop(made: History, mapping: Path, patch: pytest.MonkeyPatch) -> None:
    inbox = made.inbox
    write(inbox / "mapping.yaml", mapping.read_bytes())
    for number, name in enumerate(NAMES):
        write(inbox / "folder\n[a]*%s'" / name.replace(".csv", ".txt"), text(line(f"dropped{number}")))
    write(inbox / "one" / "events.tsv", text(line("one")))
    write(inbox / "two" / "events.tsv", text(line("two")))
    write(inbox / "new name.csv", (made.base / "sent" / "a*.csv").read_bytes())  # row 4
    write(inbox / "up.csv", text(line("up"), line("up again")))  # row 5
    made.cut["dropped"] = cut_files("dropped")
    for name, content in BROKEN.items():
        write(inbox / "broken" / f"dropped_{name}", content)
    for name, (content, _) in made.cut["dropped"].items():
        write(inbox / "cut" / f"dropped_{name}", content)
    irregular(inbox / "irregular", made.base / "outside")
    (made.home / "landing" / "taobao").symlink_to(made.base / "outside", target_is_directory=True)
    write(made.home / "landing" / "nowhere.csv", text(line("nowhere")))
    write(made.home / "landing" / "rees47" / "events.csv", text(line("nowhere")))
    # Row 6.
    write(inbox / "young.csv", text(line("young")), age=0)
    opened = write(inbox / "open.csv", text(line("open")))
    grows = write(inbox / "grows.csv", text(line("growing")))
    appended = write(inbox / "appended.csv", text(line("first half")))
    write(inbox / ".hidden.csv", text(line("hidden")))
    write(inbox / "later.csv.part", text(line("later")))
    with ExitStack() as stack:
        stack.enter_context(growing(grows))
        stack.enter_context(appending(appended, patch))
        stack.enter_context(opened.open("ab"))
        os.utime(opened, (time.time() - 1000,) * 2)
        made.run("dropped", "run", "--json")
    made.left = {str(p.relative_to(made.home / "landing")): p.read_bytes()
                 for p in (made.home / "landing").rglob("*") if not p.is_symlink() and p.is_file()}  # fmt: skip


def _again(made: History, mapping: Path) -> None:
    """Everything in landing/ is whole now, and the first files are delivered once more."""
    for name in ("young.csv", "grows.csv", "appended.csv"):
        os.utime(made.inbox / name, (time.time() - 1000,) * 2)
    (made.inbox / "later.csv.part").rename(made.inbox / "later.csv")
    made.run("landed again", "run", "--json")
    folder = made.base / "again"
    write(folder / "another name.csv", text(line("up"), line("up again")))
    write(folder / "up.csv", text(line("up once more"), line("up")))
    made.run("again", "run", "--format", "generic", "--mapping", mapping, "--source", folder)


@contextmanager
def growing(file: Path) -> Iterator[None]:
    """Whoever reads the file finds that it grows meanwhile."""
    whole = landing._opened

    def opened(path: Path) -> BinaryIO:
        reader = whole(path)
        if path.name != file.name:
            return reader
        with file.open("ab") as writer:
            writer.write((line("added while it was read") + "\n").encode())
        # As a reader sees it that was a little faster.
        return _Slow(reader, file)  # type: ignore[return-value]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landing, "_opened", opened)
        yield


class _Slow:
    """A reader during whose first read another row is written."""

    def __init__(self, reader: BinaryIO, file: Path) -> None:
        self.reader, self.file = reader, file
        self.fileno, self.wrote = reader.fileno, False

    def read(self, size: int) -> bytes:
        data = self.reader.read(size)
        if not self.wrote:
            self.wrote = True
            with self.file.open("ab") as writer:
                writer.write((line("added at the end") + "\n").encode())
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()


@contextmanager
def appending(file: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """A row is written to a file after its commit, before it would be taken away."""
    reached = landing.reach

    def reach(place: str) -> None:
        if place == "landing.remove" and file.read_bytes() == text(line("first half")):
            with file.open("ab") as writer:
                writer.write((line("second half") + "\n").encode())
        reached(place)

    with patch.context() as inner:
        inner.setattr(landing, "reach", reach)
        yield


def reasons(history: History, which: str) -> dict[str, str]:
    """Refused files by name."""
    return {r["file"]: r["reason"] for r in history.told[which]["refused"]}


# Row 4


def test_row_04_same_content_new_name_is_skipped_and_counted(history: History) -> None:
    """Dropped under another name, and named under a third; the file is no new one and its rows are not counted."""
    dropped = history.told["dropped"]
    assert dropped["repeated"] == ["new name.csv"]
    assert not (history.inbox / "new name.csv").exists()
    told = "Skipped, delivered before with the same bytes, format and mapping: another name.csv"
    assert told in history.results["again"].out
    with_events = "SELECT count(*) FROM t WHERE user_id IN ('sent0', 'up again')"
    assert Chain.at(history.home).rows("bronze/events", with_events) == [(2,)]
    archived = [p.name for p in (history.home / "archive" / "generic").iterdir()]
    assert not [n for n in archived if n.endswith(("new name.csv", "another name.csv"))]


def test_row_04_a_repeated_file_is_no_file_of_the_account(history: History) -> None:
    """Its rows are counted once, whatever the names: rows in are accepted, quarantined or duplicates of other files."""
    (before,), (after,) = history.told["sent"]["sources"], history.told["dropped"]["sources"]
    taken = len(DROPPED) + 2 + 1 + len(history.cut["dropped"]) + 1  # new names, events.tsv, up.csv, cut, appended.csv
    assert after["files"] - before["files"] == taken
    for account in (before, after):
        assert account["rows_in"] == account["accepted"] + account["quarantined"] + account["duplicate"]


# Row 5


def test_row_05_same_name_new_content_is_a_new_batch_with_a_warning(history: History) -> None:
    """Dropped (and told in JSON) and named (and told on stderr); what was in already is a duplicate."""
    assert history.told["sent"]["renewed"] == [], "files of one delivery do not renew each other"
    assert history.told["dropped"]["renewed"] == ["up.csv"]
    assert {"up", "up again", "up once more"} <= history.users()
    (warning,) = [w for w in history.results["again"].err.splitlines() if "warning" in w]
    assert "delivered before under the same name with other content: up.csv." in warning
    (dropped,), (sent,) = history.told["dropped"]["sources"], history.told["sent"]["sources"]
    assert dropped["duplicate"] - sent["duplicate"] == 1
    batches = "SELECT count(DISTINCT batch_id) FROM t WHERE user_id IN ('up', 'up again', 'up once more')"
    assert Chain.at(history.home).rows("bronze/events", batches) == [(3,)]


def test_row_05_what_is_the_same_or_of_another_source_or_refused_renews_nothing(tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home")
    mapping = write(tmp_path / "mapping.yaml", MAPPING.format(events="look: view_item").encode())

    def deliver(content: bytes, format_name: str = "generic") -> list[str]:
        file = write(tmp_path / "a.csv", content)
        return chain.ingest([file], format_name, mapping if format_name == "generic" else None).renewed

    assert deliver(text(line("a"))) == []
    assert deliver(text(line("a"))) == []
    assert deliver(b"1,2,3,pv,1714557600\n", "taobao") == []
    assert deliver(b"no,such,columns\n1,2,3\n") == []
    assert deliver(text(line("b"))) == ["a.csv"]
    assert deliver(text(line("a"))) == []
    assert deliver(text(line("c"))) == ["a.csv"]


# Row 6


def test_row_06_a_growing_file_is_untouched_until_it_has_grown(history: History) -> None:
    """Written to just now, open for writing, growing while it is read, unfinished by its name: not a byte is taken."""
    waiting = {w["file"]: w["reason"] for w in history.told["dropped"]["waiting"]}
    assert waiting.keys() == {"young.csv", "open.csv", "grows.csv"}
    for name, piece in (("young", "just now"), ("open", "still writing"), ("grows", "changed while it was being read")):
        assert piece in waiting[f"{name}.csv"]
        assert waiting[f"{name}.csv"] in history.results["dropped"].err
        assert f"generic/{name}.csv" in history.left
    assert {"generic/.hidden.csv", "generic/later.csv.part"} <= history.left.keys()
    assert not [n for n in reasons(history, "dropped") if n in waiting]
    refused = {p.name for p in (history.home / "landing" / ".refused").iterdir()}
    assert not {"young.csv", "open.csv", "grows.csv"} & refused


def test_row_06_a_file_that_has_grown_is_taken_whole(history: History) -> None:
    users = history.users()
    assert {"young", "open", "growing", "added while it was read", "added at the end", "later"} <= users
    assert not {"hidden", "half"} & users
    assert (history.inbox / ".hidden.csv").exists()
    assert not [p for p in history.inbox.glob("*.csv") if p.name != ".hidden.csv"]


def test_row_06_what_is_added_after_the_commit_is_not_lost(history: History) -> None:
    """The file stays where it is, and comes in with the next run."""
    assert history.left["generic/appended.csv"].count(b"\n") == 3
    assert {"first half", "second half"} <= history.users()
    assert "appended.csv" in history.told["landed again"]["renewed"]


def test_row_06_a_named_file_that_grows_is_refused_and_not_kept(history: History) -> None:
    """Half of it would be in .refused otherwise."""
    reason = reasons(history, "sent")["grows.csv"]
    assert "changed while it was being read" in reason
    assert "half" not in history.users()
    kept = history.home / "landing" / ".refused" / "grows.csv"
    assert not kept.exists()


# Row 7


@pytest.mark.parametrize("which", ["sent", "dropped"])
@pytest.mark.parametrize("name", BROKEN)
def test_row_07_truncated_gzip_zst_or_parquet_is_refused_whole(history: History, which: str, name: str) -> None:
    """Not one row of it; the file and its reason are kept; what was dropped is not in landing/ any more."""
    shown = name if which == "sent" else f"dropped_{name}"
    reason = reasons(history, which)[shown]
    assert any(words in reason for words in ("damaged or cut short", "holds nothing"))
    refused = history.home / "landing" / ".refused"
    assert (refused / shown).read_bytes() == BROKEN[name]
    assert reason in (refused / f"{shown}.reason.txt").read_text()
    assert (history.base / "sent" / "broken" / name).exists()
    assert not (history.inbox / "broken" / shown).exists()
    assert not [u for u in history.users() if u.startswith("lost")]


def test_row_07_wherever_it_is_cut(tmp_path: Path) -> None:
    """At every place of a small packed file."""
    for suffix, packed in ((".gz", gzip.compress(LOST[:3000])), (".zst", zst(LOST[:3000]))):
        for end in range(len(packed)):
            file = write(tmp_path / f"a.csv{suffix}", packed[:end])
            with pytest.raises(InputRefusedError, match=r"damaged or cut short|holds nothing|is empty"):
                landing.stage(file, "generic", tmp_path / "staging", 10**9)
    assert not list((tmp_path / "staging").iterdir()), "what was copied of it is gone"


# Row 8


@pytest.mark.parametrize("which", ["sent", "dropped"])
def test_row_08_cut_inside_the_last_value_quarantines_that_row(history: History, which: str) -> None:
    """The record without an end is kept with its bytes, the two before it are accepted; packed and with CRLF too."""
    found = {name: (row, failure, raw) for name, row, failure, raw in history.rejects()}
    for name, (_, raw) in history.cut[which].items():
        row, failure, kept = found[name if which == "sent" else f"dropped_{name}"]
        assert (row, failure, kept) == (3, "malformed" if name == "lines.jsonl" else "unterminated_record", raw)
    users = {u for u in history.users() if u.startswith(f"{which}-")}
    assert len(users) == 2 * len(history.cut[which])
    assert not [u for u in users if u.endswith("2")]


def test_row_08_wherever_the_last_row_is_cut(tmp_path: Path) -> None:
    """Also right after its last value, where nothing tells that more was to come."""
    mapping = write(tmp_path / "mapping.yaml", MAPPING.format(events="look: view_item").encode())
    chain, files, cut = Chain.at(tmp_path / "home"), [], {}
    last = line("z" * 8)
    for end in ("\n", "\r\n"):
        for length in range(1, len(last) + 1):
            name = f"{len(end)}-{length}.csv"
            rows = (line(f"{name}a"), line(f"{name}b"), last[:length])
            files.append(write(tmp_path / name, text(*rows, end=end, last="")))
            cut[name] = last[:length].encode()
    report = chain.ingest(files, "generic", mapping)
    assert [(e.accepted, e.quarantined) for e in report.entries] == [(2, 1)] * len(files)
    found = chain.rows("quarantine/events", "SELECT source_file, row_number, failure_class, raw FROM t")
    assert {(n, row, failure, raw) for n, row, failure, raw in found} == {
        (n, 3, "unterminated_record", raw) for n, raw in cut.items()
    }


# Row 9


def test_row_09_exactly_the_named_files_are_read(history: History) -> None:
    """Patterns, quotes, dots, line breaks, percent signs, dashes in names of files and folders; no neighbour of one."""
    users = history.users()
    expected = {f"sent{n}" for n in range(len(NAMES))} | {f"folder{n}" for n in range(len(FOLDERS))} | {"up"}
    assert expected <= users
    assert {f"dropped{n}" for n in DROPPED} | {"one", "two"} <= users
    assert "neighbour" not in users
    assert [p.name for p in (history.inbox / "folder\n[a]*%s'").iterdir()] == [".dot.txt"]


def test_row_09_no_file_takes_the_place_of_another_in_the_archive(history: History) -> None:
    """Same names in many folders, names cut to what a disk takes: every content is there once."""
    kept = [p.read_bytes() for p in (history.home / "archive" / "generic").iterdir()]
    assert len(kept) == len(set(kept))
    for number in range(len(NAMES)):
        assert text(line(f"sent{number}"), line(f"grabbed{number}", UNKNOWN)) in kept
        assert (text(line(f"dropped{number}")) in kept) == (number in DROPPED)
    for user in ("one", "two", *(f"folder{n}" for n in range(len(FOLDERS)))):
        assert text(line(user)) in kept


def test_row_09_names_are_shown_in_one_line_that_does_nothing(history: History) -> None:
    """No line break, escape sequence or turned writing reaches the terminal, the ledger or the quarantine."""
    for result in history.results.values():
        for shown in result.err.split("\n"):
            assert shown.isprintable(), shown
    quarantined = {name for name, *_ in history.rejects()}
    expected = {"line\\nbreak.csv", "\\x1b[31mred.csv", "turned\\u202egnp.csv", "caf\\xe9.csv", "tab\\t.csv", "a*.csv"}
    assert expected <= quarantined
    assert names.shown("sound-日本 x.csv") == "sound-日本 x.csv"


def test_row_09_refused_files_with_such_names_are_kept_and_told(tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home")
    inbox = chain.settings.home.landing / "rees46"
    files = [write(inbox / name, f"wrong,header\n{n},0\n".encode()) for n, name in enumerate(NAMES)]
    report = chain.ingest(files, "rees46")
    assert len(report.refused) == len(NAMES)
    assert all(names.shown(reason) == reason and "header" in reason for _, reason in report.refused)
    refused = chain.settings.home.refused
    kept = {p.read_bytes() for p in refused.iterdir() if not p.name.endswith(".reason.txt")}
    assert kept == {f"wrong,header\n{n},0\n".encode() for n in range(len(NAMES))}
    assert len(list(refused.glob("*.reason.txt"))) == len(NAMES)
    assert not list(inbox.iterdir())


def test_row_09_refused_files_and_reasons_never_overwrite_each_other(tmp_path: Path) -> None:
    """Two deliveries of one name, and one with the name of another's reason."""
    chain = Chain.at(tmp_path / "home")
    inbox = chain.settings.home.landing / "rees46"
    contents = [("a.csv", b"a,b\n1,2\n"), ("a.csv", b"c,d\n3,4\n"), ("b.csv.reason.txt", b"e\n"), ("b.csv", b"f\n")]
    for name, content in contents:
        chain.ingest([write(inbox / name, content)], "rees46")
    refused = chain.settings.home.refused
    files = [p for p in refused.iterdir() if "column" not in p.read_text()]
    assert sorted(p.read_bytes() for p in files) == sorted(content for _, content in contents)
    assert len(list(refused.iterdir())) == 2 * len(contents)
    assert not list(inbox.iterdir())


def test_row_09_the_progress_line_takes_a_name_as_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich would take [/bold] for an end without a beginning, and stop the run."""
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", stderr)
    with terminal.progress(silent=False) as tell:
        tell("[/bold]\n{task}.csv", 3)
        time.sleep(0.3)  # it draws ten times a second
    assert "[/bold]\\n{task}.csv  3 rows" in stderr.getvalue()


@pytest.mark.parametrize("name", ["a?b", "a%41b", "a#b", "k=v", "back\\slash", "li\nne", "st*r", "[x]"])
def test_row_09_a_home_whose_path_means_something_else_is_refused(tmp_path: Path, name: str) -> None:
    """By the libraries: a URL, a pattern, a partition. Nothing is made."""
    file = write(tmp_path / "a.csv", text(line("a")))
    done = run_cli("run", "--home", tmp_path / name, "--format", "taobao", "--source", file)
    assert (done.code, "--home" in done.err, "Name another place" in done.err) == (2, True, True)
    assert not (tmp_path / name).exists()


# Row 10


@pytest.mark.parametrize("which", ["sent", "dropped"])
def test_row_10_links_pipes_sockets_and_devices_are_refused_by_name(history: History, which: str) -> None:
    """Nobody waits for a pipe, no link is followed, they stay where they are, and everything else goes on."""
    refused = reasons(history, which)
    place = history.base / "sent" / "irregular" if which == "sent" else history.inbox / "irregular"
    for name, kind in history.irregular.items():
        assert f"{name}: only regular files are read, and this is {kind}" in refused[name]
        assert f"{name}: only regular" in history.results[which].err
        assert os.path.lexists(place / name)
    assert history.results[which].code == 3
    assert "outside" not in history.users()
    assert (history.base / "outside" / "real.csv").exists()
    assert "sound" in history.users()


def test_row_10_a_link_in_place_of_a_formats_folder_and_a_device_outside(history: History) -> None:
    assert "a link" in reasons(history, "dropped")["taobao"]
    assert "a device" in reasons(history, "sent")["null"]


def test_row_10_a_pipe_in_place_of_a_file_after_it_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at what it is and the opening are two steps: neither waits, and what comes between is found."""
    pipe, told = tmp_path / "a.csv", landing.irregular
    os.mkfifo(pipe)
    monkeypatch.setattr(landing, "irregular", lambda _path: "")
    with pytest.raises(InputRefusedError):
        landing.stage(pipe, "generic", tmp_path / "staging", 1000)
    pipe.unlink()
    pipe.symlink_to(write(tmp_path / "b.csv", text(line("b"))))
    with pytest.raises(InputRefusedError):
        landing.stage(pipe, "generic", tmp_path / "staging", 1000)
    assert told(pipe)


# Beside the rows


def test_files_that_lie_wrongly_in_landing_are_told_and_hold_nothing_up(history: History) -> None:
    refused = reasons(history, "dropped")
    assert "no format's folder" in refused["nowhere.csv"]
    assert "there is no such format" in refused["rees47"]
    assert {"nowhere.csv", "rees47/events.csv"} <= history.left.keys()
    assert "nowhere" not in history.users()


def test_after_all_of_it_rows_are_accounted_for_and_the_quarantined_come_back(history: History) -> None:
    """Replay and verify work with such names; every row that was unknown is an event afterwards."""
    mapping = write(history.base / "mended.yaml", MAPPING.format(events="look: view_item, grab: add_to_cart").encode())
    history.run("replay", "replay", "--class", "unplanned_event", "--mapping", mapping, "--json")
    told = history.told["replay"]
    assert told["refused"] == []
    assert {f"grabbed{n}" for n in range(len(NAMES))} <= history.users()
    assert not [r for r in history.rejects() if r[2] == "unplanned_event"]
    (account,) = told["sources"]
    assert account["rows_in"] == account["accepted"] + account["quarantined"] + account["duplicate"]
    done = run_cli("verify", "--home", history.home)
    assert done.code == 0, done.err


def test_paths_go_through_a_configuration_and_come_back(tmp_path: Path) -> None:
    """Dagster keeps texts: a name that is none goes as a URI."""
    encode: Callable[[Path], str] = names.to_config
    for name in NAMES:
        path = tmp_path / name
        encode(path).encode()
        assert names.from_config(encode(path)) == path
