"""Free text that may name a person: URLs, referrers, searches and user agents, reduced by allow-list."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from behavior_assets.privacy.detectors import IN_LABEL, IN_PIECE, IN_VALUE, personal

ALLOWED_PARAMETERS = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "page", "sort", "category")
_LONGEST_SEARCH = 60
_ALLOWED = rf"^(?:{'|'.join(ALLOWED_PARAMETERS)})=[A-Za-z0-9_.\-]{{1,40}}$"
_PERSONAL_PIECE = rf"/[^/]*(?:{IN_PIECE})[^/]*"  # not a page
# What may hide a shape from the detectors: escapes of escapes, of spaces and of signs.
_ESCAPES = (("%(?:25)+", "%"), ("(?i)(?:%20|%C2%A0|%09)+", "-"), ("(?i)%2B", "+"), ("(?i)%28|%5B|%7B", "("),
            ("(?i)%29|%5D|%7D", ")"), ("(?i)%2D", "-"), ("(?i)%2E", "."), ("(?i)%2C", ","))  # fmt: skip
_BOT = (
    r"(?i)(bot\b|bot/|crawl|spider|slurp|headless|phantomjs|selenium|curl/|wget/|python-requests|scrapy|"
    r"httpclient|facebookexternalhit|lighthouse|monitor)"
)


def clean_url(url: ir.StringValue) -> ir.StringValue:
    """Host and path, with only allow-listed query parameters of harmless values; no fragment."""
    base = url.re_extract(r"^(?:https?://)?(?:[^/?#@]*@)?([^/?#@]*(?:/[^?#]*)?)", 1)
    plain = base
    for escaped, sign in _ESCAPES:
        plain = plain.re_replace(escaped, sign)
    base = ibis.ifelse(url.contains("%"), plain, base).re_replace(_PERSONAL_PIECE, "/-")
    pieces = url.re_extract(r"\?([^#]*)", 1).split("&")
    kept = pieces.filter(lambda piece: piece.re_search(_ALLOWED) & ~personal(piece, IN_VALUE)).join("&")
    return base + ibis.coalesce("?" + kept.nullif(""), "")


def clean_referrer(referrer: ir.StringValue) -> ir.StringValue:
    """Only the host: paths and queries of other sites are none of our business."""
    host = r"^(?:[A-Za-z\-]+://)?(?:[^/?#@]*@)?([A-Za-z0-9.\-]+)(?::[0-9]+)?(?:[/?#]|$)"
    return referrer.re_extract(host, 1).nullif("")


def clean_search(search: ir.StringValue) -> ir.StringValue:
    """A search term of letters, single numbers and spaces; one that may lead to a person is dropped."""
    plain = (search.length() <= _LONGEST_SEARCH) & search.re_search(r"^[\p{L}\p{N} .,'&/\-]+$")
    return ibis.ifelse(plain & ~personal(search), search.lower(), ibis.null("string"))


def clean_label(label: ir.StringValue) -> ir.StringValue:
    """A campaign's or channel's name; one that may lead to a person becomes "(removed)"."""
    return ibis.ifelse(personal(label, IN_LABEL), "(removed)", label)


def looks_like_bot(agent: ir.StringValue) -> ir.BooleanValue:
    """Whether a user agent says that it is a program."""
    return agent.re_search(_BOT)


def device_family(agent: ir.StringValue) -> ir.StringValue:
    """desktop, mobile or tablet, from the user agent."""
    return ibis.cases(
        (agent.isnull(), ibis.null("string")),
        (agent.re_search(r"(?i)ipad|tablet|kindle|silk/"), "tablet"),
        (agent.re_search(r"(?i)mobi|iphone|ipod|android"), "mobile"),
        (agent.re_search(r"(?i)windows|macintosh|linux|x11|cros"), "desktop"),
        else_="other",
    )


def browser_family(agent: ir.StringValue) -> ir.StringValue:
    """The browser's family without version, from the user agent."""
    families = (
        ("(?i)edg(e|a|ios)?/", "Edge"), ("(?i)opr/|opera", "Opera"), ("(?i)samsungbrowser", "Samsung Internet"),
        ("(?i)firefox|fxios", "Firefox"), ("(?i)chrome|crios", "Chrome"), ("(?i)safari", "Safari"),
    )  # fmt: skip
    return ibis.cases(
        (agent.isnull(), ibis.null("string")), *((agent.re_search(p), name) for p, name in families), else_="Other"
    )
