"""Anatomy encoder: image → tissue fractions and free channels of the same height and width."""

import torch
from torch import nn
from torch.nn import functional

from prism_mri.networks.blocks import ConvBlock, apply_padded, upsample_to
from prism_mri.types import AnatomyBatch, ImageBatch

TISSUES = ("csf", "gm", "wm")
"""Meaning of the first anatomy channels."""


class AnatomyEncoder(nn.Module):
    """Four-level U-Net with additive skips.

    The first three output channels are fractions of cerebrospinal fluid, grey and white matter
    (softmax: they sum to 1); the others are free (sigmoid) and carry what three tissues cannot:
    texture, lesions, iron.

    Source:
        Ronneberger et al. 2015 (U-Net). Galada et al. 2024, section 2.2, uses five Gumbel-softmax
        levels whose numbering is arbitrary at every site; named fractions are the same everywhere
        by construction.
    """

    def __init__(self, *, width: int, free_channels: int) -> None:
        """Build the network: ``width`` channels at full resolution, then 2, 4 and 6 times that."""
        super().__init__()
        widths = (width, 2 * width, 4 * width, 6 * width)
        self.encode = nn.ModuleList(
            nn.Sequential(ConvBlock(previous, current), ConvBlock(current, current))
            for previous, current in zip((1, *widths[:-1]), widths, strict=True)
        )
        self.lift = nn.ModuleList(
            nn.Conv2d(deep, shallow, 1)
            for deep, shallow in zip(widths[1:], widths[:-1], strict=True)
        )
        self.decode = nn.ModuleList(
            nn.Sequential(ConvBlock(current, current), ConvBlock(current, current))
            for current in widths[:-1]
        )
        self.head = nn.Conv2d(width, len(TISSUES) + free_channels, 1)

    @property
    def channels(self) -> int:
        """Number of anatomy channels."""
        return self.head.out_channels

    def forward(self, image: ImageBatch) -> AnatomyBatch:
        """Encode slices.

        Args:
            image: ``(B, 1, H, W)`` in the prepared scale (median of the brain = the contract's
                value), zero outside the brain; any height and width.

        Returns:
            ``(B, 3 + free, H, W)``, each channel in [0, 1].
        """
        logits = apply_padded(self._logits, image, 2 ** len(self.lift)).float()
        fractions = functional.softmax(logits[:, : len(TISSUES)], dim=1)
        return torch.cat([fractions, torch.sigmoid(logits[:, len(TISSUES) :])], dim=1)

    def _logits(self, image: torch.Tensor) -> torch.Tensor:
        features = self.encode[0](image)
        skips = []
        for level in list(self.encode)[1:]:
            skips.append(features)
            features = level(functional.avg_pool2d(features, 2))
        for lift, level, skip in zip(
            reversed(self.lift), reversed(self.decode), reversed(skips), strict=True
        ):
            features = level(skip + upsample_to(lift(features), skip))
        logits: torch.Tensor = self.head(features)
        return logits
