"""Table 1: images drawn again at home, and how alike harmonized images and their sources are."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from prism_mri.evaluate.bootstrap import estimate_mean
from prism_mri.evaluate.paper.images import Sites
from prism_mri.evaluate.paper.methods import HarmonizationMethod
from prism_mri.evaluate.paper.results import Region, SimilarityRow
from prism_mri.evaluate.paper.workspace import Workspace
from prism_mri.evaluate.redraw import SiteNetworks, redraw_brain
from prism_mri.metrics import SliceScores, compute_brain_slice_scores, compute_whole_slice_scores
from prism_mri.types import MaskStack, SliceStack

REGIONS: tuple[Region, ...] = ("whole", "brain")
_Scores = dict[Region, dict[str, list[SliceScores]]]


def score_reconstructions(
    sites: Sites, networks: Mapping[str, SiteNetworks], seed: int
) -> list[SimilarityRow]:
    """Score how well each site's own networks draw its own test images again.

    Args:
        sites: all images.
        networks: by site; sites without are left out.
        seed: of the bootstrap over people.
    """
    rows = []
    for site, own in networks.items():
        scores = _start()
        for image in sites.select(site, "test"):
            slices, mask = image.load_all()
            drawn = redraw_brain(slices, mask, own)
            _add(scores, image.subject, image.choose(drawn), *image.load())
        rows += _collect(scores, "reconstruction", site, "prism", seed)
    return rows


def score_preservation(
    sites: Sites, methods: Iterable[HarmonizationMethod], workspace: Workspace, seed: int
) -> list[SimilarityRow]:
    """Score how alike test images and what each method made of them are; the target's too.

    Args:
        sites: all images.
        methods: that were applied.
        workspace: where their results lie.
        seed: of the bootstrap over people.
    """
    rows = []
    for site in sites.names:
        for method in methods:
            scores = _start()
            for image in sites.select(site, "test"):
                changed = workspace.read_slices(method, image)
                _add(scores, image.subject, changed, *image.load())
            rows += _collect(scores, "preservation", site, method.name, seed)
    return rows


def _start() -> _Scores:
    return {region: defaultdict(list) for region in REGIONS}


def _add(
    scores: _Scores, subject: str, drawn: SliceStack, slices: SliceStack, mask: MaskStack
) -> None:
    scores["whole"][subject].append(compute_whole_slice_scores(drawn, slices))
    scores["brain"][subject].append(compute_brain_slice_scores(drawn, slices, mask))


def _collect(scores: _Scores, kind: str, site: str, method: str, seed: int) -> list[SimilarityRow]:
    return [
        SimilarityRow.model_validate(
            {
                "kind": kind,
                "site": site,
                "method": method,
                "region": region,
                "people": len(by_person),
                **{
                    metric: estimate_mean(_average(by_person.values(), metric), seed)
                    for metric in ("ssim", "psnr_db", "mse")
                },
            }
        )
        for region, by_person in scores.items()
    ]


def _average(people: Iterable[Sequence[SliceScores]], metric: str) -> np.ndarray:
    return np.array(
        [np.concatenate([getattr(one, metric) for one in person]).mean() for person in people]
    )
