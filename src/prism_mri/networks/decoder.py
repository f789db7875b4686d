"""Decoder: anatomy and style → image."""

import torch
from torch import nn
from torch.nn import functional

from prism_mri.networks.blocks import FilmBlock, apply_padded, upsample_to
from prism_mri.types import AnatomyBatch, ImageBatch, SharedStyle, StyleBatch


class Decoder(nn.Module):
    """Three-level U-Net, every block modulated by the style.

    Source:
        Galada et al. 2024, section 2.2 appends the style as constant input channels, which a
        normalization behind it mostly erases; here it enters after each normalization (FiLM).
    """

    def __init__(self, *, anatomy_channels: int, style_dim: int, width: int) -> None:
        """Build the network: ``width`` channels at full resolution, then 2 and 4 times that."""
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        self.encode = nn.ModuleList(
            FilmBlock(previous, current, style_dim)
            for previous, current in zip((anatomy_channels, *widths[:-1]), widths, strict=True)
        )
        self.bottom = FilmBlock(widths[-1], widths[-1], style_dim)
        self.lift = nn.ModuleList(
            nn.Conv2d(deep, shallow, 1)
            for deep, shallow in zip(widths[1:], widths[:-1], strict=True)
        )
        self.decode = nn.ModuleList(
            FilmBlock(current, current, style_dim) for current in widths[:-1]
        )
        self.final = FilmBlock(width, width, style_dim)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, anatomy: AnatomyBatch, style: StyleBatch | SharedStyle) -> ImageBatch:
        """Decode slices.

        Args:
            anatomy: ``(B, A, H, W)``, channels in [0, 1]; any height and width.
            style: ``(B, Z)``, or ``(1, Z)`` for all slices, which is faster.

        Returns:
            ``(B, 1, H, W)`` in the prepared scale, at least 0.
        """

        def network(padded: torch.Tensor) -> torch.Tensor:
            return self._intensity(padded, style)

        return functional.softplus(
            apply_padded(network, anatomy, 2 ** len(self.lift)).float(), beta=10.0
        )

    def _intensity(self, anatomy: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        features = self.encode[0](anatomy, style)
        skips = []
        for level in list(self.encode)[1:]:
            skips.append(features)
            features = level(functional.avg_pool2d(features, 2), style)
        features = self.bottom(features, style)
        for lift, level, skip in zip(
            reversed(self.lift), reversed(self.decode), reversed(skips), strict=True
        ):
            features = level(skip + upsample_to(lift(features), skip), style)
        intensity: torch.Tensor = self.head(self.final(features, style))
        return intensity
