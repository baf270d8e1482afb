"""Model cards: what everybody should know of a model before they trust it, in fields of which none may be empty.

Mitchell et al. (2019), "Model cards for model reporting", FAT*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

from behavior_assets.training import Figure
from resources.errors import TrainingError

# Field: its heading. What does not apply to a kind of model says so, and why.
FIELDS = {
    "use": "Intended use",
    "failures": "Known failures",
    "data": "Data: name, hash, licence, days, rows",
    "unit": "Unit, and when it is predicted",
    "label": "Label and its window",
    "features": "Features, and when each is known",
    "split": "Split and trimming",
    "prevalence": "Prevalence",
    "baselines": "Baselines",
    "seeds": "Seeds and intervals",
    "reliability": "Reliability",
    "lift": "Lift",
    "slices": "Slices",
    "drift": "Drift",
    "leakage": "Leakage checks",
    "training": "Training time, hardware, memory",
    "latency": "Latency of scoring",
    "versions": "Versions",
}
SYNTHETIC = "**SYNTHETIC data**: the figures say how well a simulated shop is understood, nothing of a real one."


def missing(fields: Mapping[str, str]) -> list[str]:
    """Fields that are empty or not there."""
    return [name for name in FIELDS if not fields.get(name, "").strip()]


def render(title: str, fields: Mapping[str, str], figures: Sequence[Figure], *, synthetic: bool) -> str:
    """The card as Markdown. Raises TrainingError, naming them, for fields that are empty."""
    empty = missing(fields)
    unknown = sorted(set(fields) - set(FIELDS))
    if empty or unknown or not figures:
        wrong = [f"empty: {', '.join(empty)}"] * bool(empty) + [f"unknown: {', '.join(unknown)}"] * bool(unknown)
        wrong += ["no figures"] * (not figures)
        msg = f"{title}: the model card is not complete ({'; '.join(wrong)}), so the model is not kept."
        raise TrainingError(msg)
    parts = [f"# {title}", *([SYNTHETIC] if synthetic else [])]
    parts += [f"## {heading}\n{fields[name].strip()}" for name, heading in FIELDS.items()]
    return "\n\n".join([*parts, "## Figures\n" + table(figures)]) + "\n"


def table(figures: Sequence[Figure]) -> str:
    """Figures as a Markdown table."""
    rows = ["| metric | slice | value | 95 % interval | baseline | its value |", "|---|---|---|---|---|---|"]
    for f in figures:
        ends = "" if isnan(f.lower) else f"{_number(f.lower)} to {_number(f.upper)}"
        rows.append(f"| {f.metric} | {f.slice} | {_number(f.value)} | {ends} | {f.baseline} | "
                    f"{_number(f.baseline_value)} |")  # fmt: skip
    return "\n".join(rows)


def _number(value: float) -> str:
    return "" if isnan(value) else f"{value:,.4g}"
