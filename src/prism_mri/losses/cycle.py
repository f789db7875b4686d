"""Cycles: style and anatomy read from a decoded image are those that it was decoded from."""

import torch

from prism_mri.types import AnatomyBatch, StyleBatch


def compute_style_cycle(read: StyleBatch, given: StyleBatch) -> torch.Tensor:
    """Return the mean absolute difference of the style read from an image and the one given to it.

    Source:
        Galada et al. 2024, section 2.2 (cycle-consistency L1 of the style representation).
    """
    return (read - given).abs().mean()


def compute_anatomy_cycle(read: AnatomyBatch, given: AnatomyBatch) -> torch.Tensor:
    """Return the mean absolute difference of the anatomy read from an image and the one given.

    Args:
        read: ``(B, A, H, W)``, encoded from the decoded image.
        given: ``(B, A, H, W)``, what that image was decoded from.

    Source:
        Galada et al. 2024, section 2.2 (cycle-consistency L1 of the anatomy representation).
    """
    return (read - given).abs().mean()
