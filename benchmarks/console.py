"""What the benchmarks share with whoever calls them: errors in sentences, and JSON that everybody can read."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from resources.errors import BehaviorError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def refuse(message: str) -> NoReturn:
    """End with a message."""
    raise SystemExit(message)


def start(main: Callable[[], None]) -> None:
    """Call ``main``; what the project refuses is told without a traceback, with its exit code."""
    try:
        main()
        sys.stdout.flush()
    except BehaviorError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:  # whoever read has seen enough
        sys.stderr.close()
    except OSError as error:  # a file that cannot be read or written; the error names it
        refuse(str(error))


def write_json(path: Path, told: dict[str, Any]) -> None:
    """Write what was found; a figure that is not there is null, as NaN is no JSON."""
    path.write_text(json.dumps(_plain(told), indent=1, allow_nan=False) + "\n", "utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
