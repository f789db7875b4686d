"""One person, one source session, one target: all methods against all truths."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from prism_mri.baselines import QuantileMatching
from prism_mri.card import SiteCard
from prism_mri.evaluate.results import Method, ScoreRow, Truth
from prism_mri.evaluate.scans import KeptMask, KeptStack, Scan
from prism_mri.harmonize import harmonize_volume
from prism_mri.metrics import compute_scores
from prism_mri.networks.anatomy_encoder import AnatomyEncoder
from prism_mri.types import MaskStack, SliceStack, VolumeArray

MAX_PSNR_DB = 100.0
"""Stands for equal images, whose PSNR is infinite."""
PANEL_MARGIN = 6
"""Pixels around the brain in a picture."""


@dataclass(frozen=True, eq=False)
class Target:
    """A site to harmonize to."""

    card: SiteCard
    quantile: QuantileMatching

    @property
    def site(self) -> str:
        """Return the site's name."""
        return self.card.manifest.site


@dataclass(frozen=True, eq=False)
class PairImages:
    """What a person looks like after every method, and should look like; kept slices (K, H, W)."""

    methods: Mapping[Method, KeptStack]
    truths: Mapping[Truth, tuple[KeptStack, KeptMask]]
    """Each truth with the brain in which it is valid."""
    harmonized: VolumeArray
    """PRISM's result on the source's RAS+ grid, in the target's intensity units."""
    warnings: tuple[str, ...]


def harmonize_pair(
    scan: Scan,
    truths: Mapping[Truth, tuple[SliceStack, MaskStack]],
    *,
    target: Target,
    anatomy_encoder: AnatomyEncoder,
) -> PairImages:
    """Apply every method to a scan.

    Args:
        scan: the source.
        truths: slices of each truth on the scan's grid; ``clean`` serves as the oracle.
        target: where to harmonize to.
        anatomy_encoder: of the translator that the card names.

    Returns:
        Slices of every method in the prepared scale.
    """
    source = scan.stack(scan.brain.volume.data)
    clean = scan.cleaned
    result = harmonize_volume(clean.volume, clean.mask, target.card, anatomy_encoder, cleaning=None)
    return PairImages(
        methods={
            "none": source,
            "quantile": target.quantile.transform(source, scan.mask),
            "prism": scan.stack(result.data, target.card.manifest.intensity_scale),
            "oracle": truths["clean"][0],
        },
        truths=truths,
        harmonized=result.data,
        warnings=result.warnings,
    )


def score_pair(images: PairImages, *, person: str, source: str, target: str) -> list[ScoreRow]:
    """Score every method against every truth; the oracle is not scored against itself.

    Args:
        images: from `harmonize_pair`.
        person: who it is.
        source: the scanner of the source session.
        target: the site harmonized to.

    Returns:
        One row per method and truth.
    """
    rows = []
    for method, slices in images.methods.items():
        for truth, (expected, mask) in images.truths.items():
            if method == "oracle" and truth == "clean":
                continue
            scores = compute_scores(slices, expected, mask)
            rows.append(
                ScoreRow(
                    person=person,
                    source=source,
                    target=target,
                    method=method,
                    truth=truth,
                    ssim=scores.ssim,
                    psnr_db=min(scores.psnr_db, MAX_PSNR_DB),
                    mae=scores.mae,
                    slices=int(mask.any(axis=(1, 2)).sum()),
                )
            )
    return rows


def cut_panel(
    images: PairImages, mask: MaskStack
) -> tuple[int, dict[str, Float32[np.ndarray, "_H _W"]]]:
    """Cut one slice near the middle of the brain out of every method and both truths.

    Args:
        images: from `harmonize_pair`.
        mask: brain of the kept slices.

    Returns:
        Index among the kept slices, and arrays source, quantile, prism, truth and clean around
        the brain.
    """
    index = round(0.55 * (len(mask) - 1))
    box = tuple(_with_margin(mask[index].any(axis=axis)) for axis in (1, 0))
    stacks = {
        "source": images.methods["none"],
        "quantile": images.methods["quantile"],
        "prism": images.methods["prism"],
        "truth": images.truths["acquired"][0],
        "clean": images.truths["clean"][0],
    }
    return index, {name: np.ascontiguousarray(stack[index][box]) for name, stack in stacks.items()}


def _with_margin(occupied: np.ndarray) -> slice:
    where = np.flatnonzero(occupied)
    return slice(max(int(where[0]) - PANEL_MARGIN, 0), int(where[-1]) + 1 + PANEL_MARGIN)
