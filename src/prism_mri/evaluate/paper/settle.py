"""What the networks of Tables 2 and 3 share: level of their input, settled normalization."""

from collections.abc import Iterable

import torch
from torch import nn


@torch.no_grad()
def settle_normalization(model: nn.Module, passes: Iterable[torch.Tensor]) -> None:
    """Replace running statistics, which lag behind in a short training, by means over passes.

    Args:
        model: left in evaluation mode.
        passes: each sends one batch of training images through the model.

    Source:
        Wu and Johnson 2021, arXiv 2105.07576, section 3.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    model.eval()  # but for the layers in question: nothing is dropped at random
    for layer in layers:
        layer.train()
        layer.reset_running_stats()
        layer.momentum = None  # a mean over all passes
    for _ in passes:
        pass
    model.eval()


def keep_level(model: nn.Module, level: torch.Tensor, spread: torch.Tensor) -> None:
    """Have a network remember level and spread of its training images, for `ask`."""
    model.register_buffer("level", level)
    model.register_buffer("spread", spread.clamp(min=1e-6))


def ask(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return logits; images are brought to the level and spread of the training ones first."""
    logits: torch.Tensor = model((images - model.level) / model.spread)  # type: ignore[operator]
    return logits
