"""Building the star: what each gold table is computed from, and when it is stale."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime
from functools import cached_property

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from behavior_assets.days import day_of_key, next_day
from behavior_assets.incremental import content, content_now, fingerprint
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import FileEntry, accounted, read_ledger
from behavior_assets.segmentation.months import visits
from behavior_assets.star import dimensions, facts
from behavior_assets.star.cards import CardBuilder
from behavior_assets.star.carts import fact_cart_item, fact_cart_item_since
from behavior_assets.star.customers import CustomerWriter
from behavior_assets.star.scores import ScoreBuilder
from behavior_assets.star.writing import NO_DAY, VERSION, WHOLE
from exports.contract import gold
from resources.compute import parts_of
from resources.parts import Months

_HOUR_US = 3_600_000_000


class StarBuilder(CustomerWriter):
    """Builds gold tables from silver; each method brings one table up to date and returns the parts written."""

    @cached_property
    def ledger(self) -> list[FileEntry]:
        """Every committed file."""
        return read_ledger(self.lake.table(BRONZE_EVENTS))

    @cached_property
    def scores(self) -> ScoreBuilder:
        """The builder of the tables that models fill."""
        return ScoreBuilder(self.compute.local, self.lake, self.settings, self.progress)

    @cached_property
    def cards(self) -> CardBuilder:
        """The builder of the tables that tell of models."""
        return CardBuilder(self.compute.local, self.lake, self.settings)

    # Dimensions and other whole tables

    def dim_date(self) -> list[str]:
        """Whole years around every fact, files' arrivals included."""
        arrivals = [datetime.fromtimestamp(e.arrived_ts_us / 1e6, UTC).date() for e in self.ledger]
        first, last = dimensions.day_range(self.days, arrivals)
        return self._write_whole("dim_date", dimensions.dim_date(first, last))

    def dim_hour(self) -> list[str]:
        """Twenty-four hours."""
        return self._write_whole("dim_hour", dimensions.dim_hour())

    def dim_source(self) -> list[str]:
        """Sources with what they can tell."""
        capabilities: dict[str, dict[str, bool]] = {}
        for entry in self.ledger:
            known = capabilities.setdefault(entry.source, {})
            for name, value in entry.capabilities.items():
                known[name] = known.get(name, False) or value
        members = ibis.memtable(dimensions.dim_source(capabilities))
        made = dimensions.with_keys(members, "dim_source", "source_name", "source_key")
        return self._write_whole("dim_source", made, "source_key")

    def simple(self, kind: str) -> list[str]:
        """dim_channel, dim_device or dim_country."""
        table = f"dim_{kind}"
        values = self._all("silver/sessions").select(value=kind).distinct()
        if kind == "country":
            values = values.union(self._all("silver/commerce_events").select(value="country").distinct())
        key = f"{kind}_key"
        return self._write_whole(table, dimensions.simple_dimension(values.value, table, f"{kind}_name", key), key)

    @cached_property
    def versions(self) -> ir.Table:
        """Product versions, computed once."""
        made = dimensions.product_versions(self._all("silver/product_day"))
        return self.compute.hold("product_versions", made)

    def dim_category(self) -> list[str]:
        """Categories."""
        return self._write_whole("dim_category", dimensions.dim_category(self.versions), "category_key")

    def dim_product(self) -> list[str]:
        """Product versions."""
        made = dimensions.dim_product(self._all("silver/product_day"), self.versions, self._gold("dim_category"))
        return self._write_whole("dim_product", made, "product_key")

    def fact_data_quality(self) -> list[str]:
        """The ledger by source and arrival day."""
        sums: dict[tuple[date, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        names = ("rows_in", "accepted", "quarantined", "duplicate", "suppressed", "late")
        for entry, arrived_us in accounted(self.ledger):
            arrived = datetime.fromtimestamp(arrived_us / 1e6, UTC).date()
            for name in names:
                sums[arrived, entry.source][name] += getattr(entry, name)
        members = self.compute.rows(self._gold("dim_source")).to_pylist()
        keys = {r["source_name"]: r["source_key"] for r in members}
        rows = [
            {"date_key": d.year * 10000 + d.month * 100 + d.day, "source_key": keys[source], **counts}
            for (d, source), counts in sorted(sums.items())
        ]
        spec = gold("fact_data_quality")
        return self._write_whole("fact_data_quality", pa.Table.from_pylist(rows, schema=spec.schema))

    # Facts by day

    @property
    def dims(self) -> facts.Dimensions:
        """The dimension tables as they are in the lake."""
        names = ("channel", "device", "country", "source", "customer", "product")
        return facts.Dimensions(**{n: self._gold(f"dim_{n}") for n in names})

    def _digest(self, table: ir.Table, day: str, key: str) -> dict[str, str]:
        """By day, a number that changes when the set of keys does: an order-independent sum."""
        folded = (table[key] % 1_000_000_007).cast("int64")
        by_day = table.group_by(day=table[day]).agg(total=folded.sum().cast("int64"), n=table.count())
        found = self.compute.rows(by_day)
        return {
            r["day"].isoformat(): f"{r['total']}:{r['n']}" for r in found.to_pylist() if r["day"] is not None
        }

    def _product_digest(self) -> dict[str, str]:
        """By day, the product versions that its facts point at."""
        days = self._all("silver/product_day").select("event_date", "product_id")
        return self._digest(facts.with_product(days, self._gold("dim_product"), "event_date"), "event_date",
                            "product_key")  # fmt: skip

    def fact_session(self) -> list[str]:
        """Sessions; a day is stale when its sessions or the set of its new customers changed."""
        live = self._silver("silver/sessions").parts()
        new = self._digest(self._gold("dim_customer"), "first_seen_date", "customer_key")
        inputs = {d: fingerprint(content(live[d]), new.get(d, "")) for d in self.days}
        dims = self.dims

        def build(days: list[str]) -> ir.Table:
            return facts.fact_session(parts_of(self.compute, self._silver("silver/sessions"), days), dims)

        rows = {d: sum(f.rows for f in files) for d, files in live.items()}
        return self._write_days("fact_session", inputs, rows, build, "date_key")

    def fact_sales(self) -> list[str]:
        """Order lines; a day is stale when its lines, sessions, product versions or first orders changed."""
        live = self._silver("silver/commerce_events").parts()
        sessions = self._silver("silver/sessions").parts()
        products = self._product_digest()
        customer_days = self._customer_days.filter(self._customer_days.first_order_ts_us.notnull())
        first_orders = self.compute.hold(
            "first_orders",
            customer_days.group_by("customer_key").agg(first_order_ts_us=customer_days.first_order_ts_us.min()),
        )  # fmt: skip
        firsts = self._digest(self._gold("dim_customer"), "first_order_date", "customer_key")
        inputs = {
            d: fingerprint(
                content(live[d]), products.get(d, ""), firsts.get(d, ""),
                *(content(sessions.get(s, [])) for s in self._reaching(d)),
            )
            for d in live if d not in self.held
        }  # fmt: skip
        dims = self.dims

        def build(days: list[str]) -> ir.Table:
            lines = parts_of(self.compute, self._silver("silver/commerce_events"), days)
            around = sorted({s for d in days for s in self._reaching(d)})
            booked = parts_of(self.compute, self._silver("silver/sessions"), around)
            return facts.fact_sales(lines, booked, first_orders, dims)

        rows = {d: sum(f.rows for f in files) for d, files in live.items()}
        return self._write_days("fact_sales", inputs, rows, build, "date_key")

    def _reaching(self, day: str) -> list[str]:
        """Days whose sessions can hold an event of this day."""
        return [next_day(day, -2), next_day(day, -1), day]

    def fact_product_day(self) -> list[str]:
        """Products by day; stale when the day's counts or the versions they point at changed."""
        live = self._silver("silver/product_day").parts()
        products = self._product_digest()
        inputs = {d: fingerprint(content_now(live[d]), products.get(d, "")) for d in live if d not in self.held}
        dims = self.dims

        def build(days: list[str]) -> ir.Table:
            return facts.fact_product_day(parts_of(self.compute, self._silver("silver/product_day"), days), dims)

        rows = {d: sum(f.rows for f in files) for d, files in live.items()}
        return self._write_days("fact_product_day", inputs, rows, build, "date_key")

    def fact_cart_item(self) -> list[str]:
        """Cart lives over all time, written where a month or day of adding changed."""
        ends = self._all("silver/sessions").end_ts_us
        newest = self.compute.rows(ends.max().name("newest").as_table())["newest"][0].as_py()
        window = self.settings.cart_abandonment_hours * _HOUR_US
        made_of = self._all("silver/commerce_events"), self._gold("dim_product"), window, int(newest or 0)
        later = self._later("fact_cart_item")
        if later is None:
            made = fact_cart_item(*made_of)
        else:
            before = self._gold("fact_cart_item")
            first = self._first_touch(before, later, int(newest or 0) - window)
            made = fact_cart_item_since(before, first, *made_of)
        return self._write_by_content("fact_cart_item", made, ["added_date_key", "cart_key"])

    def _first_touch(self, before: ir.Table, later: list[str], abandoned_us: int) -> date:
        """The first day whose touches can change a cart: of those to come, of open ones, of those open once more."""
        still_open = before.filter(before.status == "open").last_date_key.min().name("first").as_table()
        key = self.compute.rows(still_open)["first"][0].as_py()
        opened = [day_of_key(key)] if key else []
        # The newest event may be an earlier one than before. A shop's day begins up to a day before UTC's.
        abandoned = datetime.fromtimestamp(abandoned_us / 1e6, UTC).date().isoformat()
        return date.fromisoformat(min([*opened, *later, next_day(abandoned, -1)]))

    def fact_customer_month(self) -> list[str]:
        """Customers at the end of each closed month; one is stale when what was known by then changed.

        Else it stays: ranks of the others are not told anew because somebody was taken out.
        """
        target, newest = self.lake.table(gold("fact_customer_month")), max(self.days, default=NO_DAY)
        parts = Months(newest)
        expected = {parts.part_of(end.isoformat()): mark for end, mark in self._known_by(self.month_ends).items()}
        recorded = target.fingerprints()
        stale = [end for end in self.month_ends
                 if recorded.get(p := parts.part_of(end.isoformat())) != expected[p]]  # fmt: skip
        files = []
        if stale:
            scored = self.scores.customer_values(stale)
            made = facts.fact_customer_month(self._customer_days, self._visits, self._ends(stale), scored)
            marks = {p: expected[p] for p in (parts.part_of(end.isoformat()) for end in stale)}
            files = self.compute.write(target, made, parts, marks, order=["date_key", "customer_key"])()
        elif not expected and WHOLE not in recorded:
            files = [target.write(WHOLE, VERSION, [])]
        gone = [p for p in recorded if p not in (expected or {WHOLE})]
        if files or gone:
            target.commit(files, drop=gone)
        return [f.part for f in files]

    def _known_by(self, ends: list[date]) -> dict[date, str]:
        """By month end, a digest of the days until then and of the model that scores them."""
        tables = [self._silver(n).parts() for n in ("silver/customer_day", "silver/sessions", "silver/commerce_events")]
        found, digest, left = {}, fingerprint(VERSION, self.settings.timezone, self.scores.value_version), self.days
        for end in ends:
            until = [d for d in left if d <= end.isoformat()]
            left = left[len(until):]
            digest = fingerprint(digest, *(content(live.get(d, [])) for d in until for live in tables))
            found[end] = digest
        return found

    @property
    def _visits(self) -> ir.Table:
        return visits(self._all("silver/sessions"), self._all("silver/commerce_events"))
