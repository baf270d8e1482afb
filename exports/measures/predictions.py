"""How well chances of a purchase were told: of serving versions, at one prefix or horizon, out of sample."""

from __future__ import annotations

from dataclasses import dataclass

from exports.measures.measure import NUMBER, SHARE, WHOLE, Measure

_SERVING = "KEEPFILTERS('Prediction Model'[Serving] = \"Yes\")"


@dataclass(frozen=True)
class _Told:
    """A table of chances: which of its rows tell of the same thing, and which of them are taken without a choice."""

    table: str
    shown: str
    unit: str
    choice: str
    column: str
    otherwise: int
    folder: str
    words: str

    @property
    def one(self) -> str:
        column, other = f"'{self.shown}'[{self.choice}]", self.otherwise
        return f"VAR _Chosen = IF(ISFILTERED({column}), SELECTEDVALUE({column}, {other}), {other})\n"

    @property
    def at(self) -> str:
        return f"KEEPFILTERS('{self.shown}'[{self.choice}] = _Chosen), {_SERVING}"

    @property
    def judged(self) -> str:
        """Rows whose outcome is known and that the training never saw."""
        return (f"{self.at}, KEEPFILTERS('{self.shown}'[Out of Sample] = \"Yes\"), "
                f"KEEPFILTERS(NOT ISBLANK('{self.shown}'[Outcome]))")  # fmt: skip

    def rows(self, more: str = "") -> str:
        chosen = f"{{={self.table}.{self.column}={self.otherwise}}}"
        return f"(SELECT * FROM {{{self.table}|serving{more}}} WHERE {self.column} = {chosen})"

    def judged_rows(self, more: str = "") -> str:
        return f"(SELECT * FROM {self.rows(more)} WHERE is_out_of_sample = 'Yes' AND outcome IS NOT NULL)"

    def measure(self, name: str, expression: str, sql: str, description: str, shown: str, *, judged: bool) -> Measure:
        end = f"of serving versions, {self.words}"
        where = self.judged if judged else self.at
        rows = self.judged_rows() if judged else self.rows()
        blank = "where no outcome of an unseen row is known" if judged else "where no model serves"
        return Measure(
            name, self.table, self.folder, shown, f"{description}, {end}.",
            f"{self.one}RETURN CALCULATE({expression}, {where})", f"SELECT {sql} FROM {rows}", blank,
        )  # fmt: skip

    def lift(self, name: str, description: str, decile: str = "") -> Measure:
        """How many times as often rows of the chosen deciles (or of one) came true as rows of all deciles."""
        column = f"'{self.shown}'[Decile]"
        average = f"CALCULATE(AVERAGE('{self.shown}'[Outcome]), {self.judged}"
        only, where = (f", KEEPFILTERS({column} = {decile})", f" FILTER (decile = {decile})") if decile else ("", "")
        return Measure(
            name, self.table, self.folder, NUMBER, f"{description}, of serving versions, {self.words}.",
            f"{self.one}VAR _Told = {average}{only})\nVAR _All = {average}, REMOVEFILTERS({column}))\n"
            "RETURN DIVIDE(_Told, _All)",
            f"SELECT avg(outcome){where} / nullif((SELECT avg(outcome) FROM {self.judged_rows('~decile')}), 0) "
            f"FROM {self.judged_rows()}", "where no outcome of an unseen row is known",
        )  # fmt: skip

    def all(self) -> tuple[Measure, ...]:
        """The measures of one table, named after what has a chance."""
        who, t = self.unit, self.shown
        return (
            self.measure(f"Scored {who}s", f"COUNTROWS('{t}')", "nullif(count(*), 0)", f"{who}s with a chance", WHOLE,
                         judged=False),
            self.measure(f"Judged {who}s", f"COUNTROWS('{t}')", "nullif(count(*), 0)",
                         f"{who}s that the training never saw and whose outcome is known", WHOLE, judged=True),
            self.measure(f"{who} Predicted Rate", f"AVERAGE('{t}'[Probability])", "avg(probability)",
                         "Mean chance of judged rows", SHARE, judged=True),
            self.measure(f"{who} Actual Rate", f"AVERAGE('{t}'[Outcome])", "avg(outcome)",
                         "Judged rows that came true", SHARE, judged=True),
            self.measure(f"{who} Calibration Gap", f"AVERAGE('{t}'[Probability]) - AVERAGE('{t}'[Outcome])",
                         "avg(probability) - avg(outcome)", "Mean chance less what came true", "+0.0%;-0.0%;0.0%",
                         judged=True),
            self.lift(f"{who} Lift", "How many times as often judged rows of the chosen deciles came true as all"),
            self.lift(f"{who} Lift of Top Decile",
                      "How many times as often judged rows of the highest decile came true as all", "10"),
        )  # fmt: skip


_SESSIONS = _Told(
    "fact_session_prediction", "Session Predictions", "Session", "Events Seen", "prefix", 5, "Session predictions",
    "after the chosen number of events (5 without a choice)",
)  # fmt: skip
_CUSTOMERS = _Told(
    "fact_customer_prediction", "Customer Predictions", "Customer", "Horizon Days", "horizon_days", 30,
    "Customer predictions", "for the chosen horizon (30 days without a choice)",
)  # fmt: skip

MEASURES = (
    *_SESSIONS.all(), *_CUSTOMERS.all(),
    Measure("Card Figure", "model_card", "Model card", "0.0000", "A figure of a model's card.",
            "IF(COUNTROWS('Model Card') = 1, MAX('Model Card'[Value]))",
            "SELECT CASE WHEN count(*) = 1 THEN max(value) END FROM {model_card}",
            "with more than one figure chosen: figures of a card never add up"),
    Measure("Card Baseline", "model_card", "Model card", "0.0000", "That figure of what the model is compared with.",
            "IF(COUNTROWS('Model Card') = 1, MAX('Model Card'[Baseline Value]))",
            "SELECT CASE WHEN count(*) = 1 THEN max(baseline_value) END FROM {model_card}",
            "with more than one figure chosen, or without a baseline"),
)  # fmt: skip
