"""The same made-up persons as in ``text_corpus``, written as people write who hide something, or whose program does."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

from text_corpus import LOCALES, Sample, plain

Form = Callable[[str], str]
_WORDS = dict(zip("0123456789", ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
                  strict=True))  # fmt: skip


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _grouped(text: str, between: str, size: int = 4) -> str:
    return between.join(text[n : n + size] for n in range(0, len(text), size))


def _in_digits_from(zero: int) -> Form:
    """Digits of another alphabet, whose zero has this code point."""
    return lambda text: "".join(chr(zero + int(c)) if c in _WORDS else c for c in text)


def _said(text: str) -> str:
    return " ".join(_WORDS[c] for c in _digits(text))


def _with(at: str, dot: str = ".") -> Form:
    return lambda text: text.split("@")[0] + at + text.split("@")[1].replace(".", dot)


_ANY_NUMBER: dict[str, Form] = {
    "Arabic digits": _in_digits_from(0x660), "full-width digits": _in_digits_from(0xFF10),
    "bold mathematical digits": _in_digits_from(0x1D7CE),
    "a blank after every digit": lambda t: " ".join(t.replace(" ", "")),
    "a zero-width space in the middle": lambda t: f"{t[: len(t) // 2]}\u200b{t[len(t) // 2 :]}",
    "glued between words": lambda t: f"number{t}thanks",
    "URL-encoded twice": lambda t: quote(quote(t, safe=""), safe=""),
    "digits as words": _said,
}  # fmt: skip
HARD: dict[str, dict[str, Form]] = {
    "e-mail": {
        "name (at) host (dot) tld": _with(" (at) ", " (dot) "), "name[at]host.tld": _with("[at]"),
        "name AT host DOT tld": _with(" AT ", " DOT "), "name_at_host_dot_tld": _with("_at_", "_dot_"),
        "name @ host . tld": _with(" @ ", " . "), "full-width sign": _with("\uff20"), "HTML entity": _with("&#64;"),
        "URL-encoded twice": _with("%2540"), "unicode host": lambda t: t.split("@")[0] + "@bücher.example",
        "punycode host": lambda t: t.split("@")[0] + "@xn--bcher-kva.example",
        "quoted local part": lambda t: f'"{t.split("@")[0]}"@example.org', "mailto: link": "mailto:{}".format,
        "a zero-width space in the middle": lambda t: t.replace("@", "\u200b@"), "name arroba host punto tld":
        _with(" arroba ", " punto "), "name#host.tld": _with("#"), "nameathost.tld": _with("at"),
    },
    "phone": {
        "no plus, letters before": lambda t: "tel" + _digits(t), "letters between": lambda t: "t" + _digits(t) + "ext",
        "a blank and a dash": lambda t: _grouped(_digits(t), " - ", 3), "O for zero":
        lambda t: _grouped(_digits(t).replace("0", "O"), " ", 3), "commas between":
        lambda t: _grouped(_digits(t), ",", 3),
        **_ANY_NUMBER,
    },
    "card": {
        "mixed separators": lambda t: "{}-{} {}.{}".format(*(_digits(t)[n : n + 4] for n in (0, 4, 8, 12))),
        "slashes and blanks": lambda t: _grouped(_digits(t), " / "), "underscores": lambda t: _grouped(_digits(t), "_"),
        "commas between": lambda t: _grouped(_digits(t), ","), "first six and last four only":
        lambda t: f"{_digits(t)[:6]}******{_digits(t)[-4:]}", **_ANY_NUMBER,
    },
    "IBAN": {
        "lower case with blanks": lambda t: _grouped(t.lower(), " "), "dots": lambda t: _grouped(t, "."),
        "dashes": lambda t: _grouped(t, "-"), "commas between": lambda t: _grouped(t, ","),
        "threes": lambda t: _grouped(t, " ", 3), "behind the word IBAN": "iban{}".format,
        **{k: v for k, v in _ANY_NUMBER.items() if k != "digits as words"},
    },
    "national id": {
        "lower case": str.lower, "no separators": lambda t: re.sub(r"[ .\-+]", "", t),
        "dots between all groups of three": lambda t: _grouped(re.sub(r"[ .\-+]", "", t), ".", 3),
        "dashes between all groups of two": lambda t: _grouped(re.sub(r"[ .\-+]", "", t), "-", 2), **_ANY_NUMBER,
    },
}  # fmt: skip


def hard_corpus(seed: int = 7, each: int = 3) -> Iterator[tuple[str, Sample]]:
    """Every hard form with ``each`` samples of every locale."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    for kind, forms in HARD.items():
        for form, write in forms.items():
            for locale in LOCALES:
                for _ in range(each):
                    yield form, Sample(locale, kind, write(plain(kind, locale, dice)))
