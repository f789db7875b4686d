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

    The contract's quartile over the brain becomes its ``intensity_value``: the one that lies in
    white matter however much fluid or lesion there is. No percentile of the tails, where vessels
    and noise are, comes in.

    Args:
        data: intensities of a whole volume, native units.
        mask: the brain.
        contract: says which quartile, and which value it is mapped to.

    Returns:
        Native units per 1.0; divide the data by it.

    Raises:
        ImageError: the mask is empty, or the brain is constant or that quartile not positive.
    """
    inside = data[mask]
    if inside.size == 0:
        raise ImageError("the brain mask is empty; give a mask of the brain with --brain-mask")
    if inside.min() == inside.max():
        raise ImageError(
            f"the brain is constant, {inside[0]:g} everywhere in the mask; check image and mask"
        )
    quartile = float(np.percentile(inside, 100 * contract.quantile))
    if not np.isfinite(quartile) or quartile <= 0:
        raise ImageError(
            f"the {contract.intensity_reference.replace('_', ' ')} over the brain is {quartile:g},"
            " expected above 0;"
            " check image and mask"
        )
    return quartile / contract.intensity_value
