"""Publishing to a real PostgreSQL server: content, one step, rights, and what happens when something goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from behavior_assets.privacy.erasure.erase import NotErasedError
from exports.contract import published as contract
from exports.sql import publish as publishing
from resources.errors import PublishError, UsageError
from tests.conftest import Chain, run_cli
from tests.damage import copied
from tests.persons import ANN, erasure
from tests.publishing import CUSTOMERS, expected, killed, load, published_to, told
from tests.servers import PASSWORD, Server, odbc_driver, postgres
from tests.stars import make_star, republish


class Database:
    """A database of its own on the server, for one test."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name

    def url(self, user: str = "boss", password: str = PASSWORD) -> str:
        """As it is given to ``--to``."""
        secret = quote(password, safe="")
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.server.port}/{self.name}"

    @property
    def odbc(self) -> str:
        """As it is given to ``--odbc``."""
        driver = odbc_driver("PostgreSQL Unicode")
        return (f"Driver={{{driver}}};Server=127.0.0.1;Port={self.server.port};Database={self.name};UID=boss;"
                f"PWD={{{PASSWORD}}}")  # fmt: skip

    def connect(self, user: str = "boss") -> Any:
        """A connection of psycopg."""
        import psycopg

        return psycopg.connect(host="127.0.0.1", port=self.server.port, user=user, password=PASSWORD, dbname=self.name)

    def ask(self, query: str, user: str = "boss") -> list[tuple[Any, ...]]:
        """Rows of a query, or none of a statement."""
        with self.connect(user) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
            return rows

    @property
    def schemas(self) -> list[str]:
        """All schemas of ours."""
        return [n for (n,) in self.ask("SELECT nspname FROM pg_namespace WHERE nspname ~ '^mart' ORDER BY 1")]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as running:
        yield running


@pytest.fixture
def database(server: Server, request: pytest.FixtureRequest) -> Iterator[Database]:
    boss = Database(server, "postgres")
    made = Database(server, f"t{abs(hash(request.node.name)) % 10**9}")
    with boss.connect() as connection:
        connection.autocommit = True
        connection.execute(f"CREATE DATABASE {made.name}")
        yield made
        connection.execute(f"DROP DATABASE {made.name} WITH (FORCE)")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_star(tmp_path_factory.mktemp("star"))


