"""GA4's event rows as JSON lines, as the BigQuery export writes them (64-bit integers are JSON strings).

Three fields are not in GA4's export: `event_id`, `ip` and `user_agent` are what a collector in front of it
would add. They give privacy and bot code something to work on, and so do the e-mail addresses in a few
pages and search terms. A denied consent keeps its identifiers here: leaving such rows out is the chain's
task. Refunds come from the server: they have no session. Lines are put together from ready-made pieces,
column by column, because that is fast and fixes the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from behavior_assets.simulation.intent import BOT, CHECKOUT, EVENTS, PURCHASE, REFUND, SEARCH
from behavior_assets.simulation.shop import CATEGORIES, unit_cents
from behavior_assets.simulation.traffic import COUNTRIES, DAY_US, SECOND_US
from behavior_assets.simulation.writers import fixed_strings, hexadecimal, money

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from behavior_assets.simulation.shop import Calendar, Catalogue, ShopConfig
    from behavior_assets.simulation.trade import Events, Sessions
    from behavior_assets.simulation.traffic import Population

HOST = "https://shop.example.com"
NOT_SET = "(not set)"
CLIENT_IDS = 2_000_000_000
# Bytes of a session's key, each the source of one of its attributes.
SECOND_DEVICE, CHANNEL, LOGIN, LEAK, CAMPAIGN = range(5)
OUT_OF = 256

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0"
IOS = "like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.2 Mobile/15E148 Safari/604.1"
# (category, operating system, browser, user agent)
DEVICES: tuple[tuple[str, str, str, str], ...] = (
    ("mobile", "Android", "Chrome", f"Mozilla/5.0 (Linux; Android 14; Synthetic) {WEBKIT} Mobile Safari/537.36"),
    ("mobile", "iOS", "Safari", f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 {IOS}"),
    ("desktop", "Windows", "Chrome", f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Safari/537.36"),
    (
        "desktop",
        "Windows",
        "Firefox",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:121.0) Gecko/20100101 Firefox/121.0",
    ),
    ("desktop", "Macintosh", "Chrome", f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Safari/537.36"),
    ("tablet", "iOS", "Safari", f"Mozilla/5.0 (iPad; CPU OS 17_2 {IOS}"),
)
DEVICE_SHARES = (0.34, 0.24, 0.22, 0.06, 0.09, 0.05)
BOT_AGENTS = (
    "Mozilla/5.0 (compatible; SyntheticBot/1.0; +https://bot.example.com/)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "python-requests/2.31.0",
)
# (source, medium, referrer, share of 256)
CHANNELS: tuple[tuple[str, str, str, int], ...] = (
    ("(direct)", "(none)", "", 82),
    ("google", "organic", "https://www.google.com/", 66),
    ("google", "cpc", "https://www.google.com/", 48),
    ("newsletter", "email", "https://mail.example.com/", 26),
    ("social.example.com", "social", "https://social.example.com/", 20),
    ("blog.example.com", "referral", "https://blog.example.com/post", 14),
)
CAMPAIGNS = ("synthetic_spring", "synthetic_summer", "synthetic_brand", "synthetic_retarget")
PAID = ("cpc", "email", "social")
SHIPPING_CENTS, FREE_SHIPPING_FROM, TAX = 490, 5_000, 19


@dataclass(frozen=True)
class Ga4Rows:
    """Lines that end in a line feed, back to back in one buffer."""

    lines: pa.Array
    session_id: pa.Array
    event_id: pa.Array

    def write(self, path: Path, first: int, last: int) -> None:
        """Write the rows' bytes as they lie in the buffer."""
        _, offsets, data = self.lines.buffers()
        at = np.frombuffer(offsets, dtype=np.int32)
        part = path.with_name(f".{path.name}.tmp")
        part.write_bytes(data[int(at[first]) : int(at[last])])
        part.replace(path)


