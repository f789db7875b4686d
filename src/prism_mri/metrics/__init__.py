"""Image similarity inside the brain and over whole slices, and what an image shows."""

from prism_mri.metrics.fidelity import Fidelity, count_volumes, measure_fidelity
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
from prism_mri.metrics.slice_scores import (
    PSNR_LIMIT_DB,
    SliceScores,
    compute_brain_slice_scores,
    compute_whole_slice_scores,
)

__all__ = [
    "DATA_RANGE",
    "PSNR_LIMIT_DB",
    "SSIM_SIGMA",
    "Fidelity",
    "ImageScores",
    "SliceScores",
    "compute_brain_slice_scores",
    "compute_mae",
    "compute_psnr",
    "compute_scores",
    "compute_ssim",
    "compute_ssim_map",
    "compute_whole_slice_scores",
    "count_volumes",
    "measure_fidelity",
]
