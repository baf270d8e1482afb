"""The database that ``behavior.toml`` names: every snapshot is published to it."""

from __future__ import annotations

from exports.sql.publish import SqlPublished
from resources.settings import Settings


def older_copies(settings: Settings) -> list[str]:
    """Publish the current snapshot, where a database is named; what is left there of older ones, with the reason."""
    done = publish_to_setting(settings)
    return [f"{done.database}: {left}" for left in done.left] if done else []


def publish_to_setting(settings: Settings) -> SqlPublished | None:
    """Publish the current snapshot to the database of ``publish_to``; None where none is set."""
    if not settings.publish_to:
        return None
    from exports.sql.publish import publish
    from exports.sql.target import Target

    odbc = settings.publish_to.removeprefix("odbc:")
    target = Target.parse("", odbc) if odbc != settings.publish_to else Target.parse(settings.publish_to)
    readers = tuple(r.strip() for r in settings.publish_readers.split(",") if r.strip())
    return publish(settings, target, settings.publish_schema, readers)
