"""The home folder and its settings (``behavior.toml``), read when asked and never at import."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from resources.disk import disk_errors, make_folder, write_whole
from resources.errors import FileInTheWayError, IntegrityError, UsageError

SETTINGS_FILE = "behavior.toml"
DEFAULT_HOME = "data"
ZONE_KEY = "behavior.timezone"  # in the metadata of bronze's commits: the zone that its days were told by
GIB = 1024**3


def _default_memory_limit() -> int:
    """Bytes: the smaller of 4 GiB and half of the machine (DESIGN §8)."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        machine = 8 * GIB
    return min(4 * GIB, machine // 2)


@dataclass(frozen=True)
class Home:
    """The folders of DESIGN §4 below one root."""

    root: Path

    @property
    def landing(self) -> Path:
        """Where event files are dropped, in a folder named after their format."""
        return self.root / "landing"

    @property
    def refused(self) -> Path:
        """Where files go that were refused as a whole."""
        return self.landing / ".refused"

    @property
    def archive(self) -> Path:
        """Landed files after their commit."""
        return self.root / "archive"

    @property
    def lake(self) -> Path:
        """The Delta tables."""
        return self.root / "lake"

    @property
    def staging(self) -> Path:
        """Files being read; emptied when a run ends."""
        return self.root / "lake" / ".staging"

    @property
    def exports(self) -> Path:
        """Published snapshots."""
        return self.root / "exports"

    @property
    def models(self) -> Path:
        """Trained models, by name and version."""
        return self.root / "models"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME."""
        return self.root / "dagster"

    @property
    def settings_file(self) -> Path:
        """``behavior.toml``."""
        return self.root / SETTINGS_FILE


@dataclass(frozen=True)
class Settings:
    """Everything a user can set in ``behavior.toml``; the fields' comments are their documentation."""

    home: Home
    timezone: str = ""  # the shop's zone; empty while neither the user nor a first file has decided
    currency: str = ""  # the shop's currency; empty: as the source says
    first_day: date = date(2000, 1, 1)  # earliest event day; partitions of the Dagster graph start here
    session_gap_minutes: int = 30  # a longer silence starts a new session
    session_cap_hours: int = 24  # a chain of events is cut after this long
    cart_abandonment_hours: int = 24  # a cart untouched for so long counts as abandoned
    consent_when_absent: str = "granted"  # for sources that say nothing: "granted" or "denied"
    profile: str = "full"  # "audience": nobody is recognised again, visits are only counted
    key_file: str = ""  # path of the pseudonym key; default <home>/keys/pseudonym.key
    key_window_days: int = 30  # so long after a rotation the former key and its map are kept
    ipv4_prefix: int = 24  # bits of an IPv4 address that are kept: 24 or 16
    engine: str = "duckdb"  # what computes the tables from silver events on: "duckdb" or "spark"
    spark_remote: str = ""  # sc://host:port of a Spark Connect server, or a cluster's master; empty: this machine
    spark_jars: str = ""  # folder with the jars of Delta Lake; empty: asked for by their Maven coordinates
    lake_store: str = ""  # s3://bucket/folder, az://… or gs://…: where the lake is kept; empty: in the home alone
    store_endpoint: str = ""  # URL of the server that speaks S3, or of the Azure emulator; empty: the provider's own
    store_region: str = ""  # region of the bucket; empty: as the environment says
    lake_cache: int = 50 * GIB  # bytes of a stored lake's data files that stay on this machine between runs
    memory_limit: int = field(default_factory=_default_memory_limit)  # bytes for DuckDB
    threads: int = field(default_factory=lambda: os.cpu_count() or 2)
    chunk_rows: int = 2_000_000  # rows worked on at a time (see summed_rows); what bounds memory
    snapshots_kept: int = 3  # published snapshots that stay whole
    vacuum_grace_hours: int = 24  # files of the lake that no version needs any more stay so long, for their readers
    erase_within_days: int = 30  # an erasure that is not verified so long after it was asked for is overdue
    retrain_within_days: int = 30  # a model that has learned from an erased person is trained anew or retired by then
    keep_landing_days: int = 0  # of refused files; this and the next: how long `behavior retain` keeps, 0: for ever
    keep_archive_days: int = 0  # of originals, from their arrival
    keep_quarantine_days: int = 0  # of rows that could not be accepted, from their arrival
    keep_bronze_days: int = 0  # of events, from their day
    keep_silver_days: int = 0  # of events, sessions and what is made of them, from their day
    keep_gold_days: int = 0  # of facts, from their day; a customer without any leaves as well
    keep_models_days: int = 0  # of versions that do not serve, from the last day of their data
    keep_exports_days: int = 0  # of snapshots but the current one, from their publication
    train_models: bool = True  # false: no run and no schedule trains; what serves goes on scoring
    archive: bool = True  # keep a copy of every committed file
    max_field_bytes: int = 2_000_000  # a longer record is quarantined as oversize
    publish_to: str = ""  # a database that every snapshot is published to: URL or ODBC connection; empty: none
    publish_schema: str = "mart"  # the schema there
    publish_readers: str = ""  # roles that may read it, separated by commas

    @property
    def summed_rows(self) -> int:
        """Rows that are summed up at a time: what comes of them takes a fraction of their memory."""
        return 3 * self.chunk_rows

    @property
    def key_path(self) -> Path:
        """Where the pseudonym key lies; its folder is the keys folder."""
        return Path(self.key_file) if self.key_file else self.home.root / "keys" / "pseudonym.key"


_UNFIT = "?*[%#=\\\x7f"  # in a home's path: marks of patterns, URLs, partitions, escapes
_SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZED = {"lake_cache", "memory_limit"}
_MOST_DAYS = 36_500
_LEAST = {"max_field_bytes": 1024}
CONSENTS = ("denied", "granted")
PROFILES = ("full", "audience")
_CHOICES: dict[str, set[Any]] = {
    "consent_when_absent": set(CONSENTS), "profile": set(PROFILES), "ipv4_prefix": {16, 24},
    "engine": {"duckdb", "spark"},
}  # fmt: skip


def _size(value: object, where: str) -> int:
    """``"2GB"`` or a number of bytes, as bytes."""
    if isinstance(value, int):
        return value
    text = str(value).upper().replace(" ", "")
    for unit in sorted(_SIZES, key=len, reverse=True):
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdigit():
            return int(float(number) * _SIZES[unit])
    msg = f'{where}: {value!r} is not a size; write for example "2GB".'
    raise UsageError(msg)


def resolve_home(home: str | Path | None) -> Home:
    """The home from the option, else ``BEHAVIOR_HOME``, else ``./data``."""
    return Home(Path(home or os.environ.get("BEHAVIOR_HOME") or DEFAULT_HOME).expanduser().resolve())


def load_settings(home: str | Path | None = None) -> Settings:
    """Settings of a home, with the zone that its lake was made in."""
    return with_zone(read_settings(home))


def existing_settings(home: str | Path | None = None) -> Settings:
    """Settings of a home that is there. Raises UsageError where it is not: a misspelt path holds no rows either."""
    place = resolve_home(home)
    if not place.root.is_dir():
        msg = f"--home {place.root}: there is no such home. `behavior run` and `behavior simulate` make one."
        raise UsageError(msg)
    return load_settings(home)


def with_zone(settings: Settings) -> Settings:
    """The settings with the zone that bronze recorded, where ``behavior.toml`` names none.

    Raises UsageError where it names another: the days of a home are told once, when its first file comes in.
    """
    import pyarrow as pa

    from resources.commits import Log  # not at the top: much to import for those who only want a folder
    from resources.lake import Lake
    from resources.table import TableSpec

    bronze = Lake(settings.home.lake).table(TableSpec("bronze/events", pa.schema([])))
    try:
        recorded = bronze.recorded(ZONE_KEY)
    except IntegrityError:  # perhaps only a torn commit, which the next run takes away: it looks once it has the lock
        recorded = next((str(c.info[ZONE_KEY]) for c in Log(bronze.root).commits() if ZONE_KEY in c.info), None)
    if recorded is None:
        return settings
    if settings.timezone not in {"", recorded}:
        msg = (
            f"{settings.home.settings_file}: timezone = {settings.timezone!r}, but the days of this home were told by "
            f"{recorded!r}. The zone of a home is fixed: set it back, or load the archive into a new home."
        )
        raise UsageError(msg)
    return replace(settings, timezone=recorded)


def unreadable(path: Path, error: OSError) -> UsageError:
    """What to say of a ``behavior.toml`` that is there and cannot be read."""
    return UsageError(f"{path}: cannot be read ({error.strerror}). Let this user read it: it may name a store.")


def read_settings(home: str | Path | None = None) -> Settings:
    """What ``behavior.toml`` says. Raises UsageError naming file and key for an unknown key or a wrong value."""
    place = resolve_home(home)
    path = place.settings_file
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return Settings(home=place)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: not valid TOML ({error}). Mend it or remove it."
        raise UsageError(msg) from error
    except OSError as error:
        raise unreadable(path, error) from error
    known = {f.name: f for f in fields(Settings) if f.name != "home"}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        where = f"{path}: {key}"
        if key not in known:
            msg = f"{where} is not a setting. Known: {', '.join(sorted(known))}."
            raise UsageError(msg)
        values[key] = _checked(key, value, known[key].type, where)
    return Settings(home=place, **values)


def _checked(key: str, value: object, wanted: object, where: str) -> object:
    if key in _SIZED:
        return _size(value, where)
    if key == "first_day" and isinstance(value, str):
        try:
            value = date.fromisoformat(value)
        except ValueError as error:
            msg = f"{where} = {value!r} is not a day; write for example 2024-01-31."
            raise UsageError(msg) from error
    kinds = {"str": str, "int": int, "bool": bool, "date": date}
    kind = kinds[str(wanted)]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        msg = f"{where} = {value!r}: a {kind.__name__} is wanted."
        raise UsageError(msg)
    if key in _CHOICES and value not in _CHOICES[key]:
        msg = f"{where} = {value!r}: one of {sorted(_CHOICES[key])} is wanted."
        raise UsageError(msg)
    least = 0 if key.startswith("keep_") else _LEAST.get(key, 1)
    if kind is int and isinstance(value, int) and value < least:
        msg = f"{where} = {value!r}: a number of at least {least} is wanted."
        raise UsageError(msg)
    if key.endswith("_days") and isinstance(value, int) and value > _MOST_DAYS:
        msg = f"{where} = {value!r}: at most {_MOST_DAYS} days are wanted."
        raise UsageError(msg)
    if key == "timezone":
        try:
            ZoneInfo(str(value))
        except (ZoneInfoNotFoundError, ValueError) as error:
            msg = f'{where} = {value!r} is not a time zone; write for example "Europe/London".'
            raise UsageError(msg) from error
    return value


@contextmanager
def _home_errors(root: Path) -> Iterator[None]:
    """A place that cannot be a home is the user's to change."""
    try:
        yield
    except FileInTheWayError as error:
        msg = f"--home {root}: cannot be made a folder. {error}"
        raise UsageError(msg) from error
    except (FileNotFoundError, PermissionError) as error:
        msg = f"--home {root}: cannot be made a folder ({error.strerror}). Name another place."
        raise UsageError(msg) from error


def _require_plain(root: Path) -> None:
    """Raise UsageError for a path in which SQLite, Delta or DuckDB read a character as something else."""
    bad = sorted({c for c in root.as_posix() if c in _UNFIT or c < " " or "\ud800" <= c <= "\udfff"})
    if bad:
        msg = f"--home {str(root)!r}: a home's path cannot hold {' '.join(map(repr, bad))}. Name another place."
        raise UsageError(msg)


def create_home(home: str | Path | None) -> Settings:
    """Make the folders and, at the first time, a ``behavior.toml`` that sets nothing, and load the settings."""
    place = resolve_home(home)
    _require_plain(place.root)
    with disk_errors(place.root), _home_errors(place.root):
        for folder in (place.landing, place.archive, place.lake, place.exports, place.dagster, place.root / "logs"):
            make_folder(folder)
    if not place.settings_file.exists():
        write_whole(
            place.settings_file,
            "# Settings of this home; docs/settings.md lists all of them. None needs to be set.\n"
            "#\n"
            "# The shop's time zone: days and hours follow it, and it is fixed once a file is in. Where it is not set\n"
            "# here, the first file decides: the zone of its format (UTC; online_retail: Europe/London; generic: its\n"
            "# mapping's).\n"
            '# timezone = "Europe/London"\n',
            "home.settings",
        )
    return load_settings(place.root)
