"""``behavior keys`` and ``behavior audit`` on a whole home, and that no key is anywhere but in its folder (P9)."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from resources.failpoints import armed
from resources.keys import PURPOSES, key_versions, purpose_key
from resources.settings import load_settings
from tests.conftest import REPOSITORY, Result, published, rees46_row, run_cli, write_rees46
from tests.test_privacy import decoded

PER_DAY = "SELECT date_key, count(*), sum(quantity), sum(revenue_net) FROM fact_sales GROUP BY ALL ORDER BY ALL"
SESSIONS = "SELECT date_key, count(*), sum(events), sum(revenue) FROM fact_session GROUP BY ALL ORDER BY ALL"
CUSTOMERS = "SELECT customer_id FROM dim_customer WHERE customer_key <> -1"


class Rotated(NamedTuple):
    """A home after a run, a rotation, the run that carries it out, and runs that failed; what each step said."""

    home: Path
    said: dict[str, Result]
    before: dict[str, list[tuple[Any, ...]]]

    def told(self, step: str) -> Any:
        """The JSON of a step."""
        return json.loads(self.said[step].out)


def look(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What is published."""
    return {query: published(home, query) for query in (PER_DAY, SESSIONS, CUSTOMERS)}


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Rotated:
    base = tmp_path_factory.mktemp("rotated")
    home = base / "home"
    rows = [rees46_row(f"2024-05-0{d} 1{h}:{n:02d}:00", kind, f"p{n % 5}", f"u{n}", f"{n}.25")
            for d in (1, 2) for n in range(30) for h, kind in ((0, "view"), (1, "cart"), (2, "purchase"))]  # fmt: skip
    file = write_rees46(base / "a.csv", rows)
    bad = base / "bad.csv"
    bad.write_text("one,two\n1,2\n")
    said = {"run": run_cli("run", "--home", home, "--format", "rees46", "--source", file)}
    before = look(home)
    for step, *words in (
        ("rotate", "keys", "rotate"), ("again", "keys", "rotate"), ("early", "keys", "destroy", "--version", 1),
        ("verify early", "verify"), ("carried", "run"), ("verify", "verify"), ("nothing", "run"),
        ("list", "keys", "list"), ("status", "status"), ("audit", "audit", "list"), ("sound", "audit", "verify"),
        ("refused", "run", "--format", "rees46", "--source", bad),
    ):  # fmt: skip
        said[step] = run_cli(*words, "--home", home, "--json")
    late = write_rees46(base / "late.csv", [rees46_row("2024-05-03 10:00:00", "view", "p1", "u1")])
    with armed("lake.commit:eio@3"):
        said["failed"] = run_cli("run", "--home", home, "--format", "rees46", "--source", late)
    return Rotated(home, said, before)


def test_what_each_step_said(rotated: Rotated) -> None:
    codes = {step: done.code for step, done in rotated.said.items()}
    assert codes == {
        "run": 0, "rotate": 0, "again": 2, "early": 2, "verify early": 0, "carried": 0, "verify": 0, "nothing": 0,
        "list": 0, "status": 0, "audit": 0, "sound": 0, "refused": 3, "failed": 1,
    }, {step: done.err for step, done in rotated.said.items()}  # fmt: skip
    assert rotated.told("rotate")["version"] == 2
    assert (rotated.told("carried")["snapshot_is_new"], rotated.told("nothing")["snapshot_is_new"]) == (True, False)
    assert rotated.told("status")["key_version"] == "2"
    versions = rotated.told("list")["versions"]
    assert [(v["version"], v["in_force"], v["days"], v["maps"]) for v in versions] == [
        (1, False, 0, ["1-2"]), (2, True, 2, [])]  # fmt: skip
    assert [e["action"] for e in rotated.told("audit")["entries"]] == ["keys.rotate"]
    assert rotated.told("sound") == {"ok": True, "entries": 1, "problems": []}


def test_counts_and_money_are_as_before_and_every_customer_has_another_name(rotated: Rotated) -> None:
    after = look(rotated.home)
    assert (after[PER_DAY], after[SESSIONS]) == (rotated.before[PER_DAY], rotated.before[SESSIONS])
    assert (len(after[CUSTOMERS]), len(set(after[CUSTOMERS]) & set(rotated.before[CUSTOMERS]))) == (30, 0)
    (rows,) = published(rotated.home, "SELECT count(*) FROM fact_session ANTI JOIN dim_customer USING (customer_key)")
    assert rows == (0,)


# P9


