"""What in a text may lead to a person: e-mail addresses, telephone, card and account numbers, national ids, tokens.

Patterns are RE2's (DuckDB) and Java's (Spark) alike. They look at shapes, not at check digits: a number with a typing
error is still somebody's. ``benchmarks/text_recall.py`` measures what they find and what they miss.
"""

from __future__ import annotations

import ibis.expr.types as ir

_DIGIT = r"\p{Nd}"
# "At" in the languages of the shops that we know, said aloud.
_AT = "arroba|arobase|chiocciola|małpa|apenstaartje|snabel-?a|klammeraffe"
# The sign itself, as URLs, pages and other alphabets write it, and the ways in which people hide it from programs.
EMAIL = (
    r"[@\x{FF20}\x{FE6B}]|%(?:25)*40|(?i:(?:&|%26)(?:#|%23)(?:64|x40)|&commat)|(?i:[\[({]\s*at\s*[\])}])"
    r"|(?i:\sat\s+\S+(?:\s+dot\s+|\.)\S)"
    r"|(?i:[\s_\-]at[\s_\-][^\s/]+(?:[\s_\-]dot[\s_\-][a-z]|\.(?:com|net|org|info|eu|[a-z]{2})\b))"
    rf"|(?i:[\s_\-](?:{_AT})[\s_\-])|(?i:[a-z0-9](?:#|%23)[a-z0-9\-]+\.[a-z]{{2}})"
)
_UNSEEN = r"\x{A0}\x{AD}\x{200B}-\x{200F}\x{2010}-\x{2015}\x{2060}\x{FEFF}"  # and dashes that are no hyphen


def _spread(count: int, between: str) -> str:
    """So many digits, whatever few signs people write between them."""
    return rf"{_DIGIT}(?:(?:[ .,\-_()+{_UNSEEN}]{between}){{0,3}}{_DIGIT}){{{count - 1},}}"


# Account numbers: country, check digits, then groups of letters and digits.
IBAN = r"(?i:\b[a-z]{2}\p{Nd}{2}(?:[ .,\-_+]?[a-z0-9]{4}){2,7}(?:[ .,\-_+]?[a-z0-9]{1,4})?\b)"
_GAP = r"[ .\-]?"
_LETTER, _TWO = rf"{_GAP}[a-z]", rf"(?:{_GAP}\p{{Nd}}){{2}}"
# Ids whose letters stand between so few digits that a run of digits does not tell them.
NATIONAL = "|".join((
    rf"(?i:[a-z](?:{_LETTER}){{5}}(?:{_TWO}{_LETTER}){{2}}(?:{_GAP}\p{{Nd}}){{3}}{_LETTER})",  # Italy
    rf"(?i:\b[a-z]{{2}}(?:{_GAP}\p{{Nd}}{{2}}){{3}}{_GAP}[a-d]\b)",  # United Kingdom
    rf"(?i:(?:\p{{Nd}}{{8}}|\b[xyz]{_GAP}\p{{Nd}}{{7}}){_GAP}[a-z]\b)",  # Spain
    rf"(?i:\b[12](?:{_GAP}\p{{Nd}}{{2}}){{2}}{_GAP}2[ab](?:{_GAP}\p{{Nd}}{{3}}){{2}})",  # Corsica
    r"(?i:\b[a-z]{4}\p{Nd}{6}[a-z]{6}[a-z0-9]{2}\b)",  # Mexico
))  # fmt: skip
_OPAQUE = r"[A-Za-z0-9_\-]{24,}"  # a key or a session
LINK = r"(?i:https?:|www\.)"
# Digits and signs that hide behind escapes: of plain digits, of other alphabets, of what is not seen.
ESCAPED = r"(?i:%3[0-9]|%E2%8[01]|%D9%A|%DB%B|%EF%B[BC]|%F0%9D%9F)"

IN_TEXT = "|".join((EMAIL, _spread(6, "|/"), rf"{_DIGIT}{{5,}}", rf"\+{_DIGIT}", IBAN, NATIONAL, LINK))
IN_VALUE = "|".join((EMAIL, _spread(6, ""), IBAN, NATIONAL, _OPAQUE, ESCAPED))
# Dates and model names stand in paths, so there it takes more digits, and those of one piece.
IN_PIECE = "|".join((EMAIL, _spread(7, "|%2[Ff]"), rf"{_DIGIT}{{6,}}", IBAN, NATIONAL, _OPAQUE, ESCAPED))
# Campaigns are called by dates (20240623) and numbers of the advertiser's own.
IN_LABEL = "|".join((EMAIL, _spread(9, "|/|%(?:25)*2[0-9A-Fa-f]"), IBAN, NATIONAL, LINK))


def personal(text: ir.StringValue, pattern: str = IN_TEXT) -> ir.BooleanValue:
    """Whether a text holds something that may lead to a person."""
    return text.re_search(pattern)
