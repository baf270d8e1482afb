"""The illustrated report in a real browser: readable at every width, of the tables' figures, deaf to what data say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from exports.aggregate import Aggregate, Span, aggregate
from exports.report import page, write_report
from exports.report.words import axis_labels, span
from tests.chromium import DESK, PHONE, Page, browser
from tests.small_shop import HOSTILE, shop
from tests.test_aggregate import HIDDEN

SHOPS: dict[str, dict[str, Any]] = {
    "whole": {"synthetic": True},
    "sales only": {"flags": dict.fromkeys(("has_views", "has_cart", "has_checkout", "has_categories", "has_sessions",
                                           "has_device", "has_channel"), "No")},
}  # fmt: skip

# Every text that is seen, with its colour and what it stands on; SVG text stands on the page.
CONTRAST = """(() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
      .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const clear = c => c === 'transparent' || /, 0\\)$/.test(c);
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  document.querySelectorAll('details').forEach(d => d.open = true);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, s = getComputedStyle(e);
    if (!walk.currentNode.data.trim() || !e.getClientRects().length) continue;
    let on = e; while (on && clear(getComputedStyle(on).backgroundColor)) on = on.parentElement;
    const ground = on ? getComputedStyle(on).backgroundColor : 'rgb(255,255,255)';
    const ink = e instanceof SVGElement ? s.fill : s.color, a = light(ink), b = light(ground);
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push([walk.currentNode.data.trim(), ink, ground, ratio.toFixed(2)]);
  }
  return found; })()"""
# Words of a chart that lie upon each other, upon a bar, or outside of the chart.
CLASHES = """(() => {
  const found = [], cross = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
      && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
  for (const svg of document.querySelectorAll('svg')) {
    const edge = svg.getBoundingClientRect(); if (!edge.width) continue;
    const words = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    const bars = [...svg.querySelectorAll('rect')].map(t => t.getBoundingClientRect());
    words.forEach(([word, box], n) => {
      if (box.left < edge.left - 6 || box.right > edge.right + 6) found.push([word, 'outside']);
      words.slice(n + 1).forEach(([other, b]) => { if (cross(box, b)) found.push([word, other]); });
      bars.forEach(b => { if (cross(box, b)) found.push([word, 'bar']); });
    });
  }
  return found; })()"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module", params=SHOPS)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Aggregate]:
    exports = tmp_path_factory.mktemp("exports")
    manifest = shop(**SHOPS[request.param]).write(exports)
    told = aggregate(exports, manifest)
    return write_report(exports, manifest, told), told


def test_it_is_one_small_file_that_asks_for_nothing(report: tuple[Path, Aggregate], tab: Page) -> None:
    path, _ = report
    tab.open(path)
    assert tab.console == []
    assert tab.requests == [path.as_uri()]
    assert path.stat().st_size < 1_000_000
    assert tab.ask("document.querySelectorAll('script, img, iframe, link, object, form').length") == 0


