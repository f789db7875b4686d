"""U-Net with concatenated skips, the backbone of the paper's anatomy encoder and decoder."""

import torch
from torch import nn
from torch.nn import functional

from prism_mri.networks.blocks import ConvBlock, apply_padded, upsample_to


class UNet(nn.Module):
    """Two 3×3 convolutions at each resolution; skips are concatenated, not added.

    Every convolution is followed by *batch* normalization and a ReLU. The paper's code normalizes
    each slice by its own statistics, which divides out the image's gain and most of what constant
    style channels add, and costs several times as much on a CPU; batch statistics are fixed after
    training, keep both, and fold into the convolutions.

    Source:
        Ronneberger et al. 2015, figure 1. We pad the convolutions, so that the output is as large
        as the input, and resize bilinearly before a 3×3 convolution where they use a transposed
        one.
    """

    def __init__(self, in_channels: int, out_channels: int, *, width: int, levels: int = 4) -> None:
        """Build the network: ``width`` channels at full resolution, doubled by each level below.

        Args:
            in_channels: channels of the input.
            out_channels: channels of the output, which has no activation.
            width: channels at full resolution.
            levels: how often height and width are halved.
        """
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.encode = nn.ModuleList(
            _double(previous, current)
            for previous, current in zip((in_channels, *widths[:-1]), widths, strict=True)
        )
        self.lift = nn.ModuleList(ConvBlock(2 * shallow, shallow) for shallow in widths[:-1])
        self.decode = nn.ModuleList(_double(2 * shallow, shallow) for shallow in widths[:-1])
        self.head = nn.Conv2d(width, out_channels, 1)

    @property
    def multiple(self) -> int:
        """What the padded height and width are divisible by."""
        return int(2 ** len(self.lift))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map ``(B, in, H, W)`` of any height and width to ``(B, out, H, W)``."""
        return apply_padded(self._run, features, self.multiple)

    def _run(self, features: torch.Tensor) -> torch.Tensor:
        features = self.encode[0](features)
        skips = []
        for level in list(self.encode)[1:]:
            skips.append(features)
            features = level(functional.max_pool2d(features, 2))
        for lift, level, skip in zip(
            reversed(self.lift), reversed(self.decode), reversed(skips), strict=True
        ):
            features = level(torch.cat([skip, lift(upsample_to(features, skip))], dim=1))
        output: torch.Tensor = self.head(features)
        return output


def _double(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        ConvBlock(in_channels, out_channels), ConvBlock(out_channels, out_channels)
    )
