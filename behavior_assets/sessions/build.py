"""Keeping sessions up to date: which days must be worked on, in which order, and what is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_assets.days import day_end_us, next_day
from behavior_assets.incremental import (
    FINGERPRINT_DIGITS,
    Progress,
    content,
    fingerprint,
    quiet,
)
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.quality import held_days
from behavior_assets.sessions.sessionise import (
    SESSION_PARTS,
    SILVER_SESSIONS,
    VERSION,
    coarse_parts,
    session_parts,
    sessions,
)
from resources.compute import Compute, DuckDB, parts_of
from resources.lake import Lake
from resources.lock import days_alone
from resources.parquet import DataFile
from resources.parts import Days
from resources.settings import Settings

_HOUR_US = 3_600_000_000
_CARRIED = ["chain_key", "chain_start_us", "block", "last_ts_us"]  # what the next day takes from an open part
NO_PARTS = "none"


@dataclass
class SessionBuilder:
    """Rewrites the days whose events, or whose open sessions of the day before, have changed.

    Work goes forward in time: when the state at a day's end changes, the next day becomes stale by itself, and the
    recomputation stops where nothing changes any more.
    """

    compute: Compute
    lake: Lake
    settings: Settings
    held: frozenset[str] = frozenset()
    progress: Progress = quiet

    def __post_init__(self) -> None:
        """Name the tables and the two durations (microseconds), and read which files are live."""
        self.events = self.lake.table(SILVER_EVENTS)
        self.parts = self.lake.table(SESSION_PARTS)
        self.sessions = self.lake.table(SILVER_SESSIONS)
        self.gap_us = self.settings.session_gap_minutes * 60_000_000
        self.cap_us = self.settings.session_cap_hours * _HOUR_US
        self.event_files = {d: files for d, files in self.events.parts().items() if d not in self.held}
        self.part_files = self.parts.parts()
        self.session_marks = self.sessions.fingerprints()
        # Sessions are written while the next days are computed.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="session-writer")
        self._writing: Future[list[DataFile]] | None = None
        self._rewritten: set[str] = set()
        self.following: list[str] = []  # the day after the last that ``run`` was about, where that made it stale

    def run(self, days: Iterable[str] | None = None) -> list[str]:
        """Bring sessions up to date and return the days rewritten; no work is done beyond the last of ``days``."""
        allowed = set(self.event_files) if days is None else set(days)
        done, last = "", max(allowed, default="")
        before = self._mark(last)[1] if allowed else ""
        queue = sorted(d for d in self.event_files if d <= last)
        position = 0
        while position < len(queue):
            day = queue[position]
            if not (day in allowed or done == next_day(day, -1)) or self._fresh(day):
                position += 1
                continue
            group = self._chunk(queue[position:])
            self._work(group)
            done = group[-1]
            position += len(group)
        self._finish_writing()
        self._writer.shutdown()
        following = next_day(last) if allowed else ""
        known = following in self.session_marks and following in self.event_files
        if known and self._mark(last)[1] != before and not self._fresh(following):
            self.following = [following]
        return sorted(self._rewritten)

    def stale(self) -> list[str]:
        """Days that ``run`` would begin with; days that only follow from them are not told."""
        return [day for day in sorted(self.event_files) if not self._fresh(day)]

    def _inputs(self, day: str) -> str:
        still_open = self._mark(next_day(day, -1))[1]
        return fingerprint(VERSION, self.gap_us, self.cap_us, content(self.event_files[day]), still_open)

    def _session_inputs(self, day: str) -> str:
        return fingerprint(VERSION, self._mark(day)[0], *(self._mark(d)[2] for d in self._after(day)))

    def _mark(self, day: str) -> tuple[str, str, str]:
        """What a day's parts were made from, and digests of those open at its end and of those begun before it.

        A neighbour depends on the digest of its side only, so that what it cannot see does not make it stale.
        """
        made, still_open, begun = "", NO_PARTS, NO_PARTS
        for file in self.part_files.get(day, []):
            made, still_open, begun = (*file.fingerprint.split("-"), "", "")[:3]
        return made, still_open, begun

    def _after(self, day: str) -> list[str]:
        """Days into which a session of this day can reach: one more where a day is shorter than the cap."""
        following = next_day(day)
        length = day_end_us(following, self.settings.timezone) - day_end_us(day, self.settings.timezone)
        return [following] if length >= self.cap_us else [following, next_day(day, 2)]

    def _before(self, day: str) -> list[str]:
        """Earlier days whose sessions can reach into this one."""
        return [d for d in (next_day(day, -2), next_day(day, -1)) if day in self._after(d)]

    def _fresh(self, day: str) -> bool:
        return self._mark(day)[0] == self._inputs(day) and self.session_marks.get(day) == self._session_inputs(day)

    def _chunk(self, queue: Sequence[str]) -> list[str]:
        """Days from the first of the queue on, up to the last stale one, that hold at most ``summed_rows`` rows.

        Fresh days in between are done again: one query over a few more rows is cheaper than many queries.
        """
        most = self.compute.at_once(self.settings.summed_rows)
        group, rows = [queue[0]], sum(f.rows for f in self.event_files[queue[0]])
        for day in queue[1:]:
            rows += sum(f.rows for f in self.event_files[day])
            yesterday = next_day(day, -1)
            # A day that is held back keeps its parts, and a group reads those of its own neighbours only.
            if rows > most or (yesterday != group[-1] and self.part_files.get(yesterday)):
                break
            group.append(day)
        while len(group) > 1 and self._fresh(group[-1]):
            group.pop()
        return group

    def _work(self, group: list[str]) -> None:
        before, after = self._before(group[0]), self._after(group[-1])
        # An hour's distance cannot be bridged: only the day right before can have open sessions.
        yesterday = parts_of(self.compute, self.parts, [next_day(group[0], -1)])
        ends = pa.table({
            "event_date": pa.array([date.fromisoformat(d) for d in group]),
            "end_us": [day_end_us(d, self.settings.timezone) for d in group],
        })  # fmt: skip
        events = parts_of(self.compute, self.events, group)
        coarse = self.compute.hold("coarse_parts", coarse_parts(events))
        still_open = yesterday.filter(yesterday.is_open)
        fresh = session_parts(events, coarse, still_open, ibis.memtable(ends), self.gap_us, self.cap_us)
        made = self.compute.hold("new_parts", fresh)
        self._write_parts(made, group)
        # What began still earlier and reaches into the days before must be told from what begins there.
        around = {d for day in before for d in self._before(day)}.union(before, after)
        stored = parts_of(self.compute, self.parts, sorted(around - set(group)))
        everything = made.union(stored.select(*made.columns))
        complete = self.compute.hold("new_sessions", sessions(everything))
        self._write_sessions(complete, group, before)
        self.progress("silver/sessions", sum(f.rows for d in group for f in self.event_files[d]))

    def _write_parts(self, made: ir.Table, group: list[str]) -> None:
        """Keep only parts that a neighbouring day needs: still open at midnight, or begun before it."""
        key = ["chain_key", "chain_start_us", "block"]
        begun = made.group_by(key).agg(begun=made.event_date.min())
        reaching = made.inner_join(begun, key)
        earlier = parts_of(self.compute, self.parts, [next_day(group[0], -1)])
        continued = earlier.filter(earlier.is_open).select("chain_key", "chain_start_us", "block").distinct()
        continued = continued.mutate(was_open=True)
        kept = reaching.left_join(continued, key)
        kept = kept.mutate(goes_on=(kept.begun < kept.event_date) | kept.was_open.notnull())
        kept = kept.filter(kept.is_open | kept.goes_on).order_by("event_date", "chain_key", "chain_start_us", "block")
        found = Days().split(self.compute.rows(kept.select(*made.columns, "goes_on")))
        empty = self.parts.spec.schema.empty_table().append_column("goes_on", pa.array([], pa.bool_()))
        for day in group:  # in order: a day's inputs hold what is open at the end of the day before
            rows = found.get(day, empty)
            still_open = _digest(rows.filter(rows["is_open"]).select(_CARRIED))
            mark = "-".join((self._inputs(day), still_open, _digest(rows.filter(rows["goes_on"]))))
            self.part_files[day] = [self.parts.write(day, mark, [rows])]
        self.parts.commit([f for day in group for f in self.part_files[day]])

    def _write_sessions(self, complete: ir.Table, group: list[str], before: list[str]) -> None:
        """Write the days whose inputs changed; the others' files, and all that is made from them, stay."""
        self._finish_writing()  # the day before may be among what is being written
        marks = {d: self._session_inputs(d) for d in (*before, *group)}
        stale = [d for d, mark in marks.items() if self.session_marks.get(d) != mark]
        mine = [d for d in stale if d in group]
        chosen = complete.filter(complete.event_date.isin([date.fromisoformat(d) for d in mine]))
        count = sum(f.rows for d in group for f in self.event_files[d])
        write = self.compute.write(self.sessions, chosen, Days(), {d: marks[d] for d in mine}, made_of=count)
        files: list[DataFile] = []
        for day in before:
            if day not in stale or day not in self.session_marks:
                continue
            old = parts_of(self.compute, self.sessions, [day])
            new = complete.filter(complete.event_date == date.fromisoformat(day))
            kept = old.anti_join(new, "session_key").union(new.select(*old.columns))
            files += self.compute.write(self.sessions, kept, Days(), {day: marks[day]})()
        self._writing = self._writer.submit(lambda: [*files, *write()])

    def _finish_writing(self) -> None:
        """Commit the sessions whose files another thread was writing."""
        if self._writing is not None:
            files = self._writing.result()
            self._writing = None
            self.sessions.commit(files)
            self.session_marks.update({f.part: f.fingerprint for f in files})
            self._rewritten |= {f.part for f in files}


