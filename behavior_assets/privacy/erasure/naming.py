"""What erasure, a person's export and the scan of a home share: every name that persons have there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from behavior_assets.ingestion import archive
from behavior_assets.ingestion.archive import MAPPINGS
from behavior_assets.ingestion.arrivals import MAPPING
from behavior_assets.ingestion.ledger import FileEntry
from behavior_assets.ingestion.sources import load_source
from behavior_assets.ingestion.sources.base import Source
from behavior_assets.privacy.erasure import takeout
from behavior_assets.privacy.erasure.subjects import Subjects
from behavior_assets.privacy.registry import registry
from behavior_assets.tables import all_tables
from resources.errors import InputRefusedError
from resources.lake import Lake, LakeTable
from resources.settings import Home


def tables_of(lake: Lake) -> dict[str, LakeTable]:
    """The tables of the lake that are there, by name, in the order of the data's way."""
    return {spec.name: lake.table(spec) for spec in all_tables() if lake.table(spec).exists()}


def name_visits(subjects: Subjects, tables: Mapping[str, LakeTable], shared: Iterable[int] = ()) -> list[str]:
    """Add the keys of sessions to the persons' keys; the days of silver that hold visits which are not theirs alone.

    ``shared``: keys of such visits that are known already.
    """
    con = subjects.con
    events, sessions = tables.get("silver/events"), tables.get("silver/sessions")
    con.execute("CREATE OR REPLACE TEMP TABLE shared_chain (key BIGINT)")
    days = []
    if events is not None:
        days = takeout.shared_days(con, events, takeout.rows_of(con, events, registry()["silver/events"]))
    subjects.share(shared)
    if sessions is not None and sessions.files():
        paths = sessions.absolute(sessions.files())
        con.read_parquet(paths, union_by_name=True).create_view("session", replace=True)
        con.execute("""INSERT INTO gone_key SELECT 'session', session_key FROM session
            WHERE chain_key IN (SELECT key FROM gone_key WHERE kind = 'chain')
               OR (customer_key IN (SELECT key FROM gone_key WHERE kind = 'customer')
                   AND chain_key NOT IN (FROM shared_chain))""")
    return days


def source_of(home: Home, name: str) -> Source:
    """How a source's records are taken apart. Of several mappings of ``generic`` the newest."""
    if name != "generic":
        return load_source(name)
    kept = sorted((home.archive / MAPPINGS).glob("*.yaml"), key=lambda p: p.stat().st_mtime)
    return load_source(name, kept[-1] if kept else home.landing / name / MAPPING)


def source_as_read(home: Home, entry: FileEntry | None, name: str) -> Source:
    """How the records of a delivery are taken apart: as they were read, else as the newest mapping tells."""
    try:
        return archive.source_of(home, entry) if entry is not None else source_of(home, name)
    except InputRefusedError:
        return source_of(home, name)
