"""Distances that need no travelling people: intensities and styles to the target, edges kept."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from torch import nn

from prism_mri.card import SiteCard
from prism_mri.evaluate.bootstrap import estimate_difference, estimate_mean
from prism_mri.evaluate.home import read_style
from prism_mri.evaluate.paper.images import Sites
from prism_mri.evaluate.paper.labels import TissueTruth
from prism_mri.evaluate.paper.methods import HarmonizationMethod
from prism_mri.evaluate.paper.results import DistanceRow, PaperSettings, StyleEnergy
from prism_mri.evaluate.paper.workspace import Workspace
from prism_mri.evaluate.styles import VolumeStyle
from prism_mri.metrics.distributions import compute_energy_distance, compute_wasserstein
from prism_mri.metrics.structure import compute_gradient_ssim
from prism_mri.types import LabelStack, MaskStack, SliceStack

_TISSUE_LABELS = (1, 2, 3)
_SAMPLE = 20_000
_LEAST_VOXELS = 50

Values = Float32[np.ndarray, " _N"]
Styles = Float64[np.ndarray, "people Z"]
PersonValues = dict[str, dict[str, float]]
"""By measure, by person."""
PersonStyles = Mapping[str, Mapping[str, Sequence[float]]]
"""By ``site/method``, by person."""


@dataclass(frozen=True, eq=False)
class TargetLook:
    """Intensities of the target's training images, in the brain (0) and in each tissue (1 to 3)."""

    intensities: Mapping[int, Values]


