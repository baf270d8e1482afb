"""Which machine works on a lake that is kept in a store: one at a time, the next when it ends or falls silent.

A lease is an object with a number. The highest number holds, its machine writes it again and again, and whoever finds
it let go, or as it was for so long that its machine must be gone, puts the next number there: only one can.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from resources.disk import write_whole
from resources.errors import StoreError
from resources.failpoints import reach
from resources.lock import TABLES, BusyError, held
from resources.store import Store, TakenError

SILENCE = 60.0  # seconds after which a machine that says nothing is taken for gone
_BEAT = SILENCE / 6
_LOOK = 1.0
_FOLDER = "_leases"
_MACHINE, _USERS = ".lock-machine", ".lock-lease"
_OURS: ContextVar[frozenset[Path]] = ContextVar("leases", default=frozenset())  # places whose lease is held


class Lease:
    """The lease of a store, from the side of one lake folder: all its processes share it."""

    def __init__(self, lake: Path, store: Store) -> None:
        self.store = store
        self.place = lake / TABLES
        self.since = ""  # since when the lease is ours (UTC)

    @cached_property
    def machine(self) -> str:
        """A name of the lake's folder on its machine, the same for all its processes."""
        file = self.place / "machine.txt"
        with held(self.place / _MACHINE, alone=True):
            if not file.exists():
                write_whole(file, uuid.uuid4().hex, "lease.name")
        return file.read_text("utf-8")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the lease, waiting for it, and let it go when no process of this folder needs it any more.

        Who has it already (in the same context) need not ask for it again.
        """
        if self.place in _OURS.get():
            yield
            return
        with held(self.place / _USERS, alone=False):
            number = self._take()
            token = _OURS.set(_OURS.get() | {self.place})
            ended = threading.Event()
            beating = threading.Thread(target=self._beat, args=(number, ended), name="lease", daemon=True)
            beating.start()
            try:
                yield
            finally:
                _OURS.reset(token)
                ended.set()
                beating.join()
        with suppress(BusyError, StoreError), held(self.place / _USERS, alone=True, wait=False):
            self._write(number, done=True)

    def _take(self) -> int:
        """The number of a lease that is ours."""
        machine = self.machine  # told by a file under the same lock
        with held(self.place / _MACHINE, alone=True):
            seen, since, patient = ("", 0.0), time.monotonic(), False
            while True:
                number, told, stamp = self._newest()
                if told.get("machine") == machine and not told.get("done"):
                    self.since = told.get("since", _now())
                    self._write(number)
                    return number
                if (told.get("machine", ""), stamp) != seen:
                    seen, since = (told.get("machine", ""), stamp), time.monotonic()
                if not number or told.get("done") or time.monotonic() - since > SILENCE:
                    with suppress(TakenError):
                        reach("lease.take")
                        self.since = _now()
                        self._write(number + 1, new=True)
                        self.store.remove(_named(n) for n in range(max(number - 1, 0), number + 1) if n)
                        return number + 1
                else:
                    if not patient and "host" in told:
                        patient = True
                        self._tell(told)
                    time.sleep(_LOOK)

    def _tell(self, told: Mapping[str, str]) -> None:
        """Whom we wait for: it may be hours, in which nothing else is heard."""
        since = f"has worked on this lake since {told['since']}" if told.get("since") else "is at work on this lake"
        sys.stderr.write(
            f"behavior: {self.store.url}: the machine {told['host']} {since}. Waiting until it ends, or has been "
            f"silent for {SILENCE:.0f} seconds.\n"
        )

    def _newest(self) -> tuple[int, dict[str, str], float]:
        """The highest number (0: none), what it says, and when that was written."""
        found = self.store.listed(_FOLDER)
        if not found:
            return 0, {}, 0.0
        name = max(found)
        try:
            told = json.loads(self.store.read(name))
        except (FileNotFoundError, ValueError):  # it was followed by another just now
            told = {"machine": "?"}
        return int(name.rsplit("/", 1)[1].split(".")[0]), told, found[name].modified

    def _write(self, number: int, *, new: bool = False, done: bool = False) -> None:
        told = {"machine": self.machine, "host": socket.gethostname(), "since": self.since}
        told |= {"done": "yes"} if done else {}
        self.store.put(_named(number), json.dumps(told).encode(), new=new)

    def _beat(self, number: int, ended: threading.Event) -> None:
        while not ended.wait(_BEAT):
            with suppress(StoreError):  # it may answer the next time
                self._write(number)


def _named(number: int) -> str:
    return f"{_FOLDER}/{number:020d}.json"


def _now() -> str:
    return datetime.now(UTC).isoformat(sep=" ", timespec="minutes")
