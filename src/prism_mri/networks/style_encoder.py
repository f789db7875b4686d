"""Style encoder: image and its anatomy → a low-dimensional Gaussian."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from prism_mri.networks.anatomy_encoder import TISSUES
from prism_mri.networks.blocks import ConvBlock
from prism_mri.types import AnatomyBatch, ImageBatch, MaskBatch, StyleBatch

_EPSILON = 1e-3


@dataclass(frozen=True)
class GaussianStyle:
    """Diagonal Gaussian over styles; both fields ``(B, Z)``."""

    mean: StyleBatch
    log_variance: StyleBatch

    def sample(self, generator: torch.Generator | None = None) -> StyleBatch:
        """Draw one style per image by the reparameterization of Kingma & Welling 2014."""
        noise = torch.randn(self.mean.shape, generator=generator)
        return self.mean + noise.to(self.mean) * (0.5 * self.log_variance).exp()


class StyleEncoder(nn.Module):
    """Tissue-wise intensity statistics and pooled convolution features, mapped to a Gaussian.

    What is pooled is pooled *within each tissue*, with the anatomy's fractions as weights, so that
    how much of a tissue a slice holds does not look like style. Nothing divides by the image's own
    mean or spread: the gain stays visible.

    Source:
        Galada et al. 2024, section 2.2 (convolutional encoder, Gaussian latent of 2). We deviate:
        the latent is wider, and the anatomy is an input.
    """

    def __init__(self, *, width: int, style_dim: int) -> None:
        """Build the network: ``width`` channels at full resolution, a latent of ``style_dim``."""
        super().__init__()
        self.stages = nn.ModuleList(
            [
                ConvBlock(1, width),
                ConvBlock(width, 2 * width, stride=2),
                ConvBlock(2 * width, 4 * width, stride=2),
            ]
        )
        pooled = len(TISSUES) * (3 + 7 * width)
        self.head = nn.Sequential(nn.Linear(pooled, 64), nn.ReLU(), nn.Linear(64, 2 * style_dim))

    def forward(self, image: ImageBatch, anatomy: AnatomyBatch, mask: MaskBatch) -> GaussianStyle:
        """Estimate the style of slices.

        Args:
            image: ``(B, 1, H, W)`` in the prepared scale.
            anatomy: ``(B, A, H, W)``, the anatomy encoder's output for the same slices.
            mask: ``(B, 1, H, W)``, 1 in the brain and 0 outside.

        Returns:
            Mean and log-variance, ``(B, Z)`` each; the log-variance lies in [-8, 2].
        """
        weights = (anatomy[:, : len(TISSUES)] * mask).square()
        statistics = [_intensity_statistics(image, weights)]
        features = image
        for stage in self.stages:
            features = stage(features)
            resized = functional.interpolate(weights, size=features.shape[-2:], mode="area")
            statistics.append(_pool(features.float(), resized))
        mean, log_variance = self.head(torch.cat(statistics, dim=1)).float().chunk(2, dim=1)
        return GaussianStyle(mean, log_variance.clamp(-8.0, 2.0))


def _pool(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return means ``(B, T * C)`` of features ``(B, C, H, W)`` under weights ``(B, T, H, W)``."""
    total = weights.sum(dim=(2, 3)).unsqueeze(-1)
    sums = torch.einsum("bchw,bthw->btc", features, weights)
    return (sums / (total + _EPSILON)).flatten(1)


def _intensity_statistics(image: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return mean, spread and mean gradient of the intensity in each tissue, ``(B, 3 T)``."""
    along_height = functional.pad(image[:, :, 1:] - image[:, :, :-1], (0, 0, 0, 1))
    along_width = functional.pad(image[..., 1:] - image[..., :-1], (0, 1))
    maps = torch.cat([image, image.square(), along_height.abs() + along_width.abs()], dim=1).float()
    pooled = _pool(maps, weights).unflatten(1, (weights.shape[1], 3))
    mean, square, gradient = pooled.unbind(dim=2)
    spread = (square - mean.square()).clamp(min=0).add(1e-6).sqrt()
    return torch.cat([mean, spread, gradient], dim=1)
