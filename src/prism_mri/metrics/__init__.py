"""Image similarity inside the brain."""

from prism_mri.metrics.image import (
    DATA_RANGE,
    SSIM_SIGMA,
    ImageScores,
    compute_mae,
    compute_psnr,
    compute_scores,
    compute_ssim,
    compute_ssim_map,
)

__all__ = [
    "DATA_RANGE",
    "SSIM_SIGMA",
    "ImageScores",
    "compute_mae",
    "compute_psnr",
    "compute_scores",
    "compute_ssim",
    "compute_ssim_map",
]
