"""Places where a test may make the program die or the disk refuse.

``BEHAVIOR_FAILPOINT=lake.commit:kill`` kills the process (SIGKILL) when the place is reached;
``parquet.write:enospc@3`` makes the third write there fail as on a full disk. Several are separated by commas. Unset,
a place costs the look into an empty dictionary.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "BEHAVIOR_FAILPOINT"

# Every place, in the order in which a run comes by. Each is reached before the thing that it names is done, those in
# the past tense after it. tests/test_fault_matrix_runs.py finds writes that come by none.
PLACES = (
    "home.settings", "home.dagster", "home.key",
    "staging.replay", "staging.copy", "staging.unpack", "staging.hide", "landing.refuse", "landing.refused",
    "parquet.write", "parquet.sync", "parquet.name",
    "lake.create", "lake.commit", "lake.committed", "journal.note", "journal.mend",
    "ingest.quarantined", "ingest.committed", "archive.keep", "archive.copy", "landing.remove",
    "models.save", "models.promote", "models.note",
    "export.link", "export.copy", "export.manifest", "export.views", "export.name", "export.current", "export.clean",
    "lake.vacuum",
)  # fmt: skip
# Places of what is made of a snapshot for people and databases, and of files in a bucket; tests of each come by them.
OUTLET_PLACES = (
    "outlet.file", "outlet.note", "publish.load", "publish.keys", "publish.swap", "store.put", "store.remove",
    "mirror.fetch", "mirror.log", "mirror.commit", "mirror.journal", "mirror.withdraw", "lease.name", "lease.take",
)  # fmt: skip
# Places of what is done to personal data; tests of privacy come by them.
PRIVACY_PLACES = (
    "audit.append", "audit.head", "keys.write", "keys.wipe", "keys.map", "keys.rekey", "keys.shred", "keys.translate",
    "privacy.suppress", "privacy.redact", "privacy.case", "privacy.keys", "privacy.taken", "privacy.tombstone",
    "privacy.purge", "privacy.receipt", "privacy.forget", "privacy.expire",
)  # fmt: skip
_KNOWN = frozenset((*PLACES, *OUTLET_PLACES, *PRIVACY_PLACES))
_ERRORS = {"enospc": errno.ENOSPC, "eio": errno.EIO}
ACTIONS = ("kill", *_ERRORS)

_armed: dict[str, tuple[str, int]] = {}
_hits: Counter[str] = Counter()


def arm(text: str) -> None:
    """Arm places as the variable's text says; an empty text disarms all. Raises ValueError for what is not known."""
    wanted: dict[str, tuple[str, int]] = {}
    for entry in filter(None, text.split(",")):
        place, _, rest = entry.partition(":")
        action, _, number = rest.partition("@")
        if place not in _KNOWN or action not in ACTIONS or not (number or "1").isdigit():
            msg = f"{VARIABLE}: {entry!r} is not <place>:<action>[@<number>]. Places: {', '.join(PLACES)}."
            raise ValueError(msg)
        wanted[place] = (action, int(number or 1))
    _armed.clear()
    _armed.update(wanted)
    _hits.clear()


@contextmanager
def armed(text: str) -> Iterator[None]:
    """Arm places for a while; raises as ``arm``."""
    arm(text)
    try:
        yield
    finally:
        arm("")


def reach(place: str) -> None:
    """Called at a place; does nothing unless it is armed and this is the time that was named."""
    if _armed:
        _fire(place)


def _fire(place: str) -> None:
    if place not in _armed:
        return
    action, number = _armed[place]
    _hits[place] += 1
    if _hits[place] != number:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise OSError(_ERRORS[action], os.strerror(_ERRORS[action]))


arm(os.environ.get(VARIABLE, ""))
