"""SSIM, PSNR and MAE between two volumes of one person, inside the brain mask.

All three work in the prepared scale, where the lower quartile of the brain is 0.25 and the data
range is stated as 1.0: on T2w images that is white matter, and fluid lies somewhat below 1.0.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64
from skimage.metrics import structural_similarity

from prism_mri.errors import ImageError
from prism_mri.types import SliceStack

# Shapes that do not agree are refused by a message, also where nothing checks shapes at run time.
Slices = Float32[np.ndarray, "_K _H _W"]
Mask = Bool[np.ndarray, "_K _H _W"]

DATA_RANGE = 1.0
"""Intensity range that SSIM and PSNR refer to, in the prepared scale."""
SSIM_SIGMA = 1.5
"""Standard deviation of SSIM's Gaussian window, in pixels."""
SSIM_RADIUS = 5
"""Radius of SSIM's window in pixels: scikit-image cuts the Gaussian at 3.5 standard deviations."""


@dataclass(frozen=True)
class ImageScores:
    """Similarity of an image to the truth inside a mask."""

    ssim: float
    """Mean structural similarity, -1 to 1; 1 is equal."""
    psnr_db: float
    """Peak signal-to-noise ratio in decibels; infinite where the images are equal."""
    mae: float
    """Mean absolute error, in the units of the images."""


def compute_ssim_map(
    image: Slices, truth: Slices, mask: Mask, *, data_range: float = DATA_RANGE
) -> SliceStack:
    """Return the structural similarity around every pixel, slice by slice.

    Both images are set to zero outside the mask, and the map is computed over the mask's box with
    a margin of one window radius, so it does not depend on how much background a grid holds.

    Args:
        image: slices (K, H, W) to be judged.
        truth: slices (K, H, W) to compare with, same units.
        mask: brain mask (K, H, W).
        data_range: intensity range of the images.

    Returns:
        SSIM (K, H, W), -1 to 1; zero outside the box and in slices without any mask.

    Raises:
        ImageError: shapes differ, the mask is empty, a value in the mask is not finite, or the
            data range is not positive.

    Source:
        Wang et al. 2004, IEEE TIP 13(4), equation 13, with the paper's Gaussian window of 1.5
        pixels and population covariance (scikit-image's ``structural_similarity``).
    """
    _check(image, truth, mask, data_range)
    ssim = np.zeros(mask.shape, dtype=np.float32)
    rows, columns = _box(mask)
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        inside = mask[k, rows, columns]
        pair = [
            np.pad(np.where(inside, stack[k, rows, columns], np.float32(0)), SSIM_RADIUS)
            for stack in (image, truth)
        ]
        _, full = structural_similarity(
            *pair,
            data_range=data_range,
            gaussian_weights=True,
            sigma=SSIM_SIGMA,
            use_sample_covariance=False,
            full=True,
        )
        ssim[k, rows, columns] = full[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS]
    return ssim


def compute_ssim(
    image: Slices, truth: Slices, mask: Mask, *, data_range: float = DATA_RANGE
) -> float:
    """Return the mean over the mask of the slice-wise SSIM map; see `compute_ssim_map`."""
    ssim = compute_ssim_map(image, truth, mask, data_range=data_range)
    return float(ssim[mask].mean(dtype=np.float64))


def compute_psnr(
    image: Slices, truth: Slices, mask: Mask, *, data_range: float = DATA_RANGE
) -> float:
    """Return the peak signal-to-noise ratio from the mean squared error in the mask.

    Args:
        image: slices (K, H, W) to be judged.
        truth: slices (K, H, W) to compare with, same units.
        mask: brain mask (K, H, W).
        data_range: intensity range of the images.

    Returns:
        Decibels, ``10 log10(data_range² / MSE)``; infinite where the images are equal.

    Raises:
        ImageError: as for `compute_ssim_map`.
    """
    _check(image, truth, mask, data_range)
    mse = float(np.mean(_difference(image, truth, mask) ** 2))
    return float("inf") if mse == 0 else float(10 * np.log10(data_range**2 / mse))


def compute_mae(image: Slices, truth: Slices, mask: Mask) -> float:
    """Return the mean absolute difference in the mask, in the units of the images.

    Raises:
        ImageError: as for `compute_ssim_map`.
    """
    _check(image, truth, mask, DATA_RANGE)
    return float(np.mean(np.abs(_difference(image, truth, mask))))


def compute_scores(
    image: Slices, truth: Slices, mask: Mask, *, data_range: float = DATA_RANGE
) -> ImageScores:
    """Return SSIM, PSNR and MAE of an image against the truth, inside the mask.

    Args:
        image: slices (K, H, W) to be judged, in the prepared scale.
        truth: slices (K, H, W) to compare with, in the prepared scale.
        mask: brain mask (K, H, W).
        data_range: intensity range of the images.

    Returns:
        The three scores.

    Raises:
        ImageError: as for `compute_ssim_map`.
    """
    return ImageScores(
        ssim=compute_ssim(image, truth, mask, data_range=data_range),
        psnr_db=compute_psnr(image, truth, mask, data_range=data_range),
        mae=compute_mae(image, truth, mask),
    )


def _difference(image: Slices, truth: Slices, mask: Mask) -> Float64[np.ndarray, " N"]:
    return np.asarray(image[mask].astype(np.float64) - truth[mask].astype(np.float64))


def _box(mask: Mask) -> tuple[slice, slice]:
    rows = np.flatnonzero(mask.any(axis=(0, 2)))
    columns = np.flatnonzero(mask.any(axis=(0, 1)))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _check(image: Slices, truth: Slices, mask: Mask, data_range: float) -> None:
    problems = []
    if not image.shape == truth.shape == mask.shape:
        problems.append(
            f"shapes differ: image {image.shape}, truth {truth.shape}, mask {mask.shape}"
        )
    elif not mask.any():
        problems.append("the mask is empty")
    elif not (np.isfinite(image[mask]).all() and np.isfinite(truth[mask]).all()):
        problems.append("an image holds NaN or infinity inside the mask")
    if not data_range > 0:
        problems.append(f"data range {data_range} is not positive")
    if problems:
        raise ImageError(
            f"cannot compare two images: {'; '.join(problems)}; give finite slices on one grid"
        )
