"""The model store: every trained model as plain numbers with its account, and which of them serves.

``models/<name>/<version>/`` holds ``manifest.json`` (what it was trained on, with which settings, how good it is, and
the sha256 of every array file), arrays as ``.npz``, and its papers with their own sha256 in ``papers.json``: the card,
pictures, and how long the training took. Nothing there is ever run: no pickle, no code. A version never changes. Its
name is the last day of data and the beginning of the manifest's sha256, so that the same training on the same data is
the same version, whenever it was made. ``models/<name>/champion.json`` names the one that serves and, with the sha256
of its manifest, vouches for it; what served before stands behind it, so that a rollback is one step.
``models/<name>/attempt.json`` tells how the last training ended, ``remarks.json`` what was found out of versions later.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resources.disk import disk_errors, draft_in, make_folder, sync_path, write_whole
from resources.errors import IntegrityError, UsageError
from resources.failpoints import reach
from resources.integrity import Problem
from resources.lock import exclusive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

MANIFEST, PAPERS, CHAMPION = "manifest.json", "papers.json", "champion.json"
ATTEMPT, REMARKS, STALE = "attempt.json", "remarks.json", "stale.json"
SERVING = "serving"  # the outcome of a training whose version was promoted
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VERSION = re.compile(r"\d{8}-[0-9a-f]{8}")


@dataclass(frozen=True)
class StoredModel:
    """A version as it was read, every byte checked. ``told`` is the manifest's account, without its list of files."""

    name: str
    version: str
    told: dict[str, Any]
    arrays: dict[str, Arrays]
    papers: dict[str, bytes]


