"""Writes the data map of docs/privacy.md from the registry of personal data: `python docs/data_map.py`.

`--check` writes nothing and ends with 1 when the map is not the one that the registry gives now.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from behavior_assets.privacy.registry import HOLDINGS, Holding, Kind

TARGET = Path(__file__).with_name("privacy.md")
BEGIN, END = "<!-- data map: python docs/data_map.py -->\n", "<!-- end of the data map -->\n"
_SHORT = {Kind.circumstance: "circumstance"}


def data_map() -> str:
    """The map as Markdown: assets with rows of persons first, then those that hold none."""
    head = ("asset", "whose a row is", "personal columns", "retention", "how a person leaves it")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [_row(h) for h in HOLDINGS if h.columns]
    without = [f"`{h.asset}` ({h.note or h.purge})" for h in HOLDINGS if not h.columns]
    return "\n".join(lines) + "\n\nWithout rows of persons: " + ", ".join(without) + ".\n"


def _row(held: Holding) -> str:
    by_kind = groupby(sorted(held.columns.items(), key=lambda item: list(Kind).index(item[1])), key=lambda i: i[1])
    columns = "; ".join(
        f"{_SHORT.get(kind, str(kind))}: {', '.join(f'`{name}`' for name, _ in names)}" for kind, names in by_kind
    )
    note = f" ({held.note})" if held.note else ""
    return f"| `{held.asset}`{note} | {held.subject} | {columns} | {held.layer} | {held.purge} |"


def main() -> int:
    """Write the map, or check it."""
    text = TARGET.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = f"{before}{BEGIN}\n{data_map()}\n{END}{after}"
    if "--check" in sys.argv:
        return int(made != text)
    TARGET.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
