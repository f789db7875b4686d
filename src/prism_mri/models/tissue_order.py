"""Which tissue is brighter than which: how an image itself says what modality it is of.

Tissues are told apart by the translator's anatomy encoder, whatever the recipe of a card or model.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from prism_mri.config import MODALITIES, Modality
from prism_mri.networks.anatomy_encoder import TISSUES
from prism_mri.types import AnatomyBatch, MaskStack, SliceStack

FLUID_BRIGHT: Final = 1.35
"""Fluid over grey matter: above on T2w, below on PD.

Two real T2w scans have 1.7 to 2.1 (translators of T2w alone and of all modalities). By the signal
equation usual PD has 0.7 to 1.2, T2w above 1.4; simulated T2w of 60 drawn sequences 1.4 to 3.9 (2nd
to 98th percentile, true fractions), PD 0.65 to 1.45. There is no gap between a PD of long TR and TE
and an early T2w: the margin takes in both.
"""
FLUID_NULLED: Final = 0.60
"""Fluid over grey matter: below on FLAIR, above on PD.

Two real FLAIR scans have 0.26 and 0.27, simulated ones 0.16 to 0.58 (10th to 90th percentile),
usual PD 0.7 and more.
"""
FLUID_DARK: Final = 0.85
"""Fluid over grey matter: below on T1w.

Two real scans have 0.42 and 0.48 (0.6 and 0.7 by the less sharp tissue map of the T2w of the same
session), simulated ones 0.2 to 0.7.
"""
WHITE_BRIGHT: Final = 1.0
"""Grey over white matter: below on T1w, above on the others.

Real T1w has 0.85 and 0.87, FLAIR 1.20, T2w 1.36 to 1.41. Simulated T1w has 0.5 to 1.07 (2nd to 98th
percentile); the medians of the others are 1.05 (FLAIR), 1.16 (PD) and 1.4 (T2w). PD of TR below
2500 ms is close to T1w at 3 T and suits both.
"""
MARGIN: Final = 0.04
"""An image this close to a line, as a share of it, may be of either side."""
PURE: Final = 0.7
"""Voxels with a larger fraction of a tissue are that tissue's.

Mixed voxels hide the order on thick slices: fluid over grey matter on a real FLAIR is 0.64 when
every voxel counts by its fraction.
"""
RIM_PIXELS: Final = 3
"""How far from the mask's edge tissues are measured, on the conform grid.

Masks take in some dark dura and bone, which looks like fluid on T1w and FLAIR: with the rim, fluid
over grey matter on a real T2w was 0.59 instead of 1.71.
"""
RELIABLE_SLICE_MM: Final = 6.0
"""Thicker slices mix tissues so much that their order proves nothing: it is warned of only."""
MIN_SHARE: Final = 0.02
"""A tissue with a smaller share of the brain is not compared: what it shows says nothing."""

_FLUID_OVER_GREY: Final[dict[Modality, tuple[float, float]]] = {
    "T1w": (0.0, FLUID_DARK),
    "T2w": (FLUID_BRIGHT, math.inf),
    "PDw": (FLUID_NULLED, FLUID_BRIGHT),
    "FLAIR": (0.0, FLUID_NULLED),
}
_GREY_OVER_WHITE: Final[dict[Modality, tuple[float, float]]] = {
    "T1w": (0.0, WHITE_BRIGHT),
    "T2w": (WHITE_BRIGHT, math.inf),
    "PDw": (WHITE_BRIGHT, math.inf),
    "FLAIR": (WHITE_BRIGHT, math.inf),
}


@dataclass(frozen=True)
class TissueMeans:
    """Typical intensity of each tissue, NaN where there is none of it, and how much there is.

    Attributes:
        csf: median of cerebrospinal fluid, in the image's units.
        gm: of grey matter.
        wm: of white matter.
        shares: of the brain's voxels that are clearly fluid, grey and white matter; what is mixed
            counts for none.
    """

    csf: float
    gm: float
    wm: float
    shares: tuple[float, float, float]

    @property
    def missing(self) -> str | None:
        """The rarest tissue where it has less than 2 % of the brain: "CSF", "GM" or "WM"."""
        rarest = int(np.argmin(self.shares))
        return TISSUES[rarest].upper() if self.shares[rarest] < MIN_SHARE else None


def measure_tissues(slices: SliceStack, mask: MaskStack, fractions: AnatomyBatch) -> TissueMeans:
    """Return what the tissues in the brain look like.

    The mask's rim counts only where a tissue would be missing without it.

    Args:
        slices: ``(K, H, W)`` on the conform grid, any scale.
        mask: ``(K, H, W)`` brain.
        fractions: ``(K, 3 or more, H, W)`` what the translator's anatomy encoder made of the
            slices; fluid, grey and white matter come first.
    """
    in_plane = ndimage.generate_binary_structure(2, 1)[None]
    core = ndimage.binary_erosion(mask, in_plane, iterations=RIM_PIXELS)
    voxels = max(int(mask.sum()), 1)
    medians, shares = [], []
    for fraction in fractions[:, : len(TISSUES)].detach().float().cpu().numpy().swapaxes(0, 1):
        whole = (fraction > PURE) & mask
        inner = whole & core
        chosen = inner if inner.sum() >= MIN_SHARE * voxels else whole
        medians.append(float(np.median(slices[chosen])) if chosen.any() else math.nan)
        shares.append(float(whole.sum() / voxels))
    (csf, gm, wm), (fluid, grey, white) = medians, shares
    return TissueMeans(csf, gm, wm, (fluid, grey, white))


def is_order_reliable(slice_mm: float) -> bool:
    """Return whether slices so far apart are thin enough for the order of tissues to refuse by."""
    return slice_mm <= RELIABLE_SLICE_MM + 1e-3


def check_tissue_order(means: TissueMeans, modality: Modality) -> str | None:
    """Return what is wrong with an image of a modality, or None where nothing is.

    T2w: fluid above grey above white matter. T1w: white above grey matter above fluid. FLAIR: grey
    above white matter above fluid. PD: grey above white matter, fluid not far from either. What
    cannot be compared, because there is too little of a tissue, counts as right.

    Args:
        means: from :func:`measure_tissues`.
        modality: what the image should be.

    Returns:
        One line that names the means and the modalities that they would suit.
    """
    if _suits(means, modality):
        return None
    others = [other for other in MODALITIES if other != modality and _suits(means, other)]
    looks = f"; it looks like {' or '.join(others)}" if others else ""
    return (
        f"tissues are not in the order of {modality} "
        f"(CSF {means.csf:.2f}, GM {means.gm:.2f}, WM {means.wm:.2f}){looks}"
    )


def _suits(means: TissueMeans, modality: Modality) -> bool:
    csf, gm, wm = (share >= MIN_SHARE for share in means.shares)
    fluid = _lies_within(means.csf, means.gm, _FLUID_OVER_GREY[modality])
    grey = _lies_within(means.gm, means.wm, _GREY_OVER_WHITE[modality])
    return (fluid or not (csf and gm)) and (grey or not (gm and wm))


def _lies_within(above: float, below: float, limits: tuple[float, float]) -> bool:
    """Tell whether above / below is within limits, or not further out than the margin."""
    low, high = limits
    return low * (1 - MARGIN) * below <= above <= high * (1 + MARGIN) * below
