"""A new version of the pseudonym key: joins are kept by the vault's map, and are gone when it is destroyed (P8)."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from behavior_assets.privacy.audit_log import open_audit
from behavior_assets.privacy.build import build_silver
from behavior_assets.privacy.key_guard import KEY_VERSION, silver_keys
from behavior_assets.privacy.rekey import carry_out
from behavior_assets.privacy.rotation import destroy, destroy_all, held_versions, rotate
from behavior_assets.privacy.vault import forget, maps, successors, translate
from behavior_assets.verification import verify_home
from resources import failpoints, keys
from resources.engine import engine
from resources.errors import UsageError
from resources.keys import key_versions, load_key
from tests.conftest import Chain, rees46_row, write_rees46
from tests.zygote import Zygote

DAYS = ("2024-05-01", "2024-05-02", "2024-05-03")
CUSTOMERS = 40
PER_DAY = "SELECT date_key, count(*), sum(quantity), sum(revenue_net) FROM t GROUP BY ALL ORDER BY ALL"


def deliver(home: Path, users: range = range(CUSTOMERS)) -> Chain:
    """Every customer looks on every day and buys on one of them; a session of the first ends after midnight."""
    chain = Chain.at(home)
    rows = [rees46_row(f"{day} 10:{n:02d}:00", "view", f"p{n % 5}", f"u{n}") for day in DAYS for n in users]
    rows += [rees46_row(f"{DAYS[n % 3]} 11:{n:02d}:00", "purchase", f"p{n % 5}", f"u{n}", f"{n}.50") for n in users]
    rows += [rees46_row(f"{DAYS[0]} 10:30:00", "cart", f"p{n % 5}", f"u{n}") for n in users]
    rows += [rees46_row(moment, "view", "p1", "u0") for moment in (f"{DAYS[0]} 23:50:00", f"{DAYS[1]} 00:05:00")]
    chain.ingest([write_rees46(home.parent / f"{home.name}-{users.start}.csv", rows)], "rees46")
    return chain


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home under version 1 that the tests copy."""
    home = tmp_path_factory.mktemp("base") / "home"
    deliver(home).build()
    return home


@pytest.fixture
def chain(base: Path, tmp_path: Path) -> Chain:
    """A home under version 1."""
    shutil.copytree(base, tmp_path / "home")
    return Chain.at(tmp_path / "home")


def customers(chain: Chain) -> set[str]:
    """The pseudonyms of gold."""
    return {c for (c,) in chain.rows("gold/dim_customer", "SELECT customer_id FROM t WHERE customer_key <> -1")}


