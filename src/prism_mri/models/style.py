"""Style statistics of a site: what a card says of its styles."""

from collections.abc import Iterable

import numpy as np
import torch

from prism_mri.networks.registry import AnyStyleEncoder
from prism_mri.types import MaskStack, SliceStack

STYLE_SLICES = 16
"""Slices, evenly spread over the brain, that a volume's style is the mean of."""


def select_style_slices(mask: MaskStack) -> np.ndarray:
    """Return indices of the slices to read a style from: well filled, evenly spread, at most 16."""
    area = mask.sum(axis=(1, 2))
    useful = np.flatnonzero(area >= 0.3 * area.max())
    spread = np.linspace(0, len(useful) - 1, min(STYLE_SLICES, len(useful)))
    chosen: np.ndarray = useful[spread.round().astype(int)]
    return chosen


@torch.no_grad()
def encode_volume_style(
    slices: SliceStack, mask: MaskStack, anatomy: torch.Tensor, style_encoder: AnyStyleEncoder
) -> torch.Tensor:
    """Return one style for a volume, ``(Z,)``: the mean over slices, weighted by their brain area.

    Args:
        slices: ``(K, H, W)`` prepared slices, as :func:`select_style_slices` chose them.
        mask: ``(K, H, W)`` brain.
        anatomy: ``(K, A, H, W)`` of the slices, on the style encoder's device.
        style_encoder: in evaluation mode.
    """
    images = torch.from_numpy(slices)[:, None].to(anatomy.device)
    masks = torch.from_numpy(mask)[:, None].to(anatomy.device).float()
    style = style_encoder(images, anatomy, masks).mean
    weights = masks.sum(dim=(1, 2, 3))
    mean: torch.Tensor = (style * weights[:, None]).sum(0) / weights.sum()
    return mean


def read_volume_style(
    slices: SliceStack, mask: MaskStack, anatomy: torch.Tensor, style_encoder: AnyStyleEncoder
) -> torch.Tensor:
    """Return one style for a volume, ``(Z,)``, from those of its slices that are well filled.

    Args:
        slices: ``(K, H, W)`` all prepared slices.
        mask: ``(K, H, W)`` brain.
        anatomy: ``(K, A, H, W)``.
        style_encoder: in evaluation mode.
    """
    chosen = select_style_slices(mask)
    return encode_volume_style(slices[chosen], mask[chosen], anatomy[chosen], style_encoder)


def compute_style_prior(styles: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation over volumes, ``(Z,)`` each; of one volume it is 0."""
    stacked = torch.stack(list(styles))
    deviation = stacked.std(0) if len(stacked) > 1 else torch.zeros_like(stacked[0])
    return stacked.mean(0), deviation
