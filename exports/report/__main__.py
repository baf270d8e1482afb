"""``python -m exports.report HOME [OUT]``: the report and the spreadsheets of a home's snapshot, to look at."""

from __future__ import annotations

import sys
from pathlib import Path

from exports.aggregate import aggregate
from exports.report import write_report
from exports.snapshot import alone, current_manifest
from exports.spreadsheets import write_spreadsheets
from resources.errors import BehaviorError, UsageError


def main(arguments: list[str]) -> Path:
    """Write into the home, or take the report elsewhere and leave the home as it is. Raises UsageError."""
    if not 1 <= len(arguments) <= 2:  # noqa: PLR2004
        msg = "wanted: python -m exports.report HOME [OUT]"
        raise UsageError(msg)
    exports = Path(arguments[0]) / "exports"
    current_manifest(exports)  # raises where there is none, before a lock is made there
    with alone(exports):
        manifest = current_manifest(exports)
        out = Path(arguments[1]) if len(arguments) > 1 else exports
        told = aggregate(exports, manifest)
        write_spreadsheets(out, manifest, told)
        return write_report(out, manifest, told)


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{main(sys.argv[1:])}\n")
    except BehaviorError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
