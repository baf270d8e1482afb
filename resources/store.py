"""Objects below one URL: in a bucket of S3 or of what speaks it, in Azure or Google Cloud, or files of a folder.

Credentials come from the environment alone, as the providers' own tools read it: no setting and no URL holds them.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import url2pathname

from resources.errors import StoreError, UsageError
from resources.failpoints import reach

if TYPE_CHECKING:
    from obstore.store import ObjectStore

ENDPOINT, REGION = "store_endpoint", "store_region"  # the settings that name a server and its region

_URL = re.compile(
    r"(?P<scheme>s3|gs|az|abfss?)://(?P<bucket>[\w.-]+)(?:@(?P<account>[a-z0-9]+)\.dfs\.core\.windows\.net)?"
    r"(?P<prefix>(?:/(?!\.\.?(?:/|$))[^/\\%?#:@*\s]+)*)/?"
)
_ENDPOINT = re.compile(r"https?://[^/\\?#@\s]+(?:/[^\\?#@\s]*)?")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the machine's role",
    "az": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or _SAS_TOKEN, or the machine's identity",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the machine's account",
}

_PART, _AT_ONCE, _MOST_PARTS = 8 * 2**20, 3, 10_000  # bytes held of a file, times these where sent; parts in S3
_SOON = 2**20  # more bytes may take a slow line longer than a server is waited for
_REMOVED_AT_ONCE = 256  # what Azure takes in one request; S3 takes 1000
# Seconds. A server's answer is waited for, not the end of a transfer; a request is not sent again after _RETRY, so
# that a server that is silent is given up after two answers that did not come.
_CONNECT, _ANSWER, _ANSWER_TO_PART, _TRANSFER, _RETRY, _RETRIES = 5, 12, 120, 24 * 3600, 15, 6
_REQUEST = 30  # of delta-rs, which limits whole requests only; it asks for pieces of files

# What the library's texts mean: it tells kinds of errors apart by little else.
_REASONS = (
    (r"https?://169\.254\.|token request|Missing \w+Key|Account must be", "no credentials are found"),
    (r"BadScheme", f"only the setting {ENDPOINT} allows http://"),
    (r"PermanentRedirect|AuthorizationHeaderMalformed|configured region", f"wrong region: see the setting {REGION}"),
    (r"status code: 40[13]", "access is denied"),
    (r"code: 404", "it is not there"),
    (r"UnknownIssuer|invalid peer certificate", "the server's certificate is not trusted"),
    (r"dns error|failed to lookup", "nobody knows the server's name"),
    (r"kind: (?:Connect|Timeout|Interrupted|Request|Decode)", "the server does not answer"),
    (r"status code: \d+", "the server answers with an error"),
)


class TakenError(Exception):
    """An object that was to be new is there already."""


@dataclass(frozen=True)
class Stored:
    """What a listing tells of an object: its bytes, and when it was written, in seconds of the epoch."""

    size: int
    modified: float


@dataclass(frozen=True)
class _Place:
    """Where a URL leads: the kind of store, the bucket (the container, the folder) and the prefix in it."""

    url: str
    kind: str
    bucket: str
    prefix: str = ""
    account: str = ""
    endpoint: str = ""
    region: str = ""

    def client(self, answer: int) -> ObjectStore:
        """What talks to the place, waiting so many seconds for an answer."""
        from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

        if self.kind == "file":
            return LocalStore(self.bucket)
        made: Any = {"s3": S3Store, "az": AzureStore, "gs": GCSStore}[self.kind]
        store: ObjectStore = made(
            self.bucket, prefix=self.prefix or None, config=self._server(),
            client_options={"allow_http": self.endpoint.startswith("http://"), "connect_timeout": f"{_CONNECT}s",
                            "read_timeout": f"{answer}s", "timeout": f"{_TRANSFER}s"},
            retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=max(_RETRY, answer))},
        )  # fmt: skip
        return store

    def options(self) -> dict[str, str]:
        """The same for delta-rs, which reads the credentials itself."""
        if self.kind == "file":
            return {}
        return self._server() | {
            "allow_http": str(self.endpoint.startswith("http://")).lower(), "connect_timeout": f"{_CONNECT}s",
            "timeout": f"{_REQUEST}s", "max_retries": str(_RETRIES), "retry_timeout": f"{_RETRY}s",
        }  # fmt: skip

    def _server(self) -> dict[str, str]:
        named = {"azure_storage_account_name": self.account, "azure_storage_endpoint": self.endpoint}
        if self.kind == "s3":  # two names, as AWS_ENDPOINT_URL_S3 of the environment would beat the first
            named = {"aws_region": self.region, "aws_endpoint": self.endpoint, "aws_endpoint_url_s3": self.endpoint}
        return {name: value for name, value in named.items() if value}

    def error(self, text: str) -> StoreError:
        """What the library tells, in short: its texts hold whole answers, and addresses that may be signed."""
        first = re.sub(r"\?\S+", "", text.partition("\n")[0])[:200]
        found = next((meant for mark, meant in _REASONS if re.search(mark, text)), first)
        marks = (r"status code: (\d+)", r"<Code>(\w+)</Code>")
        details = [told[1] for mark in marks if (told := re.search(mark, text))]
        details += [f"at {self.endpoint}"] if self.endpoint else []
        why = f"{found} ({', '.join(details)})" if details else found
        remedy = "" if self.kind == "file" else (f" and can be reached: the setting {ENDPOINT} names its server, the "
                                                 f"environment holds {_CREDENTIALS[self.kind]}")  # fmt: skip
        see = f"See that it exists (the setting lake_store){remedy}, and run the same command again."
        return StoreError(f"{self.url}: {why}. {see}")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """The library's errors as ours, without their cause, which shows requests."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise self.error(str(error)) from None


