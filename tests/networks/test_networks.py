"""What the three networks promise: shapes, ranges, independence of the batch, and cost."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from prism_mri.networks import (
    AnatomyEncoder,
    AnatomyEncoderSpec,
    Decoder,
    DecoderSpec,
    GaussianStyle,
    StyleEncoder,
    StyleEncoderSpec,
    build_anatomy_encoder,
    build_decoder,
    build_style_encoder,
)

Stir = Callable[[nn.Module], nn.Module]
SIZES = [(45, 51), (33, 64), (48, 40), (9, 7)]


@pytest.fixture(scope="module")
def anatomy_encoder(stir: Stir) -> AnatomyEncoder:
    network = stir(AnatomyEncoder(width=4, free_channels=2))
    assert isinstance(network, AnatomyEncoder)
    return network


@pytest.fixture(scope="module")
def style_encoder(stir: Stir) -> StyleEncoder:
    network = stir(StyleEncoder(width=4, style_dim=3))
    assert isinstance(network, StyleEncoder)
    return network


@pytest.fixture(scope="module")
def decoder(stir: Stir) -> Decoder:
    network = stir(Decoder(anatomy_channels=5, style_dim=3, width=4))
    assert isinstance(network, Decoder)
    nn.init.constant_(network.head.bias, 0.5)
    return network


def draw_slices(
    size: tuple[int, int], *, batch: int = 3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, anatomy of 5 channels and mask of a brain of patches."""
    generator = torch.Generator().manual_seed(2)
    patches = torch.randn(batch, 3, 5, 5, generator=generator)
    logits = 4 * functional.interpolate(patches, size=size, mode="bilinear", align_corners=False)
    fractions = logits.softmax(1)
    free = torch.rand(batch, 2, *size, generator=generator)
    mask = torch.zeros(batch, 1, *size)
    mask[..., 2:-2, 2:-2] = 1
    levels = torch.tensor([1.0, 0.4, 0.25]).view(1, 3, 1, 1)
    noise = 0.02 * torch.randn(batch, 1, *size, generator=generator)
    image = ((fractions * levels).sum(1, keepdim=True) + noise).clamp(min=0) * mask
    return image, torch.cat([fractions, free], dim=1), mask


