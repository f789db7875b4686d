"""Decoder of the paper: anatomy and style as constant channels → image."""

import torch
from torch import nn
from torch.nn import functional

from prism_mri.networks.blocks import apply_padded
from prism_mri.networks.unet import UNet
from prism_mri.types import AnatomyBatch, ImageBatch, SharedStyle, StyleBatch


class ConditionalDecoder(nn.Module):
    """U-Net on the anatomy with each number of the style appended as a constant channel.

    Source:
        Galada et al. 2024, section 2.2. Their code normalizes by instance, which mostly erases
        constant channels; batch statistics keep them.
    """

    def __init__(self, *, width: int, style_dim: int = 2) -> None:
        """Build the network: ``width`` channels at full resolution, a style of ``style_dim``."""
        super().__init__()
        self.unet = UNet(1 + style_dim, 1, width=width)

    def forward(self, anatomy: AnatomyBatch, style: StyleBatch | SharedStyle) -> ImageBatch:
        """Decode slices.

        Args:
            anatomy: ``(B, 1, H, W)`` with values in [0, 1]; any height and width.
            style: ``(B, Z)``, or ``(1, Z)`` for all slices.

        Returns:
            ``(B, 1, H, W)`` in the prepared scale, at least 0.
        """

        def network(padded: torch.Tensor) -> torch.Tensor:
            # Appended after padding, so that the style is constant over the margin as well.
            count, _, height, width = padded.shape
            constant = style.to(padded)[:, :, None, None].expand(count, -1, height, width)
            intensity: torch.Tensor = self.unet(torch.cat([padded, constant], dim=1))
            return intensity

        return functional.softplus(
            apply_padded(network, anatomy, self.unet.multiple).float(), beta=10.0
        )
