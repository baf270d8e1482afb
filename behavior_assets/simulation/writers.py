"""Event files and the truth file.

A day's events become one file, sorted by time. Files are written beside their name and moved into place,
so that a watcher of the folder never sees half a file. REES46 has one CSV shape; `ga4` makes GA4's lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from behavior_assets.simulation.intent import BOT, CART, EVENTS, PURCHASE, REFUND, STATES, VIEW, VISITORS
from behavior_assets.simulation.shop import unit_cents
from behavior_assets.simulation.traffic import DAY_US, SECOND_US

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from behavior_assets.simulation.shop import Calendar, Catalogue, ShopConfig
    from behavior_assets.simulation.trade import Events, Sessions

SYNTHETIC = "SYNTHETIC: made by behavior_assets.simulation; no real person, shop or order"
REES46_HEADER = b"event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
REES46_NAMES = {VIEW: "view", CART: "cart", PURCHASE: "purchase"}
FIRST_USER_ID = 512_000_000
DAY_S = 86_400
HEX = np.frombuffer(bytes(range(256)).hex().encode(), dtype=np.uint8).reshape(256, 2)
TRUTH_SCHEMA = pa.schema(
    [
        ("file_date", pa.date32()),
        ("row", pa.int32()),
        ("event_id", pa.string()),
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("session_id", pa.string()),
        ("event_index", pa.int32()),
        ("event_name", pa.string()),
        ("intent_state", pa.string()),
        ("p_purchase_later", pa.float64()),
        ("purchase_later", pa.bool_()),
        ("session_purchased", pa.bool_()),
        ("visitor", pa.string()),
        ("promotion", pa.bool_()),
        ("open_cart", pa.bool_()),
        ("evening", pa.bool_()),
        ("is_bot", pa.bool_()),
    ]
)


class EventFormat(Protocol):
    """One shape of event files."""

    @property
    def suffix(self) -> str:
        """Ending of a file's name."""

    @property
    def names(self) -> dict[int, str]:
        """What the events are called in the file."""

    def encode(self, sessions: Sessions, events: Events) -> Encoded:
        """Put the events, sorted by time, into the file's shape."""


class Encoded(Protocol):
    """Events ready to be written."""

    @property
    def session_id(self) -> pa.Array:
        """Session of each row [m], as the file has it."""

    @property
    def event_id(self) -> pa.Array | None:
        """Identity of each row [m], if the format has one."""

    def write(self, path: Path, first: int, last: int) -> None:
        """Write rows first (included) to last (excluded)."""


@dataclass(frozen=True)
class Rees46Rows:
    """A table in REES46's columns."""

    table: pa.Table
    session_id: pa.Array
    event_id: pa.Array | None = None

    def write(self, path: Path, first: int, last: int) -> None:
        """Write a CSV file with the header of the Kaggle files."""
        part = path.with_name(f".{path.name}.tmp")
        with part.open("wb") as sink:
            sink.write(REES46_HEADER)
            options = csv.WriteOptions(include_header=False, quoting_style="none")
            csv.write_csv(self.table.slice(first, last - first), sink, options)
        part.replace(path)