class ModelStore:
    """The models below ``<home>/models``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(
        self, name: str, through: date, told: Mapping[str, Any], arrays: Mapping[str, Mapping[str, NDArray[Any]]],
        papers: Mapping[str, bytes] | None = None,
    ) -> str:
        """Keep a model made from data ``through`` a day and return its version, which nobody serves yet.

        ``told`` must be plain JSON; ``arrays`` become ``<key>.npz``; ``papers`` files by their name. A version that is
        there already stays as it is, unless it is damaged.
        """
        if not _NAME.fullmatch(name):
            msg = f"{name}: a model's name is made of a to z, digits and underscores."
            raise UsageError(msg)
        files = {f"{key}.npz": _packed(group) for key, group in sorted(arrays.items())}
        account = _account({**told, "files": _sums(files)})
        files |= {MANIFEST: account} | dict(papers or {}) | {PAPERS: _account(_sums(papers or {}))}
        version = f"{through:%Y%m%d}-{hashlib.sha256(account).hexdigest()[:8]}"
        folder = self.root / name
        with disk_errors(folder):
            make_folder(folder)
            draft = draft_in(folder)
            try:
                draft.mkdir()
                for key, raw in files.items():
                    (draft / key).write_bytes(raw)
                    sync_path(draft / key)
                reach("models.save")
                sync_path(draft)
                if not self._whole(name, version):
                    shutil.rmtree(folder / version, ignore_errors=True)
                    draft.rename(folder / version)
                sync_path(folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return version

    def _whole(self, name: str, version: str) -> bool:
        try:
            self._load(name, version)
        except IntegrityError:
            return False
        return True

    def versions(self, name: str) -> list[str]:
        """Every version that is kept, by the last day of their data."""
        folder = self.root / name
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(p.name for p in found if _VERSION.fullmatch(p.name))

    def names(self) -> list[str]:
        """Every model of which a version is kept."""
        return [name for name in self._folders() if self.versions(name)]

    def _folders(self) -> list[str]:
        found = sorted(p.name for p in self.root.iterdir()) if self.root.is_dir() else []
        return [name for name in found if _NAME.fullmatch(name)]

    def champion(self, name: str) -> str | None:
        """The version that serves, None where none was promoted."""
        told = self._served(name)
        return str(told[-1]["version"]) if told else None

    def served(self, name: str) -> list[str]:
        """The versions that served and serve, the newest last."""
        return [t["version"] for t in self._served(name)]

    def asked(self, name: str) -> dict[str, str]:
        """Every version that served or serves, with the last day that it is asked about; none is told while it serves.

        What was rolled back is among them: it has told what it has told.
        """
        return dict.fromkeys(self.served(name), "") | self._until(name)

    def promote(self, name: str, version: str, day: str = "") -> None:
        """Let a version serve from now on; what serves so far is asked until ``day``, the newest that there is.

        Raises UsageError for a version that is not kept, IntegrityError for damage.
        """
        if version not in self.versions(name):
            msg = f"{name} {version}: no such version. There are: {', '.join(self.versions(name)) or 'none'}."
            raise UsageError(msg)
        _, digest = self._load(name, version)  # nothing that is damaged serves
        with exclusive(self.root):
            left, served = self.champion(name), self._served(name)
            told = [t for t in served if t["version"] != version]
            until = {**self._until(name), **({left: day} if left else {})}
            self._write_served(name, [*told, {"version": version, "manifest_sha256": digest}], until)

    def rollback(self, name: str, day: str = "") -> str:
        """Let what served before serve again, and return it; what serves so far is asked until ``day``.

        Raises UsageError where nothing served before.
        """
        with exclusive(self.root):
            told = self._served(name)
            if len(told) < 2:  # noqa: PLR2004 - the one that serves, and one before it
                msg = f"{name}: no version served before {told[-1]['version'] if told else 'any'}."
                raise UsageError(msg)
            self._load(name, told[-2]["version"])
            self._write_served(name, told[:-1], {**self._until(name), told[-1]["version"]: day})
            return told[-2]["version"]

    def remove(self, name: str, versions: Collection[str]) -> None:
        """Forget versions that do not serve, with what was remarked of them."""
        with exclusive(self.root):
            told = [t for t in self._served(name) if t["version"] not in versions]
            remarks = self.remarks(name)
            if remarks.keys() & set(versions):
                left = {v: figures for v, figures in remarks.items() if v not in versions}
                write_whole(self.root / name / REMARKS, _account(left).decode(), "models.note")
            if told != self._served(name):
                self._write_served(name, told, {v: d for v, d in self._until(name).items() if v not in versions})
            for version in versions:
                shutil.rmtree(self.root / name / version, ignore_errors=True)

    def load(self, name: str, version: str | None = None) -> StoredModel:
        """A version, else the one that serves. Raises IntegrityError, naming the file, for any byte that changed."""
        served = {t["version"]: t["manifest_sha256"] for t in self._served(name)}
        wanted = version or self.champion(name)
        if wanted is None:
            msg = f"{name}: no version serves. Train one with `behavior run --train`."
            raise UsageError(msg)
        if wanted != self.champion(name) and wanted not in self.versions(name):
            msg = f"{name} {wanted}: no such version. There are: {', '.join(self.versions(name)) or 'none'}."
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
        arrays = {
            key.removesuffix(".npz"): _unpacked(self._read(folder / key, wanted))
            for key, wanted in told.pop("files").items()
        }
        try:
            sums = dict(json.loads(self._read(folder / PAPERS, None)))
        except ValueError as error:
            raise self._damaged(folder / PAPERS) from error
        papers = {key: self._read(folder / key, wanted) for key, wanted in sums.items()}
        return StoredModel(name, version, told, arrays, papers), digest

    def problems(self) -> list[Problem]:
        """Everything that is wrong with any version, with what serves, and with the account of the last training."""
        found = []
        for name in self._folders():
            digests: dict[str, str] = {}
            for version in self.versions(name):
                try:
                    digests[version] = self._load(name, version)[1]
                except IntegrityError as error:
                    found.append(Problem(f"models/{name}/{version}", str(error)))
                    digests[version] = ""
            try:
                wrong = [t for t in self._served(name) if digests.get(t["version"]) not in {"", t["manifest_sha256"]}]
                if wrong:
                    raise self._damaged(self.root / name / CHAMPION)
            except IntegrityError as error:
                found.append(Problem(f"models/{name}/{CHAMPION}", str(error)))
            try:
                self.remarks(name)
            except IntegrityError as error:
                found.append(Problem(f"models/{name}/{REMARKS}", str(error)))
            try:
                if (self.attempt(name) or {}).get("outcome") == SERVING and not (self.root / name / CHAMPION).exists():
                    raise self._damaged(self.root / name / CHAMPION, "is missing")
            except IntegrityError as error:
                found.append(Problem(f"models/{name}/{ATTEMPT}", str(error)))
        return found

    def mend(self, away: Callable[[Path], object]) -> list[str]:
        """Put what is damaged out of the way by ``away``, so that what is whole serves; says what was done."""
        done = []
        for name in self._folders():
            folder = self.root / name
            for version in [v for v in self.versions(name) if not self._whole(name, v)]:
                away(folder / version)
                done.append(f"models/{name}/{version}: put aside, to be trained again")
            for file in (CHAMPION, ATTEMPT, REMARKS):
                try:
                    self._told(name, file)
                    served = self._served(name) if file == CHAMPION else []
                except IntegrityError:
                    away(folder / file)
                    done.append(f"models/{name}/{file}: put aside")
                    continue
                whole = [t for t in served if t["version"] in self.versions(name) and self._vouched(name, t)]
                if whole != served:
                    self._write_served(name, whole, self._until(name))
                    done.append(f"models/{name}/{CHAMPION}: names only what is whole")
            last = self.attempt(name) or {}
            if last.get("outcome") == SERVING and not (folder / CHAMPION).exists():
                if last.get("version") in self.versions(name):
                    self.promote(name, last["version"])
                    done.append(f"models/{name}/{CHAMPION}: written again; the last version that was trained serves")
                else:
                    self.note(name, {**last, "outcome": "lost"})
        return done

    def _vouched(self, name: str, told: Mapping[str, str]) -> bool:
        return self._load(name, told["version"])[1] == told["manifest_sha256"]

    def attempt(self, name: str) -> dict[str, Any] | None:
        """How the last training ended, None before the first."""
        return self._told(name, ATTEMPT)

    def _told(self, name: str, file: str) -> dict[str, Any] | None:
        path = self.root / name / file
        if not path.exists():
            return None
        try:
            told = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise self._damaged(path) from error
        if not isinstance(told, dict):
            raise self._damaged(path)
        return told

    def stale(self, name: str) -> dict[str, Any] | None:
        """Why and since when the version that serves should not: persons it learned from were erased. None if not."""
        told = self._told(name, STALE)
        return told if told and told.get("version") == self.champion(name) else None

    def mark_stale(self, name: str, why: str, at: str) -> bool:
        """Note that the version that serves has learned from what is gone; the first note of a version stays."""
        version = self.champion(name)
        if version is None or self.stale(name) is not None:
            return False
        write_whole(self.root / name / STALE, _account({"version": version, "why": why, "since": at}).decode(),
                    "models.note")  # fmt: skip
        return True

    def retire(self, name: str, day: str = "") -> None:
        """Let no version serve; what serves so far is asked until ``day``."""
        with exclusive(self.root):
            version = self.champion(name)
            if version is not None:
                self._write_served(name, [], {**self._until(name), version: day})

    def remarks(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """By version, figures that were found out after its training."""
        return self._told(name, REMARKS) or {}

    def remark(self, name: str, version: str, figures: list[dict[str, Any]]) -> None:
        """Keep figures of a version, instead of those with the same metrics that it has."""
        metrics = {f["metric"] for f in figures}
        with exclusive(self.root):
            told = self.remarks(name)
            kept = [f for f in told.get(version, []) if f["metric"] not in metrics]
            text = _account({**told, version: [*kept, *figures]}).decode()
            write_whole(self.root / name / REMARKS, text, "models.note")

    def note(self, name: str, attempt: Mapping[str, Any]) -> None:
        """Keep how a training ended; the same again writes nothing."""
        if self.attempt(name) != dict(attempt):
            make_folder(self.root / name)
            write_whole(self.root / name / ATTEMPT, _account(attempt).decode(), "models.note")

    def _served(self, name: str) -> list[dict[str, str]]:
        """What served and serves, the newest last."""
        told = self._told(name, CHAMPION)
        try:
            found = [] if told is None else told["served"]
            return [{"version": str(t["version"]), "manifest_sha256": str(t["manifest_sha256"])} for t in found]
        except (KeyError, TypeError) as error:
            raise self._damaged(self.root / name / CHAMPION) from error

    def _until(self, name: str) -> dict[str, str]:
        """Versions that served and do not any more, with the last day that they are asked about."""
        told = (self._told(name, CHAMPION) or {}).get("until", {})
        if not isinstance(told, dict) or not all(isinstance(day, str) for day in told.values()):
            raise self._damaged(self.root / name / CHAMPION)
        return {str(version): day for version, day in told.items()}

    def _write_served(self, name: str, told: list[dict[str, str]], until: Mapping[str, str]) -> None:
        champion, kept = told[-1]["version"] if told else None, set(self.versions(name))
        past = {v: day for v, day in sorted(until.items()) if v in kept and v != champion}
        write_whole(
            self.root / name / CHAMPION, json.dumps({"served": told, "until": past}, indent=1), "models.promote"
        )

    def _read(self, path: Path, digest: str | None) -> bytes:
        try:
            raw = path.read_bytes()
        except FileNotFoundError as error:
            raise self._damaged(path, "is missing") from error
        if digest is not None and hashlib.sha256(raw).hexdigest() != digest:
            raise self._damaged(path)
        return raw

    def _damaged(self, path: Path, how: str = "has other bytes than were saved") -> IntegrityError:
        where = path.relative_to(self.root.parent).as_posix()
        return IntegrityError(
            f"{where}: {how}. Nothing is scored with it. `behavior verify --repair` puts it aside: what served before "
            "serves again, or the next run trains."
        )


def _account(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, indent=1, sort_keys=True, allow_nan=False).encode()


def _sums(files: Mapping[str, bytes]) -> dict[str, str]:
    return {key: hashlib.sha256(raw).hexdigest() for key, raw in files.items()}


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
