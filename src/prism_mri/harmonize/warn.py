"""Signs that an input lies outside what card and translator know."""

import numpy as np
import torch

from prism_mri.card import SiteCard
from prism_mri.networks.anatomy_encoder import TISSUES
from prism_mri.training.prior import encode_volume_style, select_style_slices
from prism_mri.types import MaskStack, SliceStack

MAX_IN_PLANE_MM = 1.6
MAX_SLICE_MM = 6.0
_ROUNDING_MM = 1e-3
BRAIN_ML = (800.0, 2300.0)
MIN_CORRELATION = 0.78
"""Real T2w scans have 0.88 and 0.90, noisy simulated ones from 0.81; T1w 0.75 and FLAIR 0.67."""
MIN_TISSUE_SHARE = 0.02


def find_warnings(
    slices: SliceStack,
    mask: MaskStack,
    anatomy: torch.Tensor,
    spacing_mm: tuple[float, float, float],
    card: SiteCard,
) -> tuple[str, ...]:
    """Check resolution, coverage, tissue order, and whether anatomy and style explain the image.

    Args:
        slices: ``(K, H, W)`` prepared source.
        mask: ``(K, H, W)`` brain.
        anatomy: ``(K, A, H, W)`` of the source.
        spacing_mm: the source's native voxel size, RAS.
        card: the target's.

    Returns:
        One line a finding; none for an input like those that the translator was trained on.
    """
    found = _check_resolution(spacing_mm)
    pixel_ml = card.manifest.contract.spacing_mm**2 * spacing_mm[2] / 1000
    millilitres = float(mask.sum()) * pixel_ml
    if not BRAIN_ML[0] <= millilitres <= BRAIN_ML[1]:
        found.append(
            f"the brain mask holds {millilitres:.0f} ml, expected {BRAIN_ML[0]:.0f} to "
            f"{BRAIN_ML[1]:.0f}: "
            "part of the brain, or a mask that is wrong?"
        )
    found += _check_tissues(slices, mask, anatomy)
    correlation = compute_self_correlation(slices, mask, anatomy, card)
    if correlation < MIN_CORRELATION:
        found.append(
            f"anatomy and style explain the image poorly (correlation {correlation:.2f}, expected "
            "at least "
            f"{MIN_CORRELATION}): look at the result before using it"
        )
    return tuple(found)


@torch.no_grad()
def compute_self_correlation(
    slices: SliceStack, mask: MaskStack, anatomy: torch.Tensor, card: SiteCard
) -> float:
    """Return the correlation in the brain of the source with its decoding under its own style.

    A decoding that is the same everywhere explains nothing: 0.
    """
    chosen = select_style_slices(mask)
    style = encode_volume_style(slices[chosen], mask[chosen], anatomy[chosen], card.style_encoder)
    decoded = card.decoder(anatomy[chosen], style.expand(len(chosen), -1))[:, 0].numpy()
    drawn, source = decoded[mask[chosen]], slices[chosen][mask[chosen]]
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


def _check_tissues(slices: SliceStack, mask: MaskStack, anatomy: torch.Tensor) -> list[str]:
    """On T2w fluid is brighter than grey matter, and that brighter than white matter."""
    weights = anatomy[:, : len(TISSUES)].numpy() * mask[:, None]
    share = weights.sum(axis=(0, 2, 3)) / max(float(mask.sum()), 1.0)
    if share.min() < MIN_TISSUE_SHARE:
        missing = TISSUES[int(share.argmin())].upper()
        return [
            f"hardly any {missing} was found ({share.min():.1%} of the brain): is it a T2w image?"
        ]
    csf, gm, wm = (weights * slices[:, None]).sum(axis=(0, 2, 3)) / weights.sum(axis=(0, 2, 3))
    if csf > gm > wm:
        return []
    return [
        f"tissues are not in the order of T2w (CSF {csf:.2f}, GM {gm:.2f}, WM {wm:.2f}): is it "
        "another modality?"
    ]
