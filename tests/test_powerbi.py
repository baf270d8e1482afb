"""The Power BI project: it holds what the star holds, and our lint finds what would keep it from opening."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from behavior_assets.star.dimensions import dim_hour
from exports.contract import published
from exports.measures.catalog import measures
from exports.measures.sql import tables_of
from exports.names import LEFT_OUT, TABLES, column_name
from exports.powerbi import sources
from exports.powerbi.lint import findings, read_folder
from exports.powerbi.model import EXECUTIVE_MEASURES, build_model, role_filters
from exports.powerbi.pages import PAGES
from exports.powerbi.project import NAME, files, write_project
from exports.powerbi.visuals import Visual
from tests.conftest import REPOSITORY, absent

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = REPOSITORY.parent / "shared"
CHECKERS = REPOSITORY / ".checkers"
SOURCES = {
    "parquet": sources.parquet("C:\\shop\\exports"), "postgresql": sources.postgresql("localhost", "shop", "mart"),
    "sqlserver": sources.sqlserver("localhost", "shop", "mart"),
    "duckdb": sources.duckdb("Behavior", "behavior", "main"),
}  # fmt: skip
TABLE = f"{NAME}.SemanticModel/definition/tables/"
OVERVIEW = f"{NAME}.Report/definition/pages/overview/"


def checkers() -> Path:
    """The folder of the opt-in checkers; absent: skipped, or failed where they are required."""
    if not (CHECKERS / "bin" / "python").exists() or not SHARED.exists():
        absent("the opt-in checkers are not installed (make checkers)")
    return CHECKERS


@pytest.fixture(scope="module")
def project() -> dict[str, str]:
    return files(SOURCES["parquet"])


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_the_lint_finds_nothing_wrong_with_what_is_generated(source: sources.Source) -> None:
    assert findings(files(source)) == []


def test_every_published_table_and_column_is_in_the_model() -> None:
    model = build_model()
    for table in published().values():
        of = model.table(table.name)
        assert of.name == TABLES[table.name]
        assert [c.source for c in of.columns] == [c.name for c in table.columns if c.name not in LEFT_OUT]
        assert all(c.description for c in of.columns)
    assert {m.name for t in model.tables for m in t.measures} == set(measures())
    assert set(EXECUTIVE_MEASURES) <= set(measures())


def test_keys_and_figures_are_hidden_and_what_readers_choose_by_is_not() -> None:
    model = build_model()
    sales = {c.source: c.hidden for c in model.table("fact_sales").columns}
    assert sales["customer_key"]
    assert sales["revenue_net"]
    assert not sales["line_type"]
    assert not {c.source: c.hidden for c in model.table("fact_session_prediction").columns}["prefix"]
    month = model.table("dim_date").column("month_name")
    assert (month.sort_by, model.table("dim_date").column("month_number").hidden) == ("Month Number", True)


def test_facts_hang_on_dimensions_only_and_each_by_one_active_date() -> None:
    model = build_model()
    facts = {t.name for t in model.tables if t.is_fact or t.source == "model_card"}
    assert {r.many for r in model.relationships} == facts
    assert {r.one for r in model.relationships}.isdisjoint(facts)
    dates = [(r.many_column, r.is_active) for r in model.relationships if (r.many, r.one) == ("Cart Items", "Date")]
    assert dates == [("Added Date Key", True), ("Last Date Key", False), ("Purchased Date Key", False)]
    used = {c for m in measures().values() for c in re.findall(r"USERELATIONSHIP\('[^']+'\[([^\]]+)\]", m.dax)}
    assert {r.many_column for r in model.relationships if not r.is_active} == used


def test_the_example_role_reads_facts_of_its_countries_and_no_others() -> None:
    filters = role_filters(build_model())
    with_country = {TABLES[t.name] for t in published().values()
                    if t.is_fact and any(c.name == "country_key" for c in t.columns)}  # fmt: skip
    without = {TABLES[t.name] for t in published().values() if t.is_fact} - with_country
    assert with_country == {"Sales", "Sessions"}
    assert {t for t, condition in filters.items() if condition == "FALSE()"} == without | {"Model Card"}
    assert "USERPRINCIPALNAME()" in filters["Country"]
    assert with_country.isdisjoint(filters)  # filtered through Country


def test_column_types_are_those_of_the_parquet_files(tmp_path: Path) -> None:
    """Read back from a file, as Power BI does, not from the contract."""
    model = {"int64": ("INT64", None), "double": ("DOUBLE", None), "string": ("BYTE_ARRAY", "String"),
             "decimal": ("INT64", "Decimal"), "dateTime": ("", "")}  # fmt: skip
    from resources.lake import Lake

    lake = Lake(tmp_path)
    for table in published().values():
        target = lake.table(table.spec)
        target.commit([target.write("all", "v", [table.spec.schema.empty_table()])])
        schema = pq.read_schema(target.absolute(target.files())[0])
        stored = pq.read_metadata(target.absolute(target.files())[0]).schema
        for column in build_model().table(table.name).columns:
            physical = stored.column(schema.get_field_index(column.source))
            if column.type == "dateTime":
                assert physical.logical_type.type in {"DATE", "TIMESTAMP"}
            else:
                kind, logical = model[column.type]
                assert physical.physical_type == kind, (table.name, column.source)
                assert logical is None or logical.upper() == physical.logical_type.type


def test_a_source_is_one_set_of_parameters() -> None:
    """Variants differ in their expressions and in what refreshes by days, and in nothing else."""
    made = {kind: files(source) for kind, source in SOURCES.items()}
    for kind in ("postgresql", "sqlserver", "duckdb"):
        differ = {p for p in made[kind] if made[kind][p] != made["parquet"].get(p)}
        folder = f"{NAME}.SemanticModel/definition/"
        incremental = {f"{folder}tables/{TABLES[t]}.tmdl" for t in sources.INCREMENTAL}
        assert differ == {f"{folder}expressions.tmdl", f"{folder}model.tmdl", *incremental}
        assert all("refreshPolicy" in made[kind][p] and "RangeStart" in made[kind][p] for p in incremental)
    assert "refreshPolicy" not in "".join(made["parquet"].values())


def test_there_are_pages_with_slicers_tooltips_and_drill_through() -> None:
    seen = [p for p in PAGES if not p.tip and not p.drill]
    assert [p.title for p in seen] == ["Overview", "Funnel and carts", "Customers and segments", "Products", "Forecast",
                                       "Predictions", "Data quality"]  # fmt: skip
    assert all(any(v.kind == "slicer" for v in p.visuals) for p in seen)
    assert [p.drill for p in PAGES if p.drill] == ["Product[Product Number]"]
    assert {v.tooltip for p in PAGES for v in p.visuals if v.tooltip} == {p.name for p in PAGES if p.tip}


def _unreached(slicer: Visual, visual: Visual) -> set[str]:
    """Facts behind a visual's measures to which no key brings the slicer's choice."""
    of = next(t for t, told in TABLES.items() if slicer.fields["Values"][0].startswith(f"{told}["))
    facts = {t for names in visual.fields.values() for n in names if n in measures() for t in tables_of(n)}
    keys = {t: {c.references for c in published()[t].columns} - {""} for t in facts}
    return {t for t in facts if keys[t] and of != t and of not in keys[t]}


def test_a_slicer_reaches_every_figure_of_its_page_or_it_is_said() -> None:
    for page in PAGES:
        shown = [v for v in page.visuals if v.kind != "slicer"]
        for slicer in (v for v in page.visuals if v.kind == "slicer"):
            missed = [v.title for v in shown if _unreached(slicer, v)]
            assert len(missed) < len(shown), slicer.title
            told = [t for t in missed if re.search(r"(?i)\b(all|whole)\b", t)]
            assert missed == told or ":" in slicer.title, (page.name, slicer.title, missed)


def test_visuals_lie_on_the_canvas_and_not_over_each_other() -> None:
    for page in PAGES:
        width, height = page.size
        boxes = [v.place for v in page.visuals]
        assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes), page.name
        for n, (x, y, w, h) in enumerate(boxes):
            for x2, y2, w2, h2 in boxes[n + 1:]:
                assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y, page.name


def _swap(path: str, old: str, new: str) -> Callable[[dict[str, str]], None]:
    def change(made: dict[str, str]) -> None:
        assert old in made[path], f"{old!r} is not in {path}"
        made[path] = made[path].replace(old, new, 1)

    return change


def _card(made: dict[str, str], change: Callable[[dict[str, Any]], None]) -> None:
    path = next(p for p in made if p.startswith(f"{OVERVIEW}visuals/v04"))
    told = json.loads(made[path])
    change(told)
    made[path] = json.dumps(told)


def _role(told: dict[str, Any]) -> None:
    state = told["visual"]["query"]["queryState"]
    state["Values"] = state.pop("Data")


def _field(told: dict[str, Any]) -> None:
    told["visual"]["query"]["queryState"]["Data"]["projections"][0]["field"]["Measure"]["Property"] = "Income"


FAULTS: dict[str, tuple[Callable[[dict[str, str]], None], str]] = {
    "a byte order mark": (_swap(f"{TABLE}Hour.tmdl", "/// One row", "\ufeff/// One row"), "byte order mark"),
    "blanks for tabs": (_swap(f"{TABLE}Hour.tmdl", "\tcolumn Hour\n", "    column Hour\n"), "wants tabs"),
    "a comment": (_swap(f"{TABLE}Hour.tmdl", "\tcolumn Hour\n", "\t// the hour\n\tcolumn Hour\n"), "two strokes"),
    "no partition": (_swap(f"{TABLE}Hour.tmdl", "\tpartition Hour = m", "\tpartitio Hour = m"), "has no partition"),
    "no data type": (_swap(f"{TABLE}Hour.tmdl", "\t\tdataType: string\n", ""), "data type"),
    "another type than Parquet's": (
        _swap(f"{TABLE}Hour.tmdl", "\t\tdataType: string", "\t\tdataType: double"), "double of dim_hour."),
    "a column that Parquet lacks": (
        _swap(f"{TABLE}Hour.tmdl", "sourceColumn: hour_label", "sourceColumn: label"), "not published"),
    "no source column": (_swap(f"{TABLE}Hour.tmdl", "\t\tsourceColumn: hour_label\n", ""), "no sourceColumn"),
    "sorted by nothing": (
        _swap(f"{TABLE}Hour.tmdl", "sortByColumn: 'Hour Key'", "sortByColumn: 'Hour No'"), "sorted by 'Hour No'"),
    "a level of no column": (
        _swap(f"{TABLE}Hour.tmdl", "\t\t\tcolumn: Hour\n", "\t\t\tcolumn: Clock\n"), "names a column that Hour lacks"),
    "sums by itself": (_swap(f"{TABLE}Hour.tmdl", "summarizeBy: none", "summarizeBy: sum"), "summarizeBy"),
    "one table in two files": (
        lambda made: made.update({f"{TABLE}Again.tmdl": made[f"{TABLE}Hour.tmdl"]}), "stands in"),
    "no reference": (_swap(f"{NAME}.SemanticModel/definition/model.tmdl", "ref table Hour\n", ""), "0 references"),
    "a reference to nothing": (
        _swap(f"{NAME}.SemanticModel/definition/model.tmdl", "ref table Hour\n", "ref table Hour\nref table Minute\n"),
        "table Minute, which is in no file"),
    "no date table": (_swap(f"{TABLE}Date.tmdl", "\tdataCategory: Time\n", ""), "date table"),
    "one name for a table and an expression": (
        _swap(f"{NAME}.SemanticModel/definition/expressions.tmdl", "expression Manifest =", "expression Hour ="),
        "an expression and a table"),
    "one measure in two tables": (
        _swap(f"{TABLE}Sessions.tmdl", "measure 'Bot Sessions' =", "measure Revenue ="),
        "measure 'Revenue' stands in"),
    "a measure called like a column": (
        _swap(f"{TABLE}Sessions.tmdl", "measure 'Bot Sessions' =", "measure Bounce ="),
        "both called Sessions[Bounce]"),
    "a bracket that does not close": (
        _swap(f"{TABLE}Sales.tmdl", "SUM('Sales'[Revenue Net])", "SUM('Sales'[Revenue Net]"), "does not close"),
    "a function that is none": (
        _swap(f"{TABLE}Sales.tmdl", "SUM('Sales'[Revenue Net])", "SUMM('Sales'[Revenue Net])"),
        "SUMM is not a function"),
    "a blank before a bracket": (
        _swap(f"{TABLE}Sales.tmdl", "SUM('Sales'[Revenue Net])", "SUM ('Sales'[Revenue Net])"), "a blank before"),
    "a column that is not there": (
        _swap(f"{TABLE}Sales.tmdl", "SUM('Sales'[Revenue Net])", "SUM('Sales'[Revenues])"),
        "no column Sales[Revenues]"),
    "a measure that is not there": (
        _swap(f"{TABLE}Sales.tmdl", "DIVIDE([Refunds] + 0", "DIVIDE([Refund] + 0"), "no measure [Refund]"),
    "a relationship of two types": (
        _swap(f"{TABLE}Sales.tmdl", "column 'Date Key'\n\t\tdataType: int64",
              "column 'Date Key'\n\t\tdataType: string"),
        "both must be int64"),
    "two active relationships": (
        _swap(f"{NAME}.SemanticModel/definition/relationships.tmdl", "\tisActive: false\n", ""), "active ones from"),
    "both directions": (
        _swap(f"{NAME}.SemanticModel/definition/relationships.tmdl", "\tfromColumn: Sales.'Date Key'",
              "\tcrossFilteringBehavior: bothDirections\n\tfromColumn: Sales.'Date Key'"), "both directions"),
    "a role over no table": (
        _swap(f"{NAME}.SemanticModel/definition/roles/Countries of the reader.tmdl", "tablePermission Country =",
              "tablePermission Land ="), "no table 'Land'"),
    "a perspective of nothing": (
        _swap(f"{NAME}.SemanticModel/definition/perspectives/Executives.tmdl", "perspectiveMeasure Revenue\n",
              "perspectiveMeasure Income\n"), "Sales[Income] is not in the model"),
    "a visual of a missing measure": (lambda made: _card(made, _field), "measure Sales[Income] is not in the model"),
    "a role that a visual lacks": (lambda made: _card(made, _role), "cardVisual has no role 'Values'"),
    "a visual of no type": (
        lambda made: _card(made, lambda t: t["visual"].update({"visualType": "cardsVisual"})), "unknown type"),
    "a folder of another name": (lambda made: _card(made, lambda t: t.update({"name": "other"})), "the name inside"),
    "no schema": (lambda made: _card(made, lambda t: t.pop("$schema")), "no $schema"),
    "a tooltip page that is not there": (
        lambda made: made.update({p: t.replace("'day_tip'", "'night_tip'") for p, t in made.items()}), "night_tip"),
    "a page that is not in the order": (
        _swap(f"{NAME}.Report/definition/pages/pages.json", '    "funnel",\n', ""), "other pages than there are"),
    "a path too long for Windows": (lambda made: made.update({"x" * 151: ""}), "longer than 150"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "told"), FAULTS.values(), ids=FAULTS.keys())
def test_the_lint_finds_each_fault(
    project: dict[str, str], damage: Callable[[dict[str, str]], None], told: str
) -> None:
    broken = dict(project)
    damage(broken)
    assert told in "\n".join(findings(broken))


def test_the_json_files_are_those_of_microsofts_schemas(project: dict[str, str]) -> None:
    if not (SHARED / "powerbi-schemas").exists():
        pytest.skip("Microsoft's schemas are not beside the repository")
    import jsonschema
    import referencing
    from referencing.jsonschema import DRAFT7

    folder, registry = SHARED / "powerbi-schemas", referencing.Registry()
    for path in folder.rglob("schema*.json"):  # by their places: some name another $id
        told = {k: v for k, v in json.loads(path.read_text("utf-8-sig")).items() if k != "$id"}
        uri = f"https://developer.microsoft.com/json-schemas/{path.relative_to(folder).as_posix()}"
        registry = registry.with_resource(uri, referencing.Resource(contents=told, specification=DRAFT7))
    kinds = (".json", ".pbip", ".pbir", ".pbism", ".platform")
    found = {p: json.loads(t) for p, t in project.items() if p.endswith(kinds)}
    for path, told in found.items():
        validator = jsonschema.Draft7Validator({"$ref": told["$schema"]}, registry=registry)
        assert [e.message[:200] for e in validator.iter_errors(told)] == [], path
    assert len(found) > 100


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_microsofts_object_model_reads_it(tmp_path: Path, source: sources.Source) -> None:
    python = checkers() / "bin" / "python"
    write_project(tmp_path / "powerbi", source)
    tool = SHARED / "tools" / "powerbi" / "validate_pbip.py"
    found = subprocess.run([python, tool, tmp_path / "powerbi"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert re.findall(r"(\d+) (?:errors|findings)", found.stdout) == ["0", "0", "0", "0"]


def test_the_m_parser_reads_every_expression(tmp_path: Path) -> None:
    folder = checkers()
    told = [{"name": f"{kind} {e.name}", "m": e.m} for kind, s in SOURCES.items() for e in s.expressions]
    told += [{"name": f"{kind} {t.name}", "m": s.partition(t)}
             for kind, s in SOURCES.items() for t in build_model().tables]  # fmt: skip
    script = tmp_path / "m_check.js"
    script.write_text((SHARED / "tools" / "powerbi" / "m_check.js").read_text())
    environment = {**os.environ, "NODE_PATH": str(folder / "node_modules")}
    for expressions, code in ((told, 0), ([{"name": "broken", "m": "let x = in x"}], 1)):
        found = subprocess.run([shutil.which("node") or "node", script], input=json.dumps(expressions), text=True,
                               env=environment, capture_output=True, check=False)  # fmt: skip
        assert found.returncode == code, found.stdout + found.stderr


def test_a_review_by_the_trades_standards_finds_nothing(tmp_path: Path) -> None:
    tool = checkers() / "bin" / "coop-dax-review"
    write_project(tmp_path / "powerbi", SOURCES["parquet"])
    out, rules = tmp_path / "review.json", REPOSITORY / "tests" / "checkers" / "coop-dax-review.yml"
    subprocess.run([tool, "check", tmp_path / "powerbi", "--config", rules, "--format", "json", "-o", out],
                   capture_output=True, check=False)  # fmt: skip
    serious = [f for f in json.loads(out.read_text())["findings"] if f["severity"] != "info"]
    # Two measures tell words, which have no format.
    assert {(f["rule_id"], f["object"]) for f in serious} == {
        ("DAX-FORMAT-STRING", "[Not Measured]"), ("DAX-FORMAT-STRING", "[Data Notice]")
    }


def test_a_project_that_was_edited_by_hand_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "powerbi"
    assert write_project(folder, SOURCES["parquet"]).written
    cache = folder / f"{NAME}.SemanticModel" / ".pbi" / "cache.abf"
    cache.parent.mkdir()
    cache.write_text("what Power BI Desktop keeps")
    assert not write_project(folder, SOURCES["parquet"]).written  # nothing is new
    # The opener sets the folder of the machine that opens it: no edit of a person.
    expressions = folder / f"{NAME}.SemanticModel/definition/expressions.tmdl"
    expressions.write_text(expressions.read_text().replace("C:\\shop\\exports", "D:\\data"))
    assert not write_project(folder, SOURCES["parquet"]).written
    (folder / f"{NAME}.pbip").unlink()
    assert write_project(folder, sources.parquet("E:\\new")).written
    assert cache.exists()
    assert '"D:\\data"' in expressions.read_text()  # and it stays set
    page = folder / OVERVIEW / "page.json"
    page.write_text(page.read_text().replace('"Overview"', '"My overview"'))
    done = write_project(folder, SOURCES["parquet"])
    assert (done.written, done.edited) == (False, [f"{OVERVIEW}page.json"])
    assert "My overview" in page.read_text()
    page.unlink()
    assert write_project(folder, SOURCES["parquet"]).written  # what is lost is put back
    assert findings(read_folder(folder)) == []


def test_hours_and_parts_of_the_day_are_in_order() -> None:
    told = dim_hour().to_pylist()
    assert [h["day_part_number"] for h in told] == sorted(h["day_part_number"] for h in told)
    assert column_name("dim_hour", "day_part") == "Part of Day"