@pytest.mark.parametrize("width", [PHONE, DESK, 320, 800])
def test_no_width_needs_sideways_scrolling(report: tuple[Path, Aggregate], tab: Page, width: int) -> None:
    tab.open(report[0], width)
    tab.ask("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert tab.ask("document.documentElement.scrollWidth") <= width
    out = ("[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .hidden, svg') && "
           "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))")  # fmt: skip
    assert tab.ask(out) == []
    assert tab.ask(CLASHES) == []


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out_from_its_ground(report: tuple[Path, Aggregate], tab: Page, dark: bool) -> None:
    tab.open(report[0], dark=dark)
    ground = tab.ask("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is not dark
    assert tab.ask(CONTRAST) == []


def test_a_name_that_is_a_script_is_a_name(report: tuple[Path, Aggregate], tab: Page) -> None:
    tab.open(report[0])
    # As a product, a country, a channel, and why a model does not serve: in texts, tables, charts and their labels.
    assert tab.ask("document.body.innerText.split('<img src=x onerror=alert(1)>').length") > 3
    assert tab.ask("[...document.querySelectorAll('svg text')].some(t => t.textContent.includes('<img src'))")
    assert tab.ask("document.querySelectorAll('img, svg script, main script').length") == 0
    assert not [line for line in tab.console if "alert" in line]
    assert HOSTILE not in report[0].read_text("utf-8")
    # Were it to get in, the policy would stop it.
    tab.ask("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran=1\">')")
    tab.ask("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 2'}))")
    assert tab.ask("new Promise(done => setTimeout(() => done(window.ran ?? 'nothing'), 100))") == "nothing"
    assert [line for line in tab.console if "Content Security Policy" in line]


def test_every_figure_is_one_of_the_tables(report: tuple[Path, Aggregate], tab: Page) -> None:
    path, told = report
    tab.open(path)
    shown = tab.ask("[...document.querySelectorAll('data')].map(d => [d.dataset.of, d.value])")
    assert len(shown) > 200
    known: dict[str, set[str]] = {}
    for name, filled in told.tables.items():
        for column in filled.table.columns:
            known[f"{name}.{column.name}"] = {f"{abs(v):.10g}" if isinstance(v, float) else str(v) for r in filled.rows
                                              if (v := r[column.name]) is not None}  # fmt: skip
    keys = {r["figure"]: r for r in told.rows("key_figures")}
    for of, value in shown:
        table, column = of.split(".", 1) if "." in of else (of, "")
        if table == "key_figures":
            column, _, figure = column.rpartition(".")
            cell = keys[figure][column or "value"]
            assert float(value) in {float(cell), abs(float(cell))}, of
        elif of != "derived":
            number = value.lstrip("-") if value[1:2].isdigit() or value[:1] == "-" else value
            assert number in known[of] or value in known[of], (of, value)


def test_charts_have_words_and_tables_and_headings_their_order(report: tuple[Path, Aggregate], tab: Page) -> None:
    tab.open(report[0])
    assert tab.ask("document.querySelectorAll('svg:not([role=img][aria-label])').length") == 0
    assert tab.ask("[...document.querySelectorAll('figure')].filter(f => !f.querySelector('table') && "
                   "!f.parentElement.querySelector('table')).length") == 0  # fmt: skip
    levels = tab.ask("[...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert tab.ask("[...document.querySelectorAll('.scroll')].every(s => s.tabIndex === 0 && s.ariaLabel)")
    assert tab.ask("[...document.querySelectorAll('nav a, .skip')].every(a => document.querySelector(a.hash))")
    assert tab.ask("document.documentElement.lang") == "en"


def test_it_says_what_is_synthetic_and_what_is_not_known(report: tuple[Path, Aggregate], tab: Page) -> None:
    path, told = report
    tab.open(path)
    words = tab.ask("document.body.innerText")
    assert ("synthetic data" in words.lower()) is told.synthetic
    assert tab.ask("document.title").startswith("SYNTHETIC") is told.synthetic
    assert told.snapshot in words
    assert all(r["reason"] in words for r in told.rows("blanks"))


def test_nobody_of_fewer_than_ten_is_on_the_page(report: tuple[Path, Aggregate]) -> None:
    text = report[0].read_text("utf-8")
    assert not [name for name in HIDDEN if f">{name}<" in text or f"pseudonym-{name}" in text]


def test_it_prints_on_paper(report: tuple[Path, Aggregate], tab: Page, tmp_path: Path) -> None:
    tab.open(report[0])
    tab.pdf(tmp_path / "report.pdf")
    told = (tmp_path / "report.pdf").read_bytes()
    assert told.startswith(b"%PDF")
    assert 3 <= told.count(b"/Type /Page\n") + told.count(b"/Type /Page ") <= 14
    assert b"595.9" in told or b"595" in told  # A4 is 595 points wide


def test_the_same_snapshot_gives_the_same_page(report: tuple[Path, Aggregate]) -> None:
    assert page(report[1]) == report[0].read_text("utf-8")


def test_a_shop_of_four_weeks_is_not_compared_with_weeks_before(tmp_path: Path, tab: Page) -> None:
    tab.open(write_report(tmp_path, shop(last_days=30).write(tmp_path)), 1280)
    text = tab.ask("document.body.innerText").lower()
    assert "products that sold most" in text
    assert "four weeks before" not in text.replace("eight complete weeks yet: four, and the four before", "")
    assert tab.console == []


def test_labels_of_an_axis_are_exact_and_of_one_unit() -> None:
    assert axis_labels([0, 200_000, 202_500]) == ["0", "200.0k", "202.5k"]
    assert axis_labels([0, 500_000, 1_000_000]) == ["0", "0.5M", "1.0M"]
    assert axis_labels([-25, 0, 25]) == ["\u221225", "0", "25"]


def test_a_shop_without_a_whole_week_has_a_report(tmp_path: Path, tab: Page) -> None:
    tab.open(write_report(tmp_path, shop(customers=12, last_days=4).write(tmp_path)), PHONE)
    text = tab.ask("document.body.innerText")
    assert "no complete week" in text
    assert tab.ask("document.querySelector('h1').innerText") == "The first days: 30 March to 2 April 2024"
    assert span(Span(date(2024, 1, 1), date(2024, 1, 1))) == "1 January 2024"
    assert tab.console == []
    assert tab.ask("document.documentElement.scrollWidth") <= PHONE
