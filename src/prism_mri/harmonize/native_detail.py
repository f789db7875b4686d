"""Back to the native grid without losing detail that the conform grid cannot hold."""

import numpy as np
from scipy.ndimage import uniform_filter

from prism_mri.preprocessing.conform import Conformed
from prism_mri.types import MaskArray, MaskStack, SliceStack, VolumeArray

_WINDOW = 5
_RIDGE = np.float32(1e-4)
_MAX_SLOPE = np.float32(3.0)
_LEAST_WEIGHT = np.float32(1e-3)
_EXTENSION = 3


def add_native_detail(
    decoded: SliceStack, conformed: Conformed, native: VolumeArray, mask: MaskArray
) -> VolumeArray:
    """Return decoded slices on the native grid, with the source's detail in the target's contrast.

    Where conforming interpolated, what it removed from the source, ``x − restore(conform(x))``, is
    added back, multiplied by the local slope of decoded against source intensity, so that detail
    between two tissues changes with their contrast, and in sign where their order changes.

    Args:
        decoded: ``(K, H, W)`` decoded slices on the conform grid, prepared scale.
        conformed: the source on that grid, and the way back.
        native: ``(I, J, K)`` RAS source, native intensities.
        mask: ``(I, J, K)`` brain.

    Returns:
        ``(I, J, K)`` in the prepared scale, at least 0, zero outside the brain.

    Source:
        He et al. 2013, Guided image filtering, for the local linear model.
    """
    transform = conformed.transform
    if transform.is_identity:
        restored = transform.restore(decoded)
    else:
        slope = compute_local_slope(conformed.slices, decoded, conformed.mask.astype(np.float32))
        restored, kept, contrast = (
            transform.restore_brain(*extend_brain(stack, conformed.mask))
            for stack in (decoded, conformed.slices, slope)
        )
        scaled = np.where(mask, native / np.float32(conformed.scale), np.float32(0))
        restored = restored + contrast * (scaled - kept)
    return np.where(mask, np.maximum(restored, 0), np.float32(0)).astype(np.float32)


def extend_brain(stack: SliceStack, mask: MaskStack) -> tuple[SliceStack, MaskStack]:
    """Carry the brain's values three pixels outward, as means of their neighbours.

    The native mask reaches where the conform grid's pixels are less than half brain; without this
    such voxels would have nothing to be interpolated from.

    Returns:
        Slices and mask, ``(K, H, W)`` each.
    """
    values, inside = stack, mask.astype(np.float32)
    for _ in range(_EXTENSION):
        weight = average_window(inside, 3)
        mean = average_window(values * inside, 3) / np.maximum(weight, _LEAST_WEIGHT)
        values = np.where(inside > 0, values, mean)
        inside = (weight > _LEAST_WEIGHT).astype(np.float32)
    return values, inside > 0


def average_window(stack: SliceStack, window: int) -> SliceStack:
    """Return the mean over a square window of each slice, beyond whose edges counts as zero.

    Args:
        stack: ``(K, H, W)``.
        window: side in pixels, odd.
    """
    mean: SliceStack = uniform_filter(stack, size=(1, window, window), mode="constant")
    return mean


def compute_local_slope(
    source: SliceStack,
    decoded: SliceStack,
    mask: SliceStack,
    *,
    window: int = _WINDOW,
    flat: SliceStack | None = None,
) -> SliceStack:
    """Return the least-squares slope of decoded against source in square windows, ``(K, H, W)``.

    A small ridge decides in windows where the source is flat. The slope is held in [−3, 3].

    Args:
        source: ``(K, H, W)``.
        decoded: ``(K, H, W)``.
        mask: ``(K, H, W)``, 1 in the brain; nothing else counts.
        window: side in pixels, odd.
        flat: ``(K, H, W)`` slope of flat windows; 0 if not given, so that noise is not carried
            over.
    """

    def average(values: SliceStack) -> SliceStack:
        mean: SliceStack = average_window(values * mask, window) / weight
        return mean

    weight = np.maximum(average_window(mask, window), _LEAST_WEIGHT)
    mean_x, mean_y = average(source), average(decoded)
    covariance = average(source * decoded) - mean_x * mean_y
    variance = np.maximum(average(np.square(source)) - np.square(mean_x), np.float32(0))
    if flat is not None:
        covariance = covariance + _RIDGE * flat
    slope = np.clip(covariance / (variance + _RIDGE), -_MAX_SLOPE, _MAX_SLOPE)
    held: SliceStack = slope * mask
    return held