def extract(chain: Chain, path: Path) -> Path:
    """What an analyst keeps: pseudonyms with a note on each."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("customer_id", "note"))
        writer.writerows((c, f"note, of {c[:4]}") for c in sorted(customers(chain)))
    return path


def column(path: Path) -> list[str]:
    """The pseudonyms of an extract."""
    with path.open(newline="") as file:
        return [row["customer_id"] for row in csv.DictReader(file)]


def alone(secret: bytes, base: Path) -> dict[str, str]:
    """Hashes of a new home of the same deliveries that never knew another key."""
    other = Chain.at(base / "alone")
    other.settings.key_path.parent.mkdir(mode=0o700)
    other.settings.key_path.write_text(f"2:{secret.hex()}\n")
    other.settings.key_path.chmod(0o600)
    deliver(base / "alone").build()
    return other.hashes()


def test_all_customers_join_by_the_map_and_none_when_it_is_destroyed(chain: Chain, tmp_path: Path) -> None:
    before = extract(chain, tmp_path / "before.csv")
    per_day = chain.rows("gold/fact_sales", PER_DAY)
    secret = key_versions(chain.settings)[0].secret
    assert rotate(chain.settings).number == 2
    deliver(tmp_path / "home", range(CUSTOMERS, CUSTOMERS + 5))  # meanwhile others come
    chain.build()
    now = customers(chain)
    assert len(now & set(column(before))) == 0
    counts = translate(chain.settings, before, "customer_id", tmp_path / "after.csv")
    assert counts == {"rows": 40, "translated": 40, "unchanged": 0, "unknown": 0}
    assert len(now & set(column(tmp_path / "after.csv"))) == 40
    assert (len(now), len(chain.rows("gold/fact_sales", PER_DAY)), len(per_day)) == (45, 3, 3)
    old_inode = chain.settings.key_path.open("rb")  # what a file system may keep of the file
    vault = {pair: path.open("rb") for pair, path in maps(chain.settings).items()}
    assert list(vault) == [(1, 2)]
    assert destroy(chain.settings, 1) == ["map 1-2", "version 1"]
    assert successors(chain.settings) == {}
    counts = translate(chain.settings, before, "customer_id", tmp_path / "never.csv")
    assert counts == {"rows": 40, "translated": 0, "unchanged": 0, "unknown": 40}
    assert len(now & set(column(tmp_path / "never.csv"))) == 0
    assert secret.hex() not in chain.settings.key_path.read_text()
    assert [set(f.read()) for f in (old_inode, *vault.values())] == [{0}, {0}]
    chain.build()
    assert customers(chain) == now


def test_a_rotated_home_is_what_the_new_key_alone_gives(chain: Chain, tmp_path: Path) -> None:
    per_day, before = chain.rows("gold/fact_sales", PER_DAY), chain.hashes()
    rotate(chain.settings)
    chain.build()
    assert chain.rows("gold/fact_sales", PER_DAY) == per_day
    assert chain.hashes() == alone(key_versions(chain.settings)[-1].secret, tmp_path)
    changed = {name for name, told in chain.hashes().items() if told != before[name]}
    assert changed == {"dim_customer", "fact_session", "fact_sales", "fact_cart_item"}
    version = chain.table("silver/events").version
    chain.build()
    assert (chain.table("silver/events").version, chain.table("silver/events").recorded(KEY_VERSION)) == (version, "2")


def test_two_rotations_later_the_first_extract_still_joins(chain: Chain, tmp_path: Path) -> None:
    before = extract(chain, tmp_path / "before.csv")
    for _ in range(2):
        rotate(chain.settings)
        chain.build()
    translate(chain.settings, before, "customer_id", tmp_path / "after.csv")
    assert set(column(tmp_path / "after.csv")) == customers(chain)
    with pytest.raises(UsageError, match=r"version 1 is older"):
        destroy(chain.settings, 2)
    destroy(chain.settings, 1)
    assert translate(chain.settings, before, "customer_id", tmp_path / "never.csv")["translated"] == 0


def test_a_person_is_taken_out_of_every_map(chain: Chain) -> None:
    """The others stay, and so do the permissions."""
    first = min(customers(chain))
    for _ in range(2):
        rotate(chain.settings)
        chain.build(star=False)
    known = successors(chain.settings)  # of 40 customers, under two former versions
    person = {c for c in known if known[c] == known[first]} | {known[first]}
    assert (len(known), len(person)) == (80, 3)
    assert forget(chain.settings, person) == 2
    left = successors(chain.settings)
    assert (len(left), person & {*left, *left.values()}) == (78, set())
    assert {p.stat().st_mode & 0o777 for p in maps(chain.settings).values()} == {0o600}


# Days that bronze cannot give again


SILVER = "SELECT customer_id, count(*), count(DISTINCT event_key) FROM t GROUP BY ALL"
KEYS = "SELECT unnest([event_key, chain_key, customer_key]) FROM t"


@pytest.mark.parametrize("why", ["gone", "held"])
def test_days_that_bronze_cannot_give_are_re_keyed(
    chain: Chain, tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bronze expired, or the day is held back: no row stays under the old key, and persons stay the same persons."""
    before, keys = chain.rows("silver/events", SILVER), set(chain.rows("silver/events", KEYS))
    per_day = chain.rows("gold/fact_sales", PER_DAY)
    rotate(chain.settings)
    if why == "gone":
        chain.table("bronze/events").commit([], drop=[DAYS[0]])
    with monkeypatch.context() as patch:
        patch.setattr("tests.conftest.build_silver", partial(build_silver, held={DAYS[0]} if why == "held" else set()))
        chain.build()
    secret = key_versions(chain.settings)[-1]
    assert silver_keys(chain.table("silver/events")) == dict.fromkeys(DAYS, secret.id)
    known = successors(chain.settings)
    assert sorted((known[c], *told) for c, *told in before) == sorted(chain.rows("silver/events", SILVER))
    assert not keys & set(chain.rows("silver/events", KEYS))
    assert chain.rows("gold/fact_sales", PER_DAY) == per_day
    assert customers(chain) == {known[c] for c, *_ in before}
    version = chain.table("silver/events").version
    if why == "held":  # a day that is mended is made of its bronze again
        chain.build()
        assert chain.hashes() == alone(secret.secret, tmp_path)
    elif why == "gone":
        chain.build()
        assert chain.table("silver/events").version == version
    assert destroy(chain.settings, 1)


