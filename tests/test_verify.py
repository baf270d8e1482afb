"""Row 27 of the fault matrix: whatever a disk spoils, ``behavior verify`` names the file, and nothing else."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.tables import DAY_TABLES
from resources.disk import draft_of
from tests.conftest import Chain, run_cli
from tests.damage import bring_up_to_date, broken, copied, flip, live, named, places, spoil

PAIRS = (("checkpoint", "manifest", "views"), ("hint",))  # a checkpoint hides what the hint says of it
ARCHIVED = tuple(f"archive/{folder}" for folder in ("rees46", "generic", "ledger", "mappings"))


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    """One to spoil and throw away."""
    return copied(whole, tmp_path / "home")


def victims(kinds: dict[str, list[Path]], chance: random.Random, which: int | None = None) -> Iterator[list[Path]]:
    """Files to spoil together: a commit of every log, every journal, one of every kind of data, and the pairs.

    ``which`` commit: 0 the first, -1 the last, None any.
    """
    logs = [files for kind, files in kinds.items() if kind.endswith(" log")]
    yield [chance.choice(files) if which is None else files[which * len(files) // 2 if which > 0 else which]
           for files in logs]  # fmt: skip
    yield [files[0] for kind, files in kinds.items() if kind.endswith(" journal")]
    alone = {kind for pair in PAIRS for kind in pair}
    yield [chance.choice(files) for kind, files in kinds.items()
           if files and kind not in alone and not kind.endswith((" log", " journal"))]  # fmt: skip
    yield from ([chance.choice(kinds[kind]) for kind in pair] for pair in PAIRS)


@pytest.mark.parametrize("seed", range(2))
def test_row_27_a_flipped_bit_is_named(whole: Path, seed: int) -> None:
    """In the first byte, the last one, the middle and somewhere; in every kind of file; first, last and middle commit.

    Every table, every log, every journal, each folder of the archive, everything that is published.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    kinds = live(whole)
    assert all(kinds[kind] for pair in PAIRS for kind in pair)
    assert all(kinds[kind] for kind in (*ARCHIVED, "bronze/events", "quarantine/events", "published"))
    commits = chance.sample([0, 1, -1, None], 4)
    for place, which in enumerate(commits):
        for files in victims(kinds, chance, which):
            raw = {path: path.read_bytes() for path in files}
            for path in files:
                flip(path, places(path, chance)[place], chance.randrange(8))
            found = broken(whole)
            for path in files:
                path.write_bytes(raw[path])
            assert found == {named(whole, path) for path in files}


@pytest.mark.parametrize("how", ["half", "a byte", "empty", "gone"])
def test_row_27_a_cut_emptied_or_deleted_file_is_named(whole: Path, how: str) -> None:
    """Any commit, the last one too. A cut at the end of a journal's line is what a run leaves that was killed there."""
    chance = random.Random(how)  # noqa: S311 - no secret
    kinds = {k: f for k, f in live(whole).items() if not (how == "half" and k.endswith("journal"))}
    kinds["manifest"] = [kinds["manifest"][0], kinds["manifest"][-1]]  # of an older one nobody knows that it was there
    if how == "gone":
        kinds["hint"] = kinds["checkpoint"]  # the table can do without the hint,
        del kinds["archive/ledger"]  # and the ledger is in bronze
    groups = [*victims(kinds, chance), [kinds[k][-1] for k in kinds if k.endswith(" log")]]
    for files in groups:
        raw = {path: path.read_bytes() for path in files}
        for path in files:
            spoil(how)(path)
        found = broken(whole)
        for path in files:
            path.write_bytes(raw[path])
        wheres = {named(whole, path) for path in files}
        assert {w.replace("*-", "") for w in found} == {w if w in found else _mapping(w) for w in wheres}


def _mapping(where: str) -> str:
    """A mapping that is gone is known by its contract only."""
    folder, name = where.rsplit("/", 1)
    return f"{folder}/{name.split('-', 1)[1]}"


def test_row_27_swapped_files_are_both_named(home: Path) -> None:
    one, other = live(home)["bronze/events"][:2]
    raw = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(raw)
    assert broken(home) == {named(home, one), named(home, other)}


