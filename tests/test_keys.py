"""One secret key per purpose, in a file or the environment; pseudonyms that nobody guesses without it (P7)."""

from __future__ import annotations

import hashlib
import hmac
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import ibis
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ibis.backends.duckdb import Backend

from behavior_assets.privacy.normal import normal_id, normal_ids
from resources.engine import install_pseudonyms
from resources.errors import UsageError
from resources.keys import PURPOSES, key_path, key_versions, load_key, load_or_create_key, pseudonym, purpose_key
from resources.settings import Home, Settings
from tests.conftest import Chain, rees46_row, write_rees46

ONE, TWO = "1" * 64, "ab" * 32


def of(folder: Path, text: str | None = None) -> Settings:
    """Settings of a home whose pseudonym key file holds a text."""
    made = Settings(home=Home(folder))
    if text is not None:
        made.key_path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        made.key_path.write_text(text)
        made.key_path.chmod(0o600)
    return made


# Files and the environment


def test_every_purpose_has_a_key_and_a_file_of_its_own(tmp_path: Path) -> None:
    apart = replace(of(tmp_path / "home"), key_file=str(tmp_path / "safe" / "mine.key"))
    secrets = {purpose: load_key(apart, purpose) for purpose in PURPOSES}
    assert len(set(secrets.values())) == 3
    assert {p.name for p in (tmp_path / "safe").iterdir()} == {"mine.key", "suppression.key", "audit.key"}
    assert not (tmp_path / "home").exists()
    for purpose, secret in secrets.items():
        assert stat.S_IMODE(key_path(apart, purpose).stat().st_mode) == 0o600
        assert load_key(apart, purpose) == secret


@pytest.mark.parametrize(("text", "wanted"), [
    (f"{ONE}\n", [(1, ONE, "")]),  # as every home has it that was never rotated
    (f"1:{ONE}\n2:{TWO}:20261122T140000Z\n", [(1, ONE, ""), (2, TWO, "20261122T140000Z")]),
    (f"3:{TWO}, 2:{ONE}", [(2, ONE, ""), (3, TWO, "")]),
])  # fmt: skip
@pytest.mark.parametrize("where", ["file", "environment"])
def test_versions_of_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, text: str, wanted: list[tuple[int, str, str]]
) -> None:
    made = of(tmp_path, text if where == "file" else None)
    if where == "environment":
        monkeypatch.setenv("BEHAVIOR_PSEUDONYM_KEY", text)
    assert [(v.number, v.secret.hex(), v.made) for v in key_versions(made)] == wanted
    assert load_key(made, "pseudonym").hex() == wanted[-1][1]
    assert wanted[-1][1] not in repr(key_versions(made))
    assert made.key_path.exists() == (where == "file")


@pytest.mark.parametrize(
    "text", ["", "secret", ONE[1:], f"1:{ONE}\n1:{TWO}", f"{ONE}\n1:{TWO}", f"0:{ONE}", f"1:{ONE}:soon"]
)
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    made = of(tmp_path, text)
    with pytest.raises(UsageError, match=r"not a key .* backup") as refused:
        load_key(made, "pseudonym")
    assert str(refused.value).startswith(f"{made.key_path}: ")
    assert not [word for word in text.split() if word in str(refused.value)]


@pytest.mark.parametrize(("place", "mode"), [("pseudonym.key", 0o640), ("pseudonym.key", 0o604), ("", 0o755)])
def test_a_key_that_others_can_come_by_is_refused_with_the_remedy(tmp_path: Path, place: str, mode: int) -> None:
    made = of(tmp_path, ONE)
    wrong = made.key_path.parent / place
    wrong.chmod(mode)
    with pytest.raises(UsageError, match=f"Run: chmod {'600' if place else '700'} {wrong}$"):
        load_key(made, "pseudonym")


def test_a_destroyed_key_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"every version of the key was destroyed \(20261122T140000Z\)"):
        load_key(of(tmp_path, "destroyed:20261122T140000Z\n"), "pseudonym")


