"""Texts of a Parquet file that stand in a dictionary once and in a million rows by number: how long they get unfolded.

The engine copies such a text for each row, 2,048 rows at once, whatever its memory limit says. A footer may claim
anything, so the pages themselves are asked: their headers for sizes, their dictionaries for the longest text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior_assets.ingestion.records import VECTOR

_DICTIONARY = 2  # a page's type
_HEADER = 64 * 2**10  # bytes; statistics of a page can be long
_LENGTH = struct.Struct("<I")
# Of Thrift's compact protocol: types of fields.
_YES, _NO, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_FIXED = {_YES: 0, _NO: 0, _BYTE: 1, _DOUBLE: 8}


class Dictionary(NamedTuple):
    """The dictionary of a column chunk: bytes of its page unpacked, and of its longest text (0: too large to look)."""

    column: str
    size: int
    longest: int


def dictionaries(path: Path, meta: pq.FileMetaData, most: int) -> Iterator[Dictionary]:
    """Those of all columns of texts. One of more than ``most`` bytes is not unpacked.

    Raises ValueError where the pages are not what the footer says.
    """
    with path.open("rb") as file:
        for group in range(meta.num_row_groups):
            for place in range(meta.num_columns):
                chunk = meta.row_group(group).column(place)
                if chunk.physical_type == "BYTE_ARRAY" and chunk.num_values:
                    yield from _of_chunk(file, chunk, most)


def widest_window(path: Path, column: str) -> int:
    """The most bytes of text that so many rows of a column hold as the engine takes at once; none is copied."""
    widest = 0
    with pq.ParquetFile(path, read_dictionary=[column]) as file:
        for batch in file.iter_batches(VECTOR, columns=[column], use_threads=False):
            widest = max(widest, _text_bytes(batch.column(0)))
    return widest


def _text_bytes(values: pa.Array) -> int:
    """Bytes of all texts that stand in a dictionary, whatever they are nested in."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(values.dictionary).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        return int(lengths[values.indices.drop_null().to_numpy(zero_copy_only=False)].sum())
    if pa.types.is_struct(kind):
        return sum(_text_bytes(inner) for inner in values.flatten())
    if pa.types.is_map(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _text_bytes(values.flatten())
    return 0


def _of_chunk(file: BinaryIO, chunk: pq.ColumnChunkMetaData, most: int) -> Iterator[Dictionary]:
    begin = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < begin:
        begin = chunk.dictionary_page_offset
    end = begin + chunk.total_compressed_size
    while begin < end:
        file.seek(begin)
        header = file.read(_HEADER)
        fields, length = _structure(header, 0)
        kind, size, packed = (fields.get(n, -1) for n in (1, 2, 3))
        if min(kind, size, packed) < 0:
            msg = "a page without its sizes"
            raise ValueError(msg)
        begin += length
        if kind == _DICTIONARY:
            longest = 0
            if size <= most:
                file.seek(begin)
                longest = _longest(_unpacked(file.read(packed), chunk.compression, size))
            yield Dictionary(chunk.path_in_schema, size, longest)
        begin += packed


def _unpacked(data: bytes, codec: str, size: int) -> bytes:
    if codec == "UNCOMPRESSED":
        return data
    if codec == "LZ4":
        codec = "lz4_raw"
    return pa.Codec(codec.lower()).decompress(data, decompressed_size=size).to_pybytes()  # type: ignore[no-any-return]


def _longest(page: bytes) -> int:
    """The longest of the texts, each of which follows its length."""
    longest = place = 0
    while place + _LENGTH.size <= len(page):
        (length,) = _LENGTH.unpack_from(page, place)
        longest = max(longest, length)
        place += _LENGTH.size + length
    return longest


def _structure(data: bytes, place: int) -> tuple[dict[int, int], int]:
    """Whole numbers of a structure by their field, and where it ends."""
    fields: dict[int, int] = {}
    number = 0
    try:
        while data[place]:
            kind, step = data[place] & 15, data[place] >> 4
            place += 1
            if step:
                number += step
            else:
                step, place = _number(data, place)
                number = (step >> 1) ^ -(step & 1)
            if kind in {4, 5, 6}:
                value, place = _number(data, place)
                fields[number] = (value >> 1) ^ -(value & 1)
            else:
                place = _skipped(data, place, kind)
    except IndexError as error:
        msg = "a page's header does not end"
        raise ValueError(msg) from error
    return fields, place + 1


def _number(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:  # noqa: PLR2004 - the bit that says that more follows
            return value, place


def _skipped(data: bytes, place: int, kind: int) -> int:
    """Where a field ends that is of no interest."""
    if kind in _FIXED:
        return place + _FIXED[kind]
    if kind == _BINARY:
        length, place = _number(data, place)
        return place + length
    if kind == _STRUCT:
        return _structure(data, place)[1]
    msg = "a page's header holds what none does"
    raise ValueError(msg)
