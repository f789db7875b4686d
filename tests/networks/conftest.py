"""Networks with weights and statistics that make every part matter."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional


@pytest.fixture(scope="session")
def stir() -> Callable[[nn.Module], nn.Module]:
    """Return a function that fills a network with numbers, the same every time."""

    def apply(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(11)
        for name, tensor in network.state_dict().items():
            drawn = torch.rand(tensor.shape, generator=generator)
            if name.endswith("running_mean"):
                tensor.copy_(0.2 * drawn - 0.1)
            elif name.endswith("running_var"):
                tensor.copy_(0.2 + 0.5 * drawn)
            elif ".film." in name:
                tensor.copy_(drawn - 0.5)
            elif tensor.ndim > 1:
                tensor.copy_((drawn - 0.5) * (12 / tensor[0].numel()) ** 0.5)
            elif name.endswith("bias"):
                tensor.copy_(0.2 * drawn - 0.1)
            else:
                tensor.copy_(0.5 + drawn)
        return network.eval()

    return apply


@pytest.fixture(scope="session")
def draw_images() -> Callable[..., torch.Tensor]:
    """Return a function that draws images of blobs and noise, zero in a margin of two pixels."""

    def draw(height: int, width: int, *, batch: int = 3) -> torch.Tensor:
        generator = torch.Generator().manual_seed(2)
        patches = torch.randn(batch, 1, 5, 5, generator=generator)
        blobs = functional.interpolate(patches, size=(height, width), mode="bilinear")
        noise = 0.05 * torch.randn(batch, 1, height, width, generator=generator)
        images = torch.zeros(batch, 1, height, width)
        inner = (..., slice(2, -2), slice(2, -2))
        images[inner] = (0.4 + 0.2 * blobs + noise).clamp(min=0.01)[inner]
        return images

    return draw