def test_with_the_environment_no_key_file_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, purpose in enumerate(PURPOSES):
        monkeypatch.setenv(f"BEHAVIOR_{purpose.upper()}_KEY", f"{number:064x}")
    chain = Chain.at(tmp_path / "home")
    chain.ingest([write_rees46(tmp_path / "a.csv", [rees46_row("2024-05-01 10:00:00", "view", "p", "u")])], "rees46")
    chain.build()
    assert [load_key(chain.settings, p) for p in PURPOSES] == [bytes(31) + bytes([n]) for n in range(3)]
    assert not list((tmp_path / "home").rglob("*.key"))
    monkeypatch.setenv("BEHAVIOR_PSEUDONYM_KEY", ONE)
    with pytest.raises(UsageError, match=r"^BEHAVIOR_PSEUDONYM_KEY: not the pseudonym key that silver was made with"):
        chain.build()


def test_a_home_of_before_goes_on_with_the_very_same_pseudonyms(tmp_path: Path) -> None:
    """These were made by the program that knew one version only, with the key 0101…01."""
    chain = Chain.at(tmp_path / "home")
    of(tmp_path / "home", "01" * 32)
    chain.ingest([write_rees46(tmp_path / "a.csv", [
        rees46_row("2024-05-01 10:00:00", "purchase", "p", "ada", session="s1")])], "rees46")  # fmt: skip
    chain.build(star=False)
    names = "customer_id, customer_key, chain_key, event_key, transaction_id"
    assert chain.rows("silver/events", f"SELECT {names} FROM t") == [BEFORE]


BEFORE = (
    "19eeaa7dde7474a661fedf218fe4c082", 1131559312704843887, 888102816039970628, 1058211432048442646,
    "57400c4738171510f84c5593a3884404",
)  # fmt: skip


# One spelling per person

SPACES = [chr(n) for n in range(0x110000) if chr(n).isspace()]
TRAPS = [*SPACES, *"@@@.aAzZ\u0130\u03a3\u00c4\u00df\ufeff\u200b\0"]
TEXTS = st.text(st.one_of(st.sampled_from(TRAPS), st.characters(codec="utf-8")))


@pytest.fixture(scope="module")
def duck() -> Iterator[Backend]:
    """DuckDB behind Ibis."""
    connection = duckdb.connect()
    yield ibis.duckdb.from_connection(connection)
    connection.close()


def spelt(duck: Backend, values: list[str]) -> list[str | None]:
    """The column function on some values."""
    table = ibis.memtable({"n": range(len(values)), "value": values}, schema={"n": "int64", "value": "string"})
    rows = duck.to_pyarrow(table.select("n", told=normal_ids(table.value)).order_by("n"))
    return list(rows["told"].to_pylist())


@settings(deadline=None, max_examples=150)
@given(values=st.lists(TEXTS, min_size=1, max_size=20))
@example(values=[*SPACES, *(f"{s}a{s}b{s}" for s in SPACES), " A@B\n", "A@B@C", "@B", "A@", "\n", "ẞ@X", "A@\nB"])
def test_both_functions_give_the_same_for_every_text(duck: Backend, values: list[str]) -> None:
    assert spelt(duck, values) == [normal_id(v) for v in values]


@pytest.mark.parametrize(("value", "wanted"), [
    (" Ada.Lovelace@Example.ORG\n", "ada.lovelace@example.org"), ("u 17", "u 17"), ("\u00a0u17\u3000", "u17"),
    ("A7", "A7"), ("A@b@c", "A@b@c"), ("@Ada", "@Ada"), ("\u00c4DA@x.org", "\u00c4da@x.org"), (" \t", None), ("", None),
])  # fmt: skip
def test_one_spelling(duck: Backend, value: str, wanted: str | None) -> None:
    assert (normal_id(value), spelt(duck, [value])) == (wanted, [wanted])


