"""Input formats, one file each: how a source's columns become the canonical event."""

from __future__ import annotations

from pathlib import Path

from behavior_assets.ingestion.sources.base import Source

FORMATS = ("rees46", "taobao", "online_retail", "ga4", "generic")


def load_source(name: str, mapping: Path | None = None) -> Source:
    """The source of a format name; ``generic`` needs its mapping file."""
    from importlib import import_module

    from behavior_assets.ingestion.landing import require_format
    from resources.errors import UsageError

    require_format(name, FORMATS)
    if name == "generic":
        if mapping is None:
            msg = "files and rows of the format generic need --mapping FILE; docs/formats.md shows one."
            raise UsageError(msg)
        from behavior_assets.ingestion.sources.generic import load_mapping

        return load_mapping(mapping)
    source: Source = import_module(f"behavior_assets.ingestion.sources.{name}").SOURCE
    return source
