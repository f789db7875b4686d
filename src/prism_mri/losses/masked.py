"""Absolute error inside the brain: of intensities and of tissue fractions."""

import torch


def compute_masked_l1(
    prediction: torch.Tensor, target: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Return the mean absolute error in the mask.

    Args:
        prediction: ``(B, C, H, W)``.
        target: ``(B, C, H, W)``.
        mask: ``(B, 1, H, W)``, 1 where the error counts, 0 where not, or a weight between.

    Returns:
        Scalar; 0 for an empty mask.
    """
    error = (prediction - target).abs() * mask
    return error.sum() / (mask.sum() * prediction.shape[1]).clamp(min=1)
