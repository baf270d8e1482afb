"""How much of what leads to a person is taken out of texts: recall by place, kind, locale and form, on made-up texts.

``--write`` puts the figures into ``docs/privacy.md``, where a test compares them with what is measured now.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

import ibis
import pyarrow as pa

from behavior_assets.privacy.text import clean_label, clean_referrer, clean_search, clean_url
from text_corpus import HARMLESS, HARMLESS_LABELS, HARMLESS_PATHS, KINDS, LOCALES, corpus
from text_hard import hard_corpus

_SHOP = "https://shop.example"
BEGIN, END = "<!-- made by benchmarks/text_recall.py -->", "<!-- end -->"
DOCUMENT = Path(__file__).parents[1] / "docs" / "privacy.md"
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


def found(texts: Sequence[str]) -> dict[str, list[bool]]:
    """By place, whether each text was taken out as a whole."""
    backend = ibis.duckdb.connect()
    told = {}
    for place, (written, clean, gone) in PLACES.items():
        left = _cleaned(backend, clean, [written(text) for text in texts])
        told[place] = [text in gone for text in left]
    return told


def _cleaned(
    backend: ibis.BaseBackend, clean: Callable[[ibis.Value], ibis.Value], texts: Sequence[str]
) -> list[str | None]:
    table = backend.create_table("texts", pa.table({"n": range(len(texts)), "t": list(texts)}), overwrite=True)
    left: list[str | None] = table.select("n", left=clean(table.t)).order_by("n").to_pyarrow()["left"].to_pylist()
    return left


def _worst(told: dict[str, list[bool]], wanted: Iterable[int]) -> float:
    """The least recall that any place has for some of the texts."""
    rows = list(wanted)
    return min(sum(hits[n] for n in rows) / len(rows) for hits in told.values())


def easy() -> dict[str, dict[str, float]]:
    """Recall of the usual forms by kind and locale, in the place that is worst for them."""
    samples = list(corpus())
    told = found([s.text for s in samples])
    return {kind: {place: _worst(told, (n for n, s in enumerate(samples) if (s.kind, s.locale) == (kind, place)))
                   for place in LOCALES} for kind in KINDS}  # fmt: skip


def hard() -> dict[tuple[str, str], dict[str, float]]:
    """Recall of the hard forms by (kind, form) and place."""
    samples = list(hard_corpus())
    told = found([s.text for _, s in samples])
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for n, (form, sample) in enumerate(samples):
        rows[sample.kind, form].append(n)
    return {key: {place: sum(hits[n] for n in ns) / len(ns) for place, hits in told.items()}
            for key, ns in rows.items()}  # fmt: skip


def lost() -> dict[str, tuple[list[str], int]]:
    """By place, harmless texts that are taken away, and of how many."""
    backend = ibis.duckdb.connect()
    kept = {"search": (HARMLESS, clean_search, ""), "campaign": (HARMLESS_LABELS, clean_label, ""),
            "path": (HARMLESS_PATHS, clean_url, "shop.example")}  # fmt: skip
    return {
        place: ([t for t, left in zip(texts, _cleaned(backend, clean, [before + t for t in texts]), strict=True)
                 if left != before + t], len(texts))
        for place, (texts, clean, before) in kept.items()
    }  # fmt: skip


def report() -> str:
    """The figures as they stand in the documentation."""
    usual, tricky = easy(), hard()
    lines = [f"Usual forms, {len(LOCALES)} locales, 40 samples a cell: recall in the place that is worst for them.", "",
             f"| kind | {' | '.join(LOCALES)} |", "|---|" + "---|" * len(LOCALES)]  # fmt: skip
    lines += [f"| {kind} | {' | '.join(f'{row[place]:.2f}' for place in LOCALES)} |" for kind, row in usual.items()]
    whole = [key for key, row in tricky.items() if min(row.values()) == 1]
    told = f"Hard forms, 30 samples each: {len(whole)} of {len(tricky)} are taken out in every place."
    lines += ["", f"{told} These are missed, wholly or in part:", ""]
    lines += ["| kind | form | recall where it is not 1 |", "|---|---|---|"]
    lines += [f"| {kind} | {form} | {', '.join(f'{place} {r:.2f}' for place, r in row.items() if r < 1)} |"
              for (kind, form), row in tricky.items() if min(row.values()) < 1]
    lines += ["", "Harmless texts that are taken away:", ""]
    lines += [f"- {place}: {len(gone)} of {all_}" + (f" ({', '.join(gone)})" if gone else "")
              for place, (gone, all_) in lost().items()]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Print the figures, or put them into the documentation."""
    told = report()
    if "--write" not in sys.argv:
        print(told)
        return
    text = DOCUMENT.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{told}\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
