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

    The lower quartile over the brain becomes ``contract.intensity_value``: on T2w it lies in white
    matter however much bright fluid or lesion there is, and no percentile of the tails, where
    vessels and noise are, comes in.

    Args:
        data: intensities of a whole volume, native units.
        mask: the brain.
        contract: says which value the lower quartile is mapped to.

    Returns:
        Native units per 1.0; divide the data by it.

    Raises:
        ImageError: the mask is empty, or the brain is constant or its lower quartile not positive.
    """
    inside = data[mask]
    if inside.size == 0:
        raise ImageError("the brain mask is empty; give a mask of the brain with --brain-mask")
    if inside.min() == inside.max():
        raise ImageError(
            f"the brain is constant, {inside[0]:g} everywhere in the mask; check image and mask"
        )
    quartile = float(np.percentile(inside, 25))
    if not np.isfinite(quartile) or quartile <= 0:
        raise ImageError(
            f"the lower quartile over the brain is {quartile:g}, expected above 0;"
            " check image and mask"
        )
    return quartile / contract.intensity_value
