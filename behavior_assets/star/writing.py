"""How gold tables are written: which parts are stale, and what need not be computed again.

A day fact is kept as one file per day in the newest month and one file per closed month. Dimensions and small facts
are computed whole and written only where their content changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_assets.incremental import Progress, chunks, content, fingerprint, quiet
from behavior_assets.privacy.marks import read_marks
from behavior_assets.privacy.registry import told_by
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.quality import held_days
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.star.aggregates import COMMERCE_EVENTS, CUSTOMER_DAY, PRODUCT_DAY
from behavior_assets.star.order import GOLD_INPUTS, GROWING, STANDING
from exports.contract import gold
from resources.compute import Compute, all_of
from resources.lake import Lake
from resources.parquet import DataFile
from resources.parts import Months
from resources.settings import Settings
from resources.table import LakeTable

VERSION = "star-2"
MADE_OF = "behavior.made_of"  # in a commit's metadata: what a whole table was computed from, and what came of it
THROUGH = "behavior.through"  # in a commit's metadata: the newest day, what the days are until then, what came of it
WHOLE = "all"
NO_DAY = "0001-01-01"  # newest day where every day is held back


@dataclass
class StarWriter:
    """What the star is made of, and the ways in which its tables are written."""

    compute: Compute
    lake: Lake
    settings: Settings
    progress: Progress = quiet
    only_look: bool = False  # tell which parts of day facts are stale, and write none
    as_they_are: Mapping[str, Collection[str]] = field(default_factory=dict)  # stale parts that keep their rows
    _memory: dict[str, ir.Table] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Days of silver that expired in gold are seen by no table of it: made again, none would bring them back."""
        self.lake = self.lake.since(read_marks(self.settings.home).first_of_gold)

    def _silver(self, spec_name: str) -> LakeTable:
        specs = {s.name: s for s in (SILVER_EVENTS, SILVER_SESSIONS, COMMERCE_EVENTS, CUSTOMER_DAY, PRODUCT_DAY)}
        return self.lake.table(specs[spec_name])

    def _all(self, spec_name: str) -> ir.Table:
        """A whole silver table, registered once."""
        if spec_name not in self._memory:
            self._memory[spec_name] = all_of(self.compute, self._silver(spec_name))
        return self._memory[spec_name]

    def _gold(self, name: str) -> ir.Table:
        return all_of(self.compute, self.lake.table(gold(name)))

    @cached_property
    def days(self) -> list[str]:
        """Days that have reached silver."""
        live = self._silver("silver/sessions").parts()
        return sorted({d for d, files in live.items() if sum(f.rows for f in files)} - self.held)

    @cached_property
    def held(self) -> set[str]:
        """Days of sessions that broke a blocking rule: gold does not get them."""
        return held_days(self.lake, "silver/sessions")

    def _write_whole(self, name: str, made: pa.Table | ir.Table, order: str = "") -> list[str]:
        """Write a table that is one part; ``order``: the column by which an expression's rows are sorted."""
        target = self.lake.table(gold(name))
        before = {f.path for f in target.files()}
        if isinstance(made, ir.Table):
            files = self.compute.write(target, made, None, {WHOLE: VERSION}, order=[order] if order else [])()
        else:
            files = [target.write(WHOLE, VERSION, [made])]
        target.commit(files, metadata=self._noted(name, files))
        return [WHOLE] if {f.path for f in files} - before else []

    def _made_of(self, name: str) -> str:
        """What a table that no model fills is computed from: equal where its inputs and the rules are."""
        tables = (self._silver(n) if n.startswith("silver/") else self.lake.table(gold(n.removeprefix("gold/")))
                  for n in GOLD_INPUTS[name])  # fmt: skip
        return fingerprint(VERSION, self.settings.timezone, self.settings.cart_abandonment_hours, *sorted(self.held),
                           *map(told_by(f"gold/{name}"), (t.files() for t in tables)))  # fmt: skip

    def stands(self, name: str) -> bool:
        """Whether a table of ``STANDING`` is what was computed from these very inputs."""
        target = self.lake.table(gold(name))
        return self._became(name, target.files()) == target.recorded(MADE_OF)

    def _became(self, name: str, files: Iterable[DataFile]) -> str:
        """What a table of ``STANDING`` is made of, and what came of it."""
        return f"{self._made_of(name)} {content(files)}"

    def _noted(self, name: str, files: Iterable[DataFile]) -> dict[str, str] | None:
        """What a commit notes of the inputs of the files that it leaves."""
        if name not in STANDING:
            return None
        files = list(files)
        noted = {MADE_OF: self._became(name, files)}
        if name in GROWING:
            newest = max(self._silver(GROWING[name][0]).parts(), default=NO_DAY)
            noted[THROUGH] = " ".join((newest, *self._until(name, newest, files)))
        return noted

    def _until(self, name: str, newest: str, files: Iterable[DataFile]) -> list[str]:
        """What the days of a table of ``GROWING`` are made of until the newest that it knew, and what came of it."""
        made_of = (day + told_by(source)(live) for source in GROWING[name]
                   for day, live in sorted(self._silver(source).parts().items()) if day <= newest)  # fmt: skip
        return [fingerprint(VERSION, self.settings.timezone, self.settings.cart_abandonment_hours, *made_of),
                content(files)]  # fmt: skip

    def _later(self, name: str) -> list[str] | None:
        """The days that a table of ``GROWING`` is to be brought on by; None where it is to be made of all days.

        That is where anything that it was made of is another now, or where as much came as there was.
        """
        target, live = self.lake.table(gold(name)), self._silver(GROWING[name][0]).parts()
        newest, *told = (target.recorded(THROUGH) or NO_DAY).split()
        rows = {day: sum(f.rows for f in files) for day, files in live.items()}
        later = [day for day in live if day > newest]
        little = 2 * sum(rows[day] for day in later) <= sum(rows.values())
        return later if little and told == self._until(name, newest, target.files()) else None

    def _write_days(
        self,
        name: str,
        inputs: Mapping[str, str],
        rows: Mapping[str, int],
        build: Callable[[list[str]], ir.Table],
        column: str,
    ) -> list[str]:
        """Rewrite the stale parts of a day fact; the rows of one chunk are written while the next is computed."""
        target = self.lake.table(gold(name))
        parts = Months(max(inputs, default=NO_DAY), column)
        members: dict[str, list[str]] = defaultdict(list)
        for day in sorted(inputs):
            members[parts.part_of(day)].append(day)
        expected = {p: fingerprint(VERSION, *(d + inputs[d] for d in days)) for p, days in members.items()}
        recorded = target.fingerprints()
        stale = [p for p in sorted(expected) if recorded.get(p) != expected[p]]
        part_rows = {p: sum(rows.get(d, 0) for d in days) for p, days in members.items()}
        if self.only_look:
            return stale
        if not expected and WHOLE not in recorded:  # no day is left: a table that readers find empty
            target.commit([target.write(WHOLE, VERSION, [])], drop=recorded)
        if not expected:
            return []
        written = self._with_their_rows(target, {p: expected[p] for p in stale if p in self.as_they_are.get(name, ())})
        stale = [p for p in stale if p not in {f.part for f in written}]
        with ThreadPoolExecutor(1, thread_name_prefix="gold-writer") as writer:
            writing: Future[list[DataFile]] | None = None
            for group in chunks(stale, part_rows, self.compute.at_once(self.settings.chunk_rows)):
                query = build([d for p in group for d in members[p]])
                count = sum(part_rows[p] for p in group)
                write = self.compute.write(target, query, parts, {p: expected[p] for p in group}, made_of=count)
                if writing is not None:  # one chunk at a time waits in memory
                    written += writing.result()
                writing = writer.submit(write)
                self.progress(f"gold/{name}", count)
            if writing is not None:
                written += writing.result()
        gone = [p for p in recorded if p not in expected]
        if written or gone:
            target.commit(written, drop=gone)
        return stale

    def _with_their_rows(self, target: LakeTable, expected: Mapping[str, str]) -> list[DataFile]:
        """Parts that are stale only because persons were taken out of what is around them: the rows need no change."""
        live = target.parts()
        return [target.write(part, mark, pq.ParquetFile(target.absolute([file])[0]).iter_batches(), file.as_made)
                for part, mark in expected.items() for file in live.get(part, [])]  # fmt: skip

    def _write_by_content(self, name: str, made: ir.Table, order: list[str]) -> list[str]:
        """Write a whole small fact in parts told by the first column of its order; those that stay keep their file."""
        target = self.lake.table(gold(name))
        before = target.parts()
        parts = Months(max(self.days, default=NO_DAY), order[0])
        files = self.compute.write(target, made, parts, VERSION, order=order)()
        known = {f.path for part in before.values() for f in part}
        if not files:
            files = [target.write(WHOLE, VERSION, [])]
        gone = [p for p in before if p not in {f.part for f in files}]
        target.commit(files, drop=gone, metadata=self._noted(name, files))
        return [f.part for f in files if f.path not in known]
