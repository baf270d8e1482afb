"""A file is known by its bytes, its format and its mapping: what was read wrongly can be delivered again rightly."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from behavior_assets.automation import landing_sensor
from behavior_assets.ingestion import ledger
from behavior_assets.ingestion.ahead import Delivery
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ingest import Ingestion
from behavior_assets.ingestion.sources import load_source
from behavior_assets.ingestion.sources.generic import source_from_mapping
from resources.engine import engine
from resources.home import HomeResource
from tests.conftest import Chain, rees46_row, run_cli, write_rees46

# The same columns in the same order: what a row is told apart by is the same under both.
WRONG = (
    "columns: {event_time: at, event_name: what, user_id: who}\nevents: {look: view_item}\nignore: [sku, nr]\n"
    "time: {zone: Asia/Tokyo}\n"
)
RIGHT = "columns: {event_time: at, event_name: what, user_id: who}\nevents: {look: view_item}\nignore: [sku, nr]\n"
LINES = [
    "at,what,who,sku,nr",
    "2024-05-01 10:00:00,look,u1,sku-1,e1",
    "2024-05-01 10:01:00,look,u1,sku-2,e2",
    "yesterday,look,u2,sku-2,e3",
]


def mapping(path: Path, text: str) -> Path:
    """A mapping file."""
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two good rows and a bad one."""
    path = tmp_path / "a.csv"
    path.write_text("\n".join([*LINES, ""]), "utf-8")
    return path


def with_ids(text: str) -> str:
    """The mapping with the source's own ids."""
    return text.replace("user_id: who", "user_id: who, event_id: nr").replace(", nr]", "]")


