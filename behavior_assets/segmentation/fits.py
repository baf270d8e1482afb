"""Fits of the model "customer_value", one for each month's end, and how a model store keeps them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.days import day_of, number_of
from behavior_assets.segmentation import churn
from behavior_assets.segmentation.churn import Churn
from behavior_assets.segmentation.clusters import Clusters
from behavior_assets.segmentation.value import BgNbd, GammaGamma

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from behavior_assets.prediction.customer_model import Activity
    from behavior_assets.training import Trained
    from resources.models import StoredModel

RECIPE = 2  # raised when fits mean something else: those of another recipe are not carried over
UNIT_DAYS = 7.0
EXPECTED_DAYS = 90
CLUSTER_FEATURES = ("days_since_order", "order_days", "revenue_so_far", "days_since_visit")


@dataclass(frozen=True)
class Groups:
    """Clusters, the one with the most revenue when they were chosen first; their labels, and what is known of them."""

    clusters: Clusters
    labels: tuple[str, ...]
    stability: float
    holdout: float
    chosen: int  # day at which k was chosen


@dataclass(frozen=True)
class Fit:
    """What was fitted from what was known at the end of a day (since 1970). ``reasons``: of parts that are missing.

    ``inputs`` is a digest of what was known: only a fit to the same is taken over into a later version.
    """

    day: int
    inputs: str = ""
    value: BgNbd | None = None
    worth: GammaGamma | None = None
    groups: Groups | None = None
    churn: Churn | None = None
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing could be fitted."""
        return self.value is None and self.groups is None and self.churn is None


def digest(activity: Activity, day: int) -> str:
    """Sixteen hex digits that stand for all that was known at the end of a day (since 1970)."""
    known = activity.until(day)
    found = hashlib.sha256()
    for column in (known.customer, known.day, known.values):
        found.update(np.ascontiguousarray(column).tobytes())
    return found.hexdigest()[:16]


def kept(fits: Sequence[Fit]) -> tuple[dict[str, Any], dict[str, dict[str, NDArray[Any]]]]:
    """Fits as plain JSON and arrays."""
    told, arrays = [], {}
    for f in fits:
        entry: dict[str, Any] = {"day": day_of(f.day), "inputs": f.inputs, "reasons": f.reasons}
        if f.value is not None:
            entry["value"] = asdict(f.value)
        if f.worth is not None:
            entry["worth"] = asdict(f.worth)
        if f.groups is not None:
            g = f.groups
            entry["groups"] = {"labels": list(g.labels), "stability": g.stability, "holdout": g.holdout,
                               "chosen": day_of(g.chosen)}  # fmt: skip
            arrays[f"groups_{entry['day']}"] = g.clusters.arrays()
        if f.churn is not None:
            entry["churn"] = {"calibration": list(f.churn.calibration)}
            arrays[f"churn_{entry['day']}"] = f.churn.arrays
        told.append(entry)
    settings = {"recipe": RECIPE, "unit_days": UNIT_DAYS, "expected_days": EXPECTED_DAYS,
                "churn_days": churn.HORIZON_DAYS, "features": list(churn.FEATURES),
                "cluster_features": list(CLUSTER_FEATURES)}  # fmt: skip
    return json.loads(json.dumps({**settings, "fits": told}, allow_nan=False)), arrays


def fits_of(model: StoredModel | Trained) -> list[Fit]:
    """The fits that a model holds, oldest first; none of another recipe."""
    if model.told.get("recipe") != RECIPE:
        return []
    return [_fit_of(entry, model.arrays) for entry in model.told["fits"]]


def _fit_of(entry: dict[str, Any], arrays: dict[str, dict[str, NDArray[Any]]]) -> Fit:
    name = entry["day"]
    value = BgNbd(**entry["value"]) if "value" in entry else None
    worth = GammaGamma(**entry["worth"]) if "worth" in entry else None
    groups = trees = None
    if "groups" in entry:
        g = entry["groups"]
        centres = Clusters(**arrays[f"groups_{name}"])
        chosen = number_of(g["chosen"])
        groups = Groups(centres, tuple(g["labels"]), g["stability"], g["holdout"], chosen)
    if "churn" in entry:
        slope, middle = entry["churn"]["calibration"]
        trees = Churn(arrays[f"churn_{name}"], (slope, middle))
    day = number_of(name)
    return Fit(day, entry["inputs"], value, worth, groups, trees, dict(entry["reasons"]))