def test_row_27_a_line_taken_out_of_a_commit_is_named(home: Path) -> None:
    """The account of a batch, a data file of it, its number."""
    commit = live(home)["bronze/events log"][2]
    lines = commit.read_text("utf-8").splitlines(keepends=True)
    for number in range(len(lines)):
        commit.write_text("".join(lines[:number] + lines[number + 1 :]), "utf-8")
        assert broken(home) == {named(home, commit)}


def test_row_27_a_commit_that_is_not_acknowledged_must_be_whole(home: Path) -> None:
    """A run that is killed leaves its last commit unnoted; a power loss may tear it."""
    table = Chain.at(home).table("gold/dim_hour")
    noted = (table.root / "_commits.sha256").read_bytes()
    rows = table.spec.schema.empty_table()
    table.commit([table.write("more", "star-1", [rows])], metadata={"why": "a test"})
    last = live(home)["gold/dim_hour log"][-1]
    (table.root / "_commits.sha256").write_bytes(noted)
    assert not broken(home)
    last.write_bytes(last.read_bytes()[:-20])
    assert broken(home) == {named(home, last)}


def test_row_27_rows_without_a_delivery_are_named(home: Path) -> None:
    """Appended with all care, but by no batch; the days that are made from bronze stay as they are, one row short."""
    table = Chain.at(home).lake.table(BRONZE_EVENTS)
    old = table.files()[0]
    rows = pa.parquet.read_table(table.root / old.path).slice(0, 1)
    file = table.write(old.part, "b00000009-0000", [rows])
    table.commit([file], replace=False)
    assert broken(home) == {f"bronze/events/{file.path}", f"silver/events/event_date={old.part}"}


def test_row_27_disagreements_are_named(home: Path) -> None:
    """Ledger, tables and snapshot each tell of what another has lost by a sound commit; no case hides another's."""
    found = set()
    for name, told in (("quarantine/events", "quarantine/events"), ("gold/fact_sales", "exports/fact_sales"),
                       ("gold/refresh_info", "exports/refresh_info")):  # fmt: skip
        table = Chain.at(home).table(name)
        table.commit([], remove=[next(f for f in table.files() if f.rows)])
        found.add(told)
        assert broken(home) == found
    silver = Chain.at(home).table("silver/events")
    silver.commit([], remove=[silver.parts()["2024-05-03"][0]])
    found.add("silver/events/event_date=2024-05-03")
    assert broken(home) == found
    file = silver.write("2030-01-01", "0123", [pa.table({"event_date": pa.array([None], pa.date32())})])
    silver.commit([file])
    assert broken(home) == found | {f"silver/events/{file.path}"}


def test_row_27_a_day_that_bronze_lost_is_named_in_all_that_was_made_of_it(home: Path) -> None:
    """The ledger tells what bronze lacks, and the tables by day show what bronze does not have any more."""
    bronze = Chain.at(home).table("bronze/events")
    (only,) = bronze.parts()["2024-05-01"]
    bronze.commit([], remove=[only])
    days = {named(home, path) for kind, paths in live(home).items() for path in paths
            if kind.startswith("silver/") and path.parent.name == "event_date=2024-05-01"}  # fmt: skip
    assert {d.split("/event_date")[0] for d in days} == {spec.name for spec in DAY_TABLES}
    assert broken(home) == {"bronze/events", *days}
    other = next(f for f in bronze.files() if len(bronze.parts()[f.part]) > 1)  # a day that another batch has, too
    bronze.commit([], remove=[other])
    assert broken(home) == {"bronze/events", *days, f"silver/events/event_date={other.part}"}


def test_row_27_other_rows_than_the_published_are_told(home: Path) -> None:
    """As many of them, so that no count gives them away."""
    table = Chain.at(home).table("gold/dim_hour")
    rows = pa.parquet.read_table(table.root / table.files()[0].path)
    labels = pa.array(["late", *rows["hour_label"].to_pylist()[1:]])
    other = rows.set_column(rows.schema.get_field_index("hour_label"), "hour_label", labels)
    table.commit([table.write("all", "star-1", [other])])
    assert broken(home) == {"exports/dim_hour"}


