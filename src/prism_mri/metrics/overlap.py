"""Overlap of a segmentation with the truth."""

import numpy as np
from jaxtyping import UInt8

from prism_mri.errors import ImageError

Labels = UInt8[np.ndarray, "..."]


def compute_dice(labels: Labels, truth: Labels, tissue: int) -> float:
    """Return twice the voxels that both call a tissue over the voxels that either does, 0 to 1.

    Args:
        labels: a segmentation, any shape.
        truth: the true tissues, same shape.
        tissue: label to compare; 1 where neither holds any of it.

    Raises:
        ImageError: shapes differ.

    Source:
        Dice 1945, Ecology 26(3).
    """
    both, either = _count(labels, truth, tissue)
    return 2 * both / (both + either) if either else 1.0


def compute_iou(labels: Labels, truth: Labels, tissue: int) -> float:
    """Return the voxels that both call a tissue over those that at least one does, 0 to 1.

    Args:
        labels: a segmentation, any shape.
        truth: the true tissues, same shape.
        tissue: label to compare; 1 where neither holds any of it.

    Raises:
        ImageError: shapes differ.

    Source:
        Jaccard 1912, New Phytologist 11(2).
    """
    both, either = _count(labels, truth, tissue)
    return both / either if either else 1.0


def _count(labels: Labels, truth: Labels, tissue: int) -> tuple[int, int]:
    """Return the sizes of intersection and union."""
    if labels.shape != truth.shape:
        raise ImageError(
            f"a segmentation of shape {labels.shape} cannot be compared with a truth of"
            f" {truth.shape}; give both on one grid"
        )
    found, true = labels == tissue, truth == tissue
    return int((found & true).sum()), int((found | true).sum())
