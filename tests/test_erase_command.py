"""``behavior erase`` as a user gives it: on a home that the whole chain has made, with every outlet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import run_cli
from tests.persons import ANN, BOB, deliveries, seen

ANNS = (ANN, "a11a11a1-0", "a11a11a1-2")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop of a few persons, published to a SQLite file as well, from which Ann was erased."""
    folder = tmp_path_factory.mktemp("erase")
    home = folder / "home"
    home.mkdir()
    (home / "behavior.toml").write_text(f'publish_to = "sqlite:///{folder}/shop.sqlite"\n')
    deliveries(folder / "in")
    ran = run_cli("run", "--home", home, "--format", "rees46", "--source", folder / "in", "--json")
    assert ran.code == 0, ran.err
    assert {p.split("/")[0] for p in seen(home, ANNS)} >= {"archive", "lake"}
    return home


def test_a_person_is_erased_by_one_command(home: Path) -> None:
    erased = run_cli("erase", "--home", home, "--subject", ANN.upper(), "--id-kind", "email", "--json")
    assert erased.code == 0, erased.err
    receipt = json.loads(erased.out)
    assert (receipt["persons"], receipt["rows"]["bronze/events"]) == (1, 6)
    assert seen(home, ANNS) == []
    assert ANN.lower() not in (erased.out + erased.err).lower()
    told = json.loads(run_cli("erase", "--home", home, "--list", "--json").out)["cases"]
    assert [(c["case"], c["state"]) for c in told] == [(receipt["case"], "verified")]
    assert run_cli("verify", "--home", home, "--json").code == 0


def test_the_next_run_changes_nothing(home: Path) -> None:
    before = json.loads((home / "exports" / "current.json").read_text())["snapshot"]
    ran = run_cli("run", "--home", home, "--json")
    assert (ran.code, json.loads(ran.out)["snapshot"]) == (0, before)


def test_the_published_database_no_longer_has_the_person(home: Path) -> None:
    import sqlite3

    with sqlite3.connect(home.parent / "shop.sqlite") as con:
        customers = con.execute("SELECT count(*) FROM dim_customer WHERE customer_key > 0").fetchone()
    assert customers == (2,)


@pytest.mark.parametrize(("options", "told"), [
    ((), "says whom to erase"), (("--subject", BOB, "--resume", "x"), "says whom to erase"),
    (("--subject", " "), "not to be empty"), (("--subjects", "/nowhere/ids.txt"), "cannot be read"),
    (("--resume", "0123"), "no such case"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(home: Path, options: tuple[str, ...], told: str) -> None:
    done = run_cli("erase", "--home", home, *options)
    assert done.code == 2
    assert told in done.err
    assert BOB not in done.err
