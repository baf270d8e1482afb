"""What the documentation says is what the code does: the mapping loads, every setting is there, the picture is new."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from html import escape
from pathlib import Path

import yaml

from behavior_assets.ingestion.sources import FORMATS
from behavior_assets.ingestion.sources.generic import source_from_mapping
from exports.contract import published
from exports.measures.catalog import measures
from exports.powerbi.pages import PAGES
from resources.settings import Settings

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"


def test_the_example_mapping_loads() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "formats.md").read_text("utf-8"), re.DOTALL)
    source = source_from_mapping(yaml.safe_load(text), "docs/formats.md")
    assert source.delimiter == ";"
    assert source.timezone == "Europe/Berlin"
    assert source.ignored == ("clerk",)
    assert source.columns == ("at", "action", "visitor", "visit", "sku", "department", "unit_price", "pieces",
                              "order_no", "country", "clerk")  # fmt: skip


def test_every_format_is_documented() -> None:
    text = (DOCS / "formats.md").read_text("utf-8")
    assert [f for f in FORMATS if f"| `{f}` |" not in text] == []


def test_every_setting_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "settings.md").read_text("utf-8"), re.MULTILINE))
    assert documented == {f.name for f in fields(Settings)} - {"home"}


def test_every_row_of_the_fault_matrix_has_tests_of_its_name_where_the_table_says() -> None:
    text = (DOCS / "reliability.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \|.*\|([^|]+)\|$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == [*range(1, 23), 25, 27, 29, 31]
    for number, files in rows:
        tests = [(REPOSITORY / file).read_text("utf-8") for file in re.findall(r"`([^`]+)`", files)]
        named = [f"def test_row_{int(number):02d}_" in test for test in tests]
        assert any(named), number


def test_every_promise_of_privacy_is_named_by_a_test_where_the_table_says() -> None:
    text = (DOCS / "privacy.md").read_text("utf-8").partition("\n## Proofs\n")[2]
    rows = re.findall(r"^\| ((?:P\d+,? )+)[^|]*\|([^|]+)\|$", text, re.MULTILINE)
    promises = {name: re.findall(r"`([^`]+)`", files) for names, files in rows for name in re.findall(r"P\d+", names)}
    assert sorted(int(name[1:]) for name in promises) == [*range(1, 13), 14, 15, 16, 17, 19, 20, 22]
    for name, files in promises.items():
        tests = [(REPOSITORY / file).read_text("utf-8") for file in files]
        assert any(re.search(rf"\b{name}\b", test) for test in tests), name


def test_every_direct_dependency_has_its_reason() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    block = project.split("\ndependencies = [", 1)[1].split("\n]", 1)[0]
    text = (DOCS / "dependencies.md").read_text("utf-8")
    assert [d for d in re.findall(r'"([a-z\-]+)', block) if d not in text] == []


def test_the_asset_graph_is_drawn_anew() -> None:
    done = subprocess.run([sys.executable, str(DOCS / "asset_graph.py"), "--check"], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_the_data_map_is_that_of_the_registry() -> None:
    done = subprocess.run([sys.executable, str(DOCS / "data_map.py"), "--check"], check=False, capture_output=True)
    assert done.returncode == 0, "python docs/data_map.py writes it anew"


def test_every_page_of_the_power_bi_report_has_its_picture() -> None:
    text = (DOCS / "power-bi.md").read_text("utf-8")
    for page in (p for p in PAGES if not p.tip):
        assert f"](power-bi/{page.name}.svg)" in text
        picture = (DOCS / "power-bi" / f"{page.name}.svg").read_text("utf-8")
        assert len(picture) < 120_000
        assert [v.title for v in page.visuals if f">{escape(v.title)}</text>" not in picture] == []
        assert "not a screenshot" in picture


def test_the_power_bi_page_counts_the_measures() -> None:
    text = (DOCS / "power-bi.md").read_text("utf-8")
    assert f"{len(published())} published tables with {len(measures())} measures" in text
    counted = re.findall(r"^\| [A-Z][\w;, ]+ \| (\d+) \|", text, re.MULTILINE)
    assert sum(int(n) for n in counted) == len(measures())


def test_links_between_documents_lead_somewhere() -> None:
    pages = [REPOSITORY / "README.md", *DOCS.glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))]
    own = [(page, link) for page, link in links if not link.startswith("http")]
    assert own
    assert [(page.name, link) for page, link in own if not (page.parent / link).exists()] == []
