"""Up to which day the tables have expired: days before a mark have left for good, whoever brings rows of them again.

The marks stand in ``<home>/privacy/expired.json`` before the first row goes, and never go back. What was begun and is
not finished stands there, too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from resources.disk import draft_of, make_folder
from resources.errors import IntegrityError
from resources.failpoints import reach
from resources.settings import Home

EXPIRED_KEY = "behavior.expired"  # in the metadata of bronze's commits: the mark of bronze
PUBLISH, PURGE = "publish", "purge"


@dataclass(frozen=True)
class Marks:
    """The first day that each layer keeps; empty where none has expired. ``begun``: what is still to be done."""

    bronze: str = ""
    silver: str = ""
    gold: str = ""
    begun: str = ""

    @property
    def first_of_silver(self) -> str:
        """The first day of which silver is made: of what expired in bronze it keeps what it has."""
        return max(self.bronze, self.silver)

    @property
    def first_of_gold(self) -> str:
        """The first day that gold may show: what expired in silver has expired in gold."""
        return max(self.silver, self.gold)


def read_marks(home: Home) -> Marks:
    """The marks of a home. Raises IntegrityError where they cannot be read: expired days would come back."""
    path = home.root / "privacy" / "expired.json"
    try:
        return Marks(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return Marks()
    except (ValueError, TypeError) as error:
        msg = f"{path}: it cannot be read. Remove it and run `behavior retain`, which writes it again."
        raise IntegrityError(msg) from error


def keep_marks(home: Home, marks: Marks) -> None:
    """Write the marks, in one step."""
    path = home.root / "privacy" / "expired.json"
    make_folder(path.parent, 0o700)
    with draft_of(path) as draft:
        draft.write_text(json.dumps(asdict(marks), indent=1), "utf-8")
        reach("privacy.expire")
