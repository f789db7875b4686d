"""Level anatomy encoder: discrete, deterministic, sampled with a gradient, levels in any order."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from prism_mri.networks import ConditionalDecoder, LevelAnatomyEncoder

Stir = Callable[[nn.Module], nn.Module]
Draw = Callable[..., torch.Tensor]
SIZES = [(37, 50), (181, 217), (48, 32)]
LEVELS = torch.linspace(0, 1, 5)


@pytest.fixture
def network(stir: Stir) -> LevelAnatomyEncoder:
    stirred = stir(LevelAnatomyEncoder(width=4))
    assert isinstance(stirred, LevelAnatomyEncoder)
    # As before training, so that the order of the U-Net's own logits is that of the levels.
    stirred.norm.reset_running_stats()
    return stirred


class Fixed(nn.Module):
    """Stands for the U-Net: the same logits whatever the image."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(image), -1, *image.shape[-2:])


def of_logits(logits: list[float]) -> tuple[LevelAnatomyEncoder, Fixed]:
    """An encoder of as many levels that gives every pixel these logits."""
    network = LevelAnatomyEncoder(width=4, levels=len(logits)).eval()
    fixed = Fixed(torch.tensor(logits).view(1, -1, 1, 1))
    network.unet = fixed  # type: ignore[assignment]
    network.norm = nn.Identity()  # type: ignore[assignment]
    return network, fixed


@pytest.mark.parametrize("size", SIZES)
def test_batch_equals_one_by_one_at_any_size(
    network: LevelAnatomyEncoder, draw_images: Draw, size: tuple[int, int]
) -> None:
    images = draw_images(*size)
    with torch.no_grad():
        together = network(images)
        logits = network.unet(images).topk(2, dim=1).values
        alone = torch.cat([network(images[index : index + 1]) for index in range(3)])
    # Where two levels are equally likely, the last bit of the sum decides.
    clear = (logits[:, :1] - logits[:, 1:]) > 1e-4
    assert together.shape == (3, 1, *size)
    assert float(clear.float().mean()) > 0.99
    assert torch.equal(together[clear], alone[clear])
    assert network.channels == 1


def test_values_are_the_levels_and_all_occur(
    network: LevelAnatomyEncoder, draw_images: Draw
) -> None:
    images = draw_images(37, 50)
    logits = network.unet(images)
    assert torch.equal(network(images), logits.argmax(dim=1, keepdim=True) / 4)
    network.unet.head.bias.data -= logits.mean(dim=(0, 2, 3))  # type: ignore[union-attr]
    assert network(images).unique().tolist() == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(
    ("logits", "expected"),
    [([0.0, 0.3, 0.2], 0.5), ([1.0, 0.3, 0.2], 0.0), ([0.1, 0.3, 0.4], 1.0), ([-1.0, -2.0], 0.0)],
)
def test_the_most_likely_level(logits: list[float], expected: float) -> None:
    network, _ = of_logits(logits)
    assert network(torch.zeros(1, 1, 2, 2)).flatten().tolist() == [expected] * 4


@pytest.mark.parametrize("training", [False, True])
def test_forward_never_samples(
    network: LevelAnatomyEncoder, draw_images: Draw, *, training: bool
) -> None:
    network.train(training)
    images = draw_images(37, 50)
    before = torch.get_rng_state()
    first, second = network(images), network(images)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    assert not first.requires_grad


def test_sample_is_exactly_a_level_and_reaches_every_weight(
    network: LevelAnatomyEncoder, draw_images: Draw
) -> None:
    sample = network.sample(
        draw_images(37, 50), temperature=1.0, generator=torch.Generator().manual_seed(0)
    )
    assert sample.shape == (3, 1, 37, 50)
    assert sample.unique().tolist() == [0, 0.25, 0.5, 0.75, 1]
    (sample * torch.linspace(0, 1, 50)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) > 0, name