class Ga4Format:
    """Writes GA4 rows; who has which device, address and consent is drawn once, per customer."""

    suffix = "jsonl"
    names: ClassVar[dict[int, str]] = dict(enumerate(EVENTS))

    def __init__(
        self,
        config: ShopConfig,
        catalogue: Catalogue,
        calendar: Calendar,
        population: Population,
        rng: np.random.Generator,
    ) -> None:
        self.config, self.catalogue, self.calendar, self.rng = config, catalogue, calendar, rng
        self.country = population.country
        count = len(population.rate)
        self.device = rng.choice(len(DEVICES), (count, 2), p=DEVICE_SHARES)
        self.login = np.where(rng.random(count) < 0.6, rng.integers(60, OUT_OF, count), 0)  # noqa: PLR2004
        self.consent = np.digitize(rng.random(count), [0.86, 0.93])
        self.agent = rng.integers(0, len(BOT_AGENTS), count)
        self.emails = pa.array([f"customer{c:06d}@example.com" for c in range(count)])
        # Drawn apart by construction: a stride of its own for each client.
        stride = CLIENT_IDS // (2 * count)
        clients = rng.permutation(np.arange(2 * count) * stride + rng.integers(0, stride, 2 * count))
        midnight = int(datetime.combine(config.start, datetime.min.time(), UTC).timestamp())
        self.epoch_us = midnight * SECOND_US
        self.clients = pa.array([f"{c + 100_000_000}.{midnight - 86_400 - int(c) % 9_000_000}" for c in clients])
        self.addresses = pa.array([_address(int(n)) for n in rng.integers(0, 2**31, 2 * count)])
        self.dates = pa.array([f"{config.start + timedelta(days=d):%Y%m%d}" for d in range(config.days)])
        self.items = pa.array([self._item(p) for p in range(config.products)])
        self.terms = pa.array([code.rsplit(".", 1)[1].replace("_", " ") for code, _, _ in CATEGORIES])

    def encode(self, sessions: Sessions, events: Events) -> Ga4Rows:
        """Build one JSON line per event."""
        count = len(events)
        who = sessions.customer[events.session]
        key = sessions.key[events.session]
        is_bot = sessions.sets[events.session] == BOT
        side = (key[:, SECOND_DEVICE] < 30) & ~is_bot  # noqa: PLR2004
        client = self.clients.take(pa.array(2 * who + side))
        started = pc.cast(pa.array((sessions.start_us[events.session] + self.epoch_us) // SECOND_US), pa.string())
        noise = self.rng.integers(0, 256, (count, 16), dtype=np.uint8)
        event_id = fixed_strings(hexadecimal(noise))
        channel = np.repeat(np.arange(len(CHANNELS)), [share for *_, share in CHANNELS])[key[:, CHANNEL]]
        campaign = key[:, CAMPAIGN].astype(np.int64) % len(CAMPAIGNS)
        knows = (key[:, LOGIN] < self.login[who]) & ~is_bot
        price, items = self._items(events)
        lines = pc.binary_join_element_wise(
            '{"event_date":"', self.dates.take(pa.array(events.time_us // DAY_US)),
            '","event_timestamp":"', pc.cast(pa.array(events.time_us + self.epoch_us), pa.string()),
            '","event_name":"', pa.array(EVENTS).take(pa.array(events.kind)),
            '","event_id":"', event_id,
            '","event_params":[', self._session_parameters(
                events, key, who, channel=channel, campaign=campaign, noise=noise, started=started
            ),
            price,
            "]", _where(knows, _join(',"user_id":"', self.emails.take(pa.array(who)), '"')),
            ',"user_pseudo_id":"', client,
            '","privacy_info":', _pieces(CONSENTS, self.consent[who]),
            ',"device":', _pieces([_device(d) for d in DEVICES], self.device[who, side.astype(int)]),
            ',"geo":{"country":"', _pieces([c for c, _, _ in COUNTRIES], self.country[who]),
            '"}', _pieces([_source(c, n) for c in CHANNELS for n in CAMPAIGNS], channel * len(CAMPAIGNS) + campaign),
            items,
            ',"platform":"WEB","stream_id":"1000000001","ip":"', self.addresses.take(pa.array(2 * who + side)),
            '","user_agent":"', _pieces([*(d[3] for d in DEVICES), *BOT_AGENTS], self._agents(who, side, is_bot)),
            '"}\n', "",
        )  # fmt: skip
        return Ga4Rows(lines, _join(client, ".", started), event_id)

    def _agents(self, who: NDArray[np.int64], side: NDArray[np.bool_], is_bot: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.where(is_bot, len(DEVICES) + self.agent[who], self.device[who, side.astype(int)])

    def _session_parameters(
        self,
        events: Events,
        key: NDArray[np.uint8],
        who: NDArray[np.int64],
        *,
        channel: NDArray[np.int64],
        campaign: NDArray[np.int64],
        noise: NDArray[np.uint8],
        started: pa.Array,
    ) -> pa.Array:
        """Session number, page address, referrer and search term; a refund has none of them."""
        landing = events.index <= 1
        product = np.maximum(events.product[:, 0], 0)
        on_product = (events.product[:, 0] >= 0) & ~np.isin(events.kind, (CHECKOUT, PURCHASE))
        path = _pieces(["/", "/checkout", "/order/confirmed", "/search"], np.select(
            [events.kind == CHECKOUT, events.kind == PURCHASE, events.kind == SEARCH], [1, 2, 3], 0
        ))  # fmt: skip
        product_id = pc.cast(pa.array(self.catalogue.product_id[product]), pa.string())
        path = pc.if_else(on_product, _join("/product/", product_id), path)
        query = _pieces([_query(c, n) for c in CHANNELS for n in CAMPAIGNS], channel * len(CAMPAIGNS) + campaign)
        click = _where(channel == 2, _join("&gclid=SYNTHETIC", fixed_strings(hexadecimal(key[:, 8:]))))  # noqa: PLR2004
        leak = _where(key[:, LEAK] < 5, _join("&email=", self.emails.take(pa.array(who))))  # noqa: PLR2004
        query = _where(landing, _join("?ref=shop", query, click, leak))
        referrer = _pieces([*(c[2] for c in CHANNELS), HOST + "/"], np.where(landing, channel, len(CHANNELS)))
        referrer = _where(pc.not_equal(referrer, ""), _text_parameter("page_referrer", referrer))
        typed = self.terms.take(pa.array(noise[:, 0] % len(CATEGORIES)))
        typed = pc.if_else(noise[:, 1] < 2, self.emails.take(pa.array(who)), typed)  # noqa: PLR2004
        search = _where(events.kind == SEARCH, _text_parameter("search_term", typed))
        number = _join('{"key":"ga_session_id","value":{"int_value":"', started, '"}}')
        everything = _join(number, _text_parameter("page_location", _join(HOST, path, query)), referrer, search)
        return pc.if_else(
            events.kind == REFUND, '{"key":"refund_origin","value":{"string_value":"server"}}', everything
        )

    def _items(self, events: Events) -> tuple[pa.Array, pa.Array]:
        """Make the currency and value parameters, and the ecommerce and items fields, of each event."""
        product, quantity = events.product.astype(np.int64), events.quantity.astype(np.int64)
        held = product >= 0
        day = np.broadcast_to(events.price_day[:, None], product.shape)
        cents = np.zeros(product.shape, dtype=np.int64)
        cents[held] = unit_cents(self.catalogue, self.calendar, product[held], day[held])
        amounts = _join(
            self.items.take(pa.array(product[held])), money(cents[held]),
            ',"quantity":"', pc.cast(pa.array(quantity[held]), pa.string()), '"}',
        )  # fmt: skip
        place = np.cumsum(held).reshape(held.shape) - 1
        slots = [amounts.take(pa.array(place[:, slot], mask=~held[:, slot])) for slot in range(product.shape[1])]
        # Not null_handling="skip": pyarrow 26 then drops the rows in which every part is null.
        items = _join(pc.fill_null(slots[0], ""), *(pc.fill_null(_join(",", slot), "") for slot in slots[1:]))
        total = (cents * quantity).sum(axis=1)
        value = money(total)
        sold, refunded = events.kind == PURCHASE, events.kind == REFUND
        transaction = pc.utf8_lpad(pc.cast(pa.array(np.maximum(events.order, 0)), pa.string()), 8, "0")
        head = _join(',"ecommerce":{"transaction_id":"T', transaction, '","total_item_quantity":"',
                     pc.cast(pa.array(quantity.sum(axis=1)), pa.string()), '","unique_items":"',
                     pc.cast(pa.array(held.sum(axis=1)), pa.string()), '",')  # fmt: skip
        shipping = np.where(total >= FREE_SHIPPING_FROM, 0, SHIPPING_CENTS)
        purchase = _join(head, '"purchase_revenue":', value, ',"shipping_value":', money(shipping),
                         ',"tax_value":', money(total * TAX // (100 + TAX)), "}")  # fmt: skip
        refund = _join(head, '"refund_value":', value, "}")
        ecommerce = _join(_where(sold, purchase), _where(refunded, refund))
        priced = held.any(axis=1)
        parameters = _join(
            _text_parameter("currency", pa.array([self.config.currency] * len(events))),
            ',{"key":"value","value":{"double_value":', value, "}}",
            _where(sold | refunded, _join(',{"key":"transaction_id","value":{"string_value":"T', transaction, '"}}')),
        )  # fmt: skip
        return _where(priced, parameters), _join(ecommerce, _where(priced, _join(',"items":[', items, "]")))

    def _item(self, product: int) -> str:
        """Everything of an item but its price's digits and what follows them."""
        code = self.catalogue.category_code[self.catalogue.category[product]]
        levels = code.split(".") if code else [NOT_SET] * 3
        names = ("item_category", "item_category2", "item_category3")
        parts = [
            ("item_id", str(self.catalogue.product_id[product])),
            ("item_name", self.catalogue.name[product]),
            ("item_brand", self.catalogue.brand[product] or NOT_SET),
            *zip(names, levels, strict=False),
        ]
        return "{" + ",".join(f'"{name}":"{text}"' for name, text in parts) + ',"price":'


CONSENTS = (
    '{"analytics_storage":"Yes","ads_storage":"Yes"}',
    '{"analytics_storage":"Yes","ads_storage":"No"}',
    '{"analytics_storage":"No","ads_storage":"No"}',
)


def _join(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _where(mask: NDArray[np.bool_] | pa.Array, text: pa.Array) -> pa.Array:
    return pc.if_else(mask, text, "")


def _pieces(pieces: list[str] | tuple[str, ...], index: NDArray[np.int64]) -> pa.Array:
    return pa.array(pieces, pa.string()).take(pa.array(index))


def _text_parameter(name: str, text: pa.Array) -> pa.Array:
    return _join(',{"key":"' + name + '","value":{"string_value":"', text, '"}}')


def _device(device: tuple[str, str, str, str]) -> str:
    category, system, browser, _ = device
    return f'{{"category":"{category}","operating_system":"{system}","web_info":{{"browser":"{browser}"}}}}'


def _source(channel: tuple[str, str, str, int], campaign: str) -> str:
    source, medium, _, _ = channel
    name = f',"manual_campaign_name":"{campaign}"' if medium in PAID else ""
    collected = f'"manual_source":"{source}","manual_medium":"{medium}"{name}'
    collected = f',"collected_traffic_source":{{{collected}}}' if medium != "(none)" else ""
    first = f'"source":"{source}","medium":"{medium}","name":"{campaign if medium in PAID else NOT_SET}"'
    return f',"traffic_source":{{{first}}}{collected}'


def _query(channel: tuple[str, str, str, int], campaign: str) -> str:
    source, medium, _, _ = channel
    return f"&utm_source={source}&utm_medium={medium}&utm_campaign={campaign}" if medium in PAID else ""


def _address(number: int) -> str:
    """Build an address from the ranges kept for documentation (RFC 5737, RFC 3849)."""
    nets = ("192.0.2", "198.51.100", "203.0.113")
    if number % 10 < 3:  # noqa: PLR2004
        return f"2001:db8:{number >> 16 & 0xFFFF:x}:{number & 0xFFFF:x}::1"
    return f"{nets[number % 3]}.{number // 10 % 254 + 1}"