@pytest.fixture
def changing(home: Path, tmp_path: Path) -> Path:
    """A home in which a test publishes further snapshots."""
    return copied(home, tmp_path / "home")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests have readers that never end: they are not waited for as long."""
    monkeypatch.setattr("exports.sql.postgres._PATIENCE", "50ms")


@pytest.mark.parametrize("way", ["url", "odbc"])
def test_every_table_holds_exactly_what_is_published(home: Path, database: Database, way: str) -> None:
    done = load(home, database.url() if way == "url" else "", database.odbc if way == "odbc" else "")
    assert done.new
    assert done.tables == {t: len(rows) for t, rows in expected(home).items()}
    assert told(database.ask) == expected(home)
    assert database.schemas == ["mart"]


def test_keys_types_and_descriptions_are_there(home: Path, database: Database) -> None:
    load(home, database.url())
    keys = dict(database.ask("""SELECT conrelid::regclass::text, count(*) FILTER (WHERE contype = 'p') * 100
        + count(*) FILTER (WHERE contype = 'f') FROM pg_constraint WHERE connamespace = 'mart'::regnamespace
        GROUP BY 1"""))
    assert keys == {f"mart.{t.name}": 100 + sum(bool(c.references) for c in t.columns) for t in contract().values()}
    kinds = {f"{t}.{c}": k for t, c, k in database.ask("""SELECT c.relname, attname, format_type(atttypid, atttypmod)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE relnamespace = 'mart'::regnamespace AND relkind = 'r' AND attnum > 0""")}
    shown = {"fact_sales.revenue_net": "numeric(18,4)", "fact_sales.order_key": "bigint", "dim_date.date": "date",
             "refresh_info.published_at": "timestamp without time zone", "fact_session.is_bot": "character varying(3)",
             "fact_session_prediction.probability": "double precision",
             "dim_product.product_name": "character varying(512)"}  # fmt: skip
    assert {name: kinds[name] for name in shown} == shown
    assert "text" not in kinds.values()
    ((grain, column),) = database.ask("""SELECT obj_description('mart.fact_sales_forecast'::regclass),
        col_description('mart.fact_sales_forecast'::regclass, 8)""")
    assert grain == f"One row is {contract()['fact_sales_forecast'].grain}."
    assert column == "Lower end of the interval that holds 80 % of days."


def test_what_is_served_already_is_left_alone_and_can_be_forced(home: Path, database: Database) -> None:
    first = run_cli("publish", "--home", home, "--to", database.url(), "--json")
    assert (first.code, json.loads(first.out)["new"]) == (0, True), first.err
    same = "SELECT oid FROM pg_class WHERE relname = 'fact_sales' AND relnamespace = 'mart'::regnamespace"
    before = database.ask(same)
    again = run_cli("publish", "--home", home, "--to", database.url())
    assert (again.code, database.ask(same)) == (0, before)
    assert "already: nothing to do" in again.out
    assert PASSWORD not in again.out + first.out
    assert load(home, database.url(), force=True).new
    assert database.ask(same) != before
    # Rows that somebody took away are missed.
    database.ask("DELETE FROM mart.fact_sales WHERE line_number = -1")
    assert load(home, database.url()).new
    assert told(database.ask) == expected(home)


def test_killed_half_way_the_old_tables_are_served_and_the_next_publish_succeeds(
    changing: Path, database: Database
) -> None:
    load(changing, database.url())
    before = expected(changing)
    republish(changing, 5)
    for place in ("publish.load", "publish.swap"):
        killed(changing, database.url(), place)
        assert database.schemas == ["mart", "mart_next"]
        assert told(database.ask) == before, place
    assert load(changing, database.url()).new
    assert told(database.ask) == expected(changing) != before
    assert database.schemas == ["mart"]


def test_readers_see_what_is_served_and_nothing_else(changing: Path, database: Database) -> None:
    import psycopg

    suffix = database.name
    reader, other = f"bi_{suffix}", f"other_{suffix}"
    for role in (reader, other):
        database.ask(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    load(changing, database.url(), readers=[reader])
    first = told(database.ask)
    republish(changing, 7)
    killed(changing, database.url(), "publish.keys")  # leaves mart_next
    blocker = database.connect()
    blocker.execute("SELECT count(*) FROM mart.fact_sales")
    assert database.schemas == ["mart", "mart_next"]
    assert told(lambda q: database.ask(q, reader)) == first
    for forbidden in ("SELECT 1 FROM mart_next.dim_date", "DELETE FROM mart.dim_date", "CREATE TABLE mart.x (n int)"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.ask(forbidden, reader)
    load(changing, database.url())  # names nobody: who could read still can
    assert database.schemas == ["mart", "mart_old"]
    assert told(lambda q: database.ask(q, reader)) == expected(changing)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.ask("SELECT 1 FROM mart_old.fact_sales", reader)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.ask("SELECT 1 FROM mart.fact_sales", other)
    load(changing, database.url(), readers=[other])  # nothing new, but one reader more
    assert len(database.ask("SELECT 1 FROM mart.dim_date", other)) == len(database.ask("SELECT 1 FROM mart.dim_date"))
    blocker.close()


def test_a_reader_with_an_open_transaction_does_not_block_the_swap(changing: Path, database: Database) -> None:
    load(changing, database.url())
    total = "SELECT count(*), sum(revenue_net) FROM mart.fact_sales"
    before = database.ask(total)
    with database.connect() as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor = reader.cursor("slow")
        cursor.execute("SELECT revenue_net FROM mart.fact_sales")
        assert len(cursor.fetchmany(10)) == 10
        republish(changing, 3)
        done = load(changing, database.url())
        assert done.new
        (left,) = done.left
        assert left.startswith("mart_old: ")
        assert "lock timeout" in left
        # What was being read goes on; what is asked for by name is the new table, whole, also in this transaction.
        assert len(cursor.fetchall()) == 50
        assert reader.execute(total).fetchall() == database.ask(total) != before
    republish(changing, 4)
    assert load(changing, database.url()).left == []
    assert database.schemas == ["mart"]


def test_a_view_of_others_is_not_dropped_and_is_told_of(changing: Path, database: Database) -> None:
    load(changing, database.url())
    database.ask("CREATE VIEW public.report AS SELECT sum(revenue_net) FROM mart.fact_sales")
    republish(changing, 3)
    (left,) = load(changing, database.url()).left
    assert "view report depends on table mart_old.fact_sales" in left
    assert len(database.ask("SELECT * FROM public.report")) == 1
    database.ask("DROP VIEW public.report")
    assert load(changing, database.url()).left == []
    assert database.schemas == ["mart"]


def test_a_schema_of_others_is_refused(home: Path, database: Database) -> None:
    database.ask("CREATE SCHEMA mart")
    database.ask("CREATE TABLE mart.fact_sales (n int)")
    refused = run_cli("publish", "--home", home, "--to", database.url())
    assert refused.code == 1
    assert refused.err == ("behavior: schema mart holds what `behavior publish` did not make (fact_sales), so it is "
                           "not replaced. Name another --schema, or move these away.\n")  # fmt: skip
    assert database.ask("SELECT count(*) FROM mart.fact_sales") == [(0,)]
    database.ask("DROP TABLE mart.fact_sales")
    assert load(home, database.url()).new  # an empty schema is nobody's
    database.ask("CREATE VIEW mart.mine AS SELECT 1 AS one")
    with pytest.raises(PublishError, match=r"did not make \(mine\)"):
        load(home, database.url(), force=True)
    assert database.ask("SELECT * FROM mart.mine") == [(1,)]


def test_two_at_once_do_not_mix(home: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []

    def meanwhile(place: str) -> None:
        if place == "publish.keys":
            with pytest.raises(PublishError) as error:
                load(home, database.url())
            refused.append(str(error.value))
            assert load(home, database.url(), schema="mart2").new  # another schema does not mind

    monkeypatch.setattr(publishing, "reach", lambda place: None if refused else meanwhile(place))
    assert load(home, database.url()).new
    assert refused == ["another publication to schema mart is at work there. Publish again when it is done."]
    assert told(database.ask) == told(database.ask, "mart2.") == expected(home)


def test_a_snapshot_that_is_published_meanwhile_is_told_of(
    changing: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = expected(changing)
    newer: list[str] = []

    def meanwhile(place: str) -> None:
        assert place == "publish.keys"
        newer.append(republish(changing, 8))

    monkeypatch.setattr(publishing, "reach", meanwhile)
    assert load(changing, database.url()).newer == newer[0]
    assert told(database.ask) == old


def test_a_server_that_goes_away_is_told_of(
    home: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'behavior publish'"
    monkeypatch.setattr(publishing, "reach", lambda _place: database.ask(ended))
    with pytest.raises(PublishError, match=r"terminating connection|closed|lost"):
        load(home, database.url())
    assert database.schemas == ["mart_next"]


def test_what_is_wrong_is_told_in_one_line_without_the_password(
    home: Path, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weak = f"weak_{database.name}"
    database.ask(f"CREATE ROLE {weak} LOGIN PASSWORD '{PASSWORD}'")
    url, nobody = database.url(), database.url().replace(f":{database.server.port}/", ":1/")
    for code, options, words in (
        (1, ["--to", nobody], "Connection refused"),
        (1, ["--to", database.url(password="wrong" + PASSWORD)], "password authentication failed"),
        (1, ["--to", url + "x"], "does not exist"),
        (1, ["--to", database.url(weak)], f'GRANT CREATE ON DATABASE "{database.name}" TO "{weak}"'),
        (1, ["--to", url, "--reader", "nobody_here"], "CREATE ROLE nobody_here"),
        (1, ["--odbc", f"DSN=nowhere;UID=boss;PWD={{{PASSWORD}}}"], "Debian has odbc-postgresql"),
        (1, ["--odbc", database.odbc.replace(PASSWORD, "no" + PASSWORD)], "password authentication failed"),
        (2, ["--to", f"oracle://boss:{PASSWORD}@127.0.0.1/x"], "--to: "),
        (2, ["--to", PASSWORD], "--to: "),
        (2, [], "--to URL or --odbc"),
        (2, ["--to", url, "--odbc", "x"], "--to URL or --odbc"),
        (2, ["--to", url, "--schema", "Mart; --"], "--schema"),
        (2, ["--to", url, "--schema", "public"], "--schema public"),
    ):  # fmt: skip
        failed = run_cli("publish", "--home", home, *options)
        assert (failed.code, failed.out) == (code, ""), failed
        assert words in failed.err
        assert len(failed.err.splitlines()) == 1
        assert PASSWORD not in failed.err
        assert quote(PASSWORD, safe="") not in failed.err
    assert database.schemas == []
    # The password may come from the environment, and none of it is in the answer.
    monkeypatch.setenv("BEHAVIOR_PUBLISH_PASSWORD", PASSWORD)
    bare = url.replace(":" + quote(PASSWORD, safe=""), "")
    assert bare != url
    assert load(home, bare).new
    empty = run_cli("publish", "--home", tmp_path, "--to", bare)
    assert (empty.code, "nothing is published yet" in empty.err) == (1, True)


def test_a_url_is_shown_without_its_password() -> None:
    from exports.sql.target import Target

    for target in (Target.parse("postgresql://boss:pass%2Fword@h/d"), Target.parse(odbc="DSN=x;UID=u;Pwd={pass/word}"),
                   Target.parse("mysql://boss:pass%2Fword@h")):  # fmt: skip
        assert "pass" not in repr(target) + target.shown
        assert "pass/word" not in target.hide("failed with pass/word")
    with pytest.raises(UsageError):
        Target.parse()


def test_an_erasure_waits_for_whoever_reads_an_older_copy(database: Database, chain: Chain) -> None:
    chain = published_to(database.url(), chain)
    assert database.ask(CUSTOMERS) == [(3,)]
    with database.connect() as reading:
        reading.execute("SELECT 1 FROM mart.fact_sales")
        with pytest.raises(NotErasedError, match=r"mart_old: .*`behavior erase --resume"):
            erasure(chain, ANN).run()
    assert database.schemas == ["mart", "mart_old"]
    receipt = erasure(chain, ANN).run()
    assert receipt["rows"]["bronze/events"] == 6
    assert database.ask(CUSTOMERS) == [(2,)]
    assert database.schemas == ["mart"]