def test_row_27_a_file_of_gold_that_is_published_is_named_twice(home: Path) -> None:
    """It is the same file by another name."""
    (file,) = live(home)["gold/dim_customer"]
    (published,) = (p for p in live(home)["published"] if p.name.endswith(file.name.rsplit("_", 1)[1]))
    published.unlink()
    os.link(file, published)
    flip(file, 300, 2)
    assert broken(home) == {named(home, file), named(home, published)}


def test_row_27_a_file_of_an_older_snapshot_is_named(home: Path) -> None:
    current = json.loads((home / "exports" / "current.json").read_text("utf-8"))
    now = {f["path"] for t in current["tables"].values() for f in t["files"]}
    older = [p for p in live(home)["published"] if p.relative_to(home / "exports").as_posix() not in now]
    older[0].unlink()
    assert broken(home) == {named(home, older[0])}


def test_row_27_what_the_archive_knows_and_the_ledger_does_not(home: Path) -> None:
    """An original is kept only after its commit."""
    known = live(home)["archive/generic"][0]
    other = known.with_name(f"{'0' * 16}-more.csv")
    other.write_text("nothing of this is known\n", "utf-8")
    assert broken(home) == {named(home, other)}  # not what its name says
    import hashlib

    digits = hashlib.sha256(other.read_bytes()).hexdigest()[:16]
    other = other.rename(known.with_name(f"{digits}-more.csv"))
    assert broken(home) == {named(home, other)}  # nor of any batch
    other.unlink()
    (note,) = (p for p in live(home)["archive/ledger"] if "b00000002" in p.name)
    told = json.loads(note.read_text("utf-8"))
    told["entries"][0]["accepted"] += 1
    text = json.dumps(told)
    note.unlink()
    changed = note.with_name(f"{hashlib.sha256(text.encode()).hexdigest()[:16]}-b00000002.json")
    with draft_of(changed) as draft:
        draft.write_text(text, "utf-8")
    assert broken(home) == {named(home, changed)}


def test_row_27_views_of_another_place_are_told(whole: Path, tmp_path: Path) -> None:
    """They hold absolute paths: a home that was moved shows nothing, or what another home publishes."""
    moved = tmp_path / "moved"
    shutil.copytree(whole, moved)
    assert broken(moved) == {"exports/behavior.duckdb"}


def test_the_command_says_what_to_do_and_no_value(home: Path) -> None:
    """Exit code 5; a home whose damage was mended is whole again."""
    kinds = live(home)
    raw = kinds["quarantine/events"][0].read_bytes()
    flip(kinds["quarantine/events"][0], len(raw) // 2, 1)
    done = run_cli("verify", "--home", home)
    assert (done.code, "BROKEN: 1 problem" in done.out) == (5, True)
    for piece in (kinds["quarantine/events"][0].name, "sha256", "verify --repair"):
        assert piece in done.err
    told = json.loads(run_cli("verify", "--home", home, "--json").out)
    assert [p["where"] for p in told["problems"]] == [named(home, kinds["quarantine/events"][0])]
    kinds["quarantine/events"][0].write_bytes(raw)
    done = run_cli("verify", "--home", home)
    assert (done.code, "Everything is whole" in done.out) == (0, True)


def test_a_run_that_has_just_ended_is_whole(home: Path) -> None:
    """With nothing new, and after a table was made again."""
    chain = Chain.at(home, archive=True)
    bring_up_to_date(chain)
    assert not broken(home)
    shutil.rmtree(chain.table("gold/dim_date").root)
    assert broken(home) == {"gold/dim_date"}
    bring_up_to_date(chain)
    assert not broken(home)


def test_a_long_log_with_checkpoints_and_a_vacuum_is_whole(home: Path) -> None:
    """delta-rs writes a checkpoint by itself after every hundred commits; old files go when nobody names them."""
    table = Chain.at(home).table("gold/dim_hour")
    rows = pa.parquet.read_table(table.root / table.files()[0].path)
    for number in range(101):
        table.commit([table.write("all", f"star-{number}", [rows])])
    assert list((table.root / "_delta_log").glob("*.checkpoint.parquet"))
    assert table.vacuum(-1) >= 100
    assert not broken(home)
