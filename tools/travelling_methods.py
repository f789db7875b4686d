"""The methods of the travelling benchmark, each a function from a visit to harmonized slices."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from recipe_study import Row, Study, draw, find, read_trained

from prism_mri.baselines import HistogramMatching, QuantileMatching, ZScore
from prism_mri.config import PreprocessingContract
from prism_mri.data.prepared import read_prepared
from prism_mri.evaluate.dataset import Session
from prism_mri.evaluate.scans import Scan, read_scan, read_truth
from prism_mri.types import MaskStack, SliceStack
from prism_mri.volume import read_volume, reorient_to_ras

_SHRINK = 4
_ITERATIONS = (50, 50, 30)


@dataclass(frozen=True, eq=False)
class Visit:
    """One person's scan on the way to one site, with what is true of it; slices ``(K, H, W)``."""

    person: str
    source: str
    target: str
    scan: Scan
    image: SliceStack
    acquired: SliceStack
    clean: SliceStack
    labels: np.ndarray
    lesion: np.ndarray


Method = Callable[[Visit], SliceStack]

SIMPLE = (
    "not harmonized",
    "z-score",
    "quantile matching",
    "N4 + quantile matching",
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
        return lambda visit: visit.clean
    kinds: dict[str, type[ZScore | QuantileMatching | HistogramMatching]] = {
        "z-score": ZScore,
        "quantile matching": QuantileMatching,
        "histogram matching": HistogramMatching,
        "N4 + quantile matching": QuantileMatching,
    }
    change = correct_bias if name.startswith("N4") else _keep
    fitted = {
        site: kinds[name].fit(
            (change(data, mask), mask)
            for data, mask in (
                image.load() for image in read_prepared(study.prepared(site)).split("train")
            )
        )
        for site in study.plan.sites
    }
    changed: dict[tuple[str, str], SliceStack] = {}

    def match(visit: Visit) -> SliceStack:
        key = (visit.person, visit.source)
        if key not in changed:
            changed.clear()  # the same scan's targets follow one another
            changed[key] = change(visit.image, visit.scan.mask)
        return fitted[visit.target].transform(changed[key], visit.scan.mask)

    return match


def build_trained(study: Study, row: Row, seed: int) -> Method:
    """Return harmonization by the cards that the sites trained with a seed.

    A scanner that no site has brings no encoder of its own: with the anchored recipe the shipped
    one serves everybody; the paper's has none for it, and its rows leave such scanners out.
    """
    trained = {site: read_trained(study, row, site, seed) for site in study.plan.sites}
    shared = next(iter(trained.values())).anatomy_encoder

    def harmonize(visit: Visit) -> SliceStack:
        source = trained.get(visit.source)
        encoder = shared if source is None else source.anatomy_encoder
        card = trained[visit.target].card
        return draw(visit.scan, card, encoder, source_detail=row.source_detail)

    return harmonize


def correct_bias(data: SliceStack, mask: MaskStack) -> SliceStack:
    """Return slices without their bias field, at their own level.

    Source:
        Tustison et al. 2010, N4ITK, as in SimpleITK, on a grid four times coarser in plane.
    """
    image = SimpleITK.GetImageFromArray(data)
    inside = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    factors = [_SHRINK, _SHRINK, 1]
    correction = SimpleITK.N4BiasFieldCorrectionImageFilter()
    correction.SetMaximumNumberOfIterations(_ITERATIONS)
    correction.Execute(SimpleITK.Shrink(image, factors), SimpleITK.Shrink(inside, factors))
    log_field = SimpleITK.GetArrayFromImage(correction.GetLogBiasFieldAsImage(image))
    field = np.exp(log_field - log_field[mask].mean())
    return np.where(mask, data / field, 0).astype(np.float32)


def _keep(data: SliceStack, _mask: MaskStack) -> SliceStack:
    return data
