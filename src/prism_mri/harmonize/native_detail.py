"""Back to the native grid without losing detail that the conform grid cannot hold."""

import numpy as np
import torch
from torch.nn import functional

from prism_mri.preprocessing.conform import Conformed
from prism_mri.types import MaskArray, MaskStack, SliceStack, VolumeArray

_WINDOW = 5
_RIDGE = 1e-4
_MAX_SLOPE = 3.0
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
    values, inside = (torch.from_numpy(array)[:, None].float() for array in (stack, mask))
    for _ in range(_EXTENSION):
        weight = functional.avg_pool2d(inside, 3, stride=1, padding=1)
        mean = functional.avg_pool2d(values * inside, 3, stride=1, padding=1) / weight.clamp(1e-3)
        values = torch.where(inside > 0, values, mean)
        inside = (weight > 0).float()
    return values[:, 0].numpy(), inside[:, 0].numpy() > 0


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
    x, y, inside = (torch.from_numpy(stack)[:, None] for stack in (source, decoded, mask))

    def average(values: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(values, window, stride=1, padding=window // 2)

    weight = average(inside).clamp(min=1e-3)
    mean_x, mean_y = average(x * inside) / weight, average(y * inside) / weight
    covariance = average(x * y * inside) / weight - mean_x * mean_y
    variance = average(x * x * inside) / weight - mean_x.square()
    if flat is not None:
        covariance = covariance + _RIDGE * torch.from_numpy(flat)[:, None]
    slope = covariance / (variance.clamp(min=0) + _RIDGE)
    return (slope.clamp(-_MAX_SLOPE, _MAX_SLOPE) * inside)[:, 0].numpy()