def test_two_spellings_are_one_customer_and_one_visit(tmp_path: Path) -> None:
    """And a user who is called nothing but white space is nobody, with a visit of his own."""
    chain = Chain.at(tmp_path / "home")
    (tmp_path / "map.yaml").write_text(
        "columns: {event_time: at, event_name: what, user_id: who, session_id: visit, product_id: sku}\n"
        "events: {look: view_item}\n"
    )
    people = ["Ada@X.org", " ada@x.org ", "A7", "a7", "\u00a0"]
    (tmp_path / "a.csv").write_text("at,what,who,visit,sku\n" + "".join(
        f"2024-05-01T10:0{n}:00Z,look,{who},s1,p\n" for n, who in enumerate(people)))  # fmt: skip
    chain.ingest([tmp_path / "a.csv"], "generic", tmp_path / "map.yaml")
    chain.build(star=False)
    query = "SELECT count(*), count(DISTINCT customer_id), count(DISTINCT chain_key), count(chain_key) FROM t"
    assert chain.rows("silver/events", query) == [(5, 3, 4, 5)]


@settings(deadline=None, max_examples=50)
@given(value=TEXTS)
def test_python_and_the_engine_give_the_same_pseudonym(
    pseudonyms: tuple[set[str], bytes], engine: duckdb.DuckDBPyConnection, value: str
) -> None:
    query = "SELECT pseudonym_customer($1), pseudonym_transaction($1)"
    wanted = tuple(pseudonym(pseudonyms[1], purpose, value) for purpose in ("customer", "transaction"))
    assert engine.execute(query, [value]).fetchone() == wanted


# The attack of somebody who knows how it is done, and has a list of all that people may be called

CANDIDATES = [str(n).encode() for n in range(10**6)]
IDS = [7, 4711, 31_337, 512_345, 999_999]


def broken(told: set[str], guess: Callable[[bytes], bytes]) -> int:
    """How many of some pseudonyms are a guess of a candidate."""
    wanted = {bytes.fromhex(t)[:16] for t in told}
    return len(wanted & {guess(c)[:16] for c in CANDIDATES})


def keyed(key: bytes) -> Callable[[bytes], bytes]:
    return lambda candidate: hmac.digest(key, candidate, "sha256")


ATTACKS = {
    "plain": lambda c: hashlib.sha256(c).digest(),
    "empty key": keyed(b""),
    "zero key": keyed(bytes(32)),
    "the version as key": keyed(b"1"),
    "the purpose as key": keyed(b"behavior-lakehouse/1/customer"),
    "derived from an empty key": keyed(purpose_key(b"", "customer")),
}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with a key."""
    return of(tmp_path_factory.mktemp("attacked"))


@pytest.fixture(scope="module")
def engine(attacked: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine with its pseudonyms."""
    with duckdb.connect() as con:
        install_pseudonyms(con, attacked)
        yield con


@pytest.fixture(scope="module")
def pseudonyms(attacked: Settings, engine: duckdb.DuckDBPyConnection) -> tuple[set[str], bytes]:
    """Those of some customers whose ids are among the candidates, as silver makes them, and the key."""
    told = engine.execute("SELECT pseudonym_customer(n::VARCHAR) FROM unnest(?) AS t(n)", [IDS]).fetchall()
    return {t for (t,) in told}, load_or_create_key(attacked.key_path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_million_guesses_without_the_key_match_nothing(pseudonyms: tuple[set[str], bytes], attack: str) -> None:
    assert len(pseudonyms[0]) == 5
    assert broken(pseudonyms[0], ATTACKS[attack]) == 0


def test_the_same_attack_breaks_plain_hashes_and_whoever_has_the_key_finds_everybody(
    pseudonyms: tuple[set[str], bytes],
) -> None:
    """So that the attack is known to be one."""
    assert broken({hashlib.sha256(str(n).encode()).hexdigest() for n in IDS}, ATTACKS["plain"]) == 5
    assert broken(pseudonyms[0], keyed(purpose_key(pseudonyms[1], "customer"))) == 5
