"""Publishing to a real MariaDB server, through its driver for Python and through ODBC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from exports.contract import published as contract
from exports.sql import publish as publishing
from resources.errors import PublishError
from tests.conftest import Chain, run_cli
from tests.damage import copied
from tests.persons import ANN, erasure
from tests.publishing import CUSTOMERS, expected, killed, load, published_to, told
from tests.servers import PASSWORD, Server, mariadb, odbc_driver
from tests.stars import make_star, republish


class Databases:
    """The server's databases."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def url(self, user: str = "boss", password: str = PASSWORD) -> str:
        """As it is given to ``--to``."""
        return f"mariadb://{user}:{quote(password, safe='')}@127.0.0.1:{self.server.port}/"

    @property
    def odbc(self) -> str:
        """As it is given to ``--odbc``."""
        driver = odbc_driver("MariaDB Unicode")
        return f"Driver={{{driver}}};Server=127.0.0.1;Port={self.server.port};UID=boss;PWD={{{PASSWORD}}}"

    def connect(self, user: str = "boss") -> Any:
        """A connection of PyMySQL, each statement its own transaction."""
        import pymysql

        return pymysql.connect(
            host="127.0.0.1", port=self.server.port, user=user, password=PASSWORD, charset="utf8mb4", autocommit=True
        )

    def ask(self, query: str, user: str = "boss") -> list[tuple[Any, ...]]:
        """Rows of a query."""
        with self.connect(user) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    @property
    def names(self) -> list[str]:
        """All databases of ours."""
        return [n for (n,) in self.ask("SHOW DATABASES LIKE 'mart%'")]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with mariadb() as running:
        yield running


