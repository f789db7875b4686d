"""Building blocks: convolutions whose normalization folds away at inference, and FiLM conditioning.

Batch statistics are fixed after training, so convolution, normalization and, for one style per
volume, FiLM are together one affine map; instance statistics would have to be computed anew for
every slice and would hide the image's gain from the style encoder.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization whose state is floating point only: the batch counter is not stored.

    The counter matters to cumulative averaging alone, which is not used here; without it a stored
    network holds nothing but its float32 weights and statistics.
    """

    def __init__(self, channels: int, *, affine: bool = True) -> None:
        """Normalize ``channels`` feature maps."""
        super().__init__(channels, affine=affine)
        self.register_buffer("num_batches_tracked", torch.tensor(0), persistent=False)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        # A version of 2 tells torch that a missing counter is meant, so that it does not add one.
        super()._load_from_state_dict(state_dict, prefix, {**local_metadata, "version": 2}, *args)

    def express(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the fixed statistics as gain and offset, ``(C,)`` each."""
        if self.running_mean is None or self.running_var is None:
            raise TypeError("batch normalization without running statistics")
        gain = (self.running_var + self.eps).rsqrt()
        gain = gain if self.weight is None else gain * self.weight
        offset = -self.running_mean * gain
        return gain, offset if self.bias is None else offset + self.bias


class ConvBlock(nn.Sequential):
    """3×3 convolution, batch normalization, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        """Build the block; a stride of 2 halves height and width."""
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            BatchNorm(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return ``(B, out_channels, H, W)``; fixed statistics go into the convolution."""
        conv, norm = cast("nn.Conv2d", self[0]), cast("BatchNorm", self[1])
        if norm.training:
            return functional.relu_(norm(conv(features)))
        return functional.relu_(_convolve(conv, features, *norm.express()))


class FilmBlock(nn.Module):
    """3×3 convolution, normalization, feature-wise linear modulation by the style, ReLU.

    The modulation comes *after* the normalization, which would otherwise erase it.

    Source:
        Perez et al. 2018, FiLM: visual reasoning with a general conditioning layer, equation 2.
    """

    def __init__(self, in_channels: int, out_channels: int, style_dim: int) -> None:
        """Build the block for a style vector of ``style_dim`` numbers."""
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = BatchNorm(out_channels, affine=False)
        self.film = nn.Linear(style_dim, 2 * out_channels)
        if not self.film.weight.is_meta:  # to draw nothing there takes seconds of imports
            nn.init.normal_(self.film.weight, std=0.05)
        nn.init.zeros_(self.film.bias)

    def forward(self, features: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Return modulated features, ``(B, out_channels, H, W)``.

        Fixed statistics, and the modulation by one style of all slices, go into the convolution.

        Args:
            features: ``(B, in_channels, H, W)``.
            style: ``(B, Z)``, or ``(1, Z)`` for all slices.
        """
        scale, shift = self.film(style).chunk(2, dim=1)
        if self.norm.training:
            normalized = self.norm(self.conv(features))
            gain, offset = 1 + scale, shift
        else:
            fixed, moved = self.norm.express()
            gain, offset = (1 + scale) * fixed, (1 + scale) * moved + shift
            if len(style) == 1:
                return functional.relu_(_convolve(self.conv, features, gain[0], offset[0]))
            normalized = self.conv(features)
        return functional.relu_(normalized * gain[:, :, None, None] + offset[:, :, None, None])


def _convolve(
    conv: nn.Conv2d, features: torch.Tensor, gain: torch.Tensor, offset: torch.Tensor
) -> torch.Tensor:
    """Convolve, multiply by ``gain`` and add ``offset``, ``(C,)`` each, in one step."""
    weight = conv.weight * gain[:, None, None, None]
    return functional.conv2d(features, weight, offset, conv.stride, conv.padding)


def upsample_to(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Resize feature maps bilinearly to the height and width of another tensor."""
    return functional.interpolate(
        features, size=like.shape[-2:], mode="bilinear", align_corners=False
    )


def apply_padded(
    network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, multiple: int
) -> torch.Tensor:
    """Run a fully convolutional network on zero-padded images and crop its output back.

    Args:
        network: maps ``(B, C, H', W')`` to ``(B, D, H', W')`` for sides that ``multiple`` divides.
        images: ``(B, C, H, W)`` of any height and width.
        multiple: what padded sides must be divisible by.

    Returns:
        ``(B, D, H, W)``.
    """
    height, width = images.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return network(images)
    return network(functional.pad(images, (0, right, 0, below)))[..., :height, :width]
