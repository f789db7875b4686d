"""Networks with weights and statistics that make every part matter."""

from collections.abc import Callable

import pytest
import torch
from torch import nn


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