@pytest.fixture
def databases(server: Server) -> Iterator[Databases]:
    found = Databases(server)
    yield found
    for name in found.names:
        found.ask(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_star(tmp_path_factory.mktemp("star"))


@pytest.fixture
def changing(home: Path, tmp_path: Path) -> Path:
    """A home in which a test publishes further snapshots."""
    return copied(home, tmp_path / "home")


@pytest.mark.parametrize("way", ["url", "odbc"])
def test_every_table_holds_exactly_what_is_published(home: Path, databases: Databases, way: str) -> None:
    done = load(home, databases.url() if way == "url" else "", databases.odbc if way == "odbc" else "")
    assert done.tables == {t: len(rows) for t, rows in expected(home).items()}
    assert told(databases.ask) == expected(home)
    assert databases.names == ["mart"]


def test_keys_types_and_descriptions_are_there_after_a_swap(changing: Path, databases: Databases) -> None:
    """Foreign keys lead to the tables beside them, not to those that were renamed away."""
    load(changing, databases.url())
    republish(changing, 2)
    load(changing, databases.url())
    found = databases.ask("""SELECT table_name, column_name, referenced_table_schema, referenced_table_name
        FROM information_schema.key_column_usage WHERE table_schema = 'mart' AND referenced_table_name IS NOT NULL""")
    assert sorted(found) == sorted((t.name, c.name, "mart", c.references) for t in contract().values()
                                   for c in t.columns if c.references)  # fmt: skip
    primary = databases.ask("SELECT table_name FROM information_schema.table_constraints WHERE table_schema = 'mart' "
                            "AND constraint_type = 'PRIMARY KEY'")  # fmt: skip
    assert sorted(t for (t,) in primary) == sorted(contract())
    told_of = {f"{t}.{c}": (k, comment) for t, c, k, comment in databases.ask(
        "SELECT table_name, column_name, column_type, column_comment FROM information_schema.columns "
        "WHERE table_schema = 'mart'")}  # fmt: skip
    assert told_of["fact_sales.revenue_net"] == ("decimal(18,4)", "Value of every line, refunds below 0.")
    assert told_of["refresh_info.published_at"][0] == "datetime(6)"
    assert told_of["dim_product.product_name"][0] == "varchar(512)"
    assert told_of["fact_sales_forecast.lower_80"][1] == "Lower end of the interval that holds 80 % of days."
    assert told(databases.ask) == expected(changing)


def test_what_is_served_already_is_left_alone(home: Path, databases: Databases) -> None:
    assert load(home, databases.url()).new
    made = "SELECT create_time FROM information_schema.tables WHERE table_schema = 'mart' AND table_name = 'fact_sales'"
    before = databases.ask(made)
    assert not load(home, databases.url()).new
    assert databases.ask(made) == before
    databases.ask("DELETE FROM mart.fact_sales WHERE line_number = -1")
    assert load(home, databases.url()).new
    assert told(databases.ask) == expected(home)


def test_killed_half_way_the_old_tables_are_served_and_the_next_publish_succeeds(
    changing: Path, databases: Databases
) -> None:
    load(changing, databases.url())
    before = expected(changing)
    republish(changing, 5)
    for place, left in (("publish.load", ["mart", "mart_next"]), ("publish.swap", ["mart", "mart_next", "mart_old"])):
        killed(changing, databases.url(), place)
        assert databases.names == left
        assert told(databases.ask) == before, place
    assert load(changing, databases.url()).new
    assert told(databases.ask) == expected(changing) != before
    assert databases.names == ["mart"]


def test_readers_see_what_is_served_and_nothing_else(changing: Path, databases: Databases) -> None:
    import pymysql

    for user in ("bi", "other"):
        databases.ask(f"CREATE OR REPLACE USER '{user}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
    load(changing, databases.url(), readers=["bi@127.0.0.1"])
    first = told(databases.ask)
    republish(changing, 7)
    killed(changing, databases.url(), "publish.keys")  # leaves mart_next
    assert databases.names == ["mart", "mart_next"]
    assert told(lambda q: databases.ask(q, "bi")) == first
    for forbidden in ("SELECT 1 FROM mart_next.dim_date", "DELETE FROM mart.fact_sales", "CREATE TABLE mart.x (n int)"):
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            databases.ask(forbidden, "bi")
    assert [n for (n,) in databases.ask("SHOW DATABASES", "bi")] == ["information_schema", "mart"]
    load(changing, databases.url())
    assert told(lambda q: databases.ask(q, "bi")) == expected(changing)
    with pytest.raises(pymysql.err.OperationalError, match="denied"):
        databases.ask("SELECT 1 FROM mart.dim_date", "other")


def test_a_transaction_that_stays_open_keeps_the_old_tables_and_is_told_of(
    changing: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exports.sql.mysql._PATIENCE", 1)
    monkeypatch.setattr("exports.sql.mysql._TRIES", 1)
    load(changing, databases.url())
    before = expected(changing)
    republish(changing, 3)
    with databases.connect() as reader, reader.cursor() as cursor:
        reader.begin()
        cursor.execute("SELECT count(*) FROM mart.fact_sales")
        with pytest.raises(PublishError, match="transactions that stay open hold tables of database mart"):
            load(changing, databases.url())
        assert told(databases.ask) == before
        reader.rollback()
    assert load(changing, databases.url()).new
    assert told(databases.ask) == expected(changing)
    assert databases.names == ["mart"]


def test_a_database_of_others_is_refused(home: Path, databases: Databases) -> None:
    databases.ask("CREATE DATABASE mart")
    databases.ask("CREATE TABLE mart.fact_sales (n int)")
    refused = run_cli("publish", "--home", home, "--to", databases.url())
    assert refused.code == 1
    assert "did not make (fact_sales)" in refused.err
    assert databases.names == ["mart"]
    databases.ask("DROP TABLE mart.fact_sales")
    assert load(home, databases.url()).new
    databases.ask("CREATE VIEW mart.mine AS SELECT 1 AS one")
    with pytest.raises(PublishError, match=r"did not make \(mine\)"):
        load(home, databases.url(), force=True)


def test_two_at_once_do_not_mix(home: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []

    def meanwhile(place: str) -> None:
        if place == "publish.keys":
            with pytest.raises(PublishError) as error:
                load(home, databases.url())
            refused.append(str(error.value))

    monkeypatch.setattr(publishing, "reach", meanwhile)
    assert load(home, databases.url()).new
    assert refused == ["another publication to database mart is at work there. Publish again when it is done."]
    assert told(databases.ask) == expected(home)


def test_what_is_wrong_is_told_in_one_line_without_the_password(home: Path, databases: Databases) -> None:
    databases.ask(f"CREATE OR REPLACE USER 'weak'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
    for options, words in (
        (["--to", databases.url().replace(f":{databases.server.port}/", ":1/")], "Can't connect"),
        (["--to", databases.url(password="wrong" + PASSWORD)], "Access denied"),
        (["--to", databases.url() + "nowhere"], "Unknown database"),
        (["--to", databases.url("weak")], "a publisher needs ALL on mart, mart_next and mart_old"),
        (["--to", databases.url(), "--reader", "nobody"], "CREATE USER"),
        (["--odbc", databases.odbc.replace(PASSWORD, "no" + PASSWORD)], "Access denied"),
    ):
        failed = run_cli("publish", "--home", home, *options)
        assert (failed.code, failed.out) == (1, ""), failed
        assert words in failed.err
        assert len(failed.err.splitlines()) == 1
        assert PASSWORD not in failed.err
        assert quote(PASSWORD, safe="") not in failed.err
    assert databases.ask("SELECT user FROM mysql.user WHERE user = 'nobody'") == []


def test_an_erased_person_leaves_the_database(databases: Databases, chain: Chain) -> None:
    chain = published_to(databases.url(), chain)
    assert databases.ask(CUSTOMERS) == [(3,)]
    erasure(chain, ANN).run()
    assert databases.ask(CUSTOMERS) == [(2,)]
    assert databases.names == ["mart"]
