"""Free text that may name a person: URLs, referrers, searches and user agents, reduced by allow-list."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

ALLOWED_PARAMETERS = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "page", "sort", "category")
_VALUE = r"([A-Za-z0-9_.\-]{1,40})(?:[&#]|$)"
# A path piece that carries an address, a long number or a token is not a page.
_PERSONAL_PIECE = r"/[^/]*(?:@|%40|[0-9]{6,}|[A-Za-z0-9_\-]{24,})[^/]*"
_BOT = (
    r"(?i)(bot\b|bot/|crawl|spider|slurp|headless|phantomjs|selenium|curl/|wget/|python-requests|scrapy|"
    r"httpclient|facebookexternalhit|lighthouse|monitor)"
)


def clean_url(url: ir.StringValue) -> ir.StringValue:
    """Host and path, with only allow-listed query parameters of harmless values; no fragment."""
    base = url.re_extract(r"^(?:https?://)?(?:[^/?#@]*@)?([^/?#@]*(?:/[^?#]*)?)", 1).re_replace(_PERSONAL_PIECE, "/-")
    kept: list[ir.StringValue] = []
    for name in ALLOWED_PARAMETERS:
        value = url.re_extract(rf"[?&]{name}={_VALUE}", 1)
        harmless = value.length() > 0
        personal = value.re_search("[0-9]{6,}")
        kept.append(ibis.ifelse(harmless & ~personal, f"{name}=" + value + "&", ""))
    query = kept[0]
    for piece in kept[1:]:
        query = query + piece
    query = query.re_replace("&$", "")
    return ibis.ifelse(query.length() > 0, base + "?" + query, base)


def clean_referrer(referrer: ir.StringValue) -> ir.StringValue:
    """Only the host: paths and queries of other sites are none of our business."""
    host = r"^(?:[A-Za-z\-]+://)?(?:[^/?#@]*@)?([A-Za-z0-9.\-]+)(?::[0-9]+)?(?:[/?#]|$)"
    return referrer.re_extract(host, 1).nullif("")


def clean_search(search: ir.StringValue) -> ir.StringValue:
    """A search term of letters, single numbers and spaces; one that holds an address or a long number is dropped."""
    personal = search.re_search(r"@|%40|[0-9]{5,}|https?:|\+[0-9]")
    plain = search.re_search(r"^[\p{L}\p{N} .,'&/\-]{1,60}$")
    return ibis.ifelse(plain & ~personal, search.lower(), ibis.null("string"))


def clean_label(label: ir.StringValue) -> ir.StringValue:
    """A campaign's or channel's name; one that holds an address or a long number becomes "(removed)"."""
    return ibis.ifelse(label.re_search(r"@|%40|[0-9]{9,}"), "(removed)", label)


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
