"""The looks for harm: did harmonizing turn contrast over, blur, erase, or move what was there?"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from prism_mri.config import Modality
from prism_mri.evaluate.bootstrap import estimate_mean, widen_for_few
from prism_mri.evaluate.paper.images import SiteImage, Sites
from prism_mri.evaluate.paper.labels import TissueTruth
from prism_mri.evaluate.paper.methods import HarmonizationMethod
from prism_mri.evaluate.paper.results import (
    CheckName,
    CheckRow,
    DiceChange,
    DistanceRow,
    LabelSource,
    PaperSettings,
)
from prism_mri.evaluate.paper.workspace import Workspace
from prism_mri.evaluate.results import Interval
from prism_mri.metrics.structure import (
    Islands,
    compute_edge_sharpness,
    compute_island_contrast,
    compute_lost_structure,
    compute_shift,
    find_islands,
)
from prism_mri.models.tissue_order import check_tissue_order, measure_tissues
from prism_mri.types import LabelStack, MaskStack, SliceStack

MOST_OUT_OF_ORDER: Final = 0.2
LEAST_SHARPNESS: Final = 0.75
MOST_LOST: Final = 0.05
LEAST_ISLANDS: Final = 0.5
MOST_SHIFT: Final = 0.5
LEAST_DICE: Final = -0.01

LIMITS: Final[dict[CheckName, str]] = {
    "order": "tissues in another order than the modality's, in more than"
    f" {MOST_OUT_OF_ORDER:.0%} of people who had it right before, is harm",
    "sharpness": "edge between white and grey matter over their contrast, against the less sharp of"
    f" source and target: below {LEAST_SHARPNESS} is harm",
    "structure": f"share of structured windows that no longer vary along: above {MOST_LOST:.0%} is"
    " harm",
    "islands": "contrast kept by spots within white matter (lesions, vessels): below"
    f" {LEAST_ISLANDS} is harm",
    "shift": f"edges moved by more than {MOST_SHIFT} pixels is harm",
    "distance": "change of the intensity distance to the target, mean over tissues (in the whole"
    " brain where labels are the anatomy encoder's): below 0 is an improvement, above 0 is harm",
    "dice": "change of the Dice of the target's segmentation network, mean over tissues: above 0 is"
    f" an improvement, below {LEAST_DICE} is harm",
}
"""The rules of the verdict; each asks that the whole 95 % interval lies on that side.

Intervals are of single checks, uncorrected for how many there are, and widened for few people.
"""

Measures = dict[str, dict[str, float]]
"""By check, by person."""


def measure_harm(
    sites: Sites,
    methods: Iterable[HarmonizationMethod],
    truth: TissueTruth,
    workspace: Workspace,
    modality: Modality,
) -> dict[str, Measures]:
    """Measure every source's test images after every method against themselves.

    Args:
        sites: all images.
        methods: that were applied.
        truth: tissue labels of the images as they were.
        workspace: where harmonized images lie.
        modality: of the target's card.

    Returns:
        By ``site/method``, by check, by person; a person whom a check does not apply to is missing.
    """
    goal = measure_target_sharpness(sites, truth)
    found: dict[str, Measures] = {}
    for site in sites.sources:
        lists: dict[str, dict[str, dict[str, list[float]]]] = {
            f"{site}/{method.name}": defaultdict(lambda: defaultdict(list)) for method in methods
        }
        for image in sites.select(site, "test"):
            source = _look_at_source(image, truth.load(image), modality)
            for method in methods:
                changed = workspace.read_slices(method, image)
                for check, value in _measure(source, changed, modality, goal).items():
                    lists[f"{site}/{method.name}"][check][image.person].append(value)
        for key, checks in lists.items():
            found[key] = {
                check: {person: float(np.mean(values)) for person, values in people.items()}
                for check, people in checks.items()
            }
    return found


def measure_target_sharpness(sites: Sites, truth: TissueTruth) -> float:
    """Return the mean edge sharpness of the target's training images; infinite if unknown."""
    values = [
        compute_edge_sharpness(image.load()[0], truth.load(image))
        for image in sites.select(sites.target, "train")
    ]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else math.inf


