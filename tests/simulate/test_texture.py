"""Texture: normalized, smooth, independent patterns."""

import pytest
import torch

from prism_mri.simulate.texture import FIELDS, draw_texture

SHAPE = (41, 36, 30)


@pytest.fixture(scope="module")
def texture() -> torch.Tensor:
    return draw_texture(SHAPE, torch.Generator().manual_seed(1))


def correlate(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


def test_each_field_has_mean_0_and_standard_deviation_1(texture: torch.Tensor) -> None:
    assert texture.shape == (FIELDS, *SHAPE)
    assert texture.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert texture.std(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1], rel=1e-5)


def test_fields_are_independent(texture: torch.Tensor) -> None:
    assert abs(correlate(texture[0], texture[1])) < 0.2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_are_alike_and_distant_voxels_are_not(texture: torch.Tensor, axis: int) -> None:
    field = texture[0]
    length = field.shape[axis]

    def at(distance: int) -> float:
        near = field.narrow(axis, 0, length - distance)
        return correlate(near, field.narrow(axis, distance, length - distance))

    assert at(1) > 0.7
    assert at(1) > at(3) > at(8)
    assert abs(at(16)) < 0.25


def test_the_seed_is_the_person() -> None:
    first, again, other = (
        draw_texture(SHAPE, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert abs(correlate(first[0], other[0])) < 0.3
