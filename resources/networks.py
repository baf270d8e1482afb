"""Keras, imported when a network is to be trained: seconds, and greetings that nobody asked for."""

from __future__ import annotations

import os
import sys
from typing import Any


def load_keras() -> Any:
    """The module ``keras`` with TensorFlow behind it, its messages off.

    Its logging writes to ``sys.stderr`` as it was at the import, and closes that once it is no longer the current one,
    which a progress bar or a test that listens takes amiss: it gets the process's own instead, which is never closed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    from absl import logging

    logging.get_absl_handler().python_handler.stream = sys.__stderr__
    return keras
