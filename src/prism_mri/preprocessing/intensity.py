"""Find the intensity of one volume that stands for 1.0; never per slice."""

import numpy as np
from jaxtyping import Bool, Shaped

from prism_mri.config import PreprocessingContract
from prism_mri.errors import ImageError


def compute_intensity_scale(
    data: Shaped[np.ndarray, "*shape"],
    mask: Bool[np.ndarray, "*shape"],
    contract: PreprocessingContract,
) -> float:
    """Return the native intensity that becomes 1.0.

    The median over the brain becomes ``contract.intensity_value``: half of the brain may be bright
    fluid or lesion before it moves far, and no percentile of the tail, where vessels and noise are,
    comes in.

    Args:
        data: intensities of a whole volume, native units.
        mask: the brain.
        contract: says which value the median is mapped to.

    Returns:
        Native units per 1.0; divide the data by it.

    Raises:
        ImageError: the mask is empty, or the brain is constant or its median is not positive.
    """
    inside = data[mask]
    if inside.size == 0:
        raise ImageError("the brain mask is empty; give a mask of the brain with --brain-mask")
    if inside.min() == inside.max():
        raise ImageError(
            f"the brain is constant, {inside[0]:g} everywhere in the mask; check image and mask"
        )
    median = float(np.median(inside))
    if not np.isfinite(median) or median <= 0:
        raise ImageError(
            f"the median over the brain is {median:g}, expected above 0; check image and mask"
        )
    return median / contract.intensity_value
