"""Deformations: smooth, invertible, and what they do to volumes; the Gaussian filter."""

import math

import pytest
import torch

from prism_mri.simulate.deform import (
    Deformation,
    convolve_axis,
    draw_deformation,
    gaussian_kernel,
    smooth,
)

SHAPE = (50, 44, 36)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def waves() -> torch.Tensor:
    """A smooth volume whose finest detail is far coarser than a voxel."""
    i, j, k = torch.meshgrid(*[torch.arange(float(size)) for size in SHAPE], indexing="ij")
    return (torch.sin(i / 6) + torch.cos(j / 7) * torch.sin(k / 5 + 1))[None]


def inner(volume: torch.Tensor) -> torch.Tensor:
    return volume[..., 10:-10, 10:-10, 10:-10]


def test_jacobian_is_positive_everywhere_for_any_seed() -> None:
    lowest = [
        float(draw_deformation(SHAPE, seeded(seed), amplitude=2.2).compute_jacobian().min())
        for seed in range(40)
    ]
    assert min(lowest) > 0.2


def test_jacobian_of_a_stretch() -> None:
    """Sampling from 1.1 i and 0.8 j: 1.1 × 0.8 = 0.88 of the volume everywhere."""
    displacement = torch.zeros(3, 11, 12, 9)
    displacement[0] = 0.1 * torch.linspace(0, SHAPE[0] - 1, 11)[:, None, None]
    displacement[1] = -0.2 * torch.linspace(0, SHAPE[1] - 1, 12)[:, None]
    jacobian = Deformation(displacement, SHAPE).compute_jacobian()
    assert jacobian.shape == (11, 12, 9)
    assert torch.allclose(jacobian, torch.tensor(0.88).double(), atol=1e-5)


def test_amplitude_zero_is_the_identity() -> None:
    deformation = draw_deformation(SHAPE, seeded(1), amplitude=0.0)
    assert float(deformation.displacement.abs().max()) == 0
    assert torch.equal(deformation.compute_jacobian(), torch.ones(13, 11, 9).double())
    assert torch.allclose(deformation.apply(waves()), waves(), atol=1e-4)


def test_displacement_points_to_where_a_voxel_is_sampled_from() -> None:
    displacement = torch.zeros(3, 4, 4, 4)
    displacement[1] = 2
    volume = torch.rand(2, *SHAPE, generator=seeded(2))
    moved = Deformation(displacement, SHAPE).apply(volume)
    assert torch.allclose(moved[:, :, :-2], volume[:, :, 2:], atol=1e-4)
    assert float(moved[:, :, -1].abs().max()) == 0


def test_nearest_keeps_labels() -> None:
    labels = torch.randint(0, 9, (1, *SHAPE), generator=seeded(3)).float()
    deformed = draw_deformation(SHAPE, seeded(4), amplitude=2.2).apply(labels, mode="nearest")
    assert set(deformed.unique().tolist()) == set(range(9))
    assert not torch.equal(deformed, labels)


def test_the_negative_velocity_undoes_a_deformation() -> None:
    there = draw_deformation(SHAPE, seeded(6), amplitude=2.2)
    back = draw_deformation(SHAPE, seeded(6), amplitude=-2.2)
    deformed = there.apply(waves())
    moved = (inner(deformed) - inner(waves())).abs().mean()
    left = (inner(back.apply(deformed)) - inner(waves())).abs().mean()
    assert moved > 0.1
    assert left < 0.05 * moved


def test_amplitude_is_the_velocitys_standard_deviation_in_voxels() -> None:
    """A small deformation is its velocity; a large one stays of that order."""
    small = draw_deformation(SHAPE, seeded(7), amplitude=0.01)
    assert float(small.displacement.std()) == pytest.approx(0.01, rel=0.01)
    large = draw_deformation(SHAPE, seeded(7), amplitude=2.2)
    assert float(large.displacement.std()) == pytest.approx(2.2, rel=0.3)


def test_drift_alone_is_integrated() -> None:
    """A constant velocity, far from the edges, displaces by itself."""
    drift = torch.zeros(3, *SHAPE)
    drift[2] = 1.5
    deformation = draw_deformation(SHAPE, seeded(8), amplitude=0.0, drift=drift)
    assert torch.allclose(deformation.displacement[2], torch.tensor(1.5), atol=1e-3)
    assert float(deformation.displacement[:2].abs().max()) < 1e-6


def test_same_seed_same_deformation() -> None:
    first, again, other = (
        draw_deformation(SHAPE, seeded(seed), amplitude=2.2).displacement for seed in (9, 9, 10)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_gaussian_kernel_as_by_hand() -> None:
    """exp(-k²/2) for k = 0…3 is 1, 0.606531, 0.135335, 0.011109; their sum over ±3 is 2.505950."""
    half = [0.399050, 0.242036, 0.054005, 0.004433]
    assert gaussian_kernel(1.0).tolist() == pytest.approx([*half[:0:-1], *half], abs=1e-6)


@pytest.mark.parametrize("sigma", [0.8, 2.0, 3.5])
def test_gaussian_kernel_has_its_width(sigma: float) -> None:
    kernel = gaussian_kernel(sigma)
    positions = torch.arange(len(kernel)) - len(kernel) // 2
    assert float(kernel.sum()) == pytest.approx(1)
    # Cut at three sigmas, a Gaussian has 97.3 % of its variance.
    assert math.sqrt(float((kernel * positions**2).sum())) == pytest.approx(sigma, rel=0.04)


def test_smooth_replicates_edges_and_skips_axes_of_width_zero() -> None:
    assert torch.allclose(smooth(torch.full((1, 5, 6, 7), 3.0), 4.0), torch.tensor(3.0))
    point = torch.zeros(1, 9, 9, 9)
    point[0, 4, 4, 4] = 1
    blurred = smooth(point, (1.0, 0.0, 1.0))[0]
    assert float(blurred[:, 3].abs().max()) == 0
    assert float(blurred[4, 4, 4]) == pytest.approx(0.399050**2, abs=1e-6)
    assert float(blurred[5, 4, 2]) == pytest.approx(0.242036 * 0.054005, abs=1e-6)


def test_convolution_of_a_short_row_as_by_hand() -> None:
    row = torch.tensor([[1.0, 2.0, 4.0]])
    kernel = torch.tensor([0.25, 0.5, 0.25])
    assert convolve_axis(row, kernel, 1).tolist() == [[1.25, 2.25, 3.5]]