def spellings(secret: bytes) -> dict[str, bytes]:
    """How the bytes of a key may stand in a file: as they are, in hex, in base64 wherever it may begin."""
    found = {"raw": secret, "hex": secret.hex().encode(), "HEX": secret.hex().upper().encode()}
    for offset in range(3):
        inside = base64.b64encode(bytes(offset) + secret)[4 if offset else 0 : -4]  # letters that are the key's alone
        found |= {f"base64+{offset}": inside, f"base64url+{offset}": inside.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def leaks(secrets: dict[str, bytes], files: Iterator[Path]) -> set[tuple[str, str, str]]:
    """Which key stands in which file, and how."""
    marks = [(name, how, mark) for name, secret in secrets.items() for how, mark in spellings(secret).items()]
    return {(name, how, file.name) for file in files for content in [decoded(file)] for name, how, mark in marks
            if mark in content}  # fmt: skip


def secrets_of(home: Path) -> dict[str, bytes]:
    """Every version of every key, and what is derived from it."""
    made = load_settings(home)
    found = {f"{p}-{v.number}": v.secret for p in PURPOSES for v in key_versions(made, p)}
    return found | {f"{name}/{purpose}": purpose_key(secret, purpose) for name, secret in found.items()
                    for purpose in ("customer", "transaction", "session", "event")}  # fmt: skip


def test_no_key_is_anywhere_but_in_its_folder(rotated: Rotated) -> None:
    """Lake, Dagster's storage and logs, exports, models, the audit log, what was printed, and the repository."""
    secrets = secrets_of(rotated.home)
    assert {"pseudonym-1", "pseudonym-2", "audit-1"} <= secrets.keys()
    keys = rotated.home / "keys"
    inside = [p for p in rotated.home.rglob("*") if p.is_file() and not p.is_relative_to(keys)]
    assert {"dagster", "lake", "exports", "logs", "archive"} <= {p.relative_to(rotated.home).parts[0] for p in inside}
    assert leaks(secrets, iter(inside)) == set()
    ours = [p for folder in ("behavior_assets", "resources", "exports", "expectations", "tests", "docs", "benchmarks")
            for p in (REPOSITORY / folder).rglob("*") if p.is_file() and p.suffix != ".parquet"]  # fmt: skip
    assert leaks(secrets, iter([*ours, *(p for p in REPOSITORY.glob("*.*") if p.is_file())])) == set()
    printed = "".join(done.out + done.err for done in rotated.said.values()).encode()
    assert not [1 for secret in secrets.values() for mark in spellings(secret).values() if mark in printed]
    assert leaks(secrets, (p for p in keys.iterdir() if p.is_file())) == {
        ("pseudonym-1", "hex", "pseudonym.key"), ("pseudonym-2", "hex", "pseudonym.key"),
        ("audit-1", "hex", "audit.key"),
    }  # fmt: skip


@pytest.mark.parametrize("before", [b"", b"x", b"xy"])
def test_a_key_that_stands_somewhere_would_be_found(tmp_path: Path, before: bytes) -> None:
    secret = bytes(range(200, 232))
    planted = {"a": before + secret, "b": base64.b64encode(before + secret + b"more"),
               "c": base64.urlsafe_b64encode(before + secret), "d": secret.hex().upper().encode()}  # fmt: skip
    for name, text in planted.items():
        (tmp_path / name).write_bytes(text)
    assert {file for _, _, file in leaks({"key": secret}, tmp_path.iterdir())} == {"a", "b", "c", "d"}


# The other commands


def test_an_extract_is_translated_and_destroyed_keys_end_that(rotated: Rotated, tmp_path: Path) -> None:
    with (tmp_path / "old.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("who", "note"), *((c, "n") for (c,) in rotated.before[CUSTOMERS]), ("", "none")])
    home = ("--home", rotated.home)
    done = run_cli("keys", "translate", tmp_path / "old.csv", "--column", "who", "--out", tmp_path / "new.csv", *home)
    assert "30 of 31 rows translated, 1 left as they were, 0 unknown" in done.out, done.err
    with (tmp_path / "new.csv").open(newline="") as file:
        assert {(row["who"],) for row in csv.DictReader(file) if row["who"]} == set(look(rotated.home)[CUSTOMERS])
    for words, why in (
        ((tmp_path / "old.csv", "--out", tmp_path / "new.csv"), "is there already"),
        ((tmp_path / "old.csv", "--out", tmp_path / "x.csv"), "has no column customer_id"),
        ((tmp_path / "none.csv", "--out", tmp_path / "x.csv"), "cannot be read as a CSV file"),
    ):
        done = run_cli("keys", "translate", *words, *home)
        assert (done.code, why in done.err, (tmp_path / "x.csv").exists()) == (2, True, False), done.err
    assert run_cli("run", *home).code == 0  # the run that failed
    done = run_cli("keys", "destroy", "--version", 1, *home)
    assert (done.code, "map 1-2, version 1" in done.out) == (0, True), done.err
    assert run_cli("keys", "translate", tmp_path / "old.csv", "--out", tmp_path / "x.csv", *home).code == 2
    assert run_cli("keys", "destroy", *home).code == 2
    assert run_cli("verify", *home).code == 0
    told = json.loads(run_cli("audit", "list", *home, "--json").out)["entries"]
    assert [e["action"] for e in told] == ["keys.rotate", *["keys.translate"] * 3, "keys.destroy"]


def test_a_damaged_log_is_told_with_exit_code_5(rotated: Rotated) -> None:
    log = rotated.home / "logs" / "audit.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b'"version":2', b'"version":3', 1))
    done = run_cli("audit", "verify", "--home", rotated.home)
    assert (done.code, "line 1: it was edited" in done.err) == (5, True), done.err
    assert run_cli("keys", "rotate", "--home", rotated.home).code == 5
    log.write_bytes(whole)
    key = rotated.home / "keys" / "audit.key"
    kept = key.rename(key.with_name("kept"))
    done = run_cli("audit", "verify", "--home", rotated.home)
    assert (done.code, "the key of the audit log is gone" in done.err, key.exists()) == (5, True, False), done.err
    kept.rename(key)
    assert run_cli("audit", "verify", "--home", rotated.home).code == 0
