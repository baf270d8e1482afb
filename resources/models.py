"""The model store: every trained model as plain numbers with its account, and which of them serves.

``models/<name>/<version>/`` holds ``manifest.json`` (what it was trained on, with which settings, how good it is, and
the sha256 of every other file), arrays as ``.npz`` and texts. Nothing there is ever run: no pickle, no code. A version
never changes. ``models/<name>/champion.json`` names the one that serves and, with the sha256 of its manifest, vouches
for it; what served before stands behind it, so that a rollback is one step.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resources.disk import disk_errors, draft_in, make_folder, sync_path, write_whole
from resources.errors import IntegrityError, UsageError
from resources.failpoints import reach
from resources.integrity import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

MANIFEST, CHAMPION = "manifest.json", "champion.json"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VERSION = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


@dataclass(frozen=True)
class StoredModel:
    """A version as it was read, every byte checked. ``told`` is the manifest's account, without its list of files."""

    name: str
    version: str
    told: dict[str, Any]
    arrays: dict[str, Arrays]
    texts: dict[str, str]


class ModelStore:
    """The models below ``<home>/models``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(
        self, name: str, told: Mapping[str, Any], arrays: Mapping[str, Mapping[str, NDArray[Any]]],
        texts: Mapping[str, str] | None = None, *, now: datetime | None = None,
    ) -> str:
        """Keep a model and return its version, which nobody serves yet.

        ``told`` must be plain JSON; ``arrays`` become ``<key>.npz``; ``texts`` files by their name.
        """
        if not _NAME.fullmatch(name):
            msg = f"{name}: a model's name is made of a to z, digits and underscores."
            raise UsageError(msg)
        files = {f"{key}.npz": _packed(group) for key, group in sorted(arrays.items())}
        files |= {key: text.encode() for key, text in sorted((texts or {}).items())}
        sums = {key: hashlib.sha256(raw).hexdigest() for key, raw in files.items()}
        stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        account = json.dumps({**told, "files": sums}, indent=1, sort_keys=True, allow_nan=False)
        version = f"{stamp}-{hashlib.sha256(account.encode()).hexdigest()[:8]}"
        folder = self.root / name
        with disk_errors(folder):
            make_folder(folder)
            draft = draft_in(folder)
            try:
                draft.mkdir()
                for key, raw in {**files, MANIFEST: account.encode()}.items():
                    (draft / key).write_bytes(raw)
                    sync_path(draft / key)
                reach("models.save")
                sync_path(draft)
                if not (folder / version).exists():  # the same model trained twice within a second
                    draft.rename(folder / version)
                sync_path(folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return version

    def versions(self, name: str) -> list[str]:
        """Every version that is kept, oldest first."""
        folder = self.root / name
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(p.name for p in found if _VERSION.fullmatch(p.name))

    def names(self) -> list[str]:
        """Every model of which a version is kept."""
        found = sorted(p.name for p in self.root.iterdir()) if self.root.is_dir() else []
        return [name for name in found if _NAME.fullmatch(name) and self.versions(name)]

    def champion(self, name: str) -> str | None:
        """The version that serves, None where none was promoted."""
        told = self._served(name)
        return str(told[-1]["version"]) if told else None

    def promote(self, name: str, version: str) -> None:
        """Let a version serve from now on. Raises UsageError for one that is not kept."""
        if version not in self.versions(name):
            msg = f"{name} {version}: no such version. There are: {', '.join(self.versions(name)) or 'none'}."
            raise UsageError(msg)
        digest = hashlib.sha256((self.root / name / version / MANIFEST).read_bytes()).hexdigest()
        told = [t for t in self._served(name) if t["version"] != version]
        self._write_served(name, [*told, {"version": version, "manifest_sha256": digest}])

    def rollback(self, name: str) -> str:
        """Let what served before serve again, and return it. Raises UsageError where nothing did."""
        told = self._served(name)
        if len(told) < 2:  # noqa: PLR2004 - the one that serves, and one before it
            msg = f"{name}: no version served before {told[-1]['version'] if told else 'any'}."
            raise UsageError(msg)
        self._write_served(name, told[:-1])
        return str(told[-2]["version"])

    def load(self, name: str, version: str | None = None) -> StoredModel:
        """A version, else the one that serves. Raises IntegrityError, naming the file, for any byte that changed."""
        served = {t["version"]: t["manifest_sha256"] for t in self._served(name)}
        wanted = version or self.champion(name)
        if wanted is None:
            msg = f"{name}: no version serves. Train one with `behavior run --train`."
            raise UsageError(msg)
        model, digest = self._load(name, wanted)
        if served.get(wanted, digest) != digest:  # the manifest is what its version's name says
            raise self._damaged(self.root / name / CHAMPION)
        return model

    def _load(self, name: str, version: str) -> tuple[StoredModel, str]:
        """A version, and the sha256 of its manifest."""
        folder = self.root / name / version
        raw = self._read(folder / MANIFEST, None)
        digest = hashlib.sha256(raw).hexdigest()
        if not version.endswith(digest[:8]):
            raise self._damaged(folder / MANIFEST)
        told = json.loads(raw)
        found = {key: self._read(folder / key, digest) for key, digest in told.pop("files").items()}
        arrays = {key.removesuffix(".npz"): _unpacked(raw) for key, raw in found.items() if key.endswith(".npz")}
        texts = {key: raw.decode() for key, raw in found.items() if not key.endswith(".npz")}
        return StoredModel(name, version, told, arrays, texts), digest

    def problems(self) -> list[Problem]:
        """Everything that is wrong with any version, and with what serves."""
        found = []
        for name in sorted(p.name for p in self.root.iterdir()) if self.root.is_dir() else []:
            digests: dict[str, str] = {}
            for version in self.versions(name):
                try:
                    digests[version] = self._load(name, version)[1]
                except IntegrityError as error:
                    found.append(Problem(f"models/{name}/{version}", str(error), repair=False))
                    digests[version] = ""
            try:
                wrong = [t for t in self._served(name) if digests.get(t["version"]) not in {"", t["manifest_sha256"]}]
                if wrong:
                    raise self._damaged(self.root / name / CHAMPION)
            except IntegrityError as error:
                found.append(Problem(f"models/{name}/{CHAMPION}", str(error), repair=False))
        return found

    def _served(self, name: str) -> list[dict[str, str]]:
        """What served and serves, the newest last."""
        path = self.root / name / CHAMPION
        if not path.exists():
            return []
        try:
            told = json.loads(path.read_text("utf-8"))["served"]
            return [{"version": str(t["version"]), "manifest_sha256": str(t["manifest_sha256"])} for t in told]
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(path) from error

    def _write_served(self, name: str, told: list[dict[str, str]]) -> None:
        write_whole(self.root / name / CHAMPION, json.dumps({"served": told}, indent=1), "models.promote")

    def _read(self, path: Path, digest: str | None) -> bytes:
        try:
            raw = path.read_bytes()
        except FileNotFoundError as error:
            raise self._damaged(path, "is missing") from error
        if digest is not None and hashlib.sha256(raw).hexdigest() != digest:
            raise self._damaged(path)
        return raw

    def _damaged(self, path: Path, how: str = "has other bytes than were saved") -> IntegrityError:
        where, name = path.relative_to(self.root.parent).as_posix(), path.relative_to(self.root).parts[0]
        return IntegrityError(
            f"{where}: {how}. Nothing is scored with it: `behavior models rollback {name}` serves the version before, "
            "`behavior run --train` makes a new one."
        )


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    wrong = [name for name, array in arrays.items() if array.dtype.hasobject]
    if wrong:
        msg = f"{wrong[0]}: an array of objects cannot be kept without pickle."
        raise TypeError(msg)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **dict(arrays))
    return file.getvalue()


def _unpacked(raw: bytes) -> Arrays:
    with np.load(io.BytesIO(raw), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}
