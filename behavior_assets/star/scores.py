"""Gold tables that models fill: which days of which version are stale, scoring them, and keeping what was told before.

A part is a day as one version told it. The version that serves scores every day from its validation on; what served
before keeps the days up to the last that the next one was trained on, and is asked again where the data of those
changed, or where what it told was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import ibis
import pyarrow as pa

from behavior_assets.days import day_end_us, day_of, day_of_key, next_day, number_of
from behavior_assets.forecasting import published as forecasts
from behavior_assets.forecasting.recipe import FORECAST
from behavior_assets.incremental import (
    Progress,
    chunks,
    content,
    fingerprint,
    quiet,
    read_parts,
)
from behavior_assets.prediction import recipes
from behavior_assets.prediction.customer_model import HORIZONS
from behavior_assets.prediction.load import days_of, load_activity, load_sessions, load_visitors
from behavior_assets.prediction.scoring import score_customers, score_sessions
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.segmentation import model as value_model
from behavior_assets.segmentation.published import scored_rows
from behavior_assets.segmentation.recipe import VALUE
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.star.dimensions import AHEAD_DAYS
from behavior_assets.star.registry import model_key
from behavior_assets.star.strangers import first_days, without_strangers
from exports.contract import gold
from resources.models import ModelStore, StoredModel
from resources.parts import split

if TYPE_CHECKING:
    from datetime import date

    import ibis.expr.types as ir
    from ibis.backends.duckdb import Backend

    from behavior_assets.forecasting.load import Loaded
    from behavior_assets.trainer import Recipe
    from resources.lake import Lake
    from resources.parquet import DataFile
    from resources.settings import Settings
    from resources.table import LakeTable

VERSION = "scores-2"
NONE = "none"  # the part of a table that no model has filled yet
_REACH = 2  # days after its beginning in which a session's events may lie
_MINUTE_US = 60_000_000
_SUNDAY = 3  # days since 1970 modulo 7


@dataclass
class ScoreBuilder:
    """Brings the tables of predictions up to date; each method returns the parts written."""

    backend: Backend
    lake: Lake
    settings: Settings
    progress: Progress = quiet
    _digests: dict[str, dict[str, str]] = field(default_factory=dict)

    @cached_property
    def store(self) -> ModelStore:
        """The home's models."""
        return ModelStore(self.settings.home.models)

    @cached_property
    def days(self) -> list[str]:
        """Days that models may see."""
        return days_of(self.lake)

    def _known_by(self, recipe: Recipe) -> dict[str, str]:
        """By day, a digest of all that the recipe's tables hold up to it: what came before tells in every score."""
        if recipe.name not in self._digests:
            parts = [self.lake.table(spec).parts() for spec in recipe.tables]
            found, digest = {}, ""
            for day in self.days:
                digest = fingerprint(digest, *(content(live.get(day, [])) for live in parts))
                found[day] = digest
            self._digests[recipe.name] = found
        return self._digests[recipe.name]

    def _until(self, recipe: Recipe, day: str) -> str:
        """The digest of what is known by a day, which need not hold events."""
        known = self._known_by(recipe)
        return known[max((d for d in self.days if d <= day), default=self.days[0])]

    @cached_property
    def _over_us(self) -> int:
        """Sessions whose last event lies before are over."""
        sessions = read_parts(self.backend, self.lake.table(SILVER_SESSIONS), self.days)
        return int(self.backend.execute(sessions.end_ts_us.max()) or 0) - self.settings.session_gap_minutes * _MINUTE_US

    @cached_property
    def _sold(self) -> Loaded:
        """Demand until the newest day; read only where a version is to forecast it."""
        # From all days of silver: sums tell of no person, and a forecast needs what came before.
        loaded: Loaded = FORECAST.load(self.backend, self.lake.since(""), self.days[-1])
        return loaded

    def fact_session_prediction(self) -> list[str]:
        """Sessions by day and version."""
        def inputs(_model: StoredModel, day: str) -> str:
            reach = next_day(day, _REACH)
            ends_us = day_end_us(reach, self.settings.timezone)
            return fingerprint(self._until(recipes.SESSIONS, reach), min(self._over_us, ends_us))

        def wanted(model: StoredModel, newest: str) -> list[str]:
            first = day_of(int(model.told["days"]["validation"]))
            return [d for d in self.days if first <= d <= newest]

        def score(model: StoredModel, key: int, days: Sequence[str]) -> Iterable[tuple[str, pa.Table]]:
            visitors = load_visitors(self.backend, self.lake, self.days[-1])
            rows = {d: sum(f.rows for f in files) for d, files in self.lake.table(SILVER_EVENTS).parts().items()}
            for group in chunks(days, rows, self.settings.chunk_rows):
                for run in _runs(group):
                    sessions = load_sessions(self.backend, self.lake, run, visitors)
                    found = split_days(score_sessions(model, key, sessions, self._over_us))
                    yield from ((d, found.get(d, gold("fact_session_prediction").schema.empty_table())) for d in run)
                self.progress("gold/fact_session_prediction", sum(rows.get(d, 0) for d in group))

        known = set(self.days)
        return self._write("fact_session_prediction", recipes.SESSIONS, wanted, known.__contains__, inputs, score)

    def fact_customer_prediction(self) -> list[str]:
        """Customers by score day and version."""
        last = self.days[-1] if self.days else day_of(0)

        def inputs(_model: StoredModel, day: str) -> str:
            known = min(next_day(day, max(HORIZONS)), last)  # outcomes come with days, though nothing is done on them
            return fingerprint(self._until(recipes.CUSTOMERS, known), known)

        def wanted(model: StoredModel, newest: str) -> list[str]:
            horizons = model.told["horizons"].values()
            tests, end = {int(told["test_day"]) for told in horizons}, number_of(newest)
            first = min(int(told["calibration_day"]) for told in horizons)
            return [day_of(n) for n in range(first, end + 1) if n % 7 == _SUNDAY or n in tests or n == end]

        def score(model: StoredModel, key: int, days: Sequence[str]) -> Iterable[tuple[str, pa.Table]]:
            activity = load_activity(self.backend, self.lake, self.days)
            for day in days:
                yield day, score_customers(model, key, activity, number_of(day), number_of(last))

        return self._write(
            "fact_customer_prediction", recipes.CUSTOMERS, wanted,
            lambda day: self.days[0] <= day <= last, inputs, score,
        )

    @property
    def value_version(self) -> str:
        """The version of the value model that serves; empty where none does that this program can score with."""
        version = self.store.champion(VALUE.name)
        return version if version and self.store.load(VALUE.name).told.get("recipe") == VALUE.number else ""

    def customer_values(self, month_ends: Sequence[date]) -> ir.Table | None:
        """What the serving value model says at months' ends, to be joined; None where none serves."""
        if not self.value_version:
            return None
        model = self.store.load(VALUE.name)
        activity = load_activity(self.backend, self.lake, self.days)
        told = ((end, value_model.score(model, activity, end)) for end in month_ends)
        return ibis.memtable(scored_rows([(end, scores) for end, scores in told if scores is not None]))

    def fact_sales_forecast(self) -> list[str]:
        """Forecasts by origin and version: those of the training's backtest, its end, Sundays since, the newest day."""
        serving = self.store.champion(FORECAST.name)

        def inputs(model: StoredModel, day: str) -> str:
            known = forecasts.digest(self._sold.demand, number_of(day) + AHEAD_DAYS)
            return fingerprint(known, self._sold.level, model.version == serving)

        def wanted(model: StoredModel, newest: str) -> list[str]:
            told, end = forecasts.origins(model), number_of(newest)
            since = [n for n in range(max(told), end + 1) if n % 7 == _SUNDAY or n == end]
            return [day_of(n) for n in sorted({*told, *since}) if n <= end]

        def score(model: StoredModel, key: int, days: Sequence[str]) -> Iterable[tuple[str, pa.Table]]:
            for day in days:
                yield day, forecasts.table(model, key, self._sold, number_of(day), serving=model.version == serving)

        return self._write(forecasts.NAME, FORECAST, wanted,
                           lambda day: self.days[0] <= day <= self.days[-1], inputs, score)  # fmt: skip

    def _write(
        self, name: str, recipe: Recipe, wanted: Callable[[StoredModel, str], list[str]], holds: Callable[[str], bool],
        inputs: Callable[[StoredModel, str], str],
        score: Callable[[StoredModel, int, Sequence[str]], Iterable[tuple[str, pa.Table]]],
    ) -> list[str]:  # fmt: skip
        """Score what is stale of every version, and commit it at once.

        ``wanted`` are the days of a version that serves until a day; ``holds`` tells whether a day may have rows.
        """
        target = self.lake.table(gold(name))
        present = target.fingerprints()
        written: list[DataFile] = []
        kept: set[str] = set()
        for model, days in self._versions(recipe, wanted, holds):
            expected = {_part(d, model.version): fingerprint(VERSION, model.version, inputs(model, d)) for d in days}
            kept |= set(expected)
            stale = [d for d in days if present.get(_part(d, model.version)) != expected[_part(d, model.version)]]
            if stale:
                key = model_key(model.name, model.version)
                for day, rows in score(model, key, stale):
                    part = _part(day, model.version)
                    written.append(target.write(part, expected[part], [rows]))
        old = self._of_old_recipes(recipe, present)
        kept |= old
        written += self._of_persons_known(target, old)
        if not kept:
            written = [] if NONE in present else [target.write(NONE, VERSION, [])]
            kept = {NONE}
        gone = sorted(set(present) - kept)
        if written or gone:
            target.commit(written, drop=gone)
        return [f.part for f in written]

    def _versions(
        self, recipe: Recipe, wanted: Callable[[StoredModel, str], list[str]], holds: Callable[[str], bool]
    ) -> Iterable[tuple[StoredModel, list[str]]]:
        """Versions that can score, with the days that each is to have told.

        Only the store tells them, and the days there are: not what a table happens to hold.
        """
        asked, kept = self.store.asked(recipe.name), self.store.versions(recipe.name)
        for version in [v for v in kept if v in asked] if self.days else ():
            model = self.store.load(recipe.name, version)
            if model.told.get("recipe") == recipe.number:
                until = min(asked[version] or self.days[-1], self.days[-1])
                yield model, sorted(d for d in wanted(model, until) if holds(d))

    def _of_persons_known(self, target: LakeTable, old: Iterable[str]) -> list[DataFile]:
        """Old parts that hold rows of persons who are none any more, written without these."""
        live = target.parts()
        files = [f for part in sorted(old) for f in live[part]] if "customer_key" in target.spec.schema.names else []
        known = first_days(self.backend, self.lake) if files else None
        written = []
        for file in files:
            rows = self.backend.to_pyarrow(read_parts(self.backend, target, [file.part]))
            left = without_strangers(rows, known)
            if len(left) < len(rows):
                written.append(target.write(file.part, file.fingerprint, [left]))
        return written

    def _of_old_recipes(self, recipe: Recipe, parts: Iterable[str]) -> set[str]:
        """Parts of versions that this program cannot score with any more: what they told stays."""
        known = {v[-8:]: v for v in self.store.versions(recipe.name)}
        told = {p.partition(".")[2] for p in parts} & known.keys()
        old = {s for s in told if self.store.load(recipe.name, known[s]).told.get("recipe") != recipe.number}
        return {p for p in parts if p.partition(".")[2] in old and p >= self.lake.first_day}


def _part(day: str, version: str) -> str:
    return f"{day}.{version[-8:]}"


def _runs(days: Sequence[str]) -> Iterable[list[str]]:
    """Days that follow each other, together."""
    run: list[str] = []
    for day in days:
        if run and next_day(run[-1]) != day:
            yield run
            run = []
        run.append(day)
    if run:
        yield run


def split_days(table: pa.Table) -> dict[str, pa.Table]:
    """Rows by the day of their date_key."""
    found: Mapping[int, pa.Table] = split(table, table["date_key"].to_numpy())
    return {day_of_key(key): rows for key, rows in found.items()}
