"""A site's style by gradient: what its slices say to the decoder, not to the style encoder alone.

The style encoder was trained on simulated scanners; much of what a card draws wrong is a style read
a little wrong, and not something that the decoder could not draw.
"""

import torch
from torch import nn

from prism_mri.training.slices import draw_window

_STEPS = 60
_BATCH = 8
_CROP = 128
_LEARNING_RATE = 0.05


def fit_style(
    decoder: nn.Module,
    images: torch.Tensor,
    masks: torch.Tensor,
    anatomy: torch.Tensor,
    *,
    start: torch.Tensor,
    seed: int,
) -> torch.Tensor:
    """Return the style under which a frozen decoder draws a site's slices with least error.

    Args:
        decoder: maps anatomy ``(B, A, H, W)`` and one style ``(1, Z)`` to images.
        images: ``(N, 1, H, W)`` prepared slices.
        masks: ``(N, 1, H, W)`` brain.
        anatomy: ``(N, A, H, W)`` of the slices.
        start: ``(Z,)`` the style encoder's estimate, which the search begins with.
        seed: of slices and windows.

    Returns:
        ``(Z,)``. The error is the mean square in the brain, which noise biases least.
    """
    generator = torch.Generator().manual_seed(seed)
    style = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([style], lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        chosen = torch.randint(len(images), (_BATCH,), generator=generator)
        height, width = images.shape[-2:]
        window = draw_window((height, width), _CROP, generator)
        shown, inside, parts = (window.cut(stack[chosen]) for stack in (images, masks, anatomy))
        squared = (decoder(parts, style[None]) - shown).square() * inside
        loss = squared.sum() / inside.sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return style.detach()
