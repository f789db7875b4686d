"""Style cycle: the style read from a decoded image is the one that it was decoded with."""

import torch

from prism_mri.types import StyleBatch


def compute_style_cycle(read: StyleBatch, given: StyleBatch) -> torch.Tensor:
    """Return the mean absolute difference of the style read from an image and the one given to it.

    Source:
        Galada et al. 2024, section 2.2 (cycle-consistency L1 of the style representation).
    """
    return (read - given).abs().mean()