@pytest.mark.parametrize("own_ids", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_the_right_mapping_after_the_wrong_one(tmp_path: Path, file: Path, *, own_ids: bool, together: bool) -> None:
    """Its rows are no duplicates of what the wrong one made of them, and both deliveries' rejects stay."""
    texts = [with_ids(t) if own_ids else t for t in (WRONG, RIGHT)]
    sources = [load_source("generic", mapping(tmp_path / f"{n}.yaml", t)) for n, t in enumerate(texts)]
    chain = Chain.at(tmp_path / "home")
    deliveries = [Delivery(file, source) for source in sources]
    with engine(chain.settings) as backend:
        for group in [deliveries] if together else [[d] for d in deliveries]:
            report = Ingestion(chain.lake, chain.settings, backend.con).run(group)
            assert report.repeated == []
    entries = ledger.read_ledger(chain.lake.table(BRONZE_EVENTS))
    assert [(e.rows_in, e.accepted, e.quarantined, e.duplicate) for e in entries] == [(3, 2, 1, 0)] * 2
    assert [e.conflicts for e in entries] == ([0, 2] if own_ids else [0, 0])
    hours = chain.rows("bronze/events", "SELECT event_hour, count(*) FROM t GROUP BY 1 ORDER BY 1")
    assert hours == [(1, 2), (10, 2)]
    assert chain.rows("bronze/events", "SELECT count(DISTINCT event_id) FROM t") == [(2 if own_ids else 4,)]
    assert chain.rows("quarantine/events", "SELECT source_file, row_number FROM t") == [("a.csv", 3)] * 2


def test_the_same_mapping_written_otherwise_is_the_same(tmp_path: Path, file: Path) -> None:
    chain = Chain.at(tmp_path / "home")
    chain.ingest([file], "generic", mapping(tmp_path / "a.yaml", RIGHT))
    columns = "columns:\n  user_id: who\n  event_name: what\n  event_time: at\nevents: {look: view_item}\n"
    other = f"# of our shop\nignore: [sku, nr]\n{columns}capabilities: {{has_checkout: true}}\n"
    assert chain.ingest([file], "generic", mapping(tmp_path / "b.yaml", other)).repeated == ["a.csv"]


def test_without_a_header_the_order_of_columns_is_part_of_the_mapping() -> None:
    raw = {"header": False, "columns": {"event_time": "a", "event_name": "b", "user_id": "c"}}
    turned = {"header": False, "columns": {"event_name": "b", "event_time": "a", "user_id": "c"}}
    one, other = (source_from_mapping(m, "here").contract for m in (raw, turned))
    assert one != other
    with_header = [source_from_mapping({**m, "header": True}, "here").contract for m in (raw, turned)]
    assert with_header[0] == with_header[1]
    # A code need not be in quotes.
    assert source_from_mapping({**raw, "events": {2: "view_item", "x": "purchase"}}, "here").contract


@pytest.mark.parametrize("order", [("generic", "rees46"), ("rees46", "generic")])
def test_the_right_format_after_the_wrong_one(tmp_path: Path, order: tuple[str, str]) -> None:
    """A mapping takes half of what rees46 means; either again is then a repetition."""
    file = write_rees46(tmp_path / "a.csv", [rees46_row("2024-05-01 10:00:00", "view", "p1", "u1")])
    names = {"event_time": "event_time", "event_name": "event_type", "user_id": "user_id"}
    rest = ["product_id", "category_id", "category_code", "brand", "price", "user_session"]
    text = yaml.safe_dump({"columns": names, "events": {"view": "view_item"}, "ignore": rest,
                           "time": {"format": "%Y-%m-%d %H:%M:%S UTC"}})  # fmt: skip
    generic = mapping(tmp_path / "a.yaml", text)
    chain = Chain.at(tmp_path / "home")
    for repeated in ([], ["a.csv"]):
        for name in order:
            assert chain.ingest([file], name, generic if name == "generic" else None).repeated == repeated
    assert chain.rows("bronze/events", "SELECT source, product_id FROM t ORDER BY 1") == [
        ("generic", None), ("rees46", "p1"),
    ]  # fmt: skip


def test_an_older_ledger_knows_its_files_under_any_mapping(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entries name no mapping: a second run of old files changes nothing."""
    chain, source = Chain.at(tmp_path / "home"), mapping(tmp_path / "a.yaml", RIGHT)
    encode = ledger.encode

    def as_before(entries: list[ledger.FileEntry]) -> str:
        told = json.loads(encode(entries))
        return json.dumps([{k: v for k, v in entry.items() if k != "contract"} for entry in told])

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "encode", as_before)
        chain.ingest([file], "generic", source)
    (entry,) = ledger.read_ledger(chain.lake.table(BRONZE_EVENTS))
    assert entry.contract == ""
    assert chain.ingest([file], "generic", source).repeated == ["a.csv"]


def test_a_run_names_what_it_skipped_and_verify_knows_both_deliveries(tmp_path: Path, file: Path) -> None:
    wrong, right = mapping(tmp_path / "wrong.yaml", WRONG), mapping(tmp_path / "right.yaml", RIGHT)
    command = ("run", "--home", tmp_path / "home", "--format", "generic", "--source", file, "--mapping")
    told = [json.loads(run_cli(*command, m, "--json").out) for m in (wrong, right, right)]
    assert [t["repeated"] for t in told] == [[], [], ["a.csv"]]
    assert [t["sources"][0]["files"] for t in told] == [1, 2, 2]
    assert told[2]["tables"]["silver/events"] == 4
    assert "delivered before" in run_cli(*command, right).out
    done = run_cli("verify", "--home", tmp_path / "home")
    assert done.code == 0, done.err


def test_a_mended_mapping_in_landing_is_another_request(tmp_path: Path) -> None:
    """The sensor's run key would otherwise keep the same files from being read again."""
    folder = tmp_path / "landing" / "generic"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("\n".join([*LINES, ""]), "utf-8")
    home, keys = HomeResource(home=str(tmp_path)), []
    for text in (WRONG, RIGHT + "# mended\n"):
        mapping(folder / "mapping.yaml", text)
        for path in folder.iterdir():
            os.utime(path, (time.time() - 60,) * 2 if path.suffix == ".yaml" else (1_700_000_000,) * 2)
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(instance=instance, resources={"home": home})
            (request,) = list(landing_sensor(context))  # type: ignore[arg-type]
        keys.append(request.run_key)
    assert keys[0] != keys[1]