def test_a_person_whom_bronze_forgot_is_told_by_the_old_pseudonym(chain: Chain) -> None:
    """All of bronze is gone: the map holds every customer nonetheless, and pseudonyms are keyed ones of the old."""
    before = customers(chain)
    rotate(chain.settings)
    chain.table("bronze/events").commit([], drop=DAYS)
    chain.build()
    assert {successors(chain.settings)[c] for c in before} == customers(chain)
    assert (len(before & customers(chain)), len(customers(chain))) == (0, 40)


# Kills


RENEWED = b"2" * 32  # the new key in children, so that what it gives can be compared


def child_rotates(home: str, fault: str) -> None:
    """In a child: rotate, then what a run does, and die where it was told to."""
    keys.secrets.token_bytes = lambda _n: RENEWED  # type: ignore[assignment]
    failpoints.arm(fault)
    made = Chain.at(Path(home))
    rotate(made.settings)
    made.build()


def child_finishes(home: str, before: list[str]) -> dict[str, Any]:
    """In a child: the next run, and the command again where the rotation had not come to pass."""
    keys.secrets.token_bytes = lambda _n: RENEWED  # type: ignore[assignment]
    made = Chain.at(Path(home))
    made.lake.recover()
    made.build()
    versions = len(key_versions(made.settings))
    if versions == 1:
        rotate(made.settings)
        made.build()
    return {
        "versions": versions, "hashes": made.hashes(),
        "joined": len({successors(made.settings).get(c) for c in before} & customers(made)),
        "audit": list(open_audit(made.settings).verify().problems),
        "problems": [p for p in verify_home(made.settings)["problems"] if p["where"].startswith(("silver", "keys"))],
        "drafts": len(list(made.settings.key_path.parent.rglob("*.tmp"))),
    }  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the new key gives."""
    return alone(RENEWED, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize(("fault", "versions"), [
    ("audit.append:kill", 1), ("audit.head:kill", 1), ("keys.write:kill", 1), ("keys.wipe:kill", 2),
    ("keys.map:kill", 2), ("parquet.write:kill@2", 2), ("lake.commit:kill", 2), ("lake.committed:kill", 2),
    ("lake.commit:kill@3", 2),
])  # fmt: skip
def test_a_rotation_that_was_killed_is_finished_by_the_next_run(
    zygote: Zygote, chain: Chain, undisturbed: dict[str, str], fault: str, versions: int
) -> None:
    """Before the key file is replaced nothing has come to pass; afterwards the next run does what is left."""
    home, before = str(chain.settings.home.root), sorted(customers(chain))
    died = zygote.run("test_rotation:child_rotates", home=home, fault=fault)
    assert died.code == -9, died.err
    drafts = 1 if fault in {"keys.write:kill", "keys.map:kill"} else 0  # the next command's tidying takes it away
    assert zygote.done("test_rotation:child_finishes", home=home, before=before) == {
        "versions": versions, "hashes": undisturbed, "joined": 40, "audit": [], "problems": [], "drafts": drafts,
    }  # fmt: skip


def test_a_re_keying_that_was_killed_is_finished_by_the_next_run(zygote: Zygote, chain: Chain) -> None:
    """Of days that bronze does not have: the map was there before, and is used again."""
    home, before = str(chain.settings.home.root), sorted(customers(chain))
    zygote.done("test_rotation:child_forgets", home=home)
    died = zygote.run("test_rotation:child_rotates", home=home, fault="keys.rekey:kill")
    assert died.code == -9, died.err
    told = zygote.done("test_rotation:child_finishes", home=home, before=before)
    assert (told["versions"], told["joined"], told["audit"]) == (2, 40, [])


def child_forgets(home: str) -> None:
    """In a child: a day leaves bronze."""
    Chain.at(Path(home)).table("bronze/events").commit([], drop=[DAYS[0]])


def child_destroys(home: str, fault: str) -> None:
    """In a child: rotate, carry out, and die while the old version is destroyed."""
    made = Chain.at(Path(home))
    rotate(made.settings)
    made.build(star=False)
    failpoints.arm(fault)
    destroy(made.settings, 1)


@pytest.mark.parametrize(("fault", "versions"), [("keys.shred:kill", 2), ("keys.write:kill", 2), ("keys.wipe:kill", 1)])
def test_a_destruction_that_was_killed_is_finished_by_the_same_command(
    zygote: Zygote, chain: Chain, fault: str, versions: int
) -> None:
    died = zygote.run("test_rotation:child_destroys", home=str(chain.settings.home.root), fault=fault)
    assert died.code == -9, died.err
    assert len(key_versions(chain.settings)) == versions
    if versions == 2:
        destroy(chain.settings, 1)
    assert (maps(chain.settings), [v.number for v in key_versions(chain.settings)]) == ({}, [2])


# Refusals


def test_what_is_refused(chain: Chain, tmp_path: Path) -> None:
    made = chain.settings
    with pytest.raises(UsageError, match=r"no key to rotate yet"):
        rotate(Chain.at(tmp_path / "other").settings)
    for number, why in ((1, "version 1 is in force"), (7, "there is no version 7")):
        with pytest.raises(UsageError, match=why):
            destroy(made, number)
    rotate(made)
    with pytest.raises(UsageError, match=r"3 days of silver are not up to date .* `behavior run` first"):
        rotate(made)
    with pytest.raises(UsageError, match=r"3 days of silver still carry version 1"):
        destroy(made, 1)
    assert [(v.number) for v in key_versions(made)] == [1, 2]
    assert not verify_home(made)["problems"] or "key" not in str(verify_home(made)["problems"])
    text = made.key_path.read_text()
    made.key_path.write_text(text.replace("1:", "5:", 1).replace("2:", "6:", 1).replace(text[2:10], "00000000", 1))
    with pytest.raises(UsageError, match=r"not the pseudonym key that silver was made with"):
        chain.build()


def test_all_destroyed_ends_the_home_but_not_the_log(chain: Chain) -> None:
    audit = load_key(chain.settings, "audit")
    assert destroy_all(chain.settings) == ["version 1"]
    with pytest.raises(UsageError, match=r"every version of the key was destroyed .* begin a new home"):
        chain.build()
    assert [(e.action, e.told["version"]) for e in open_audit(chain.settings).entries()] == [("keys.destroy", "all")]
    assert load_key(chain.settings, "audit") == audit


def test_a_key_in_the_environment_is_rotated_by_whoever_set_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = f"1:{'a1' * 32}", f"2:{'b2' * 32}"
    monkeypatch.setenv("BEHAVIOR_PSEUDONYM_KEY", one)
    chain = deliver(tmp_path / "home")
    chain.build()
    before = customers(chain)
    with pytest.raises(UsageError, match=r"add a version to it, such as 2:<64 hex digits>"):
        rotate(chain.settings)
    monkeypatch.setenv("BEHAVIOR_PSEUDONYM_KEY", f"{one} {two}")
    chain.build()
    assert {successors(chain.settings)[c] for c in before} == customers(chain)
    with pytest.raises(UsageError, match=r"take version 1 out of it"):
        destroy(chain.settings, 1)
    monkeypatch.setenv("BEHAVIOR_PSEUDONYM_KEY", two)
    assert destroy(chain.settings, 1) == ["map 1-2"]
    chain.build()
    assert not list((tmp_path / "home" / "keys").glob("pseudonym*"))


def test_the_list_tells_when_an_old_version_is_due(chain: Chain) -> None:
    made = replace(chain.settings, key_window_days=10)
    rotate(made)
    chain.build()
    now = datetime.now(UTC)
    first, second = held_versions(made, now + timedelta(days=9))
    assert (first.version, first.in_force, first.days, first.maps, first.overdue) == (1, False, 0, ("1-2",), False)
    assert (second.version, second.in_force, second.days, second.due) == (2, True, 3, "")
    assert [v.overdue for v in held_versions(made, now + timedelta(days=11))] == [True, False]


def test_without_an_older_version_nothing_is_carried_out(chain: Chain) -> None:
    with engine(chain.settings, pseudonyms=True) as backend:
        assert carry_out(backend, chain.lake, chain.settings, set(), {}) == []
