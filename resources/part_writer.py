"""What an executor of Spark runs: runs of rows of one part become data files of the lake, by its own writer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from resources.parquet import DataFile, write_part

PART, BUCKET = "__part", "__bucket"  # columns that tell where a row goes
FOUND = "path string, part string, fingerprint string, sha256 string, rows long, size long, origin string"


@dataclass(frozen=True)
class PartWriter:
    """Takes rows that are sorted by ``PART`` and ``BUCKET``, writes a file for each pair, and tells the files.

    ``marks`` and ``origins`` as ``Compute.write`` has them.
    """

    root: str
    by_day: bool
    schema: pa.Schema
    undictionaried: frozenset[str]
    marks: dict[str, str] | str
    origins: dict[str, str]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows as Spark hands them over; returned are rows of ``FOUND``."""
        for (part, _), runs in groupby(_runs(batches), key=lambda run: run[0]):
            mark = self.marks if isinstance(self.marks, str) else self.marks[part]
            folder = f"event_date={part}" if self.by_day else ""
            file = write_part(
                Path(self.root), folder, part, mark, (rows for _, rows in runs), self.schema, self.undictionaried,
                self.origins.get(part, ""),
            )  # fmt: skip
            names = (field.name for field in fields(DataFile))
            yield pa.RecordBatch.from_pydict({n: [v] for n, v in zip(names, astuple(file), strict=True)})


def _runs(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[tuple[str, int], pa.Table]]:
    """Rows that follow each other and are of one part and bucket."""
    for batch in batches:
        if not batch.num_rows:
            continue
        parts, buckets = batch.column(PART).dictionary_encode(), batch.column(BUCKET).to_numpy()
        codes = parts.indices.to_numpy()
        turns = np.flatnonzero((np.diff(codes) != 0) | (np.diff(buckets) != 0)) + 1
        rows = pa.Table.from_batches([batch]).drop_columns([PART, BUCKET])
        for start, end in zip([0, *turns.tolist()], [*turns.tolist(), batch.num_rows], strict=True):
            yield (parts.dictionary[int(codes[start])].as_py(), int(buckets[start])), rows.slice(start, end - start)
