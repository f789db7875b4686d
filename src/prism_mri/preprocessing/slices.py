"""Choose the slices with enough brain to train on and to score."""

import numpy as np
from jaxtyping import Bool

from prism_mri.config import PreprocessingContract
from prism_mri.errors import ImageError
from prism_mri.types import MaskStack


def select_slices(
    mask: MaskStack, pixel_mm: tuple[float, float], contract: PreprocessingContract
) -> Bool[np.ndarray, " K"]:
    """Return which slices hold at least ``contract.min_brain_area_mm2`` of brain.

    Args:
        mask: (K, H, W) brain.
        pixel_mm: pixel size along H and W.
        contract: says the area.

    Returns:
        (K,) True where the slice is kept.

    Raises:
        ImageError: no slice is left.
    """
    areas_mm2 = mask.sum(axis=(1, 2)) * (pixel_mm[0] * pixel_mm[1])
    kept = np.asarray(areas_mm2 >= contract.min_brain_area_mm2)
    if not kept.any():
        raise ImageError(
            f"no slice has {contract.min_brain_area_mm2:g} mm² of brain, the largest has"
            f" {areas_mm2.max():.0f} mm²; check the brain mask and the voxel size"
        )
    return kept