def test_same_seed_same_sample(network: LevelAnatomyEncoder, draw_images: Draw) -> None:
    images = draw_images(37, 50)
    before = torch.get_rng_state()

    def draw(seed: int, temperature: float = 1.0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return network.sample(images, temperature=temperature, generator=generator).detach()

    assert torch.equal(draw(3), draw(3))
    # The temperature bends the gradient, not the draw.
    assert torch.equal(draw(3), draw(3, temperature=0.1))
    assert float((draw(3) != draw(4)).float().mean()) > 0.1
    assert torch.equal(torch.get_rng_state(), before)


def test_levels_are_drawn_as_often_as_they_are_likely() -> None:
    """Gumbel-max: softmax of the logits, here 1/2, 1/3, 1/6 of 40 000 pixels (σ < 0.0025)."""
    network, _ = of_logits(torch.tensor([3.0, 2.0, 1.0]).log().tolist())
    generator = torch.Generator().manual_seed(5)
    drawn = network.sample(torch.zeros(1, 1, 200, 200), temperature=0.5, generator=generator)
    shares = [float((drawn == level).float().mean()) for level in (0, 0.5, 1)]
    assert shares == pytest.approx([1 / 2, 1 / 3, 1 / 6], abs=0.01)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_gradient_is_that_of_the_softmax_by_hand(temperature: float) -> None:
    """For s = softmax((logits + g) / T) and levels v: s_k (v_k - Σ s v) / T."""
    network, fixed = of_logits([0.3, -0.2, 0.1])
    network.sample(
        torch.zeros(1, 1, 1, 1), temperature=temperature, generator=torch.Generator().manual_seed(8)
    ).backward()
    waits = -torch.rand(1, 3, 1, 1, generator=torch.Generator().manual_seed(8)).log()
    soft = ((fixed.logits.detach() - waits.log()) / temperature).softmax(1).flatten()
    levels = torch.tensor([0, 0.5, 1.0])
    expected = soft * (levels - (soft * levels).sum()) / temperature
    assert fixed.logits.grad is not None
    assert fixed.logits.grad.flatten().tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert float(expected.abs().max()) > 0.005


def test_logits_are_brought_to_one_size_and_every_level_is_in_use(
    draw_images: Draw,
) -> None:
    """Mean 0 and σ 5 whatever the U-Net gives, so that the Gumbel noise of σ 1.28 is small."""
    torch.manual_seed(2)
    network = LevelAnatomyEncoder(width=4).train()
    head = network.unet.head
    head.weight.data *= 0.3
    head.bias.data = torch.tensor([9.0, 0.0, 0.0, 0.0, 0.0])
    images = draw_images(37, 50)
    logits = network._logits(images).detach()
    assert logits.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.0] * 5, abs=1e-2)
    spread = logits.std(dim=(0, 2, 3), correction=0)
    assert spread.tolist() == pytest.approx([5.0] * 5, rel=0.1)
    drawn = network.sample(images, temperature=1.0, generator=torch.Generator().manual_seed(0))
    assert drawn.unique().tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert float((drawn == 0).float().mean()) < 0.6


def permute_levels(network: LevelAnatomyEncoder, order: list[int]) -> None:
    """Level k of the network becomes what its level ``order[k]`` was."""
    head = network.unet.head
    assert head.bias is not None
    head.weight.data = head.weight.data[order]
    head.bias.data = head.bias.data[order]


def encode_before_and_after(
    network: LevelAnatomyEncoder, images: torch.Tensor, order: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The anatomy, and what the same network with permuted levels makes of the same images."""
    head = network.unet.head
    assert head.bias is not None
    with torch.no_grad():
        head.bias -= network.unet(images).mean(dim=(0, 2, 3))
        anatomy = network(images)
        permute_levels(network, order)
        return anatomy, network(images)


@pytest.mark.parametrize("order", [[4, 3, 2, 1, 0], [1, 2, 3, 4, 0], [2, 0, 4, 1, 3]])
def test_permuting_the_heads_channels_permutes_the_levels(
    network: LevelAnatomyEncoder, draw_images: Draw, order: list[int]
) -> None:
    anatomy, permuted = encode_before_and_after(network, draw_images(37, 50), order)
    for level, former in enumerate(order):
        assert torch.equal(permuted == LEVELS[level], anatomy == LEVELS[former])
    assert anatomy.unique().tolist() == LEVELS.tolist()
    assert float((anatomy != permuted).float().mean()) > 0.3


def test_a_decoder_draws_another_image_from_permuted_levels(
    network: LevelAnatomyEncoder, stir: Stir, draw_images: Draw
) -> None:
    """Two trainings may number the same tissues alike or not; the decoder cannot know."""
    order = [2, 0, 4, 1, 3]
    anatomy, permuted = encode_before_and_after(network, draw_images(48, 64), order)
    decoder, style = stir(ConditionalDecoder(width=4)), torch.zeros(3, 2)
    nn.init.constant_(decoder.unet.head.bias, 1.0)  # type: ignore[union-attr, arg-type]
    with torch.no_grad():
        image, other = decoder(anatomy, style), decoder(permuted, style)
        restored = LEVELS[torch.tensor(order)][(4 * permuted).long()]
        assert torch.equal(decoder(restored, style), image)
    moved = float((image - other).abs().mean())
    assert moved > 0.5 * float((image - image.mean()).abs().mean())


def test_reversed_levels_are_drawn_inverted(
    network: LevelAnatomyEncoder, draw_images: Draw
) -> None:
    """A decoder that paints level v as intensity v paints 1 - v: bright where dark was."""
    anatomy, permuted = encode_before_and_after(network, draw_images(48, 64), [4, 3, 2, 1, 0])
    decoder = ConditionalDecoder(width=4).eval()
    for name, weight in decoder.named_parameters():
        if weight.ndim == 4:
            nn.init.zeros_(weight)
            if "encode.0." in name or "decode.0." in name:
                weight.data[0, 0, 1, 1] = 1
    decoder.unet.head.weight.data[0, 0] = 1
    nn.init.zeros_(decoder.unet.head.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        image, other = (decoder(levels, torch.zeros(3, 2)) for levels in (anatomy, permuted))
    painted = image.unique().tolist()
    # Softplus with β = 10: ln(1 + e^(10 v)) / 10.
    assert painted == pytest.approx([0.069315, 0.257889, 0.500672, 0.750055, 1.000005], abs=1e-4)
    both = torch.stack([image.flatten(), other.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) < -0.99
    assert torch.equal(image == image.max(), other == other.min())