def _digest(rows: pa.Table) -> str:
    """A fingerprint of ordered rows; as Parquet, which leaves out what stands below a NULL."""
    if not rows.num_rows:
        return NO_PARTS
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="none")  # noqa: TID251 - into memory
    return hashlib.sha256(sink.getvalue()).hexdigest()[:FINGERPRINT_DIGITS]


def stale_days(lake: Lake, settings: Settings, held: Iterable[str] = ()) -> list[str]:
    """Days whose sessions are not made from the silver, the neighbours and the settings that there are now."""
    return SessionBuilder(DuckDB(ibis.duckdb.connect()), lake, settings, frozenset(held)).stale()


def build_sessions(
    compute: Compute,
    lake: Lake,
    settings: Settings,
    days: Iterable[str] | None = None,
    held: Iterable[str] | None = None,
    progress: Progress = quiet,
) -> list[str]:
    """Bring ``silver/sessions`` up to date; days that are ``held`` back do not take part. See SessionBuilder.

    Other processes may be at other days: ``days`` are worked on, with two around them, while nobody else is at these,
    and so is each day after them that follows. None: all days, of a lake that the caller has alone.
    """
    rewritten: set[str] = set()
    wanted = None if days is None else sorted(days)
    while wanted is None or wanted:
        # A day reads and writes what its neighbours keep, two days back and two ahead.
        with days_alone(lake.table(SILVER_SESSIONS).locks, wanted or [], reach=2):
            away = held_days(lake, SILVER_EVENTS.name) if held is None else held
            builder = SessionBuilder(compute, lake, settings, frozenset(away), progress)
            rewritten.update(builder.run(wanted))
        wanted = builder.following
    return sorted(rewritten)
