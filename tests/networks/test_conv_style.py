"""Convolutional style encoder: of the image in the mask, with its gain, without its margins."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from prism_mri.networks import ConvStyleEncoder, GaussianStyle

Stir = Callable[[nn.Module], nn.Module]
Draw = Callable[..., torch.Tensor]


def read(network: nn.Module, images: torch.Tensor) -> GaussianStyle:
    with torch.no_grad():
        style = network(images, torch.zeros_like(images), (images > 0).float())
    assert isinstance(style, GaussianStyle)
    return style


@pytest.mark.parametrize("size", [(37, 50), (181, 217), (64, 128), (20, 9)])
def test_batch_equals_one_by_one_at_any_size(
    stir: Stir, draw_images: Draw, size: tuple[int, int]
) -> None:
    network, images = stir(ConvStyleEncoder(width=4, style_dim=3)), draw_images(*size)
    together = read(network, images)
    assert together.mean.shape == together.log_variance.shape == (3, 3)
    for index in range(3):
        alone = read(network, images[index : index + 1])
        assert torch.allclose(together.mean[index], alone.mean[0], atol=1e-6)
        assert torch.allclose(together.log_variance[index], alone.log_variance[0], atol=1e-6)
    assert float(together.mean.std(0).max()) > 1e-4


def test_neither_the_anatomy_nor_what_lies_outside_the_mask_is_looked_at(
    stir: Stir, draw_images: Draw
) -> None:
    """A decoded image, whose background is not exactly 0, is read like one that is cut out."""
    network, images = stir(ConvStyleEncoder(width=4)), draw_images(37, 50)
    mask, noise = (images > 0).float(), torch.rand(3, 1, 37, 50)
    style = read(network, images).mean
    with torch.no_grad():
        assert torch.equal(network(images + (1 - mask) * noise, noise, mask).mean, style)
        inside = network(images + mask * noise, noise, mask).mean
    assert float((inside - style).abs().max()) > 1e-3


def test_eval_is_deterministic(stir: Stir, draw_images: Draw) -> None:
    network, images = stir(ConvStyleEncoder(width=4)), draw_images(37, 50)
    before = torch.get_rng_state()
    assert torch.equal(read(network, images).mean, read(network, images).mean)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", range(5))
def test_gain_is_visible_once_the_statistics_are_of_the_site(draw_images: Draw, seed: int) -> None:
    torch.manual_seed(seed)
    network, images = ConvStyleEncoder(width=8), draw_images(96, 80)
    for gain in torch.linspace(0.5, 1.5, 8).repeat(5):
        read(network.train(), gain * images)
    network.eval()
    style = read(network, images).mean
    moved = (style - read(network, 0.5 * images).mean).norm(dim=1)
    # Blind to it, as a network that divides by the image's own spread is, it would stay at 0.
    assert float(moved.min()) > 0.2 * float(style.std(0).norm())
    assert float(moved.mean()) > 0.02


class Halves(nn.Module):
    """Stands for a stage: the mean of 2×2 pixels, and minus that."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(torch.cat([image, -image], dim=1), 2)


def test_average_is_over_the_mask() -> None:
    """Cells of 2 and 1, the first all brain, the second a quarter: (2 + 0.25 × 1) / 1.25."""
    network = ConvStyleEncoder(width=4, style_dim=1)
    network.stages, network.head = nn.Sequential(Halves()), nn.Identity()  # type: ignore[assignment]
    style = read(network, torch.tensor([[[[1.0, 3.0, 0.0, 0.0], [1.0, 3.0, 0.0, 4.0]]]]))
    expected = 2.25 / (1.25 + 0.001)
    assert float(style.mean) == pytest.approx(expected, rel=1e-6)
    assert float(style.log_variance) == pytest.approx(-expected, rel=1e-6)


@pytest.mark.parametrize("margins", [(0, 7, 0, 90), (64, 0, 128, 0), (64, 31, 64, 200)])
def test_margins_do_not_change_the_style(
    stir: Stir, draw_images: Draw, margins: tuple[int, int, int, int]
) -> None:
    """Right and below as wide as you like, left and above by whole cells of the last stage."""
    network, images = stir(ConvStyleEncoder(width=4)), draw_images(101, 90)
    style = read(network, images).mean
    assert torch.allclose(style, read(network, functional.pad(images, margins)).mean, atol=1e-6)
    assert float((style - read(network, 0.5 * images).mean).abs().max()) > 1e-3


def test_an_empty_mask_has_a_finite_style(stir: Stir) -> None:
    network = stir(ConvStyleEncoder(width=4))
    style = network(*torch.rand(2, 2, 1, 37, 50), torch.zeros(2, 1, 37, 50))
    assert torch.isfinite(style.mean).all()
    assert torch.equal(style.mean[0], style.mean[1])


def test_log_variance_is_held_between_minus_8_and_2(draw_images: Draw) -> None:
    network = ConvStyleEncoder(width=4, style_dim=2).eval()
    last = network.head[2]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([100.0, -100.0, 100.0, -100.0])
    style = read(network, draw_images(37, 50, batch=1))
    assert style.mean.tolist() == [[100, -100]]
    assert style.log_variance.tolist() == [[2, -8]]