class Store:
    """The objects below a URL. Names are relative to it, with ``/`` between their parts."""

    def __init__(self, place: _Place) -> None:
        self.url = place.url
        self._place = place
        self._is_there = False
        with place.errors():
            self._quick, self._patient = place.client(_ANSWER), place.client(_ANSWER_TO_PART)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    @classmethod
    def at(cls, url: str, endpoint: str = "", region: str = "") -> Store:
        """The store at ``s3://``, ``az://``, ``abfss://``, ``gs://`` or ``file:///``; nothing is asked of it yet.

        ``endpoint``: an S3-compatible server, or Azure's (the emulator's with the account as its path). Raises
        UsageError for what is not such a URL, StoreError where the folder is not there, the environment tells half a
        credential, or the library is not installed.
        """
        place = _place(url, endpoint.rstrip("/"), region)
        try:
            import obstore  # noqa: F401
        except ImportError as error:
            msg = f"{place.url}: obstore cannot be loaded. Install the extra: pip install '.[cloud]' in the repository."
            raise StoreError(msg) from error
        return cls(place)

    def options(self) -> dict[str, str]:
        """The ``storage_options`` with which deltalake reads the same place. They hold no credential."""
        return self._place.options()

    def listed(self, prefix: str = "", after: str = "") -> dict[str, Stored]:
        """All objects in a folder and below, in order; only names greater than ``after``. Raises StoreError."""
        found: dict[str, Stored] = {}
        with self._errors():
            for page in self._quick.list(prefix.strip("/") or None, offset=after or None, chunk_size=1000):
                for entry in page:
                    # Azurite knows nothing of an offset. No name: the folder itself, made by a provider's console.
                    if entry["path"] > after:
                        found[entry["path"]] = Stored(entry["size"], entry["last_modified"].timestamp())
        return dict(sorted(found.items()))

    def folders(self, prefix: str = "") -> list[str]:
        """Names of the folders right in a folder, in order; nothing below them is listed. Raises StoreError."""
        with self._errors():
            return sorted(self._quick.list_with_delimiter(prefix.strip("/") or None)["common_prefixes"])

    def size(self, name: str) -> int | None:
        """The bytes of an object, or nothing where there is none. Raises StoreError."""
        try:
            with self._errors(name):
                return self._quick.head(name)["size"]
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """All of an object. Raises FileNotFoundError where there is none, StoreError."""
        with self._errors(name):
            return bytes(self._quick.get(name).bytes())

    def fetch(self, name: str, target: Path) -> None:
        """Write an object to a file, a piece at a time. On an error the file may be there in part; it is not synced.

        Raises FileNotFoundError where there is no such object, StoreError, and OSError where the disk refuses.
        """
        with self._errors(name):
            found = self._quick.get(name)
        with target.open("wb") as file, self._errors(name):
            for piece in found.stream(min_chunk_size=_PART):
                file.write(piece)

    def put(self, name: str, source: Path | bytes, *, new: bool = False) -> None:
        """Write an object, so that readers find all of it or what was there before.

        With ``new`` only where nothing has the name, so that one of several who try at once does; all of it is held in
        memory then. Raises TakenError and StoreError. After a StoreError nobody knows whether it is there, and a
        TakenError may be about our own: a server that fails after it wrote is asked again.
        """
        from obstore.exceptions import AlreadyExistsError

        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if size > _SOON:
            self.size(name)  # so that a dead server is noticed soon: the answer to a large part is waited for long
        reach("store.put")
        with self._errors():
            try:
                (self._patient if size > _SOON else self._quick).put(
                    name, source, mode="create" if new else "overwrite", max_concurrency=_AT_ONCE,
                    chunk_size=max(_PART, -(-size // _MOST_PARTS)),
                )  # fmt: skip
            except AlreadyExistsError:
                msg = f"{self.url}/{name}: something is there already."
                raise TakenError(msg) from None

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are passed over. Raises StoreError."""
        wanted = list(names)
        for first in range(0, len(wanted), _REMOVED_AT_ONCE):
            batch = wanted[first : first + _REMOVED_AT_ONCE]
            reach("store.remove")
            with self._errors():
                try:
                    self._quick.delete(batch)
                except FileNotFoundError:  # all but S3 stop at it, with some removed and some not
                    self._require_place()
                    for name in batch:
                        with suppress(FileNotFoundError):
                            self._quick.delete(name)

    @contextmanager
    def _errors(self, name: str = "") -> Iterator[None]:
        """The library's errors as ours; an object that is asked for by its name may be absent."""
        if os.getpid() != _first_process():
            msg = "obstore's threads do not survive a fork: a process that is to use a store must be spawned."
            raise RuntimeError(msg)
        absent = False
        with self._place.errors():
            try:
                yield
            except FileNotFoundError:  # the object, or the bucket: the library does not tell
                self._require_place()
                if not name:
                    raise
                absent = True
        if absent:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.url}/{name}")

    def _require_place(self) -> None:
        """Raise StoreError where there is no such bucket."""
        if not self._is_there:
            with self._place.errors():
                next(iter(self._quick.list(chunk_size=1)), None)
            self._is_there = True


@cache
def _first_process() -> int:
    """The process that the library's threads run in; those that are forked from it remember it."""
    return os.getpid()


def _place(url: str, endpoint: str, region: str) -> _Place:
    """Take a URL apart. No text of an error shows it: what is wrong with it may be a password."""
    if re.fullmatch(r"file:///[^?#]+", url):
        place = _Place(url.rstrip("/"), "file", url2pathname(url[7:]))
    elif (found := _URL.fullmatch(url)) and (not found["account"] or found["scheme"].startswith("abfs")):
        kind = "az" if found["scheme"].startswith("abfs") else found["scheme"]
        # Told to the libraries although they know it: delta-rs would ask the network for a region, and obstore cannot
        # show a store of Azure without an account.
        known = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        account = (found["account"] or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")) if kind == "az" else ""
        place = _Place(url.rstrip("/"), kind, found["bucket"], found["prefix"][1:], account, endpoint, region or known)
    else:
        msg = ("A store's URL is s3://bucket/folder, az://container/folder, abfss://container@account.dfs.core.windows."
               "net/folder, gs://bucket/folder or file:///folder, without a user, a password or a query: credentials "
               "are read from the environment.")  # fmt: skip
        raise UsageError(msg)
    if endpoint and (place.kind not in {"s3", "az"} or not _ENDPOINT.fullmatch(endpoint)):
        msg = f"{ENDPOINT} is http(s)://host:port, for s3:// and az:// alone, without a user, a password or a query."
        raise UsageError(msg)
    if region and place.kind != "s3":
        msg = f"{REGION} is known to s3:// alone."
        raise UsageError(msg)
    return place
