"""Blocks: batch normalization without a counter, FiLM's equation, padding, resizing."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from prism_mri.networks.blocks import (
    BatchNorm,
    ConvBlock,
    FilmBlock,
    apply_padded,
    upsample_to,
)


def test_batch_norm_stores_floating_point_only() -> None:
    state = BatchNorm(3).state_dict()
    assert list(state) == ["weight", "bias", "running_mean", "running_var"]
    assert all(tensor.dtype == torch.float32 for tensor in state.values())


def test_batch_norm_loads_without_a_counter() -> None:
    stored = {name: torch.rand(3) for name in BatchNorm(3).state_dict()}
    norm = BatchNorm(3)
    norm.load_state_dict(stored)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in norm.state_dict().items())


@pytest.mark.parametrize("name", ["running_mean", "running_var", "weight"])
def test_batch_norm_refuses_a_missing_statistic(name: str) -> None:
    stored = BatchNorm(3).state_dict()
    del stored[name]
    with pytest.raises(RuntimeError, match=f'Missing key.*"{name}"'):
        BatchNorm(3).load_state_dict(stored)


def test_batch_norm_refuses_a_counter() -> None:
    stored = {**BatchNorm(3).state_dict(), "num_batches_tracked": torch.tensor(7)}
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"num_batches_tracked"'):
        BatchNorm(3).load_state_dict(stored)


def test_batch_norm_still_learns_its_statistics() -> None:
    """Momentum 0.1: after a batch of mean 2 the running mean is 0.2."""
    norm = BatchNorm(1).train()
    norm(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1))
    assert norm.running_mean is not None
    assert norm.running_mean.tolist() == pytest.approx([0.2])
    norm.eval()
    # The running variance is 0.9 + 0.1 × 2 = 1.1.
    expected = (4 - 0.2) / math.sqrt(1.1 + 1e-5)
    assert float(norm(torch.full((1, 1, 1, 1), 4.0)).detach()) == pytest.approx(expected, rel=1e-5)


def test_conv_block_is_convolution_normalization_relu() -> None:
    block = ConvBlock(1, 1).eval()
    convolution = block[0]
    assert isinstance(convolution, nn.Conv2d)
    nn.init.zeros_(convolution.weight)
    convolution.weight.data[0, 0, 1, 2] = -2.0
    image = torch.tensor([[[[1.0, -3.0, 2.0]]]])
    # Each pixel takes -2 times its right neighbour, zero beyond the edge, what is negative cut off.
    expected = [6 / math.sqrt(1 + 1e-5), 0.0, 0.0]
    assert block(image).flatten().tolist() == pytest.approx(expected)


def test_stride_2_halves_rounding_up() -> None:
    assert ConvBlock(1, 4, stride=2)(torch.zeros(2, 1, 9, 6)).shape == (2, 4, 5, 3)


def film_block() -> FilmBlock:
    """Convolution keeps x, normalization makes it (x - 1) / 2; scale = 2 z, shift = 3 z + 0.5."""
    block = FilmBlock(1, 1, style_dim=1).eval()
    block.norm.load_state_dict(
        {"running_mean": torch.tensor([1.0]), "running_var": torch.tensor([4.0])}
    )
    nn.init.dirac_(block.conv.weight)
    block.film.weight.data = torch.tensor([[2.0], [3.0]])
    block.film.bias.data = torch.tensor([0.0, 0.5])
    return block


@pytest.mark.parametrize(
    ("style", "expected"), [(0.0, [1.5, 0.0]), (0.5, [4.0, 0.0]), (-1.0, [0.0, 1.5])]
)
def test_film_modulates_after_the_normalization(style: float, expected: list[float]) -> None:
    """Perez et al. 2018, equation 2, by hand: relu(n (1 + 2 z) + 3 z + 0.5) for n = 1 and -4."""
    features = torch.tensor([3.0, -7.0]).view(1, 1, 1, 2)
    output = film_block()(features, torch.tensor([[style]]))
    assert output.flatten().tolist() == pytest.approx(expected, abs=1e-4)


def test_film_gives_each_image_its_own_style() -> None:
    features = torch.full((2, 1, 1, 1), 3.0)
    output = film_block()(features, torch.tensor([[0.0], [0.5]]))
    assert output.flatten().tolist() == pytest.approx([1.5, 4.0], abs=1e-4)


def draw_statistics(norm: BatchNorm) -> None:
    for name, tensor in norm.state_dict().items():
        tensor.copy_(torch.rand(len(tensor)) + (0.5 if name.endswith(("var", "weight")) else -0.5))


def test_fixed_statistics_fold_into_the_convolution() -> None:
    torch.manual_seed(0)
    block, features = ConvBlock(3, 5, stride=2).eval(), torch.randn(2, 3, 8, 9)
    convolution, norm = block[0], block[1]
    assert isinstance(norm, BatchNorm)
    draw_statistics(norm)
    expected = functional.relu(norm(convolution(features)))
    torch.testing.assert_close(block(features), expected)
    block.train()
    assert not torch.allclose(block(features), expected, atol=0.01)  # the batch's own statistics


def test_one_style_for_all_slices_folds_as_well() -> None:
    torch.manual_seed(0)
    block, features = FilmBlock(3, 5, style_dim=4).eval(), torch.randn(2, 3, 8, 9)
    draw_statistics(block.norm)
    style = torch.randn(1, 4)
    scale, shift = block.film(style)[:, :, None, None].chunk(2, dim=1)
    expected = functional.relu(block.norm(block.conv(features)) * (1 + scale) + shift)
    torch.testing.assert_close(block(features, style), expected)
    torch.testing.assert_close(block(features, style.expand(2, -1)), expected)


def test_what_is_folded_can_still_be_trained() -> None:
    block = FilmBlock(1, 2, style_dim=3).eval()
    block(torch.rand(2, 1, 4, 4), torch.randn(1, 3)).sum().backward()
    gradients = [block.conv.weight.grad, block.film.weight.grad, block.film.bias.grad]
    assert all(gradient is not None and gradient.any() for gradient in gradients)


def test_upsampling_is_bilinear_between_pixel_centres() -> None:
    row = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    assert upsample_to(row, torch.zeros(1, 1, 1, 4)).flatten().tolist() == [0, 0.25, 0.75, 1]


@pytest.mark.parametrize(
    ("size", "padded"), [((8, 12), (8, 12)), ((7, 9), (8, 12)), ((1, 5), (4, 8))]
)
def test_padding_below_and_right_then_cropping(
    size: tuple[int, int], padded: tuple[int, int]
) -> None:
    seen = []

    def network(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return torch.cat([images, 2 * images], dim=1)

    images = torch.rand(2, 1, *size) + 1
    output = apply_padded(network, images, 4)
    assert torch.equal(output, torch.cat([images, 2 * images], dim=1))
    height, width = size
    expected = functional.pad(images, (0, padded[1] - width, 0, padded[0] - height))
    assert torch.equal(seen[0], expected)
