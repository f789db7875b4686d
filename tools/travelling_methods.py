"""The methods of the travelling benchmark, each a function from a passage to harmonized slices."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from recipe_study import Row, Study, draw, find, read_trained

from prism_mri.baselines import HistogramMatching, QuantileMatching, ZScore
from prism_mri.config import PreprocessingContract
from prism_mri.data.prepared import read_prepared
from prism_mri.evaluate.dataset import Session
from prism_mri.evaluate.scans import Scan, read_scan, read_truth
from prism_mri.preprocessing.bias_field import correct_bias_field
from prism_mri.preprocessing.noise import denoise_slices
from prism_mri.types import MaskStack, SliceStack
from prism_mri.volume import Volume, read_volume, reorient_to_ras

Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Passage:
    """One person's scan on the way to one site; slices ``(K, H, W)``."""

    person: str
    source: str
    target: str
    scan: Scan
    image: SliceStack


@dataclass(frozen=True, eq=False)
class Visit(Passage):
    """A passage with what is true of it."""

    acquired: SliceStack
    clean: SliceStack
    labels: np.ndarray
    lesion: np.ndarray


Method = Callable[[Passage], SliceStack]

SIMPLE = (
    "not harmonized",
    "z-score",
    "quantile matching",
    "N4 + quantile matching",
    "N4 + denoising + quantile matching",
    "histogram matching",
    "oracle",
)
"""What learns nothing by gradient; the oracle is the truth without noise and bias field."""


def read_visits(study: Study) -> Iterator[Visit]:
    """Yield every travelling person on every scanner, to every other site."""
    contract = PreprocessingContract.for_modality(study.plan.modality)
    sites = study.plan.sites
    for (person, source), session in find(study, sites).sessions.items():
        scan = read_scan(session, contract)
        image = scan.stack(scan.brain.volume.data)
        labels = _read_labels(session, scan, "dseg")
        lesion = _read_labels(session, scan, "label-lesion_mask") > 0
        for target, truths in session.truths.items():
            yield Visit(
                person,
                source,
                target,
                scan,
                image,
                read_truth(truths.acquired, scan),
                read_truth(truths.clean, scan),
                labels,
                lesion,
            )


def _read_labels(session: Session, scan: Scan, kind: str) -> np.ndarray:
    """Read a map of the simulator's truth, on the scan's kept slices."""
    path = Path(str(session.mask).replace("desc-brain_mask", kind))
    volume, _ = reorient_to_ras(read_volume(path))
    return np.ascontiguousarray(volume.data.transpose(2, 0, 1)[scan.keep]).astype(np.uint8)


def build_simple(study: Study, name: str) -> Method:
    """Return a method that is fitted in closed form on each site's training people."""
    if name == "not harmonized":
        return lambda visit: visit.image
    if name == "oracle":
        return _show_truth
    kinds: dict[str, type[ZScore | QuantileMatching | HistogramMatching]] = {
        "z-score": ZScore,
        "quantile matching": QuantileMatching,
        "histogram matching": HistogramMatching,
        "N4 + quantile matching": QuantileMatching,
        "N4 + denoising + quantile matching": QuantileMatching,
    }
    changes = {
        "N4 + quantile matching": _correct_bias,
        "N4 + denoising + quantile matching": _clean,
    }
    change = changes.get(name, _keep)
    contract = PreprocessingContract.for_modality(study.plan.modality)
    apart = study.plan.slice_spacing_mm or contract.spacing_mm
    fitted = {
        site: kinds[name].fit(
            (change(data, mask, (contract.spacing_mm, contract.spacing_mm, apart)), mask)
            for data, mask in (
                image.load() for image in read_prepared(study.prepared(site)).split("train")
            )
        )
        for site in study.plan.sites
    }
    changed: dict[tuple[str, str], SliceStack] = {}

    def match(visit: Passage) -> SliceStack:
        key = (visit.person, visit.source)
        if key not in changed:
            changed.clear()  # the same scan's targets follow one another
            spacing = visit.scan.brain.volume.spacing_mm
            changed[key] = change(visit.image, visit.scan.mask, spacing)
        return fitted[visit.target].transform(changed[key], visit.scan.mask)

    return match


def build_trained(study: Study, row: Row, seed: int) -> Method:
    """Return harmonization by the cards that the sites trained with a seed.

    A scanner that no site has brings no encoder of its own: with the anchored recipe the shipped
    one serves everybody; the paper's has none for it, and its rows leave such scanners out.
    """
    trained = {site: read_trained(study, row, site, seed) for site in study.plan.sites}
    shared = next(iter(trained.values())).anatomy_encoder

    def harmonize(visit: Passage) -> SliceStack:
        source = trained.get(visit.source)
        encoder = shared if source is None else source.anatomy_encoder
        card = trained[visit.target].card
        return draw(visit.scan, card, encoder, source_detail=row.source_detail)

    return harmonize


def _show_truth(visit: Passage) -> SliceStack:
    if not isinstance(visit, Visit):
        raise TypeError("only visits have a truth")
    return visit.clean


def _correct_bias(data: SliceStack, mask: MaskStack, spacing_mm: Spacing) -> SliceStack:
    """Return slices without their bias field, at their own level."""
    volume = Volume(_to_volume(data), np.diag([*spacing_mm, 1.0]))
    corrected = correct_bias_field(volume, _to_volume(mask))
    return np.ascontiguousarray(corrected.transpose(2, 0, 1))


def _clean(data: SliceStack, mask: MaskStack, spacing_mm: Spacing) -> SliceStack:
    """Return slices as harmonizing begins with them."""
    return denoise_slices(_correct_bias(data, mask, spacing_mm), mask)


def _to_volume(stack: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(stack.transpose(1, 2, 0))


def _keep(data: SliceStack, _mask: MaskStack, _spacing_mm: Spacing) -> SliceStack:
    return data
