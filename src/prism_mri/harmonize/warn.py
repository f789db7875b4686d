"""Signs that an input lies outside what card and translator know, or that a result is broken."""

from dataclasses import dataclass

import numpy as np
import torch

from prism_mri.config import Modality, PreprocessingContract
from prism_mri.models.tissue_order import check_tissue_order, measure_tissues
from prism_mri.networks.anatomy_encoder import TISSUES
from prism_mri.preprocessing.mask_checks import check_brain_volume
from prism_mri.types import MaskStack, SliceStack

MAX_IN_PLANE_MM = 1.6
MAX_SLICE_MM = 6.0
_ROUNDING_MM = 1e-3
MIN_CORRELATION = 0.65
"""Of cards of recipe ``anchored``, whose decoder knows the anatomy encoder in use.

Six real scans have 0.74 to 0.90. It tells of images that the networks do not know, not of another
modality: the translator explains those as well, and the order of tissues tells.
"""


@dataclass(frozen=True)
class TissueFindings:
    """What the tissues of an input and its result say.

    Attributes:
        other_modality: how the input's order differs from that of the card's modality, or None.
        warnings: one line each; ``other_modality`` is among them.
    """

    other_modality: str | None
    warnings: tuple[str, ...]


def find_warnings(
    slices: SliceStack,
    mask: MaskStack,
    own: SliceStack | None,
    spacing_mm: tuple[float, float, float],
    contract: PreprocessingContract,
) -> tuple[str, ...]:
    """Check resolution, coverage, and whether anatomy and style explain the image.

    Args:
        slices: ``(K, H, W)`` prepared source.
        mask: ``(K, H, W)`` brain.
        own: ``(K, H, W)`` the source decoded under its own style; None for cards of recipe
            ``paper``, whose decoder does not know the source's anatomy.
        spacing_mm: the source's native voxel size, RAS.
        contract: how slices were prepared.

    Returns:
        One line a finding; none for an input like those that the translator was trained on.
    """
    found = _check_resolution(spacing_mm)
    pixel_ml = contract.spacing_mm**2 * spacing_mm[2] / 1000
    millilitres = float(mask.sum()) * pixel_ml
    found += check_brain_volume(millilitres)
    if own is not None:
        found += _check_correlation(compute_self_correlation(slices, own, mask))
    return tuple(found)


def check_tissues(
    source: SliceStack,
    drawn: SliceStack,
    mask: MaskStack,
    fractions: torch.Tensor,
    modality: Modality,
) -> TissueFindings:
    """Check that the tissues of source and result are in the order of the card's modality.

    Args:
        source: ``(K, H, W)`` prepared source.
        drawn: ``(K, H, W)`` what the card's decoder made of it.
        mask: ``(K, H, W)`` brain.
        fractions: ``(K, A, H, W)`` of the source, by the translator's anatomy encoder. With fewer
            than three channels it is an anatomy that names no tissues, and nothing is checked.
        modality: the card's.
    """
    if fractions.shape[1] < len(TISSUES):
        return TissueFindings(None, ())
    before = measure_tissues(source, mask, fractions)
    other = check_tissue_order(before, modality)
    found = [] if other is None else [other]
    if before.missing is not None:
        found.append(
            f"hardly any {before.missing} was found ({min(before.shares):.1%} of the brain): "
            f"is it a {modality} image?"
        )
    broken = check_tissue_order(measure_tissues(drawn, mask, fractions), modality)
    if broken is not None:
        found.append(f"the result's contrast is broken or inverted: {broken}; do not use it")
    return TissueFindings(other, tuple(found))


def compute_self_correlation(slices: SliceStack, own: SliceStack, mask: MaskStack) -> float:
    """Return the correlation in the brain of the source with its decoding under its own style.

    A decoding that is the same everywhere explains nothing: 0.
    """
    drawn, source = own[mask], slices[mask]
    if drawn.min() == drawn.max():
        return 0.0
    return float(np.corrcoef(drawn, source)[0, 1])


def _check_resolution(spacing_mm: tuple[float, float, float]) -> list[str]:
    found = []
    if max(spacing_mm[:2]) > MAX_IN_PLANE_MM + _ROUNDING_MM:
        found.append(
            f"pixels of {max(spacing_mm[:2]):.2f} mm are coarser than the {MAX_IN_PLANE_MM} mm "
            "that were tried"
        )
    if spacing_mm[2] > MAX_SLICE_MM + _ROUNDING_MM:
        found.append(
            f"slices lie {spacing_mm[2]:.1f} mm apart, more than the {MAX_SLICE_MM} mm that were "
            "tried"
        )
    return found


def _check_correlation(correlation: float) -> list[str]:
    if correlation >= MIN_CORRELATION:
        return []
    return [
        f"anatomy and style explain the image poorly (correlation {correlation:.2f}, expected "
        f"at least {MIN_CORRELATION}): look at the result before using it"
    ]
