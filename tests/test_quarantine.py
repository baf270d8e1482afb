"""Quarantined rows are shown without their values, and come back with every count conserved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from behavior_assets.ingestion import quarantine
from tests.conftest import Chain, published, run_cli

HEAD = "visitor;at;what;cost\n"  # not in the mapping's order
GOOD = "ada@example.org;2024-05-01T10:00:00Z;look;1.50\n"
LATE = "bob@example.org;2024-05-01T11:00:00Z;grab;2.50\n"  # a name that the first mapping does not know
WORSE = "eve@example.org;2024-05-01T12:00:00Z;grab;cheap\n"
MAPPING = """columns: {{event_time: at, event_name: what, user_id: visitor, price: cost}}
events: {{{events}}}
delimiter: ";"
"""


def mapping(folder: Path, events: str) -> Path:
    """A mapping file that knows some event names."""
    path = folder / "mapping.yaml"
    path.write_text(MAPPING.format(events=events), "utf-8")
    return path


def delivered(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A home with one good row, one with an unknown event name, and one that is wrong in two ways."""
    file = folder / "shop.csv"
    file.write_text(HEAD + GOOD + LATE + WORSE, "utf-8")
    home = folder / "home"
    rules = mapping(folder, "look: view_item")
    done = run_cli("run", "--home", home, "--format", "generic", "--mapping", rules, "--source", file, "--json")
    assert done.code == 0, done.err
    return home, json.loads(done.out)


def counts(told: dict[str, Any]) -> tuple[int, ...]:
    """The account of the one source."""
    (source,) = told["sources"]
    return tuple(source[n] for n in ("rows_in", "accepted", "quarantined", "duplicate", "files"))


def test_a_mended_mapping_brings_rows_back(tmp_path: Path) -> None:
    """Two rows have an unknown name. With it known one is good; the other stays, for its price."""
    home, told = delivered(tmp_path)
    assert counts(told) == (3, 1, 2, 0, 1)
    rules = mapping(tmp_path, "look: view_item, grab: add_to_cart")
    again = ("replay", "--home", home, "--class", "unplanned_event", "--mapping", rules, "--json")
    for _ in range(2):  # the second finds nothing more to accept
        done = run_cli(*again)
        assert counts(json.loads(done.out)) == (3, 2, 1, 0, 1), done.err
    assert published(home, "SELECT rows_in, accepted, quarantined FROM fact_data_quality") == [(3, 2, 1)]
    assert published(home, "SELECT sum(carts), sum(views) FROM fact_session") == [(1, 1)]
    chain = Chain.at(home)
    assert chain.rows("bronze/events", "SELECT list(row_number ORDER BY row_number) FROM t") == [([1, 2],)]
    assert chain.rows("quarantine/events", "SELECT row_number FROM t") == [(3,)]
    assert run_cli("verify", "--home", home).code == 0


def test_a_replay_that_dies_after_its_commit_is_made_good(tmp_path: Path, monkeypatch: Any) -> None:
    """Rows are in bronze and still in quarantine: the next ingestion takes them out, and counts nothing twice."""
    home, _ = delivered(tmp_path)
    rules = mapping(tmp_path, "look: view_item, grab: add_to_cart")
    again = ("replay", "--home", home, "--class", "unplanned_event", "--mapping", rules, "--json")
    with monkeypatch.context() as patched:
        patched.setattr(quarantine, "take_out", lambda *_: None)
        run_cli(*again)
    assert run_cli("verify", "--home", home).code == 5
    assert counts(json.loads(run_cli(*again).out)) == (3, 2, 1, 0, 1)
    assert run_cli("verify", "--home", home).code == 0


def test_rows_are_listed_without_their_values(tmp_path: Path) -> None:
    """Only on request: a raw row may name a person."""
    home, _ = delivered(tmp_path)
    shown = run_cli("quarantine", "--home", home).out
    for piece in ("generic", "unplanned_event", "2 rows", "shop.csv, row 2, what"):
        assert piece in shown
    assert "example.org" not in shown
    assert LATE.strip() in run_cli("quarantine", "--home", home, "--show-values").out
    told = json.loads(run_cli("quarantine", "--home", home, "--json").out)
    assert told["rows"] == 2
    assert "example.org" not in json.dumps(told)


def test_what_cannot_be_replayed_is_told(tmp_path: Path) -> None:
    home, _ = delivered(tmp_path)
    unknown = run_cli("replay", "--home", home, "--class", "spoilt")
    assert unknown.code == 2
    for piece in ("spoilt", "unplanned_event"):
        assert piece in unknown.err
    unmapped = run_cli("replay", "--home", home, "--class", "unplanned_event")
    assert unmapped.code == 2
    assert "--mapping" in unmapped.err