def judge_checks(
    measures: Mapping[str, Measures],
    distances: Iterable[DistanceRow],
    changes: Iterable[DiceChange],
    settings: PaperSettings,
    *,
    labels: LabelSource,
) -> list[CheckRow]:
    """Compare every mean over people, by its interval, with its limit.

    Args:
        measures: from `measure_harm`.
        distances: whose change counts, by tissue, or in the brain where labels favour a method.
        changes: of Dice against doing nothing; left out where labels favour a method.
        settings: seed of the bootstrap.
        labels: where tissue labels come from.
    """
    rows = []
    for key, found in measures.items():
        site, name = key.split("/")
        for check, people in found.items():
            rows.append(_judge_measure((site, name), check, people, settings.seed))
    favoured = labels == "anatomy-encoder"
    measure = "intensity brain" if favoured else "intensity tissues"
    counts = {}
    for distance in distances:
        where = (distance.site, distance.method)
        if distance.measure != measure or f"{distance.site}/{distance.method}" not in measures:
            continue
        counts[where] = distance.people
        change = distance.change
        if change is None:  # the image as it was
            low = 0.0 if distance.value.low is not None else None
            change = Interval(estimate=0.0, low=low, high=low)
        rows.append(_build(where, "distance", distance.people, change))
    for one in changes if not favoured else ():
        where = (one.site, one.method)
        if one.tissue == "mean" and one.versus == "none" and where in counts:
            rows.append(_build(where, "dice", counts[where], one.difference))
    return rows


@dataclass(frozen=True, eq=False)
class _Source:
    """An image as it was, and what the checks need to know of it whatever the method."""

    slices: SliceStack
    mask: MaskStack
    labels: LabelStack
    in_order: bool
    sharpness: float | None
    islands: Islands


def _look_at_source(image: SiteImage, labels: LabelStack, modality: Modality) -> _Source:
    slices, mask = image.load()
    return _Source(
        slices,
        mask,
        labels,
        in_order=_is_in_order(slices, mask, labels, modality),
        sharpness=compute_edge_sharpness(slices, labels),
        islands=find_islands(slices, labels, mask),
    )


def _measure(
    source: _Source, changed: SliceStack, modality: Modality, goal: float
) -> dict[str, float]:
    """Return what the checks find in one image; checks that do not apply are missing."""
    slices, mask, labels = source.slices, source.mask, source.labels
    found = {
        "structure": compute_lost_structure(changed, slices, mask),
        "shift": compute_shift(changed, slices, mask),
    }
    if source.in_order:
        found["order"] = 1.0 - float(_is_in_order(changed, mask, labels, modality))
    if source.sharpness is not None:
        drawn = compute_edge_sharpness(changed, labels)
        found["sharpness"] = (drawn or 0.0) / min(source.sharpness, goal)
    kept = compute_island_contrast(changed, slices, labels, source.islands)
    if kept is not None:
        found["islands"] = kept
    return found


def _is_in_order(
    slices: SliceStack, mask: MaskStack, labels: LabelStack, modality: Modality
) -> bool:
    fractions = np.stack([labels == tissue for tissue in (1, 2, 3)], axis=1).astype(np.float32)
    means = measure_tissues(slices, mask, torch.from_numpy(fractions))
    return check_tissue_order(means, modality) is None


@dataclass(frozen=True)
class _Limit:
    """Where harm begins, and on which side of it; where improvement begins, if there is any."""

    harm: float
    above: bool
    """Whether harm lies above the limit."""
    improvement: float | None = None
    """On the other side of it."""


_LIMITS: Final[dict[str, _Limit]] = {
    "order": _Limit(MOST_OUT_OF_ORDER, above=True),
    "sharpness": _Limit(LEAST_SHARPNESS, above=False),
    "structure": _Limit(MOST_LOST, above=True),
    "islands": _Limit(LEAST_ISLANDS, above=False),
    "shift": _Limit(MOST_SHIFT, above=True),
    "distance": _Limit(0.0, above=True, improvement=0.0),
    "dice": _Limit(LEAST_DICE, above=False, improvement=0.0),
}


def _judge_measure(
    where: tuple[str, str], check: str, people: Mapping[str, float], seed: int
) -> CheckRow:
    value = estimate_mean(np.array(list(people.values())), seed)
    return _build(where, check, len(people), value)


def _build(where: tuple[str, str], check: str, people: int, value: Interval) -> CheckRow:
    wide = widen_for_few(value, people)
    return CheckRow.model_validate(
        {
            "site": where[0],
            "method": where[1],
            "check": check,
            "people": people,
            "value": wide,
            "limit": LIMITS[check],  # type: ignore[index]
            "result": _tell(wide, _LIMITS[check]),
        }
    )


def _tell(value: Interval, limit: _Limit) -> str:
    """Return what a whole interval speaks for."""
    if value.low is None or value.high is None:
        return "unknown"
    sign = 1.0 if limit.above else -1.0
    low, high = sorted((sign * value.low, sign * value.high))
    if low > sign * limit.harm:
        return "bad"
    if limit.improvement is not None and high < sign * limit.improvement:
        return "good"
    return "safe" if high <= sign * limit.harm else "none"
