"""Code of this project on machines that do not have it: executors of a cluster need pyarrow, and nothing else of ours.

Only the standard library may be imported here: this module travels as it is, by value, and brings the rest along.
"""

from __future__ import annotations

import atexit
import importlib
import io
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any


class Shipped:
    """Makes an object of a class in an executor and calls it there. ``code``: the package ``resources`` as a zip."""

    def __init__(self, code: bytes, module: str, name: str, arguments: dict[str, Any]) -> None:
        self.code, self.module, self.name, self.arguments = code, module, name, arguments

    def __call__(self, batches: Iterable[Any]) -> Iterator[Any]:
        """What the object makes of a stream of record batches."""
        try:
            module = importlib.import_module(self.module)
        except ModuleNotFoundError:
            self._unpack()
            module = importlib.import_module(self.module)
        yield from getattr(module, self.name)(**self.arguments)(batches)

    def _unpack(self) -> None:
        # A folder of this worker's own: in the shared one anybody could have put code under a name that we expect.
        place = Path(tempfile.mkdtemp(prefix="behavior-"))
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        packed = place / "behavior.zip"
        packed.write_bytes(self.code)
        sys.path.insert(0, str(packed))
        importlib.invalidate_caches()


def shipped(module: str, name: str, **arguments: Any) -> Shipped:
    """A callable for executors that is made there as ``module.name(**arguments)``."""
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
    return Shipped(_code(), module, name, arguments)


@cache
def _code() -> bytes:
    """The package that this module lies in, as a zip whose bytes depend on nothing but its sources."""
    folder, packed = Path(__file__).parent, io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.py")):
            entry = zipfile.ZipInfo(path.relative_to(folder.parent).as_posix())
            archive.writestr(entry, path.read_bytes())
    return packed.getvalue()
