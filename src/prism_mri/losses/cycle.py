"""Style cycle: what the style encoder reads from a decoded image is the style it was decoded with."""

import torch

from prism_mri.types import StyleBatch


def compute_style_cycle(read: StyleBatch, given: StyleBatch) -> torch.Tensor:
    """Return the mean absolute difference between the style read from an image and the one that made it.

    Source:
        Galada et al. 2024, section 2.2 (cycle-consistency L1 of the style representation).
    """
    return (read - given).abs().mean()
