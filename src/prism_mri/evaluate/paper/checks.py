"""The looks for harm: did harmonizing turn contrast over, blur, erase, or move what was there?"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import torch

from prism_mri.config import Modality
from prism_mri.evaluate.bootstrap import estimate_mean
from prism_mri.evaluate.paper.images import SiteImage, Sites
from prism_mri.evaluate.paper.labels import TissueTruth
from prism_mri.evaluate.paper.methods import HarmonizationMethod
from prism_mri.evaluate.paper.results import (
    CheckName,
    CheckRow,
    DiceChange,
    DistanceRow,
    PaperSettings,
)
from prism_mri.evaluate.paper.workspace import Workspace
from prism_mri.evaluate.results import Interval
from prism_mri.metrics.structure import (
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
    "distance": "change of the intensity distance to the target, mean over tissues: below 0 is an"
    " improvement, above 0 is harm",
    "dice": "change of the Dice of the target's segmentation network, mean over tissues: above 0 is"
    f" an improvement, below {LEAST_DICE} is harm",
}
"""The rules of the verdict; each asks that the whole 95 % interval lies on that side."""

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
        for method in methods:
            lists: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
            for image in sites.select(site, "test"):
                changed = workspace.read_slices(method, image)
                for check, value in _measure(image, changed, truth, modality, goal).items():
                    lists[check][image.person].append(value)
            found[f"{site}/{method.name}"] = {
                check: {person: float(np.mean(values)) for person, values in people.items()}
                for check, people in lists.items()
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
    methods: Sequence[HarmonizationMethod],
    settings: PaperSettings,
) -> list[CheckRow]:
    """Compare every mean over people, by its interval, with its limit.

    Args:
        measures: from `measure_harm`.
        distances: whose change of ``intensity tissues`` counts.
        changes: of Dice against doing nothing; none where the labels favour one of the methods.
        methods: in the order of the tables.
        settings: seed of the bootstrap.
    """
    rows = []
    for key, found in measures.items():
        site, name = key.split("/")
        for check, people in found.items():
            rows.append(_judge_measure((site, name), check, people, settings.seed))
    sources = {key.split("/")[0] for key in measures}
    names = {method.name for method in methods}
    for distance in distances:
        if distance.measure == "intensity tissues" and distance.site in sources:
            change = distance.change or Interval(estimate=0.0, low=0.0, high=0.0)
            good, bad = _tell(change, below=0.0), _tell(change, above=0.0)
            where = (distance.site, distance.method)
            rows.append(_build(where, "distance", distance.people, change, good=good, bad=bad))
    for one in changes:
        wanted = one.tissue == "mean" and one.versus == "none" and one.site in sources
        if wanted and one.method in names:
            good, bad = (
                _tell(one.difference, above=0.0),
                _tell(one.difference, below=LEAST_DICE),
            )
            count = len(next(iter(measures[f"{one.site}/{one.method}"].values())))
            where = (one.site, one.method)
            rows.append(_build(where, "dice", count, one.difference, good=good, bad=bad))
    return rows


def _measure(
    image: SiteImage, changed: SliceStack, truth: TissueTruth, modality: Modality, goal: float
) -> dict[str, float]:
    """Return what the checks find in one image; checks that do not apply are missing."""
    slices, mask = image.load()
    labels = truth.load(image)
    found = {
        "structure": compute_lost_structure(changed, slices, mask),
        "shift": compute_shift(changed, slices, mask),
    }
    if _is_in_order(slices, mask, labels, modality):
        found["order"] = 1.0 - float(_is_in_order(changed, mask, labels, modality))
    own, drawn = (compute_edge_sharpness(part, labels) for part in (slices, changed))
    if own is not None:
        found["sharpness"] = (drawn or 0.0) / min(own, goal)
    islands = find_islands(slices, labels, mask)
    kept = compute_island_contrast(changed, slices, labels, islands)
    if kept is not None:
        found["islands"] = kept
    return found


def _is_in_order(
    slices: SliceStack, mask: MaskStack, labels: LabelStack, modality: Modality
) -> bool:
    fractions = np.stack([labels == tissue for tissue in (1, 2, 3)], axis=1).astype(np.float32)
    means = measure_tissues(slices, mask, torch.from_numpy(fractions))
    return check_tissue_order(means, modality) is None


_BAD: Final[dict[str, Callable[[Interval], bool | None]]] = {
    "order": lambda value: _tell(value, above=MOST_OUT_OF_ORDER),
    "sharpness": lambda value: _tell(value, below=LEAST_SHARPNESS),
    "structure": lambda value: _tell(value, above=MOST_LOST),
    "islands": lambda value: _tell(value, below=LEAST_ISLANDS),
    "shift": lambda value: _tell(value, above=MOST_SHIFT),
}


def _judge_measure(
    where: tuple[str, str], check: str, people: Mapping[str, float], seed: int
) -> CheckRow:
    value = estimate_mean(np.array(list(people.values())), seed)
    return _build(where, check, len(people), value, good=False, bad=_BAD[check](value))


def _build(
    where: tuple[str, str],
    check: str,
    people: int,
    value: Interval,
    *,
    good: bool | None,
    bad: bool | None,
) -> CheckRow:
    if good is None or bad is None:
        result = "unknown"
    else:
        result = "bad" if bad else "good" if good else "none"
    return CheckRow.model_validate(
        {
            "site": where[0],
            "method": where[1],
            "check": check,
            "people": people,
            "value": value,
            "limit": LIMITS[check],  # type: ignore[index]
            "result": result,
        }
    )


def _tell(
    interval: Interval, *, below: float | None = None, above: float | None = None
) -> bool | None:
    """Return whether a whole interval lies below or above a limit; None where it has no bounds."""
    if interval.low is None or interval.high is None:
        return None
    if below is not None:
        return interval.high < below
    return above is not None and interval.low > above
