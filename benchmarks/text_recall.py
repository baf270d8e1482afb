"""How much of what leads to a person is taken out of texts: recall by place, kind and locale on a made-up corpus."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from urllib.parse import quote

import ibis
import pyarrow as pa

from behavior_assets.privacy.text import clean_label, clean_referrer, clean_search, clean_url
from text_corpus import HARMLESS, Sample, corpus

_SHOP = "https://shop.example"
# Place: how a text comes there, what cleans it, and what is left where nothing of it is.
PLACES: dict[str, tuple[Callable[[str], str], Callable[[ibis.Value], ibis.Value], set[str | None]]] = {
    "search": (str, clean_search, {None}),
    "campaign": (str, clean_label, {"(removed)"}),
    "parameter": (lambda t: f"{_SHOP}/p?utm_content={quote(t)}", clean_url, {"shop.example/p"}),
    "parameter, joined by -": (lambda t: f"{_SHOP}/p?utm_content={quote(t.replace(' ', '-'))}", clean_url,
                               {"shop.example/p"}),
    "other parameter": (lambda t: f"{_SHOP}/p?q={quote(t)}", clean_url, {"shop.example/p"}),
    "path": (lambda t: f"{_SHOP}/account/{quote(t, safe='')}/page", clean_url, {"shop.example/account/-/page"}),
    "path, joined by -": (lambda t: f"{_SHOP}/account/{quote(t.replace(' ', '-'), safe='')}/page", clean_url,
                          {"shop.example/account/-/page"}),
    "referrer": (lambda t: f"https://mail.example/{quote(t, safe='')}?q={quote(t)}", clean_referrer, {"mail.example"}),
}  # fmt: skip


def found(samples: list[Sample]) -> dict[str, list[bool]]:
    """By place, whether each sample was taken out as a whole."""
    backend = ibis.duckdb.connect()
    told = {}
    for place, (written, clean, gone) in PLACES.items():
        rows = pa.table({"n": range(len(samples)), "t": [written(s.text) for s in samples]})
        table = backend.create_table("texts", rows, overwrite=True)
        left = table.select("n", left=clean(table.t)).order_by("n").to_pyarrow()["left"].to_pylist()
        told[place] = [text in gone for text in left]
    return told


def main() -> None:
    """Print recall, misses by form, and what of harmless searches is lost."""
    samples = list(corpus())
    told = found(samples)
    print(f"{len(samples):,} samples, {len({s.locale for s in samples})} locales")
    for place, hits in told.items():
        misses: dict[str, Counter[str]] = defaultdict(Counter)
        for sample, hit in zip(samples, hits, strict=True):
            if not hit:
                shape = "".join("9" if c.isdigit() else "a" if c.isalpha() else c for c in sample.text)
                misses[f"{sample.kind}, {sample.locale}"][shape] += 1
        print(f"{place:<24} recall {sum(hits) / len(hits):.4f}")
        for kind, shapes in misses.items():
            shown = ", ".join(shape for shape, _ in shapes.most_common(3))
            print(f"    missed {kind}: {sum(shapes.values())}, such as {shown}")
    harmless = found([Sample("", "", text) for text in HARMLESS])["search"]
    lost = [text for text, hit in zip(HARMLESS, harmless, strict=True) if hit]
    print(f"harmless searches lost: {len(lost)} of {len(HARMLESS)}: {', '.join(lost)}")


if __name__ == "__main__":
    main()
