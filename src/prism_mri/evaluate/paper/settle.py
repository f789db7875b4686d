"""Batch normalization after a short training: statistics of the weights as they came to be."""

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
