"""What may lead to a person is taken out of texts, as often as the documentation says; harmless texts stay (P11)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import duckdb
import ibis
import pytest

from behavior_assets.privacy import text
from tests.conftest import Chain

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
_MAPPING = """
columns: {event_time: at, event_name: what, user_id: who, url: url, referrer: from, search_query: q,
          campaign: campaign, channel: channel, device: device, country: country, product_name: name, product_id: sku}
"""
_MAIL = "rawmail@example.org"


@pytest.fixture(scope="module")
def recall() -> ModuleType:
    """The benchmark, as a module."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import text_recall
    finally:
        sys.path.remove(str(BENCHMARKS))
    return text_recall


@pytest.fixture(scope="module")
def usual(recall: ModuleType) -> dict[str, dict[str, float]]:
    """Recall of the usual forms by kind and locale, in the place that is worst for them."""
    found: dict[str, dict[str, float]] = recall.easy()
    return found


@pytest.mark.parametrize("kind", ["e-mail", "phone", "card", "IBAN", "national id"])
def test_usual_forms_are_found_in_every_locale_and_place(usual: dict[str, dict[str, float]], kind: str) -> None:
    assert len(usual[kind]) == 10
    assert min(usual[kind].values()) >= 0.99


def test_the_documentation_tells_what_is_measured_now(recall: ModuleType) -> None:
    """Recall by kind and locale, every form that is missed, and what harmless texts are lost."""
    published = recall.DOCUMENT.read_text("utf-8").partition(recall.BEGIN)[2].partition(recall.END)[0].strip()
    assert published == recall.report(), "run python benchmarks/text_recall.py --write"


def test_harmless_texts_survive(recall: ModuleType) -> None:
    assert {place: gone for place, (gone, _) in recall.lost().items()} == {
        "search": ["lego 75192"], "campaign": [], "path": [],
    }  # fmt: skip


def evaluated(function: str, *values: str) -> list[str | None]:
    """One of the text functions on some values."""
    table = ibis.memtable({"n": range(len(values)), "t": list(values)})
    made = table.select("n", left=getattr(text, function)(table.t)).order_by("n")
    left: list[str | None] = ibis.duckdb.connect().to_pyarrow(made)["left"].to_pylist()
    return left


@pytest.mark.parametrize("name", ["email", "q", "name", "token", "gclid", "utm_term", "PAGE", "utm_contents", "xpage"])
def test_a_parameter_that_is_not_named_is_dropped(name: str) -> None:
    assert evaluated("clean_url", f"https://shop.example/c?{name}=shoes&page=2&{name}=3") == ["shop.example/c?page=2"]


def test_parameters_that_are_named_keep_harmless_values_only() -> None:
    names = text.ALLOWED_PARAMETERS
    assert names == ("utm_source", "utm_medium", "utm_campaign", "utm_content", "page", "sort", "category")
    assert evaluated("clean_url", *(f"https://shop.example/c?{n}=shoes_2" for n in names)) == [
        f"shop.example/c?{n}=shoes_2" for n in names
    ]
    assert evaluated("clean_url", *(f"https://shop.example/c?{n}=jane%40example.org" for n in names)) == [
        "shop.example/c"
    ] * len(names)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("jane.doe@example.org", None), ("jane (at) example (dot) org", None), ("jane arroba example punto org", None),
        ("jane\uff20example.org", None), ("call 0171/1234567", None), ("tel01711234567", None),
        ("\u0660\u0661\u0667\u0661\u0661\u0662\u0663\u0664", None), ("4111 1111-1111.1111", None),
        ("4111,1111,1111,1111", None), ("de89.3704.0044.0532.0130.00", None), ("nif12345678Z", None),
        ("rssmra85t10a562s", None), ("ab 12 34 56 c", None), ("Iphone 14 Pro 128", "iphone 14 pro 128"),
        ("jeans 32/34", "jeans 32/34"), ("chaussures d'été", "chaussures d'été"),
        ("anna meier berlin", "anna meier berlin"),
    ],
)  # fmt: skip
def test_searches(written: str, kept: str | None) -> None:
    """Names are not recognised: the last row is a known miss."""
    assert evaluated("clean_search", written) == [kept]


def test_plain_sql_over_the_same_patterns_finds_the_same() -> None:
    """What Ibis makes of a pattern is DuckDB's ``regexp_matches`` of that very pattern."""
    from behavior_assets.privacy.detectors import IN_TEXT, personal

    texts = ["jane@example.org", "red shoes 42", "0171 1234567", "de89 3704 0044 0532", "size 10.5", "x\u200b1"]
    table = ibis.memtable({"n": range(len(texts)), "t": texts})
    made = table.select("n", hit=personal(table.t)).order_by("n")
    by_ibis = ibis.duckdb.connect().to_pyarrow(made)["hit"].to_pylist()
    with duckdb.connect(":memory:") as con:
        by_sql = [con.execute("SELECT regexp_matches(?, ?)", [t, IN_TEXT]).fetchone() for t in texts]
    assert by_ibis == [True, False, True, True, False, False]
    assert [(hit,) for hit in by_ibis] == by_sql


def test_every_text_of_silver_that_a_person_could_type_into_is_cleaned(tmp_path: Path) -> None:
    """Names of products come from the shop's catalogue: they alone stay as they are."""
    mapping, file = tmp_path / "mapping.yaml", tmp_path / "events.csv"
    mapping.write_text(_MAPPING)
    typed = f"to {_MAIL}"
    file.write_text("at,what,who,url,from,q,campaign,channel,device,country,name,sku\n"
                    f"2024-05-01T10:00:00Z,search,u,https://s.example/{typed},https://h.example/{typed},"
                    f"{typed},{typed},{typed},{typed},{typed},{typed},p\n")  # fmt: skip
    chain = Chain.at(tmp_path / "home")
    chain.ingest([file], "generic", mapping)
    chain.build(star=False)
    assert chain.rows("silver/events", "SELECT count(*) FROM t") == [(1,)]
    columns = [c[0] for c in chain.rows("silver/events", "SELECT column_name FROM (DESCRIBE t)")]
    found = "SELECT 1 FROM t WHERE {}::VARCHAR LIKE '%{}%'"
    holding = [c for c in columns if chain.rows("silver/events", found.format(c, _MAIL))]
    assert holding == ["product_name"]
