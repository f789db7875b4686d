"""Can a network still tell which scanner an image, or its anatomy, comes from?

The people that it is scored on went to every scanner, so that nothing but the scanner tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import nn
from torch.nn import functional

from prism_mri.errors import InputError
from prism_mri.networks.blocks import ConvBlock
from prism_mri.training.slices import draw_window

Channels = Float32[np.ndarray, "_K _C _H _W"]
Mask = Bool[np.ndarray, "_K _H _W"]

_BATCH = 16
_CROP = 96
_LEARNING_RATE = 3e-3
_WIDTH = 12
_EPSILON = 1e-3


@dataclass(frozen=True, eq=False)
class LabelledSlices:
    """Slices of one volume: values ``(K, C, H, W)``, brain ``(K, H, W)``, and whose scanner."""

    values: Channels
    mask: Mask
    site: str


class SiteClassifier(nn.Module):
    """Three strided convolutions; mean and spread of what they see *in the brain*; a linear layer.

    Where the brain ends is not seen beyond the convolutions' reach: shape is anatomy.
    """

    def __init__(self, channels: int, classes: int) -> None:
        """Build the network for ``channels`` input channels."""
        super().__init__()
        self.stages = nn.Sequential(
            ConvBlock(channels, _WIDTH),
            ConvBlock(_WIDTH, 2 * _WIDTH, stride=2),
            ConvBlock(2 * _WIDTH, 4 * _WIDTH, stride=2),
        )
        self.head = nn.Linear(2 * 4 * _WIDTH, classes)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, classes)`` of ``(B, C, H, W)`` and ``(B, 1, H, W)``."""
        features = self.stages(values)
        inside = functional.interpolate(mask, size=features.shape[-2:], mode="area")
        total = inside.sum(dim=(2, 3)) + _EPSILON
        mean = (features * inside).sum(dim=(2, 3)) / total
        square = (features.square() * inside).sum(dim=(2, 3)) / total
        spread = (square - mean.square()).clamp(min=0).add(_EPSILON).sqrt()
        logits: torch.Tensor = self.head(torch.cat([mean, spread], dim=1))
        return logits


def compute_site_accuracy(
    train: Sequence[LabelledSlices],
    test: Sequence[LabelledSlices],
    *,
    seed: int,
    steps: int = 300,
) -> float:
    """Train a classifier of site and return its balanced accuracy on other people's slices.

    Args:
        train: volumes of people who are not in ``test``.
        test: volumes of people who went to every site.
        seed: of weights, batches and crops.
        steps: of training, 16 windows of slices each.

    Returns:
        Mean over sites of the share of slices that are told right; chance is 1 over their number.

    Raises:
        InputError: fewer than two sites, or a site of ``test`` that ``train`` does not have.
    """
    sites = sorted({volume.site for volume in train})
    if len(sites) < 2 or not {volume.site for volume in test} <= set(sites):
        raise InputError(
            f"a site classifier needs two sites or more to train on, and all that it is tested on; "
            f"got {', '.join(sites) or 'none'}"
        )
    classifier = _train(train, sites, seed, steps)
    hits: dict[str, list[torch.Tensor]] = {site: [] for site in sites}
    with torch.no_grad():
        for volume in test:
            told = classifier(*_to_tensors(volume)).argmax(dim=1)
            hits[volume.site].append(told == sites.index(volume.site))
    return float(np.mean([torch.cat(found).float().mean() for found in hits.values() if found]))


def _train(
    volumes: Sequence[LabelledSlices], sites: Sequence[str], seed: int, steps: int
) -> SiteClassifier:
    """Train on windows of slices, every volume as often as every other."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    classifier = SiteClassifier(volumes[0].values.shape[1], len(sites))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=_LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    loaded = [_to_tensors(volume) for volume in volumes]
    labels = torch.tensor([sites.index(volume.site) for volume in volumes])
    for _ in range(steps):
        chosen = torch.randint(len(loaded), (_BATCH,), generator=generator)
        windows = [_cut(*loaded[int(index)], generator) for index in chosen]
        values, mask = (torch.stack(parts) for parts in zip(*windows, strict=True))
        loss = functional.cross_entropy(classifier(values, mask), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return classifier.eval()


def _to_tensors(volume: LabelledSlices) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(volume.values), torch.from_numpy(volume.mask)[:, None].float()


def _cut(
    values: torch.Tensor, mask: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a random window of a random slice, padded where the slice is smaller."""
    index = int(torch.randint(len(values), (1,), generator=generator))
    window = draw_window((values.shape[-2], values.shape[-1]), _CROP, generator)
    below, right = _CROP - window.height, _CROP - window.width
    return tuple(  # type: ignore[return-value]
        functional.pad(window.cut(part[index]), (0, right, 0, below)) for part in (values, mask)
    )
