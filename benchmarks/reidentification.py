"""Attacks on both profiles of a home: who can be singled out, who is linked across releases, what can be derived.

Without ``--home`` it makes a shop of its own (simulated, always the same). ``--write`` puts the table into
``docs/privacy.md``; a test holds the two together.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from attacks import (
    Outcome,
    derived,
    families,
    fingerprints,
    linked_by_behaviour,
    linked_by_id,
    singled_out,
    unique_by_points,
)
from exports.aggregate import aggregate
from exports.snapshot import add_views, current_manifest
from resources.keys import variable

BEGIN, END = "<!-- made by benchmarks/reidentification.py -->", "<!-- end of reidentification -->"
DOCUMENT = Path(__file__).parents[1] / "docs" / "privacy.md"
SHOP = ("--days", "63", "--customers", "3000", "--seed", "7", "--format", "ga4")


def make_home(home: Path) -> Path:
    """The shop of which the documentation tells; its key is no secret, so that the same persons are drawn each time."""
    environment = {**os.environ, variable("pseudonym"): "07" * 32}
    for words in (("simulate", *SHOP), ("run", "--format", "ga4", "--source", str(home / "simulated/ga4"))):
        subprocess.run([sys.executable, "-m", "behavior_assets.cli", *words, "--home", str(home)], check=True,
                       stdout=subprocess.DEVNULL, env=environment)  # fmt: skip
    return home


def internal(con: duckdb.DuckDBPyConnection) -> list[Outcome]:
    """What succeeds on the pseudonymous star. A rotation of keys is played by ids that are hashed anew."""
    prints = fingerprints(con)
    rotated = {hashlib.sha256(customer.encode()).hexdigest(): p for customer, p in prints.items()}
    truth = dict(zip(prints, rotated, strict=True))
    stays = {customer: customer for customer in prints}
    links = [("two snapshots: ", linked_by_id(prints, prints, stays)),
             ("after a rotation, without the vault: ", linked_by_id(prints, rotated, truth)),
             ("after a rotation, without the vault: ", linked_by_behaviour(prints, rotated, truth))]  # fmt: skip
    return [*singled_out(con), *unique_by_points(con), *(Outcome(n + o.attack, o.tried, o.hits) for n, o in links)]


def report(home: Path) -> str:
    """The table of a home's newest snapshot, as Markdown."""
    exports = home / "exports"
    manifest = current_manifest(exports)
    with duckdb.connect() as con:
        add_views(con, exports, manifest)
        found = internal(con)
        told = aggregate(exports, manifest)
        known = families(con, told)
        figures = sum(len(f.cells) for f in known.values())
        hits = sum(len(derived(f.cells, f.persons)) for f in known.values())
    lines = ["| attack | profile | persons or figures | succeeds |", "|---|---|---|---|"]
    lines += [f"| {o.attack} | internal | {o.tried:,} | {100 * o.rate:.1f} % |" for o in found]
    lines.append(f"| a figure, or sums and differences of figures, of one to nine persons | aggregate | {figures:,} | "
                 f"{hits} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Print the table; write it into the documentation where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="a home with a published snapshot; else a shop is made")
    parser.add_argument("--write", action="store_true", help="put the table into docs/privacy.md")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        table = report(chosen.home or make_home(Path(scratch)))
    sys.stdout.write(table + "\n")
    if chosen.write:
        head, _, rest = DOCUMENT.read_text("utf-8").partition(BEGIN)
        made = f"Measured on {datetime.now(UTC):%Y-%m-%d} on {platform.machine()}, Python {platform.python_version()}."
        DOCUMENT.write_text(f"{head}{BEGIN}\n{made}\n\n{table}\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