class Rees46Format:
    """CSV as in Kaggle's "eCommerce behavior data" (REES46): one row per item, times in UTC seconds."""

    suffix = "csv"
    names: ClassVar[dict[int, str]] = REES46_NAMES

    def __init__(self, config: ShopConfig, catalogue: Catalogue, calendar: Calendar) -> None:
        self.config, self.catalogue, self.calendar = config, catalogue, calendar
        self.dates = pa.array([(config.start + timedelta(days=d)).isoformat() for d in range(config.days)])
        self.clock = pa.array([f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d} UTC" for s in range(DAY_S)])
        self.codes = pa.array(catalogue.category_code)
        self.brands = pa.array(catalogue.brand)
        self.types = pa.array([REES46_NAMES.get(kind, "") for kind in range(len(EVENTS))])

    def encode(self, sessions: Sessions, events: Events) -> Rees46Rows:
        """Lay the events out in REES46's nine columns."""
        product = events.product[:, 0].astype(np.int64)
        category = self.catalogue.category[product]
        second = events.time_us // SECOND_US
        session_id = uuids(sessions.key).take(pa.array(events.session))
        table = pa.table(
            {
                "event_time": pc.binary_join_element_wise(
                    self.dates.take(pa.array(second // DAY_S)), self.clock.take(pa.array(second % DAY_S)), " "
                ),
                "event_type": self.types.take(pa.array(events.kind)),
                "product_id": self.catalogue.product_id[product],
                "category_id": self.catalogue.category_id[category],
                "category_code": self.codes.take(pa.array(category)),
                "brand": self.brands.take(pa.array(product)),
                "price": money(unit_cents(self.catalogue, self.calendar, product, events.price_day)),
                "user_id": FIRST_USER_ID + 7 * sessions.customer[events.session],
                "user_session": session_id,
            }
        )
        return Rees46Rows(table, session_id)


@dataclass
class TruthFile:
    """One Parquet file with a row for every event row: which file and row it is, and what is true of it."""

    path: Path
    config: ShopConfig
    names: dict[int, str]
    rows: int = 0
    _writer: pq.ParquetWriter | None = field(default=None, repr=False)

    def append(
        self,
        sessions: Sessions,
        events: Events,
        encoded: Encoded,
        day: NDArray[np.int64],
        row: NDArray[np.int64],
    ) -> None:
        """Add the events; `day` and `row` say where each one lies."""
        writer = self._open()
        sets = sessions.sets[events.session]
        outside = events.kind == REFUND
        human = np.where(sets == BOT, 0, sets)
        epoch_days = (self.config.start - date(1970, 1, 1)).days
        # Plain strings: the bytes that pyarrow writes for dictionary arrays were seen to vary between runs.
        names = pa.array([self.names.get(kind, "") for kind in range(len(EVENTS))])
        absent = pa.nulls(len(events), pa.string())
        columns = [
            pa.array((epoch_days + day).astype(np.int32)).cast(pa.date32()),
            pa.array(row.astype(np.int32)),
            absent if encoded.event_id is None else encoded.event_id,
            pa.array(events.time_us + epoch_days * DAY_US).cast(pa.timestamp("us", tz="UTC")),
            pc.if_else(pa.array(outside), pa.scalar(None, pa.string()), encoded.session_id),
            pa.array(events.index, mask=outside),
            names.take(pa.array(events.kind)),
            pa.array(STATES).take(pa.array(events.state, mask=outside)),
            pa.array(events.chance, mask=outside),
            pa.array(events.later, mask=outside),
            pa.array(sessions.bought[events.session], mask=outside),
            pa.array(VISITORS).take(pa.array(human >> 3, mask=outside | (sets == BOT))),
            *(pa.array((human >> bit & 1).astype(bool), mask=outside) for bit in (2, 1, 0)),
            pa.array(sets == BOT),
        ]
        writer.write_table(pa.table(columns, schema=writer.schema))
        self.rows += len(events)

    def close(self) -> None:
        """Finish the file; a simulation without events leaves an empty one."""
        self._open().close()

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            schema = TRUTH_SCHEMA.with_metadata({"synthetic": SYNTHETIC, "seed": str(self.config.seed)})
            self._writer = pq.ParquetWriter(self.path, schema, compression="zstd")
        return self._writer


def fixed_strings(text: NDArray[np.uint8]) -> pa.Array:
    """Arrow strings from ASCII bytes [n, width]."""
    count, width = text.shape
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(width)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text)))


def hexadecimal(key: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """ASCII digits [n, 2 w] of bytes [n, w]."""
    return HEX[key].reshape(len(key), -1)


def uuids(key: NDArray[np.uint8]) -> pa.Array:
    """Strings shaped like random (version 4) UUIDs from 16 bytes each [n, 16]."""
    key = key.copy()
    key[:, 6] = key[:, 6] & 0x0F | 0x40
    key[:, 8] = key[:, 8] & 0x3F | 0x80
    digits = hexadecimal(key)
    text = np.full((len(key), 36), ord("-"), dtype=np.uint8)
    for begin, end, at in ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24)):
        text[:, at : at + end - begin] = digits[:, begin:end]
    return fixed_strings(text)


def money(cents: NDArray[np.int64]) -> pa.Array:
    """Amounts as strings with two decimals. Goes over decimal128, whose low word is the number of cents."""
    words = np.zeros((len(cents), 2), dtype=np.int64)
    words[:, 0] = cents
    return pa.Array.from_buffers(pa.decimal128(12, 2), len(cents), [None, pa.py_buffer(words)]).cast(pa.string())
