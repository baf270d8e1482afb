"""The audit log: what is noted stays, and what is changed in it later is seen (P19)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.audit import AuditLog
from resources.errors import IntegrityError, StorageError
from resources.failpoints import armed

KEY = b"k" * 32


def log_of(folder: Path, entries: int = 5, key: bytes = KEY) -> AuditLog:
    log = AuditLog(folder / "audit", key, folder / "keys" / "audit-head.json")
    (folder / "keys").mkdir(exist_ok=True)
    for n in range(entries):
        log.append("erase.requested", case=f"c{n}", subjects=n)
    return log


def lines(log: AuditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def test_what_is_noted_can_be_read_again(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    assert log.verify().problems == ()
    assert [(e.seq, e.action, e.told) for e in log.entries()] == [
        (n + 1, "erase.requested", {"case": f"c{n}", "subjects": n}) for n in range(5)
    ]
    assert log.append("keys.rotate", version=2).seq == 6


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_change_of_any_byte_is_seen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    log = log_of(tmp_path_factory.mktemp("log"), 3)
    raw = bytearray(log.path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    log.path.write_bytes(raw)
    assert log.verify().problems


@pytest.mark.parametrize(("order", "wanted"), [
    ([0, 1, 3, 4], "line 3: entry 4 does not follow"),  # taken out
    ([1, 2, 3, 4], "line 1: entry 2 does not follow"),
    ([0, 2, 1, 3, 4], "line 2: entry 3 does not follow"),  # moved
    ([0, 1, 1, 2, 3, 4], "line 3: entry 2 does not follow"),  # put in
    ([0, 1, 2], "2 entries are missing at the end"),  # cut short
    ([], "5 entries are missing at the end"),
])  # fmt: skip
def test_entries_taken_out_moved_put_in_or_cut_off_are_seen(tmp_path: Path, order: list[int], wanted: str) -> None:
    log = log_of(tmp_path)
    whole = lines(log)
    log.path.write_bytes(b"".join(whole[n] for n in order))
    assert log.verify().problems[0].startswith(wanted)
    with pytest.raises(IntegrityError, match="nothing that must be noted is done"):
        log.append("erase.requested", case="c9")


def test_a_log_cut_short_with_its_own_head_is_told_by_the_head_beside_the_key(tmp_path: Path) -> None:
    (tmp_path / "short").mkdir()
    short, log = log_of(tmp_path / "short", 3), log_of(tmp_path)
    for name in ("audit.jsonl", "audit-head.json"):
        (log.path.parent / name).write_bytes((short.path.parent / name).read_bytes())
    assert "2 entries are missing at the end" in log.verify().problems


def test_an_entry_signed_by_another_key_is_seen(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    forged = AuditLog(log.path.parent, b"x" * 32)
    assert "signed by another key" in forged.verify().problems[0]
    told = json.loads(lines(log)[1]) | {"action": "nothing"}
    raw = lines(log)
    raw[1] = json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    log.path.write_bytes(b"".join(raw))
    assert log.verify().problems[0].startswith("line 2: it was edited")


def test_heads_that_are_gone_or_edited_are_told(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    heads = [log.path.parent / "audit-head.json", tmp_path / "keys" / "audit-head.json"]
    heads[0].write_text(heads[0].read_text().replace('"count":5', '"count":4'))
    assert "was edited" in log.verify().problems[0]
    for head in heads:  # one of them is enough
        head.unlink()
        assert "a head is gone" in log.verify().problems[0]


@pytest.mark.parametrize("place", ["audit.append", "audit.head"])
@pytest.mark.parametrize("entries", [0, 2])
def test_a_disk_that_is_full_refuses_the_act_and_the_log_goes_on(tmp_path: Path, place: str, entries: int) -> None:
    log = log_of(tmp_path, entries)
    with armed(f"{place}:enospc"), pytest.raises(StorageError):
        log.append("erase.requested", case="c2")
    assert log.verify().problems == ()
    log.append("erase.requested", case="c3")
    assert list(log.entries())[-1].told == {"case": "c3"}


def test_a_line_that_was_half_written_was_never_noted(tmp_path: Path) -> None:
    log = log_of(tmp_path, 2)
    with log.path.open("ab") as file:
        file.write(lines(log)[1][:40])
    assert log.verify().problems == ()
    assert log.append("erase.requested", case="c2").seq == 3
    assert log.verify().entries == 3


@pytest.mark.parametrize("value", ["alice@example.com", "Alice Example", "a\nb", "https://x/?id=1", "x" * 81])
def test_nothing_that_people_are_called_is_noted(tmp_path: Path, value: str) -> None:
    with pytest.raises(ValueError, match="names of ours, digests and numbers only"):
        log_of(tmp_path, 0).append("erase.requested", subject=value)
