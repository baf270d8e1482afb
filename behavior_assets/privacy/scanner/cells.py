"""Looking at decoded cells: Arrow columns of any type, nested ones too."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from behavior_assets.privacy.normal import IdOf
from behavior_assets.privacy.scanner.labels import Columns
from behavior_assets.privacy.scanner.needles import ANYTHING, Grade, Needles, grade
from behavior_assets.privacy.scanner.report import Notes
from behavior_assets.privacy.scanner.text import CELL, Piece, Search

_INT64 = range(-(2**63), 2**63)
# Types that stand for another, and where the values of that one are.
_WRAPPED = (
    (lambda kind: isinstance(kind, pa.BaseExtensionType), "storage"),
    (pa.types.is_dictionary, "dictionary"),
    (pa.types.is_run_end_encoded, "values"),
)


class Cells:
    """Finds the needles in columns."""

    def __init__(self, needles: Needles, search: Search) -> None:
        self._search = search
        self._needle: dict[int, str] = {}
        self._numbers: dict[tuple[Grade, frozenset[IdOf]], list[int]] = defaultdict(list)
        for name, text in needles.named().items():
            if text.lstrip("-").isdigit() and str(int(text)) == text and int(text) in _INT64:
                self._needle[int(text)] = name
                self._numbers[grade(text), needles.of.get(text, ANYTHING)].append(int(text))
        self._large = sorted(n for (g, _), of in self._numbers.items() if g is Grade.anywhere for n in of)
        self._fitting: dict[tuple[Any, str], list[int]] = {}

    def concerns(self, kind: Any, name: str) -> bool:
        """Whether a column of this type and name may hold a needle at all: most numbers and times need no reading."""
        if pa.types.is_integer(kind):
            return bool(self._wanted(kind, name))
        if pa.types.is_floating(kind):
            return bool(self._large)
        if pa.types.is_decimal(kind):
            return bool(kind.scale <= 0)
        return not (pa.types.is_temporal(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind))

    def look(self, column: Any, name: str, place: str, notes: Notes) -> None:
        """Note what an array or chunked array holds; ``name`` is that of the column."""
        for array in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            self._look(array, name, place, notes)

    def look_at_records(self, headers: Any, records: Any, place: str, notes: Notes) -> None:
        """Note what records hold: delimited ones by the header of their file, the cells of a table in a table."""
        headers, records = (_values(a).cast(pa.large_binary()) for a in (headers, records))
        told = {header: Columns.of(header) for header in pc.unique(headers.drop_null()).to_pylist()}
        by_name = pa.array([header for header, columns in told.items() if columns], pa.large_binary())
        self.look(records.filter(pc.invert(pc.is_in(headers, by_name))), "raw", place, notes)
        for header, columns in told.items():
            if columns:
                lines = records.filter(pc.equal(headers, header)).drop_null().to_pylist()
                for hit in self._search.hits(Piece(b"\n" + b"\n".join(lines), columns=columns)):
                    notes.found(f"{place}column raw", hit.needle, f"cell, field of a record, {hit.how}")

    def _look(self, array: Any, name: str, place: str, notes: Notes) -> None:
        kind = array.type
        inner = next((getattr(array, part) for holds, part in _WRAPPED if holds(kind)), None)
        if inner is not None:
            self._look(inner, name, place, notes)
        elif pa.types.is_struct(kind):
            for field, values in zip(kind, array.flatten(), strict=True):
                self._look(values, f"{name}.{field.name}", place, notes)
        elif pa.types.is_map(kind):
            self._look(array.keys, f"{name}.key", place, notes)
            self._look(array.items, f"{name}.value", place, notes)
        elif pa.types.is_nested(kind) and hasattr(array, "flatten"):
            self._look(array.flatten(), name, place, notes)
        elif not self.concerns(kind, name):
            return
        elif pa.types.is_integer(kind):
            self._look_for(array, self._wanted(kind, name), f"{place}column {name}", "int64 key", notes)
        elif pa.types.is_floating(kind):
            self._look_for(array, self._large, f"{place}column {name}", "float64 cell", notes)
        else:
            self._look_at_texts(array, name, place, notes)

    def _wanted(self, kind: Any, name: str) -> list[int]:
        """The numbers that count in a column of this name and that its type can hold, in order."""
        if (kind, name) in self._fitting:  # a home has as many columns of one name as files
            return self._fitting[kind, name]
        signed = pa.types.is_signed_integer(kind)
        most = 2 ** (kind.bit_width - signed)
        fits = range(-most if signed else 0, most)
        counted = (n for (g, of), n in self._numbers.items() if self._search.labels.counts(g, name, of))
        self._fitting[kind, name] = sorted({number for found in counted for number in found if number in fits})
        return self._fitting[kind, name]

    def _look_for(self, array: Any, wanted: list[int], place: str, how: str, notes: Notes) -> None:
        if not wanted or not len(array):
            return
        least, most = (pc.min_max(array)[side].as_py() for side in ("min", "max"))
        if least is None:
            return
        if isinstance(least, int):  # of floating numbers the nearest must be compared, not the number itself
            wanted = wanted[bisect_left(wanted, least) : bisect_right(wanted, most)]
        values = pa.array(wanted, pa.int64()).cast(array.type, safe=False)
        told = dict(zip(values.to_pylist(), wanted, strict=True))
        if not any(least <= value <= most for value in told):
            return
        for found in pc.value_counts(array.filter(pc.is_in(array, values))).to_pylist():
            notes.found(place, self._needle[told[found["values"]]], how, found["counts"])

    def _look_at_texts(self, array: Any, name: str, place: str, notes: Notes) -> None:
        plain = pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)
        if not plain:
            try:
                array = array.cast(pa.large_string() if not pa.types.is_fixed_size_binary(array.type)
                                   or pa.types.is_decimal(array.type) else pa.large_binary())  # fmt: skip
            except pa.ArrowInvalid:
                array = array.cast(pa.large_binary())
            except pa.ArrowNotImplementedError:
                notes.unread(f"{place}column {name}", f"a type that is not read: {array.type.id}")
                return
        array = array.drop_null()
        if not len(array):
            return
        values = array.cast(pa.large_binary())
        rows = pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)
        data = CELL + pc.binary_join(rows, pa.scalar(CELL, pa.large_binary()))[0].as_py() + CELL
        for hit in self._search.hits(Piece(data, column=name)):
            notes.found(f"{place}column {name}", hit.needle, "cell" if hit.how == "bytes" else f"cell, {hit.how}")


def _values(array: Any) -> Any:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
