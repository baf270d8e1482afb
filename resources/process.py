"""A process that does much work and ends: how its memory and its garbage are kept, and how much it took."""

from __future__ import annotations

import gc
import os
import sys

_MIB = 2**20
_ARROW_MEMORY = "MIMALLOC_PURGE_DELAY"
_COLLECT_AFTER = 100_000  # objects made; Python's 700 makes it look at every imported module again and again


def tune() -> None:
    """Call before Arrow is imported.

    Arrow's allocator gives freed pages back after 10 ms, and each must be cleared by the kernel when it is needed
    again for the next chunk; -1 keeps them. Measured at 5 million events: a third of the time in the kernel.
    """
    os.environ.setdefault(_ARROW_MEMORY, "-1")
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


def peak_memory_mb() -> int:
    """Largest resident size of this process so far, MiB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / _MIB if sys.platform == "darwin" else peak / 1024)