def look_at_target(sites: Sites, truth: TissueTruth, seed: int) -> TargetLook:
    """Pool the intensities of the target's training images, as many of every image."""
    generator = np.random.default_rng(seed)
    pooled: dict[int, list[Values]] = defaultdict(list)
    images = sites.select(sites.target, "train")
    share = max(1, _SAMPLE // len(images))
    for image in images:
        slices, mask = image.load()
        for tissue, values in _split(slices, mask, truth.load(image)).items():
            pooled[tissue].append(_sample(values, share, generator))
    return TargetLook({tissue: np.concatenate(parts) for tissue, parts in pooled.items()})


def measure_distances(
    sites: Sites,
    methods: Iterable[HarmonizationMethod],
    truth: TissueTruth,
    workspace: Workspace,
    seed: int,
) -> dict[str, PersonValues]:
    """Measure every test image after every method, by ``site/method``.

    Returns:
        Of every person, mean over images: ``intensity brain``, ``intensity tissues`` (both as
        Wasserstein distance to the target's training images, prepared scale) and ``gradient SSIM``
        against the image as it was.
    """
    target = look_at_target(sites, truth, seed)
    found: dict[str, PersonValues] = {}
    for method in methods:
        for site in sites.names:
            lists: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
            for image in sites.select(site, "test"):
                slices, mask = image.load()
                changed = workspace.read_slices(method, image)
                distances = _compute_distances(changed, mask, truth.load(image), target, seed)
                distances["gradient SSIM"] = compute_gradient_ssim(changed, slices, mask)
                for measure, value in distances.items():
                    lists[measure][image.person].append(value)
            found[f"{site}/{method.name}"] = {
                measure: {person: float(np.mean(values)) for person, values in people.items()}
                for measure, people in lists.items()
            }
    return found


def read_styles(
    sites: Sites,
    methods: Iterable[HarmonizationMethod],
    workspace: Workspace,
    card: SiteCard,
    anatomy_encoder: nn.Module,
) -> dict[str, dict[str, list[float]]]:
    """Return every test person's style after every method, as the target's encoder sees it.

    Args:
        sites: all images.
        methods: that were applied.
        workspace: where their results lie.
        card: the target's.
        anatomy_encoder: the translator's.

    Returns:
        By ``site/method``, by person: the mean style of their images.
    """
    styles: dict[str, dict[str, list[float]]] = {}
    for method in methods:
        for site in sites.names:
            people: dict[str, list[np.ndarray]] = defaultdict(list)
            for image in sites.select(site, "test"):
                _, mask = image.load()
                changed = workspace.read_slices(method, image)
                style = read_style(changed, mask, card=card, anatomy_encoder=anatomy_encoder)
                people[image.person].append(style)
            styles[f"{site}/{method.name}"] = {
                person: np.mean(found, axis=0).tolist() for person, found in people.items()
            }
    return styles


def add_style_distances(
    found: dict[str, PersonValues],
    styles: PersonStyles,
    sites: Sites,
) -> None:
    """Add ``style`` to the measures: distance to the target's mean over the target's own mean one.

    The target's own images, as they are, say where its styles lie.
    """
    own = np.array(list(styles[f"{sites.target}/none"].values()), dtype=np.float64)
    centre = own.mean(axis=0)
    unit = float(np.linalg.norm(own - centre, axis=1).mean()) or 1.0
    for key, people in styles.items():
        found[key]["style"] = {
            person: float(np.linalg.norm(np.array(style) - centre) / unit)
            for person, style in people.items()
        }


def tabulate_distances(
    found: Mapping[str, PersonValues],
    sites: Sites,
    methods: Sequence[HarmonizationMethod],
    settings: PaperSettings,
) -> list[DistanceRow]:
    """Return means over people with intervals, and paired changes against doing nothing."""
    rows = []
    for site in sites.names:
        before = found[f"{site}/none"]
        for method in methods:
            after = found[f"{site}/{method.name}"]
            for measure, people in after.items():
                names = sorted(people)
                values = np.array([people[name] for name in names])
                kept = np.array([before[measure][name] for name in names])
                rows.append(
                    DistanceRow.model_validate(
                        {
                            "site": site,
                            "method": method.name,
                            "measure": measure,
                            "people": len(names),
                            "value": estimate_mean(values, settings.seed),
                            "change": None
                            if method.name == "none"
                            else estimate_difference(
                                values, kept, settings.seed, draws=settings.bootstrap_draws
                            ),
                        }
                    )
                )
    return rows


def compute_style_energy(
    styles: PersonStyles,
    sites: Sites,
    methods: Iterable[HarmonizationMethod],
) -> list[StyleEnergy]:
    """Return energy distances of every site's styles to the target's own."""
    own = _stack(styles[f"{sites.target}/none"])
    return [
        StyleEnergy(
            site=site,
            method=method.name,
            distance=compute_energy_distance(_stack(styles[f"{site}/{method.name}"]), own),
        )
        for site in sites.names
        for method in methods
    ]


def list_styles(styles: PersonStyles, sites: Sites) -> list[VolumeStyle]:
    """Return the styles to draw: before and after PRISM, and the target's own."""
    points = []
    for site in sites.names:
        for stage, name in (("before", "none"), ("after", "prism")):
            if site == sites.target and stage == "after":
                continue
            where = "truth" if site == sites.target else stage
            points += [
                VolumeStyle(sites.target, person, site, where, tuple(style))  # type: ignore[arg-type]
                for person, style in styles.get(f"{site}/{name}", {}).items()
            ]
    return points


def _compute_distances(
    slices: SliceStack, mask: MaskStack, labels: LabelStack, target: TargetLook, seed: int
) -> dict[str, float]:
    generator = np.random.default_rng(seed)
    parts = {
        tissue: compute_wasserstein(_sample(values, _SAMPLE, generator), target.intensities[tissue])
        for tissue, values in _split(slices, mask, labels).items()
    }
    tissues = [parts[tissue] for tissue in _TISSUE_LABELS if tissue in parts]
    return {"intensity brain": parts[0], "intensity tissues": float(np.mean(tissues))}


def _split(slices: SliceStack, mask: MaskStack, labels: LabelStack) -> dict[int, Values]:
    """Return intensities in the brain and in the tissues that there is enough of."""
    parts = {0: slices[mask]}
    for tissue in _TISSUE_LABELS:
        values = slices[mask & (labels == tissue)]
        if len(values) >= _LEAST_VOXELS:
            parts[tissue] = values
    return parts


def _sample(values: Values, most: int, generator: np.random.Generator) -> Values:
    return values if len(values) <= most else generator.choice(values, most, replace=False)


def _stack(people: Mapping[str, Sequence[float]]) -> Styles:
    return np.array([people[person] for person in sorted(people)], dtype=np.float64)
