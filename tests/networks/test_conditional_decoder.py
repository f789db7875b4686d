"""Conditional decoder: any size, never negative, and the style's constant channels are heard."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from prism_mri.networks import ConditionalDecoder

Stir = Callable[[nn.Module], nn.Module]


@pytest.fixture
def decoder(stir: Stir) -> ConditionalDecoder:
    stirred = stir(ConditionalDecoder(width=4))
    assert isinstance(stirred, ConditionalDecoder)
    nn.init.constant_(stirred.unet.head.bias, 1.0)  # type: ignore[arg-type]
    return stirred


def draw_anatomy(height: int, width: int, *, batch: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    coarse = torch.randint(5, (batch, 1, 6, 6), generator=generator) / 4
    return functional.interpolate(coarse, (height, width), mode="nearest")


@pytest.mark.parametrize("size", [(37, 50), (181, 217), (64, 48), (5, 3)])
def test_batch_equals_one_by_one_at_any_size(
    decoder: ConditionalDecoder, size: tuple[int, int]
) -> None:
    anatomy, styles = draw_anatomy(*size), torch.tensor([[0.0, 1.0], [0.5, -1.0], [2.0, 0.0]])
    with torch.no_grad():
        together = decoder(anatomy, styles)
        assert together.shape == (3, 1, *size)
        for index in range(3):
            one = slice(index, index + 1)
            assert torch.allclose(together[one], decoder(anatomy[one], styles[one]), atol=1e-4)
    assert float(together.std()) > 0.02


def test_the_style_reaches_into_the_padding(decoder: ConditionalDecoder) -> None:
    """A slice of 37×50 is decoded as its top left part of the slice padded to 48×64."""
    anatomy, style = draw_anatomy(37, 50), torch.tensor([[0.5, -1.0]]).expand(3, -1)
    with torch.no_grad():
        padded = decoder(functional.pad(anatomy, (0, 14, 0, 11)), style)
        assert torch.allclose(decoder(anatomy, style), padded[..., :37, :50], atol=1e-6)


def test_eval_is_deterministic(decoder: ConditionalDecoder) -> None:
    anatomy, style = draw_anatomy(37, 50), torch.ones(3, 2)
    before = torch.get_rng_state()
    with torch.no_grad():
        assert torch.equal(decoder(anatomy, style), decoder(anatomy, style))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("training", [False, True])
def test_fresh_decoder_hears_each_number_of_the_style(*, training: bool) -> None:
    """In training too, where statistics over one slice alone would erase a constant channel."""
    torch.manual_seed(0)
    network = ConditionalDecoder(width=8).train(training)
    anatomy = draw_anatomy(32, 48, batch=1).expand(3, -1, -1, -1)
    with torch.no_grad():
        plain, first, second = network(anatomy, torch.tensor([[0.0, 0], [2, 0], [0, 2]]))
    spread = float(plain.std())
    assert float((plain - first).abs().mean()) > 0.2 * spread
    assert float((plain - second).abs().mean()) > 0.2 * spread
    assert float((first - second).abs().mean()) > 0.2 * spread


def test_decoded_intensity_is_never_negative(decoder: ConditionalDecoder) -> None:
    anatomy = draw_anatomy(37, 50)
    lowest, highest = 1.0, 0.0
    with torch.no_grad():
        for value in (-30.0, -3.0, 3.0, 30.0):
            image = decoder(anatomy, torch.full((3, 2), value))
            assert torch.isfinite(image).all()
            lowest, highest = min(lowest, float(image.min())), max(highest, float(image.max()))
    assert 0 <= lowest < 0.01
    assert highest > 0.5


@pytest.mark.parametrize(
    ("bias", "expected"), [(0.0, 0.0693147), (1.0, 1.0000045), (-1.0, 0.0000045)]
)
def test_intensity_is_a_softplus_of_the_heads_output(bias: float, expected: float) -> None:
    """Softplus with β = 10 of 0 is ln 2 / 10."""
    network = ConditionalDecoder(width=4).eval()
    nn.init.zeros_(network.unet.head.weight)
    nn.init.constant_(network.unet.head.bias, bias)  # type: ignore[arg-type]
    image = network(torch.rand(1, 1, 8, 8), torch.rand(1, 2))
    assert image.flatten().tolist() == pytest.approx([expected] * 64, abs=1e-6)
