"""``behavior scan``: under every name that the lake knows a person by, place by place, and no id on the screen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Chain, Result, run_cli
from tests.persons import ANN, BOB, EVE, erasure


def test_a_session_that_no_event_has(chain: Chain) -> None:
    note = chain.settings.home.root / "logs" / "note.txt"
    note.parent.mkdir(exist_ok=True)
    note.write_text("see 5e551011-aa7f")
    assert scan(chain, "5e551011-aa7f", "--id-kind", "session")[1]["found"] == 1


def scan(chain: Chain, subject: str, *more: object) -> tuple[Result, dict[str, Any]]:
    """The command with ``--json``; what it says holds no id of anybody."""
    result = run_cli("scan", "--subject", subject, "--home", chain.settings.home.root, "--json", *more)
    for person in (ANN, BOB, EVE):
        assert person not in result.out + result.err
    return result, json.loads(result.out)


def test_a_person_is_found_in_every_layer_by_every_name(chain: Chain) -> None:
    """Raw ids in bronze, quarantine and archive, the pseudonym in silver, keys alone in facts; nothing is changed."""
    before = {p: p.stat().st_mtime_ns for p in chain.settings.home.root.rglob("*.parquet")}
    result, told = scan(chain, ANN.upper(), "--id-kind", "email")
    assert result.code == 0
    places = told["places"]
    assert {"archive", "lake/bronze", "lake/quarantine", "lake/silver", "lake/gold", "exports/tables"} <= set(places)
    columns = {(p["path"].split("/")[2], p["place"]) for p in places["lake/gold"] + places["lake/bronze"]}
    assert {("events", "column user_id"), ("dim_customer", "column customer_id"),
            ("fact_session", "column session_key"), ("fact_sales", "column customer_key")} <= columns  # fmt: skip
    assert told["found"] == sum(len(places) for places in told["places"].values())
    assert (told["known"], told["grade"], told["unread"]) == (True, "anywhere", [])
    assert {p: p.stat().st_mtime_ns for p in chain.settings.home.root.rglob("*.parquet")} == before


def test_keys_and_open_cases_are_left_out_and_named(chain: Chain) -> None:
    """A case that is open holds her ids: it is no find."""
    waiting = erasure(chain, ANN)
    waiting.suppress()
    _result, told = scan(chain, ANN)
    assert not {layer for layer in told["places"] if layer in {"keys", "privacy"}}
    assert [left.split(":")[0] for left in told["left_out"][:3]] == [
        "keys/", "privacy/cases/", "tokens of suppressed persons are keyed"]  # fmt: skip


def test_after_an_erasure_nothing_is_found(chain: Chain) -> None:
    """And what is planted afterwards is; ``--expect-none`` makes either an exit code."""
    assert scan(chain, ANN, "--expect-none")[0].code == 5
    erasure(chain, ANN).run()
    result, told = scan(chain, ANN, "--expect-none")
    assert (result.code, told["found"], told["known"]) == (0, 0, False)
    (chain.settings.home.root / "logs" / "note.txt").write_text(f"called {ANN}")
    result, told = scan(chain, ANN, "--expect-none")
    assert (result.code, told["places"]) == (5, {
        "logs": [{"path": "logs/note.txt", "place": "content", "how": "bytes", "times": 1}]})  # fmt: skip


def test_a_short_number_is_told_to_be_weak(chain: Chain) -> None:
    (chain.settings.home.root / "logs" / "note.txt").write_text("12345 rows, user_id=12345\n")
    shown = run_cli("scan", "--subject", "12345", "--home", chain.settings.home.root)
    assert shown.code == 0
    assert "grade weak" in shown.out
    assert "found: 1" in shown.out
    assert "12345" not in shown.out


def test_what_cannot_be_read_is_told_apart(chain: Chain) -> None:
    (chain.settings.home.root / "logs" / "broken.gz").write_bytes(b"\x1f\x8b\x08" + b"nothing of the kind")
    result, told = scan(chain, "nobody@example.org", "--expect-none")
    assert (result.code, told["found"], [u["path"] for u in told["unread"]]) == (5, 0, ["logs/broken.gz"])


def test_the_id_may_come_on_standard_input(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    direct = scan(chain, BOB)[1]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{BOB}\n"))
    assert scan(chain, "-")[1] == direct
    assert direct["grade"] == "whole"
