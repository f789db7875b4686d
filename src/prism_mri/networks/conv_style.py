"""Style encoder of the paper: image → a two-dimensional Gaussian."""

import torch
from torch import nn
from torch.nn import functional

from prism_mri.networks.blocks import BatchNorm, ConvBlock
from prism_mri.networks.style_encoder import GaussianStyle
from prism_mri.types import AnatomyBatch, ImageBatch, MaskBatch

_COARSEST = 64
"""Pixels along a side of the last stage's cells."""
_EPSILON = 1e-3


class ConvStyleEncoder(nn.Module):
    """Strided convolutions, averaged over the brain and mapped to a Gaussian.

    After each of them what holds no brain is set back to zero, as padding is, so that margins do
    not look like style: a crop has the style of the whole slice, as far as its edges lie on the
    grid of the last stage. Nothing divides by the image's own mean or spread: the gain stays
    visible.

    Source:
        Galada et al. 2024, section 2.2. Their code normalizes each image by its own statistics,
        which takes the gain away, and averages over the background as well.
    """

    def __init__(self, *, width: int, style_dim: int = 2) -> None:
        """Build the network: ``width`` channels at a quarter, 8 times that at 1/64 of the size."""
        super().__init__()
        first = nn.Conv2d(1, width, 7, stride=4, padding=3, bias=False)
        self.stages = nn.Sequential(
            nn.Sequential(first, BatchNorm(width), nn.ReLU(inplace=True)),
            ConvBlock(width, 2 * width, stride=2),
            ConvBlock(2 * width, 4 * width, stride=2),
            ConvBlock(4 * width, 4 * width, stride=2),
            ConvBlock(4 * width, 8 * width, stride=2),
        )
        self.head = nn.Sequential(
            nn.Linear(8 * width, 8 * width), nn.ReLU(), nn.Linear(8 * width, 2 * style_dim)
        )

    def forward(self, image: ImageBatch, anatomy: AnatomyBatch, mask: MaskBatch) -> GaussianStyle:  # noqa: ARG002
        """Estimate the style of slices from the image in the mask; the anatomy has no part in it.

        Args:
            image: ``(B, 1, H, W)`` in the prepared scale.
            anatomy: ``(B, A, H, W)``; not looked at, here so that all style encoders are called
                alike.
            mask: ``(B, 1, H, W)``, 1 in the brain and 0 outside; what lies outside has no
                influence.

        Returns:
            Mean and log-variance, ``(B, Z)`` each; the log-variance lies in [-8, 2].
        """
        height, width = image.shape[-2:]
        margins = (0, -width % _COARSEST, 0, -height % _COARSEST)
        features, brain = functional.pad(image * mask, margins), functional.pad(mask, margins)
        for stage in self.stages:
            features = stage(features)
            brain = functional.avg_pool2d(brain, brain.shape[-1] // features.shape[-1])
            features = features * (brain > 0)
        weighted = (features.float() * brain).sum(dim=(2, 3))
        pooled = weighted / (brain.sum(dim=(2, 3)) + _EPSILON)
        mean, log_variance = self.head(pooled).float().chunk(2, dim=1)
        return GaussianStyle(mean, torch.clamp(log_variance, -8.0, 2.0))
