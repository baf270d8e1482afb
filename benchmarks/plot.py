"""A plot of what `chain.py --json` measured: seconds per million events by how many there are, and the day after.

`plot.py OUT.svg FILE.json…`; each file is one size.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

_GROUPS = {
    "files into bronze, rules": ("bronze/", "quarantine/"),
    "pseudonyms, rules": ("silver/events",),
    "sessions": ("silver/sessions",),
    "star, rules": ("silver/", "gold/"),
    "snapshot and outlets": ("exports/",),
}
_COLOURS = ("#1b4965", "#2a7f9e", "#62b6cb", "#e09f3e", "#9e2a2b")


def grouped(stages: dict[str, float]) -> dict[str, float]:
    """Seconds by group of stages; each stage counts where it fits first."""
    sums = dict.fromkeys(_GROUPS, 0.0)
    for name, seconds in stages.items():
        group = next((g for g, starts in _GROUPS.items() if name.startswith(starts)), None)
        if group is not None:
            sums[group] += seconds
    return sums


def _bars(axes: Any, labels: list[str], measured: list[dict[str, float]]) -> None:
    below = [0.0] * len(labels)
    for group, colour in zip(_GROUPS, _COLOURS, strict=True):
        heights = [found[group] for found in measured]
        axes.bar(labels, heights, bottom=below, color=colour, label=group, width=0.6)
        below = [a + b for a, b in zip(below, heights, strict=True)]
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw the figures of the command line's files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()

    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "behavior", "font.size": 9})
    from matplotlib import pyplot as plt

    found = sorted((json.loads(file.read_text("utf-8")) for file in options.files), key=lambda told: told["events"])
    sizes = [f"{told['events'] / 1e6:g} M" for told in found]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    per_million = [{g: s / told["events"] * 1e6 for g, s in grouped(told["stages"]).items()} for told in found]
    _bars(left, sizes, per_million)
    floors = [told["floor_seconds"] / told["events"] * 1e6 for told in found]
    left.plot(sizes, floors, "k_", markersize=28, markeredgewidth=2, label="floor: CSV to Parquet")
    left.set(title="The history: seconds per million events", xlabel="events")
    _bars(right, sizes, [grouped(told["next_day"]["stages"]) for told in found])
    days = ", ".join(f"{told['next_day']['events'] / 1e6:.2f} M" for told in found)
    right.set(title="One more day: seconds", xlabel=f"history (the day: {days} events)")
    # Days grow with the history, so the other panel has room above its first bars.
    right.legend(*left.get_legend_handles_labels(), frameon=False, fontsize=8, loc="upper left", reverse=True)
    figure.savefig(options.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
