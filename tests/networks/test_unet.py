"""U-Net: its arithmetic by hand, any size, one by one as in a batch."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from prism_mri.networks import UNet
from prism_mri.networks.blocks import BatchNorm

Stir = Callable[[nn.Module], nn.Module]


def carry(block: nn.Module, weights: list[float]) -> None:
    """Make a convolution's first output the weighted sum of its inputs, all others zero."""
    convolution = block[0]  # type: ignore[index]
    nn.init.zeros_(convolution.weight)
    convolution.weight.data[0, : len(weights), 1, 1] = torch.tensor(weights)


def test_arithmetic_by_hand() -> None:
    """One level: x skips across; the maxima of 2×2 pixels come back resized, ten times as much."""
    network = UNet(1, 1, width=1, levels=1).eval()
    for double, weights in (
        (network.encode[0], [1.0]),
        (network.encode[1], [1.0]),
        (network.decode[0], [1.0, 10.0]),
    ):
        carry(double[0], weights)  # type: ignore[index]
        carry(double[1], [1.0])  # type: ignore[index]
    carry(network.lift[0], [1.0])
    nn.init.ones_(network.head.weight)
    nn.init.constant_(network.head.bias, 0.5)  # type: ignore[arg-type]
    image = torch.tensor([[[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]]])
    resized = torch.tensor([6.0, 6.5, 7.5, 8.0])  # of 6 and 8, bilinear between pixel centres
    expected = 0.5 + image + 10 * resized
    # Seven normalizations by √(1 + 1e-5) cost less than 0.01 %.
    assert torch.allclose(network(image), expected, rtol=1e-4)


@given(height=st.integers(1, 50), width=st.integers(1, 50))
@settings(max_examples=25, deadline=None)
def test_output_is_as_large_as_the_input_and_that_of_the_padded_input(
    height: int, width: int
) -> None:
    torch.manual_seed(0)
    network = UNet(2, 3, width=4).eval()
    images = torch.rand(1, 2, height, width)
    padded = functional.pad(images, (0, -width % 16, 0, -height % 16))
    with torch.no_grad():
        output = network(images)
        assert output.shape == (1, 3, height, width)
        assert torch.allclose(output, network(padded)[..., :height, :width], atol=1e-6)


@pytest.mark.parametrize("size", [(37, 50), (181, 217), (64, 48)])
def test_batch_equals_one_by_one(stir: Stir, size: tuple[int, int]) -> None:
    network = stir(UNet(1, 2, width=4))
    images = torch.rand(3, 1, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        together = network(images)
        for index in range(3):
            assert torch.allclose(together[index], network(images[index : index + 1])[0], atol=1e-4)
    assert float(together.std()) > 0.1


def test_each_level_doubles_the_channels_and_halves_the_size() -> None:
    network = UNet(1, 2, width=4, levels=3)
    seen: list[tuple[int, ...]] = []
    for level in network.encode:
        level.register_forward_hook(lambda _m, _i, output: seen.append(tuple(output.shape)))
    network(torch.rand(2, 1, 40, 24))
    assert network.multiple == 8
    assert seen == [(2, 4, 40, 24), (2, 8, 20, 12), (2, 16, 10, 6), (2, 32, 5, 3)]


def test_normalization_is_by_batch_everywhere() -> None:
    """Instance statistics would divide the gain out: half the image would give the same."""
    network = UNet(1, 1, width=4).eval()
    norms = [module for module in network.modules() if "Norm" in type(module).__name__]
    assert len(norms) == 22
    assert all(isinstance(norm, BatchNorm) for norm in norms)
    nn.init.zeros_(network.head.bias)  # type: ignore[arg-type]
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        # Fresh statistics are 0 and 1, so a fresh network is homogeneous.
        assert torch.allclose(network(0.5 * image), 0.5 * network(image), atol=1e-6)
