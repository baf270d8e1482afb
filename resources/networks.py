"""Keras, imported when a network is to be trained: seconds, and greetings that nobody asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _unheard() -> Iterator[None]:
    """Send what native code writes to stderr nowhere, while Python's own (a progress bar's) goes on.

    TensorFlow 2.21 tells of what it does not need in lines that no setting turns off.
    """
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # a process without a stderr
        yield
        return
    before = sys.stderr
    with os.fdopen(kept, "w", encoding="utf-8", errors="replace", closefd=False) as own:
        if before is sys.__stderr__:
            sys.stderr = own
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            own.flush()
            os.dup2(kept, 2)
            if sys.stderr is own:
                sys.stderr = before
    os.close(kept)
    os.close(nowhere)


def load_keras() -> Any:
    """The module ``keras`` with TensorFlow behind it, its messages off.

    Its logging writes to ``sys.stderr`` as it was at the import, and closes that once it is no longer the current one,
    which a progress bar or a test that listens takes amiss: it gets the process's own instead, which is never closed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # Sums depend on how many threads share them; so many on every machine, the same data give the same weights.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
    with _unheard():
        import keras
    from absl import logging

    logging.get_absl_handler().python_handler.stream = sys.__stderr__
    return keras
