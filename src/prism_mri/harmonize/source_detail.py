"""What the networks do not draw of the source: kept in the target's contrast, without its noise."""

import numpy as np
from scipy.ndimage import uniform_filter

from prism_mri.harmonize.native_detail import compute_local_slope
from prism_mri.preprocessing.noise import estimate_noise
from prism_mri.types import MaskStack, SliceStack

_COARSE_WINDOW = 31
"""Pixels; what is smoother than this in the source is its bias field, and stays behind."""
_COARSE_DEPTH_MM = 25.0
"""Across slices: a bias field is smooth there too, a slice drawn too bright by itself is not."""
_SLOPE_WINDOW = 21
_POWER_WINDOW = 5
_NOISE_FACTOR = 4.0
"""Resampling to the conform grid correlates noise, and the estimate sees only its fine part."""
_LEAST_SHARE = 0.1
_LEAST_WEIGHT = np.float32(1e-3)
_EPSILON = np.float32(1e-8)


def add_source_detail(
    decoded: SliceStack,
    own: SliceStack,
    source: SliceStack,
    mask: MaskStack,
    *,
    slice_mm: float,
) -> SliceStack:
    """Return decoded slices with the detail that anatomy and decoder lost of the source.

    The detail is the source less its decoding under its own style, without what is smooth (bias
    field) and weakened where it is no stronger than the source's noise. It is multiplied by the
    local slope of the decoding under the target's style against that under the source's, so that it
    follows the change of contrast; where both are flat, the slope of a wider window serves.

    Slices are drawn one by one, and the level of white matter flickers from one to the next. Where
    the source's own decoding does so against the source, the same share is taken off the target's.

    Args:
        decoded: ``(K, H, W)`` decoded under the target's style, zero outside the brain.
        own: ``(K, H, W)`` decoded under the source's own style, zero outside the brain.
        source: ``(K, H, W)`` prepared source, zero outside the brain.
        mask: ``(K, H, W)`` brain.
        slice_mm: distance of neighbouring slices.

    Returns:
        ``(K, H, W)``, in the brain at least a tenth of what was decoded, zero outside.

    Source:
        Lee 1980, IEEE TPAMI 2(2): local statistics for the weight; its parameters were chosen on
        deformed templates (lab notebook, round 8), its factor on three heads (round 10), the depth
        on two (round 14).
    """
    inside = mask.astype(np.float32)
    broad = compute_local_slope(own, decoded, inside, window=_SLOPE_WINDOW)
    slope = compute_local_slope(own, decoded, inside, flat=broad)
    lost = (source - own) * inside
    smooth = _average_inside(lost, inside, _COARSE_WINDOW)
    level = smooth - _average_inside(lost, inside, _COARSE_WINDOW, _count_slices(slice_mm))
    detail = (lost - smooth) * inside
    power = np.maximum(_average_inside(np.square(detail), inside, _POWER_WINDOW), _EPSILON)
    noise = np.float32(_NOISE_FACTOR * estimate_noise(source, mask) ** 2)
    kept = detail * np.maximum(1 - noise / power, np.float32(0))
    least = np.float32(_LEAST_SHARE) * decoded
    result: SliceStack = np.maximum(decoded + slope * kept + broad * level, least) * inside
    return result


def _count_slices(slice_mm: float) -> int:
    """Return the odd number of slices next to the depth that is averaged over."""
    return (
        1 + 2 * round((_COARSE_DEPTH_MM / slice_mm - 1) / 2) if slice_mm < _COARSE_DEPTH_MM else 1
    )


def _average_inside(
    values: SliceStack, inside: SliceStack, window: int, slices: int = 1
) -> SliceStack:
    """Return means of ``(K, H, W)`` over the part of each window that lies inside."""
    size = (slices, window, window)
    weight = np.maximum(uniform_filter(inside, size=size, mode="constant"), _LEAST_WEIGHT)
    mean: SliceStack = uniform_filter(values * inside, size=size, mode="constant") / weight
    return mean
