"""Whether an event may show who it is of: as a pure Ibis expression over bronze, before any key is made."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from behavior_assets.privacy.consents import ID_KINDS
from behavior_assets.privacy.normal import normal_ids

# Why an event is without consent; the first that is true tells.
GPC, DENIED, WITHDRAWN, ABSENT, AUDIENCE = REASONS = ("gpc", "denied", "withdrawn", "absent", "audience")


def may_deny(filled: set[str] | None, people: ir.Table | None, consent_when_absent: str, profile: str) -> bool:
    """Whether any event can be without consent; ``filled``: bronze columns that hold anything, None if not known."""
    says = filled is None or bool(filled & {"consent", "gpc"})
    return says or people is not None or consent_when_absent == DENIED or profile == AUDIENCE


def with_consent(events: ir.Table, people: ir.Table | None, consent_when_absent: str, profile: str) -> ir.Table:
    """Bronze events with ``consent_reason`` (NULL: granted), and without a person where there is one.

    ``people``: ``consents.governed``. What an event says of itself stands before what a person decided, except where
    that is a denial: whoever said no last, or sends Global Privacy Control, is not recognised.
    """
    no, yes = ibis.literal(value=False), ibis.literal(value=False)
    if people is not None:
        for kind, column in ID_KINDS.items():
            mine = people.filter(people.id_kind == kind)
            mine = mine.select(person="subject", until="denied_until_us", since="granted_from_us")
            events = events.left_join(mine, normal_ids(events[column]) == mine.person).drop("person")
            events = events.rename({f"{kind}_until": "until", f"{kind}_since": "since"})
            no |= ibis.coalesce(events.event_ts_us < events[f"{kind}_until"], False)
            yes |= ibis.coalesce(events.event_ts_us >= events[f"{kind}_since"], False)
    own = events.consent
    reason = ibis.cases(
        (ibis.coalesce(events.gpc, False), GPC),
        (ibis.coalesce(own == DENIED, False), DENIED),
        (no, WITHDRAWN),
        (own.isnull() & ~yes & (consent_when_absent == DENIED), ABSENT),
        (ibis.literal(profile == AUDIENCE), AUDIENCE),
        else_=ibis.null("string"),
    )
    events = events.mutate(consent_reason=reason)
    granted, nobody = events.consent_reason.isnull(), ibis.null("string")
    return events.mutate(**{column: ibis.ifelse(granted, events[column], nobody) for column in ID_KINDS.values()})