@torch.no_grad()
def outputs(
    anatomy_encoder: AnatomyEncoder,
    style_encoder: StyleEncoder,
    decoder: Decoder,
    slices: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> list[torch.Tensor]:
    """Everything that the networks return for a batch."""
    image, anatomy, mask = slices
    style = style_encoder(image, anatomy, mask)
    decoded = decoder(anatomy, style.mean)
    return [anatomy_encoder(image), style.mean, style.log_variance, decoded]


@pytest.mark.parametrize("size", SIZES)
def test_any_height_and_width_and_batch_equals_one_by_one(
    anatomy_encoder: AnatomyEncoder,
    style_encoder: StyleEncoder,
    decoder: Decoder,
    size: tuple[int, int],
) -> None:
    slices = draw_slices(size)
    networks = (anatomy_encoder, style_encoder, decoder)
    together = outputs(*networks, slices)
    shapes = [tuple(tensor.shape) for tensor in together]
    assert shapes == [(3, 5, *size), (3, 3), (3, 3), (3, 1, *size)]
    for index in range(3):
        image, anatomy, mask = (tensor[index : index + 1] for tensor in slices)
        alone = outputs(*networks, (image, anatomy, mask))
        for whole, one in zip(together, alone, strict=True):
            assert torch.allclose(whole[index], one[0], atol=2e-5)
    # A constant would pass as well.
    assert all(float(tensor.std(0).max()) > 1e-3 for tensor in together)


# Anatomy encoder


def test_fractions_sum_to_1_and_every_channel_lies_between_0_and_1(
    anatomy_encoder: AnatomyEncoder,
) -> None:
    image, _, _ = draw_slices((45, 51))
    with torch.no_grad():
        anatomy = anatomy_encoder(20 * image)
    assert torch.allclose(anatomy[:, :3].sum(1), torch.ones(3, 45, 51), atol=1e-5)
    assert 0 <= float(anatomy.min()) < 0.1
    assert 0.9 < float(anatomy.max()) <= 1
    # The free channels are no fractions: they need not sum to anything.
    assert float(anatomy[:, 3:].sum(1).std()) > 1e-3
    assert anatomy_encoder.channels == 5


def test_anatomy_of_an_odd_slice_is_that_of_the_slice_padded_with_zeros(
    anatomy_encoder: AnatomyEncoder,
) -> None:
    image, _, _ = draw_slices((45, 51))
    with torch.no_grad():
        padded = anatomy_encoder(functional.pad(image, (0, 5, 0, 3)))
        assert torch.allclose(anatomy_encoder(image), padded[..., :45, :51], atol=1e-5)


def test_anatomy_moves_with_the_image(anatomy_encoder: AnatomyEncoder) -> None:
    """Fully convolutional: a shift by the coarsest pixel shifts the result, away from the edges."""
    image, _, _ = draw_slices((160, 160), batch=1)
    with torch.no_grad():
        there, moved = anatomy_encoder(image), anatomy_encoder(image.roll(8, dims=3))
    inner = slice(64, 96)
    assert torch.allclose(moved[..., inner, 72:104], there[..., inner, 64:96], atol=1e-4)
    assert not torch.allclose(moved[..., inner, 64:96], there[..., inner, 64:96], atol=1e-3)


# Style encoder


@pytest.mark.parametrize("seed", range(5))
def test_gain_is_visible_to_a_fresh_style_encoder(seed: int) -> None:
    torch.manual_seed(seed)
    network = StyleEncoder(width=8, style_dim=8).eval()
    image, anatomy, mask = draw_slices((48, 40))
    with torch.no_grad():
        full = network(image, anatomy, mask).mean
        half = network(0.5 * image, anatomy, mask).mean
    moved = (full - half).norm(dim=1) / full.norm(dim=1)
    assert float(moved.min()) > 0.05


def test_style_does_not_depend_on_where_the_tissue_lies(style_encoder: StyleEncoder) -> None:
    """Pooling forgets the place, as long as it moves by whole pixels of the coarsest stage."""
    slices = draw_slices((48, 40))
    places = [(16, 16, 16, 16), (20, 12, 8, 24)]
    with torch.no_grad():
        there, moved = (
            style_encoder(*(functional.pad(tensor, place) for tensor in slices)).mean
            for place in places
        )
    assert torch.allclose(there, moved, atol=1e-5)
    assert float((there[0] - there[1]).abs().max()) > 0.005


def test_style_does_not_depend_on_how_much_tissue_a_slice_holds() -> None:
    """Half of a uniform slice has the style of the whole: sums are divided by the tissue's area."""
    torch.manual_seed(0)
    network = StyleEncoder(width=4, style_dim=3).eval()
    image, anatomy = torch.full((1, 1, 64, 64), 0.3), torch.full((1, 3, 64, 64), 1 / 3)
    whole, half = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    whole[..., 8:-8, 8:-8] = 1
    half[..., 8:-8, 8:32] = 1
    with torch.no_grad():
        styles = [network(image, anatomy, mask).mean for mask in (whole, half)]
        brighter = network(1.1 * image, anatomy, whole).mean
    apart = float((styles[0] - brighter).abs().max())
    assert float((styles[0] - styles[1]).abs().max()) < 0.1 * apart


def test_style_ignores_tissue_outside_the_mask(style_encoder: StyleEncoder) -> None:
    image, anatomy, mask = draw_slices((48, 40))
    other = torch.where(mask > 0, anatomy, anatomy.flip(1))
    with torch.no_grad():
        assert torch.equal(
            style_encoder(image, anatomy, mask).mean, style_encoder(image, other, mask).mean
        )


def test_style_of_an_empty_mask_is_finite(style_encoder: StyleEncoder) -> None:
    image, anatomy, mask = draw_slices((48, 40))
    with torch.no_grad():
        style = style_encoder(image, anatomy, 0 * mask)
    assert torch.isfinite(style.mean).all()
    assert torch.equal(style.mean[0], style.mean[1])


def test_log_variance_is_held_between_minus_8_and_2() -> None:
    network = StyleEncoder(width=4, style_dim=2).eval()
    last = network.head[2]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([100.0, -100.0, 100.0, -100.0])
    style = network(*draw_slices((16, 16), batch=1))
    assert style.mean.tolist() == [[100, -100]]
    assert style.log_variance.tolist() == [[2, -8]]


def test_sample_has_the_gaussians_mean_and_deviation() -> None:
    mean = torch.tensor([[1.0, -2.0]]).expand(20_000, 2)
    log_variance = torch.log(torch.tensor([[0.25, 4.0]])).expand(20_000, 2)
    draws = GaussianStyle(mean, log_variance).sample(torch.Generator().manual_seed(1))
    assert draws.mean(0).tolist() == pytest.approx([1, -2], abs=0.05)
    assert draws.std(0).tolist() == pytest.approx([0.5, 2], rel=0.03)
    again = GaussianStyle(mean, log_variance).sample(torch.Generator().manual_seed(1))
    assert torch.equal(draws, again)


# Decoder


def test_style_changes_the_image_through_film_alone(decoder: Decoder) -> None:
    _, anatomy, _ = draw_slices((45, 51))
    styles = torch.zeros(3, 3), torch.ones(3, 3)
    with torch.no_grad():
        plain, changed = (decoder(anatomy, style) for style in styles)
    assert float((plain - changed).abs().mean()) > 0.01
    deaf = Decoder(anatomy_channels=5, style_dim=3, width=4).eval()
    for name, parameter in deaf.named_parameters():
        if ".film." in name:
            nn.init.zeros_(parameter)
    with torch.no_grad():
        assert torch.equal(*(deaf(anatomy, style) for style in styles))


def test_fresh_decoder_hears_the_style() -> None:
    torch.manual_seed(0)
    network = Decoder(anatomy_channels=5, style_dim=8, width=8).eval()
    _, anatomy, _ = draw_slices((32, 32))
    with torch.no_grad():
        plain, changed = (network(anatomy, torch.full((3, 8), value)) for value in (0.0, 2.0))
    assert float((plain - changed).abs().max()) > 1e-3


def test_decoded_intensity_is_never_negative(decoder: Decoder) -> None:
    _, anatomy, _ = draw_slices((45, 51))
    lowest, highest = 1.0, 0.0
    with torch.no_grad():
        for value in (-30.0, -3.0, 3.0, 30.0):
            image = decoder(anatomy, torch.full((3, 3), value))
            assert torch.isfinite(image).all()
            lowest, highest = min(lowest, float(image.min())), max(highest, float(image.max()))
    assert 0 <= lowest < 0.01
    assert highest > 0.5


def test_decoded_intensity_is_a_softplus_of_the_heads_output() -> None:
    """Softplus with β = 10 of 0 is ln 2 / 10."""
    network = Decoder(anatomy_channels=3, style_dim=2, width=4).eval()
    nn.init.zeros_(network.head.weight)
    for bias, expected in ((0.0, 0.0693147), (1.0, 1.0000045), (-1.0, 0.0000045)):
        nn.init.constant_(network.head.bias, bias)
        image = network(torch.rand(1, 3, 8, 8), torch.rand(1, 2))
        assert image.flatten().tolist() == pytest.approx([expected] * 64, abs=1e-6)


# Cost, at the shipped sizes: widths 16, 32, 64, 96 · 8, 16, 32 · 16, 32, 64; styles of 8


def test_parameters_as_by_hand() -> None:
    """Nine weights a pair of channels, two numbers a normalization, one bias a head's channel."""
    anatomy = 9 * (16 + 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 96 + 96 * 96)
    anatomy += 9 * 2 * (64 * 64 + 32 * 32 + 16 * 16)
    anatomy += 2 * 2 * (16 + 32 + 64 + 96 + 64 + 32 + 16)
    anatomy += (96 * 64 + 64) + (64 * 32 + 32) + (32 * 16 + 16) + (16 * 7 + 7)
    style = 9 * (8 + 8 * 16 + 16 * 32) + 2 * (8 + 16 + 32)
    style += (3 * (3 + 8 + 16 + 32) * 64 + 64) + (64 * 16 + 16)
    decoder = 9 * (7 * 16 + 16 * 32 + 32 * 64 + 64 * 64 + 32 * 32 + 2 * 16 * 16)
    decoder += (8 + 1) * 2 * (16 + 32 + 64 + 64 + 32 + 16 + 16)
    decoder += (64 * 32 + 32) + (32 * 16 + 16) + (16 + 1)
    counts = [
        sum(parameter.numel() for parameter in network.parameters())
        for network in (
            build_anatomy_encoder(AnatomyEncoderSpec()),
            build_style_encoder(StyleEncoderSpec()),
            build_decoder(DecoderSpec()),
        )
    ]
    assert counts == [anatomy, style, decoder] == [316_791, 18_376, 81_681]


def test_a_slice_of_256_by_256_costs_less_than_3_gmac() -> None:
    """By hand, multiply-adds a pixel: 25 808 for the anatomy and 12 800 for the decoder."""
    with torch.device("meta"), torch.no_grad():
        image, anatomy = torch.zeros(1, 1, 256, 256), torch.zeros(1, 7, 256, 256)
        networks: list[tuple[nn.Module, tuple[torch.Tensor, ...]]] = [
            (build_anatomy_encoder(AnatomyEncoderSpec()), (image,)),
            (build_style_encoder(StyleEncoderSpec()), (image, anatomy, image)),
            (build_decoder(DecoderSpec()), (anatomy, torch.zeros(1, 8))),
        ]
        costs = []
        for network, inputs in networks:
            with FlopCounterMode(display=False) as counter:
                network.eval()(*inputs)
            costs.append(counter.get_total_flops() / 2e9)
    assert sum(costs) < 3
    assert costs[0] == pytest.approx(25_808 * 65_536 / 1e9, rel=1e-3)
    assert costs[1] == pytest.approx(0.0458, rel=1e-2)
    assert costs[2] == pytest.approx(12_800 * 65_536 / 1e9, rel=1e-3)
