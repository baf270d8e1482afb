"""No raw identifier leaves landing, archive, bronze and quarantine; what is kept of texts is kept by allow-list."""

from __future__ import annotations

import gzip
import json
import stat
from pathlib import Path

import duckdb
import ibis
import pytest

from behavior_assets.ingestion.ahead import _ip_macro
from behavior_assets.privacy import text
from resources.errors import UsageError
from resources.keys import load_or_create_key
from tests.conftest import REES46_HEADER, Chain, Result, rees46_row, run_cli

# Each stands for one way in which a person could be recognised; the marks are found again by a scan of bytes.
USER, CLIENT, MAIL, ORDER = "rawuser4711", "rawclient.4711", "rawmail@example.org", "raworder4711"
IP, IP6, TOKEN = "198.51.100.77", "2001:db8:beef:1234:5678:9abc:def0:77", "rawtokenABCDEF0123456789xyz"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rawdevice4711) Firefox/125.0"
POISON = (USER, CLIENT, MAIL, "rawmail%40example", ORDER, IP, "1234:5678:9abc:def0", TOKEN, "rawdevice4711",
          "rawsession4711")  # fmt: skip
URL = (f"https://{USER}:pw@shop.example/account/{TOKEN}/page?utm_source=news&email=rawmail%40example.org"
       f"&t={TOKEN}#{MAIL}")  # fmt: skip


def ga4_event(second: int, name: str, ip: str = IP, **more: object) -> dict[str, object]:
    """A GA4 record with something personal in every field that can hold it."""
    moment = 1_714_564_800_000_000 + second * 1_000_000
    parameters = {"page_location": URL, "page_referrer": f"https://{USER}:1@mail.example/{TOKEN}?q={MAIL}",
                  "search_term": MAIL, "transaction_id": ORDER}  # fmt: skip
    return {
        "event_timestamp": str(moment), "event_name": name, "event_id": f"{USER}-{second}", "user_id": USER,
        "user_pseudo_id": CLIENT, "ip": ip, "user_agent": AGENT,
        "event_params": [{"key": k, "value": {"string_value": v}} for k, v in parameters.items()]
        + [{"key": "ga_session_id", "value": {"string_value": "rawsession4711"}}],
        "traffic_source": {"name": f"mailing-{MAIL}", "medium": "email"},
        "items": [{"item_id": "p1", "item_name": "Lamp", "item_category": "home", "price": 5, "quantity": 1}], **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Chain, Result]:
    """A home after a run on poison in good rows, in bad rows and in files that are refused."""
    base = tmp_path_factory.mktemp("poison")
    folder = base / "ga4"
    folder.mkdir()
    events = [ga4_event(0, "view_item"), ga4_event(5, "purchase", IP6), ga4_event(9, f"view {MAIL}"),
              ga4_event(10, "view_item", event_timestamp=MAIL), ga4_event(11, "search", user_id=MAIL)]  # fmt: skip
    lines = [*(json.dumps(e) for e in events), f"{MAIL} {TOKEN}"]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode())[:-40])
    (folder / "other.csv").write_text(f"{MAIL},{USER}\n{IP},{TOKEN}\n")
    return Chain.at(base / "home"), run_cli("run", "--home", base / "home", "--format", "ga4", "--source", folder)


def test_the_poison_was_taken_in(poisoned: tuple[Chain, Result]) -> None:
    """Else the scans below would prove nothing."""
    chain, result = poisoned
    assert result.code == 3, result.err
    assert chain.rows("bronze/events", "SELECT count(*) FROM t WHERE user_id IS NOT NULL") == [(3,)]
    assert chain.rows("quarantine/events", "SELECT list(row_number ORDER BY row_number) FROM t") == [([3, 4, 6],)]
    assert chain.rows("gold/fact_sales", "SELECT revenue_net FROM t") == [(5,)]


