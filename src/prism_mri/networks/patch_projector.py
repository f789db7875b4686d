"""Patch projector of the paper: places of an image or anatomy → points on a sphere."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from prism_mri.types import ImageBatch

PATCH = 16
"""Height and width of a patch in pixels."""
STRIDE = 8
"""Pixels from one patch to the next."""

_HIDDEN = 64


class PatchProjector(nn.Module):
    """Embeds every 16×16 patch at a stride of 8 pixels, each without seeing beyond its edges.

    There is neither padding nor normalization over places, which would let a patch know others:
    an embedding is a function of its 256 pixels alone. One projector serves anatomies and images.

    Source:
        Galada et al. 2024, section 2.2; Park et al. 2020 (PatchNCE), who project the encoder's
        inner features at single places. The paper projects patches of the anatomies themselves.
    """

    def __init__(self, dim: int = 64) -> None:
        """Build the network for embeddings of ``dim`` numbers."""
        super().__init__()
        # Cells of 4×4 pixels, then 4×4 cells every two: patches of 16 pixels every 8.
        self.layers = nn.Sequential(
            nn.Conv2d(1, _HIDDEN, 4, stride=4),
            nn.ReLU(inplace=True),
            nn.Conv2d(_HIDDEN, _HIDDEN, 4, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(_HIDDEN, dim, 1),
        )

    def forward(self, images: ImageBatch) -> Float[Tensor, "B D h w"]:
        """Embed all patches.

        Args:
            images: ``(B, 1, H, W)``, images or anatomies of one channel; both sides at least 16.

        Returns:
            ``(B, dim, (H - 16) // 8 + 1, (W - 16) // 8 + 1)`` of length 1 along ``dim``; place
            ``(i, j)`` stands for rows ``8 i`` to ``8 i + 15`` and columns ``8 j`` to ``8 j + 15``.

        Raises:
            ValueError: an image smaller than a patch.
        """
        height, width = images.shape[-2:]
        if min(height, width) < PATCH:
            raise ValueError(
                f"images of {height}×{width} pixels: patches take {PATCH}×{PATCH}, give larger ones"
            )
        embeddings: torch.Tensor = self.layers(images)
        return functional.normalize(embeddings.float(), dim=1)
