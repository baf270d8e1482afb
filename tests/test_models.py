"""The model store: what is loaded is what was saved, what serves is told, and one step goes back."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from resources.errors import IntegrityError, StorageError, UsageError
from resources.models import ModelStore

ARRAYS = {"weights": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array([1.5])}}
TOLD = {"features": ["a", "b"], "metrics": {"ap": 0.25}}


def saved(store: ModelStore, day: int, **more: object) -> str:
    """A version through a day of its own."""
    return store.save("toy", date(2026, 1, day), {**TOLD, **more}, ARRAYS, {"card.md": b"# Toy\n"})


def test_until_when_a_version_is_asked_is_told(tmp_path: Path) -> None:
    """Also of one that was rolled back, or that an older one replaced: what it told is not forgotten."""
    store = ModelStore(tmp_path / "models")
    first, second = saved(store, 1), saved(store, 2)
    store.promote("toy", first, "2026-01-01")
    store.promote("toy", second, "2026-01-02")
    assert store.asked("toy") == {first: "2026-01-02", second: ""}
    store.promote("toy", first, "2026-01-05")
    assert store.asked("toy") == {first: "", second: "2026-01-05"}
    assert store.rollback("toy", "2026-01-07") == second
    assert store.asked("toy") == {first: "2026-01-07", second: ""}
    assert store.served("toy") == [second]


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    version = saved(store, 1)
    assert version.startswith("20260101-")
    assert (store.versions("toy"), store.names(), store.champion("toy")) == ([version], ["toy"], None)
    model = store.load("toy", version)
    assert (model.told, model.papers) == (TOLD, {"card.md": b"# Toy\n"})
    weights = {k: v.tolist() for k, v in model.arrays["weights"].items()}
    assert weights == {"kernel": [[0, 1, 2], [3, 4, 5]], "bias": [1.5]}
    assert saved(store, 1) == version  # the same again is the same
    assert not store.problems()


def test_rollback_is_one_step(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    first, second, third = (saved(store, n, number=n) for n in (1, 2, 3))
    with pytest.raises(UsageError, match="no version serves"):
        store.load("toy")
    for version in (first, second, third):
        store.promote("toy", version)
    assert store.load("toy").version == third
    assert (store.rollback("toy"), store.load("toy").told["number"]) == (second, 2)
    store.promote("toy", third)
    store.promote("toy", first)
    assert [store.rollback("toy") for _ in range(2)] == [third, second]
    with pytest.raises(UsageError, match="no version served before"):
        store.rollback("toy")
    for version in (first, third):
        store.promote("toy", version)
    (tmp_path / "models/toy" / first / "weights.npz").write_bytes(b"")
    for serve in (lambda: store.promote("toy", first), lambda: store.rollback("toy")):
        with pytest.raises(IntegrityError, match=r"weights\.npz"):
            serve()
    assert store.champion("toy") == third
    for wrong in ("20260109-00000000", "../toy", ""):
        with pytest.raises(UsageError, match="no such version" if wrong else "no version serves"):
            ModelStore(tmp_path / "models").load("toy" if wrong else "nothing", wrong or None)
    with pytest.raises(UsageError, match="no such version"):
        store.promote("toy", "20260109-00000000")


@pytest.mark.parametrize("name", ["manifest.json", "weights.npz", "papers.json", "card.md", "champion.json"])
@pytest.mark.parametrize("how", ["flip", "gone", "empty"])
def test_a_changed_byte_is_found_before_anything_is_made_of_it(tmp_path: Path, name: str, how: str) -> None:
    store = ModelStore(tmp_path / "models")
    version = saved(store, 1)
    store.promote("toy", version)
    path = tmp_path / "models/toy" / ("" if name == "champion.json" else version) / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(b"" if how == "empty" else bytes(raw))
    if how == "gone":
        path.unlink()
    if name == "champion.json" and how == "gone":
        assert store.champion("toy") is None
        return
    with pytest.raises(IntegrityError, match="card.md" if (name, how) == ("papers.json", "flip") else name):
        store.load("toy")
    (problem,) = store.problems()
    assert problem.where == f"models/toy/{name if name == 'champion.json' else version}"
    if name != "champion.json":  # the same training makes it whole
        assert saved(store, 1) == version
        assert store.load("toy").told == TOLD


@pytest.mark.parametrize("name", ["manifest.json", "weights.npz", "champion.json", "attempt.json", "remarks.json"])
def test_what_is_damaged_is_put_aside_and_what_is_whole_serves(tmp_path: Path, name: str) -> None:
    store = ModelStore(tmp_path / "models")
    versions = [saved(store, day) for day in (1, 2)]
    for version in versions:
        store.promote("toy", version)
    store.note("toy", {"outcome": "serving", "version": versions[1]})
    store.remark("toy", versions[0], [{"metric": "m"}])
    folder = tmp_path / "models/toy"
    in_version = name in {"manifest.json", "weights.npz"}
    (folder / versions[1] / name if in_version else folder / name).write_bytes(b"{")
    assert store.problems()
    aside: list[str] = []

    def away(path: Path) -> None:
        aside.append(path.relative_to(folder).as_posix())
        path.rename(tmp_path / path.name)

    assert store.mend(away)
    assert not store.problems()
    assert aside == [versions[1] if in_version else name]
    assert store.load("toy").version == versions[0 if in_version else 1]
    assert not store.mend(away)


def test_a_champion_that_is_gone_is_missed(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    store.note("toy", {"outcome": "not enough data", "reason": "two rows"})
    assert (store.attempt("toy"), store.problems()) == ({"outcome": "not enough data", "reason": "two rows"}, [])
    store.promote("toy", saved(store, 1))
    store.note("toy", {"outcome": "serving"})
    assert not store.problems()
    (tmp_path / "models/toy/champion.json").unlink()
    (problem,) = store.problems()
    assert "champion.json: is missing" in problem.what


def test_a_manifest_that_was_made_to_fit_is_not_vouched_for(tmp_path: Path) -> None:
    """Weights and their hash in the manifest were exchanged together: the version's name tells."""
    store = ModelStore(tmp_path / "models")
    version = saved(store, 1)
    store.promote("toy", version)
    path = tmp_path / "models/toy" / version / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "metrics": {"ap": 0.9}}), "utf-8")
    for wanted in (None, version):
        with pytest.raises(IntegrityError, match=r"manifest\.json"):
            store.load("toy", wanted)


def test_nothing_that_could_run_is_kept(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    with pytest.raises(TypeError, match="without pickle"):
        store.save("toy", date(2026, 1, 1), {}, {"weights": {"x": np.array([object()])}})
    with pytest.raises(UsageError, match="a model's name"):
        store.save("../toy", date(2026, 1, 1), {}, {})
    with pytest.raises(ValueError, match="Out of range float"):
        store.save("toy", date(2026, 1, 1), {"metrics": {"ap": float("nan")}}, {})
    assert store.names() == []


def test_a_file_where_the_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    with pytest.raises(StorageError, match=r"models: a file is in the way"):
        saved(ModelStore(tmp_path / "models"), 1)