@pytest.mark.parametrize("place", ["lake/silver", "lake/gold", "exports", "dagster", "logs", "lake/quality"])
def test_no_file_holds_a_raw_identifier(poisoned: tuple[Chain, Result], place: str) -> None:
    chain, _ = poisoned
    for file in (chain.settings.home.root / place).rglob("*"):
        if file.is_file():
            found = [p for p in POISON if p.encode() in decoded(file)]
            assert not found, (file, found)


def decoded(file: Path) -> bytes:
    """A file's bytes, and of Parquet, whose pages are compressed, every cell as text."""
    if file.suffix != ".parquet":
        return file.read_bytes()
    with duckdb.connect(":memory:") as con:
        cells = con.read_parquet(str(file)).fetchall()
    return file.read_bytes() + repr(cells).encode()


def test_no_output_holds_a_raw_identifier(poisoned: tuple[Chain, Result]) -> None:
    _, result = poisoned
    assert not [p for p in POISON if p in result.out + result.err]


def test_addresses_are_truncated_before_bronze(poisoned: tuple[Chain, Result]) -> None:
    """P10: of a client address no more than a network comes into the lake."""
    chain, _ = poisoned
    kept = chain.rows("bronze/events", "SELECT DISTINCT ip FROM t ORDER BY 1")
    assert kept == [("198.51.100.0",), ("2001:db8:beef::",)]


def test_what_silver_keeps_of_a_visit(poisoned: tuple[Chain, Result]) -> None:
    chain, _ = poisoned
    kept = chain.rows(
        "silver/events", "SELECT DISTINCT url, referrer, search_query, device, browser, campaign FROM t"
    )
    assert kept == [
        ("shop.example/account/-/page?utm_source=news", "mail.example", None, "desktop", "Firefox", "(removed)")
    ]


