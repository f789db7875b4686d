"""Bring a volume to axial slices on a grid of known spacing and intensity, and back.

The volume is RAS+ (I, J, K); slice k has H = I (left to right) and W = J (posterior to anterior).
Only the two in-plane axes are resampled; the slice direction stays native. Pixel centres follow one
affine map, ``grid = scale · (native + ½) − ½ − offset``, so that no image is stretched by rounding
its size.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch.nn import functional

from prism_mri.config import PreprocessingContract
from prism_mri.errors import ImageError
from prism_mri.preprocessing.intensity import compute_intensity_scale
from prism_mri.types import Affine, MaskArray, MaskStack, SliceStack, VolumeArray

ResampledStack = Float32[np.ndarray, "K H2 W2"]
MIN_COVERAGE = 0.2
"""Less of the mask than this under a pixel says nothing about the brain there."""
SAME_SPACING = 0.005
"""Relative difference in spacing below which nothing is interpolated."""


@dataclass(frozen=True)
class ConformTransform:
    """The way from the RAS+ native grid to the conform grid and back.

    Attributes:
        native_shape: (I, J, K).
        grid_shape: (H, W).
        scale: grid pixels per native voxel along H and W; exactly 1.0 where nothing is
            interpolated.
        offset: first grid pixel, counted in pixels of the resampled native slice, along H and W.
    """

    native_shape: tuple[int, int, int]
    grid_shape: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[int, int]

    @property
    def is_identity(self) -> bool:
        """True where slices are cropped and padded only."""
        return self.scale == (1.0, 1.0)

    def apply(self, volume: VolumeArray) -> SliceStack:
        """Return slices (K, H, W) of a native volume (I, J, K); zero outside its field of view."""
        slices = np.array(volume.transpose(2, 0, 1), order="C")
        return self._window(_rescale(slices, self.scale, self._resampled_shape()))

    def apply_mask(self, mask: MaskArray) -> MaskStack:
        """Return the slices of a native mask: pixels at least half covered by it."""
        return np.asarray(self.apply(mask.astype(np.float32)) >= 0.5)

    def restore(self, slices: SliceStack) -> VolumeArray:
        """Return slices on the native grid (I, J, K); zero where the conform grid does not reach.

        Without interpolation this inverts :meth:`apply` exactly inside the grid. With it, detail
        finer than the conform grid is gone and the cubic kernel may overshoot next to edges; mask
        the result.
        """
        canvas = self._unwindow(slices)
        inverse = (1.0 / self.scale[0], 1.0 / self.scale[1])
        native = _rescale(canvas, inverse, self.native_shape[:2])
        return np.ascontiguousarray(native.transpose(1, 2, 0))

    def restore_brain(self, slices: SliceStack, mask: MaskStack) -> VolumeArray:
        """Return the brain on the native grid, its rim not darkened by the zeros around it.

        Args:
            slices: (K, H, W).
            mask: (K, H, W) brain on the conform grid.

        Returns:
            (I, J, K) what :meth:`restore` gives, divided by how much of it comes from within the
            mask; zero where that is little. Mask it with the native mask.
        """
        return _divide(
            self.restore(np.where(mask, slices, np.float32(0))),
            self.restore(mask.astype(np.float32)),
        )

    def native_from_grid(self) -> Affine:
        """Return the (4, 4) map from conform voxel (h, w, k) to native voxel (i, j, k)."""
        matrix = np.eye(4)
        for axis in range(2):
            matrix[axis, axis] = 1 / self.scale[axis]
            matrix[axis, 3] = (self.offset[axis] + 0.5) / self.scale[axis] - 0.5
        return matrix

    def _resampled_shape(self) -> tuple[int, int]:
        height, width = self.native_shape[:2]
        return math.ceil(height * self.scale[0]), math.ceil(width * self.scale[1])

    def _overlap(self, axis: int) -> tuple[slice, slice]:
        """Return where resampled slice and grid overlap: the range in each."""
        first = max(self.offset[axis], 0)
        end = max(
            first, min(self.offset[axis] + self.grid_shape[axis], self._resampled_shape()[axis])
        )
        return slice(first, end), slice(first - self.offset[axis], end - self.offset[axis])

    def _window(self, resampled: ResampledStack) -> SliceStack:
        slices = np.zeros((resampled.shape[0], *self.grid_shape), dtype=np.float32)
        (rows, grid_rows), (columns, grid_columns) = self._overlap(0), self._overlap(1)
        slices[:, grid_rows, grid_columns] = resampled[:, rows, columns]
        return slices

    def _unwindow(self, slices: SliceStack) -> ResampledStack:
        resampled = np.zeros((slices.shape[0], *self._resampled_shape()), dtype=np.float32)
        (rows, grid_rows), (columns, grid_columns) = self._overlap(0), self._overlap(1)
        resampled[:, rows, columns] = slices[:, grid_rows, grid_columns]
        return resampled


@dataclass(frozen=True, eq=False)
class Conformed:
    """A volume as the networks take it.

    Attributes:
        slices: (K, H, W) float32, all native slices, 1.0 = ``scale``, not negative, zero outside
            the mask.
        mask: (K, H, W) brain.
        scale: native intensity units per 1.0.
        transform: the way back to the native grid.
    """

    slices: SliceStack
    mask: MaskStack
    scale: float
    transform: ConformTransform


def conform(
    volume_ras: VolumeArray,
    mask: MaskArray,
    spacing_mm: tuple[float, float, float],
    contract: PreprocessingContract,
    *,
    scale: float | None = None,
) -> Conformed:
    """Scale, mask, resample, crop and pad a volume as the contract says.

    The image is masked before it is resampled, so that stripped and unstripped images come out
    alike.

    Args:
        volume_ras: (I, J, K) RAS+, native intensities.
        mask: (I, J, K) brain.
        spacing_mm: voxel size along I, J, K.
        contract: grid and intensity.
        scale: native intensity units per 1.0 where they are known from more than this volume, for
            instance for one slice of it; else the contract's statistic says.

    Returns:
        Slices, mask, scale, and the way back.

    Raises:
        ImageError: intensities cannot be scaled, or the brain does not fit the grid.
    """
    measured = compute_intensity_scale(volume_ras, mask, contract)
    scale = measured if scale is None else scale
    transform = plan_transform(mask, spacing_mm, contract)
    coverage = transform.apply(mask.astype(np.float32))
    grid_mask = np.asarray(coverage >= 0.5)
    scaled = np.where(mask, volume_ras / np.float32(scale), np.float32(0))
    resampled = _divide(transform.apply(scaled), coverage)
    slices = np.where(grid_mask, np.maximum(resampled, 0), np.float32(0))
    return Conformed(slices, grid_mask, scale, transform)


def plan_transform(
    mask: MaskArray, spacing_mm: tuple[float, float, float], contract: PreprocessingContract
) -> ConformTransform:
    """Choose the grid that centres the brain's bounding box.

    Raises:
        ImageError: the mask is empty, or the brain does not fit the grid.
    """
    if not mask.any():
        raise ImageError("the brain mask is empty; give a mask of the brain with --brain-mask")
    scale = (_grid_per_native(spacing_mm[0], contract), _grid_per_native(spacing_mm[1], contract))
    offset = []
    for axis in range(2):
        occupied = np.flatnonzero(mask.any(axis=(1 - axis, 2)))
        first, end = occupied[0] * scale[axis], (occupied[-1] + 1) * scale[axis]
        if end - first > contract.shape[axis]:
            raise ImageError(
                f"the brain is {(end - first) * contract.spacing_mm:.0f} mm wide along axis"
                f" {'IJ'[axis]}, the grid"
                f" {contract.shape[axis] * contract.spacing_mm:.0f} mm; check the mask and the"
                " voxel size"
            )
        offset.append(round((first + end - contract.shape[axis]) / 2))
    native_shape = (mask.shape[0], mask.shape[1], mask.shape[2])
    return ConformTransform(native_shape, contract.shape, scale, (offset[0], offset[1]))


def brain_box(mask: MaskStack, multiple: int = 16) -> tuple[slice, slice]:
    """Return the smallest box in H and W that holds the brain of all slices.

    Args:
        mask: (K, H, W).
        multiple: both sides become multiples of it, unless the grid itself is too small for that.

    Returns:
        Ranges along H and W, inside the grid, the brain near their middle.

    Raises:
        ImageError: the mask is empty.
    """
    if not mask.any():
        raise ImageError("the brain mask is empty; give a mask of the brain with --brain-mask")
    height = _box_side(np.flatnonzero(mask.any(axis=(0, 2))), mask.shape[1], multiple)
    width = _box_side(np.flatnonzero(mask.any(axis=(0, 1))), mask.shape[2], multiple)
    return height, width


def _box_side(occupied: np.ndarray, length: int, multiple: int) -> slice:
    first, end = int(occupied[0]), int(occupied[-1]) + 1
    side = min(math.ceil((end - first) / multiple) * multiple, length)
    start = min(max((first + end - side) // 2, 0), length - side)
    return slice(start, start + side)


def _grid_per_native(spacing_mm: float, contract: PreprocessingContract) -> float:
    ratio = spacing_mm / contract.spacing_mm
    return 1.0 if abs(ratio - 1) < SAME_SPACING else ratio


def _rescale(
    slices: SliceStack, scale: tuple[float, float], shape: tuple[int, ...]
) -> ResampledStack:
    """Resample slices by a bicubic kernel, widened where the grid gets coarser.

    torch stretches an image to a whole number of pixels unless it is given the scale itself, and
    then keeps only whole pixels; so the border is extended first, by repetition, and what is too
    much cut off.
    """
    if scale == (1.0, 1.0):
        return slices
    missing = [
        max(0, _length_to_resample(wanted, factor) - have)
        for have, wanted, factor in zip(slices.shape[1:], shape, scale, strict=True)
    ]
    tensor = torch.from_numpy(slices)[:, None]
    padded = functional.pad(tensor, (0, missing[1], 0, missing[0]), mode="replicate")
    resampled = functional.interpolate(
        padded, scale_factor=scale, mode="bicubic", antialias=True, recompute_scale_factor=False
    )
    return np.ascontiguousarray(resampled[:, 0, : shape[0], : shape[1]].numpy())


def _divide(
    values: Float32[np.ndarray, "*shape"], coverage: Float32[np.ndarray, "*shape"]
) -> Float32[np.ndarray, "*shape"]:
    """Return values per coverage by the mask; zero where the mask covers too little to tell."""
    quotient = np.zeros_like(values)
    np.divide(values, coverage, out=quotient, where=coverage > MIN_COVERAGE)
    return quotient


def _length_to_resample(wanted: int, factor: float) -> int:
    """Return how many pixels give at least so many resampled ones.

    Where the whole number of pixels would stay the same, torch copies them in spite of the scale;
    with more pixels it does not.
    """
    needed = math.ceil((wanted + 1) / factor)
    return max(needed, math.ceil(1 / (factor - 1)) + 1) if factor > 1 else needed
