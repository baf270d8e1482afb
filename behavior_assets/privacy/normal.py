"""One spelling per person: what an id is brought to before a pseudonym or a suppression token is made of it.

White space around an id is no part of it, and the letters A to Z of an e-mail address have no case. Nothing else is
touched: of other ids nobody knows whether ``a7`` and ``A7`` are one person. Both functions give the same for every
text (``tests/test_keys.py``), which is why neither leaves anything to an engine's tables of Unicode.
"""

from __future__ import annotations

import re
import string
from enum import StrEnum
from urllib.parse import unquote

import ibis.expr.types as ir

_SPACE = (
    " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_OF_IDS = "0-9A-Za-z._%+@-"  # what ids are made of
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class IdOf(StrEnum):
    """What an id is of. Short ones of different kinds may be the same number."""

    person = "person"
    visit = "visit"
    order = "order"


def normal_id(value: str) -> str | None:
    """An id as pseudonyms and tokens are made of it; None where nothing is left of it."""
    text = value.strip(_SPACE)
    before, _, after = text.partition("@")
    is_mail = before and after and "@" not in after
    return (text.translate(_LOWER) if is_mail else text) or None


def normal_ids(value: ir.StringValue) -> ir.StringValue:
    """The same of a column."""
    text = value.re_replace(f"^[{_SPACE}]+|[{_SPACE}]+$", "")
    is_mail = text.re_search("^[^@]+@[^@]+$")
    mail = text.translate(string.ascii_uppercase, string.ascii_lowercase)
    return is_mail.ifelse(mail, text).nullif("")


def is_within(value: str, text: str) -> bool:
    """Whether a text holds an id with nothing beside it that could make another id of it, like joann@ of ann@."""
    alone = rf"(?<![{_OF_IDS}]){re.escape(value)}(?![{_OF_IDS}])"
    return any(re.search(alone, t, re.IGNORECASE) for t in (text, unquote(text)))
