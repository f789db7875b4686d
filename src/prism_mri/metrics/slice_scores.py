"""SSIM, PSNR and MSE slice by slice, over whole slices or inside the brain, as the paper's Table 1.

Over whole slices most pixels are background. Where image and truth are both zero there, SSIM is 1
and the error 0, so the score rises with the share of background; inside the brain it does not.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from skimage.metrics import structural_similarity

from prism_mri.errors import ImageError
from prism_mri.metrics.image import (
    DATA_RANGE,
    SSIM_RADIUS,
    SSIM_SIGMA,
    Mask,
    Slices,
    compute_ssim_map,
)

PSNR_LIMIT_DB = 100.0
"""Equal slices get this instead of infinity, so that means over slices stay finite."""

SliceValues = Float64[np.ndarray, " _K"]


@dataclass(frozen=True, eq=False)
class SliceScores:
    """Similarity of every slice of an image to the truth.

    Attributes:
        ssim: (K,) mean structural similarity, -1 to 1.
        psnr_db: (K,) peak signal-to-noise ratio in decibels, at most `PSNR_LIMIT_DB`.
        mse: (K,) mean squared error, in squared units of the images.
    """

    ssim: SliceValues
    psnr_db: SliceValues
    mse: SliceValues


def compute_whole_slice_scores(
    image: Slices, truth: Slices, *, data_range: float = DATA_RANGE
) -> SliceScores:
    """Score every slice over all its pixels, background included.

    Args:
        image: slices (K, H, W) to be judged.
        truth: slices (K, H, W) to compare with, same units.
        data_range: intensity range of the images.

    Returns:
        Scores (K,).

    Raises:
        ImageError: shapes differ, a slice is smaller than SSIM's window, a value is not finite, or
            the data range is not positive.

    Source:
        Wang et al. 2004, IEEE TIP 13(4), equation 13, as in `compute_ssim_map`; the mean leaves out
        a border of one window radius, where the window is not whole (scikit-image's
        ``structural_similarity``).
    """
    _check(image, truth, data_range)
    ssim = [
        structural_similarity(
            drawn,
            true,
            data_range=data_range,
            gaussian_weights=True,
            sigma=SSIM_SIGMA,
            use_sample_covariance=False,
        )
        for drawn, true in zip(image, truth, strict=True)
    ]
    mse = np.mean((image.astype(np.float64) - truth) ** 2, axis=(1, 2))
    return SliceScores(np.array(ssim, dtype=np.float64), _to_psnr(mse, data_range), mse)


def compute_brain_slice_scores(
    image: Slices, truth: Slices, mask: Mask, *, data_range: float = DATA_RANGE
) -> SliceScores:
    """Score every slice inside the brain, whatever either image holds outside.

    Args:
        image: slices (K, H, W) to be judged.
        truth: slices (K, H, W) to compare with, same units.
        mask: brain (K, H, W), somewhere in every slice.
        data_range: intensity range of the images.

    Returns:
        Scores (K,).

    Raises:
        ImageError: as for `compute_ssim_map`, or a slice holds no brain.
    """
    ssim_map = compute_ssim_map(image, truth, mask, data_range=data_range)
    empty = np.flatnonzero(~mask.any(axis=(1, 2)))
    if empty.size:
        raise ImageError(
            f"cannot compare two images: {empty.size} slices hold no brain; give slices with brain"
        )
    squares = (image.astype(np.float64) - truth) ** 2
    mse = np.array([plane[inside].mean() for plane, inside in zip(squares, mask, strict=True)])
    ssim = [
        plane[inside].mean(dtype=np.float64) for plane, inside in zip(ssim_map, mask, strict=True)
    ]
    return SliceScores(np.array(ssim, dtype=np.float64), _to_psnr(mse, data_range), mse)


def _to_psnr(mse: SliceValues, data_range: float) -> SliceValues:
    smallest = data_range**2 / 10 ** (PSNR_LIMIT_DB / 10)
    return np.asarray(10 * np.log10(data_range**2 / np.maximum(mse, smallest)))


def _check(image: Slices, truth: Slices, data_range: float) -> None:
    window = 2 * SSIM_RADIUS + 1
    problems = []
    if image.shape != truth.shape:
        problems.append(f"shapes differ: image {image.shape}, truth {truth.shape}")
    elif not (np.isfinite(image).all() and np.isfinite(truth).all()):
        problems.append("an image holds NaN or infinity")
    if min(image.shape[1:]) < window:
        problems.append(f"slices of {image.shape[1:]} are smaller than SSIM's window of {window}")
    if not data_range > 0:
        problems.append(f"data range {data_range} is not positive")
    if problems:
        raise ImageError(
            f"cannot compare two images: {'; '.join(problems)}; give finite slices on one grid"
        )