def test_the_key_file_is_for_its_owner_only(poisoned: tuple[Chain, Result]) -> None:
    chain, _ = poisoned
    assert stat.S_IMODE(chain.settings.key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(chain.settings.key_path.parent.stat().st_mode) & 0o077 == 0


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "keys" / "pseudonym.key"
    load_or_create_key(key)
    key.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        load_or_create_key(key)


def test_another_key_gives_other_pseudonyms_everywhere(tmp_path: Path) -> None:
    """Customer, session, order and event keys of one person in two homes have nothing in common."""
    file = tmp_path / "a.csv"
    file.write_text(f"{REES46_HEADER}\n{rees46_row('2024-05-01 10:00:00', 'purchase', 'p', USER)}\n")
    found = []
    for name in ("one", "two"):
        chain = Chain.at(tmp_path / name)
        chain.ingest([file], "rees46")
        chain.build()
        keys = chain.rows(
            "silver/events", "SELECT customer_id, customer_key, chain_key, event_key, transaction_id FROM t"
        )
        sold = chain.rows("gold/fact_sales", "SELECT customer_key, session_key, order_key FROM t")
        found.append((*keys[0], *sold[0]))
    assert not set(found[0]) & set(found[1])
    assert len(found[0][0]) == 32


@pytest.mark.parametrize(
    ("address", "bits", "kept"),
    [
        ("198.51.100.77", 24, "198.51.100.0"),
        ("198.51.100.77", 16, "198.51.0.0"),
        ("::ffff:198.51.100.77", 24, "198.51.100.0"),
        ("2001:db8:beef:1:2:3:4:5", 24, "2001:db8:beef::"),
        ("2001:db8::5", 24, "2001:db8:0::"),
        ("2001:db8:beef:1::5", 16, "2001:db8:beef::"),
        ("::1", 24, "0:0:0::"),
        ("198.51.100", 24, None),
        ("198.51.100.77, 10.0.0.1", 24, "198.51.100.0"),
        (" 198.51.100.77 , 2001:db8::1", 16, "198.51.0.0"),
        ("2001:db8:beef:1::5, 10.0.0.1", 24, "2001:db8:beef::"),
        ("198.51.100.77:51234", 24, "198.51.100.0"),
        ("[198.51.100.77]:51234", 24, "198.51.100.0"),
        ("[2001:db8:beef:1::5]", 24, "2001:db8:beef::"),
        ("[2001:db8:beef:1::5]:443", 24, "2001:db8:beef::"),
        ("fe80:1:2:3::5%eth0", 24, "fe80:1:2::"),
        ("0:0:0:0:0:FFFF:198.51.100.77", 16, "198.51.0.0"),
        ("[::ffff:198.51.100.77]:80", 24, "198.51.100.0"),
        ("64:ff9b::198.51.100.77", 24, "64:ff9b:0::"),
        ("::ffff:c633:644d", 24, "0:0:0::"),
        ("unknown, 198.51.100.77", 24, None),
        ("198.51.100.777", 24, None),
        ("198.51.100.77.5", 24, None),
        ("12:34:56", 24, None),
        ("2001:db8::beef::1", 24, None),
        ("1:2:3:4:5:6:7:8:9", 24, None),
        ("1:2:3:4:5::6:7:8:9", 24, None),
        ("2001:db8:beef:1:2:3:4:rawmail", 24, None),
        ("for=198.51.100.77", 24, None),
        ("rawmail@example.org", 24, None),
        ("", 24, None),
        (None, 24, None),
    ],
)
def test_truncated_addresses(address: str | None, bits: int, kept: str | None) -> None:
    with duckdb.connect(":memory:") as con:
        con.execute(_ip_macro(bits))
        assert con.execute("SELECT truncated_ip(?::VARCHAR)", [address]).fetchall() == [(kept,)]


def evaluated(function: str, value: str) -> str | None:
    """One of the text functions on one value."""
    cleaned = getattr(text, function)(ibis.literal(value, "string"))
    answer: str | None = ibis.duckdb.connect().to_pyarrow(cleaned).as_py()
    return answer


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://shop.example/c/shoes?page=2&sort=price", "shop.example/c/shoes?page=2&sort=price"),
        ("https://shop.example/c/shoes?token=abc&page=2", "shop.example/c/shoes?page=2"),
        ("https://shop.example/?utm_source=a%40b.org&utm_medium=email", "shop.example/?utm_medium=email"),
        ("https://shop.example/?page=0049171234567", "shop.example/"),
        ("https://shop.example/reset#token=abc", "shop.example/reset"),
        ("https://jane:secret@shop.example/", "shop.example/"),
        ("https://shop.example/u/jane@example.org/cart", "shop.example/u/-/cart"),
        ("https://shop.example/u/jane%40example.org", "shop.example/u/-"),
        ("https://shop.example/order/12345678", "shop.example/order/-"),
        ("https://shop.example/p/12345", "shop.example/p/12345"),
        ("/c/shoes?email=jane@example.org", "/c/shoes"),
    ],
)
def test_urls_are_kept_by_allow_list(url: str, kept: str) -> None:
    assert evaluated("clean_url", url) == kept


@pytest.mark.parametrize(
    ("function", "value", "kept"),
    [
        ("clean_search", "Red Shoes 42", "red shoes 42"),
        ("clean_search", "jane@example.org", None),
        ("clean_search", "0049 171 1234567", None),
        ("clean_search", "https://x.example/?t=1", None),
        ("clean_referrer", "https://mail.example/u/0?q=jane", "mail.example"),
        ("clean_referrer", "https://jane@mail.example/", "mail.example"),
        ("clean_referrer", "https://jane:4711@mail.example:8080/", "mail.example"),
        ("clean_referrer", "https://jane:4711@m\u00fcnchen.example/", None),
        ("clean_referrer", "mail.example", "mail.example"),
        ("clean_label", "summer-sale", "summer-sale"),
        ("clean_label", "to-jane@example.org", "(removed)"),
    ],
)
def test_other_texts(function: str, value: str, kept: str | None) -> None:
    assert evaluated(function, value) == kept
