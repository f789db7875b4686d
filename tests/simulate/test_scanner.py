"""The scanner: grids, contrast, blur, defects and truth, on the small head."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from prism_mri.simulate.anatomy import Anatomy
from prism_mri.simulate.physics import compute_spin_echo, interpolate_tissue_properties
from prism_mri.simulate.protocols import SCANNERS, Protocol, get_protocol
from prism_mri.simulate.scanner import (
    Grid,
    add_scanner_defects,
    compute_truth,
    draw_bias_field,
    place_grid,
    render_clean,
)
from prism_mri.simulate.sequences import InversionRecovery
from prism_mri.simulate.tissues import TISSUE_INDEX, Role


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def change(**settings: object) -> Protocol:
    """Guys, with some settings replaced."""
    return get_protocol("guys").model_copy(update=settings)


def render(
    anatomy: Anatomy, protocol: Protocol, grid: Grid, *, thickness_mm: float = 1.0
) -> torch.Tensor:
    return render_clean(anatomy, protocol, grid, thickness_mm=thickness_mm, person_seed=1)


@pytest.fixture(scope="module")
def clean(ball: Anatomy, ball_grid: Grid) -> torch.Tensor:
    return render(ball, get_protocol("guys"), ball_grid)


@pytest.fixture(scope="module")
def brain(ball: Anatomy, ball_grid: Grid) -> torch.Tensor:
    return compute_truth(ball, ball_grid, thickness_mm=1.0).brain


# Grids


@pytest.fixture(scope="module")
def grids(ball: Anatomy) -> list[Grid]:
    return [place_grid(ball, get_protocol("adni"), seeded(seed), margin_mm=8) for seed in range(40)]


def test_grid_has_the_protocols_voxels(grids: list[Grid]) -> None:
    for grid in grids:
        spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
        assert spacing == pytest.approx([0.94, 0.94, 3.0])
        assert np.linalg.det(grid.affine[:3, :3]) == pytest.approx(0.94 * 0.94 * 3.0)


def test_grid_is_tilted_by_at_most_4_degrees_an_axis_and_centred_to_3_mm(
    grids: list[Grid],
) -> None:
    """The ball's content is centred at 0 mm; turns about three axes add up to 12° at most."""
    tilts, offsets = [], []
    for grid in grids:
        direction = grid.affine[:3, :3] / np.array([0.94, 0.94, 3.0])
        tilts.append(np.degrees(np.arccos(np.clip(np.diag(direction), -1, 1))).max())
        middle = (np.array(grid.shape) - 1) / 2
        offsets.append(np.abs(grid.affine[:3, :3] @ middle + grid.affine[:3, 3]).max())
    assert 2 < max(tilts) < 6
    assert 2 < max(offsets) <= 3


def test_grid_holds_the_whole_brain(ball: Anatomy, grids: list[Grid]) -> None:
    occupied = torch.nonzero(ball.tissue).double().numpy()
    world = occupied @ ball.affine[:3, :3].T + ball.affine[:3, 3]
    for grid in grids:
        inverse = np.linalg.inv(grid.affine)
        voxel = world @ inverse[:3, :3].T + inverse[:3, 3]
        assert voxel.min() >= 0
        assert (voxel <= np.array(grid.shape) - 1).all()


# Contrast


@pytest.mark.parametrize("name", SCANNERS)
def test_t2w_has_white_matter_below_grey_below_fluid(
    ball: Anatomy, ball_grid: Grid, name: str
) -> None:
    image = render(ball, get_protocol(name), ball_grid)
    roles = ball.compute_roles()
    csf, gm, wm = (float(image[roles == role].median()) for role in (Role.CSF, Role.GM, Role.WM))
    assert 0.3 < wm < 0.95 * gm
    assert 1.3 * gm < csf < 6


def test_tissues_have_the_ratios_of_the_signal_equation(ball: Anatomy, ball_grid: Grid) -> None:
    """Guys by hand (test_physics): CSF 0.823511, WM 0.200549; people deviate by a few per cent."""
    image = render(ball, change(blur_fwhm_mm=0.0), ball_grid)
    middle = image[:, :, 24]
    ventricle, white = float(middle[31, 33]), float(middle[31, 20:23].mean())
    assert ventricle / white == pytest.approx(0.823511 / 0.200549, rel=0.2)


def test_brains_median_is_1_whatever_the_protocol(
    ball: Anatomy, ball_grid: Grid, brain: torch.Tensor
) -> None:
    for name in ("guys", "adni"):
        image = render(ball, get_protocol(name), ball_grid)
        assert float(image[brain].median()) == pytest.approx(1, abs=1e-4)


def test_gamma_is_the_exponent(ball: Anatomy, ball_grid: Grid, clean: torch.Tensor) -> None:
    assert torch.allclose(render(ball, change(gamma=2.0), ball_grid), clean.square(), rtol=1e-4)


def test_rendering_twice_gives_the_same_and_air_is_black(
    ball: Anatomy, ball_grid: Grid, clean: torch.Tensor
) -> None:
    assert torch.equal(render(ball, get_protocol("guys"), ball_grid), clean)
    assert float(clean.min()) == 0
    assert float(clean[0].max()) == 0


def test_tissue_deviates_from_person_to_person_by_a_few_per_cent(
    ball: Anatomy, ball_grid: Grid, clean: torch.Tensor
) -> None:
    other = render_clean(ball, get_protocol("guys"), ball_grid, thickness_mm=1.0, person_seed=2)
    ventricle = slice(29, 34), slice(31, 36), slice(22, 27)
    change_of_csf = float(other[ventricle].median() / clean[ventricle].median()) - 1
    assert 1e-4 < abs(change_of_csf) < 0.25


def test_blur_softens_and_sharpening_hardens_edges_in_the_plane(
    ball: Anatomy, ball_grid: Grid
) -> None:
    def edge(**settings: object) -> float:
        middle = render(ball, change(**settings), ball_grid)[:, :, 24]
        return float(middle.diff(dim=0).abs().amax())

    sharp, plain = edge(blur_fwhm_mm=0.9, sharpening=0.4), edge(blur_fwhm_mm=0.9)
    soft, softest = edge(blur_fwhm_mm=2.0), edge(blur_fwhm_mm=4.0)
    assert sharp > 1.05 * plain
    assert plain > 1.2 * soft
    assert soft > 1.2 * softest


def test_blur_has_the_protocols_width(ball: Anatomy, ball_grid: Grid) -> None:
    """Across a step the slope is the point spread: σ = FWHM / 2.3548, and 0.4 mm of the voxel."""
    tissue = torch.full_like(ball.tissue, TISSUE_INDEX["wm"])
    tissue[31:] = TISSUE_INDEX["csf"]
    step = replace(ball, tissue=tissue, texture=torch.zeros_like(ball.texture))
    profile = render(step, change(blur_fwhm_mm=4.7096), ball_grid)[:, 33, 24]
    slope = profile.diff()[5:-5].double()
    position = torch.arange(len(slope))
    mean = (slope * position).sum() / slope.sum()
    variance = (slope * (position - mean).square()).sum() / slope.sum()
    assert float(variance.sqrt()) == pytest.approx(math.hypot(2.0, 0.4), rel=0.03)


def test_texture_shows_within_white_matter_but_not_within_fluid(
    ball: Anatomy, ball_grid: Grid, clean: torch.Tensor
) -> None:
    smooth = render(replace(ball, texture=torch.zeros_like(ball.texture)), change(), ball_grid)
    white = slice(29, 34), slice(14, 22), slice(20, 29)
    ventricle = slice(29, 34), slice(31, 36), slice(22, 27)
    assert 0.005 < float(clean[white].std() / clean[white].mean()) < 0.1
    assert float(smooth[white].std()) < 1e-4
    assert float(clean[ventricle].std()) < 0.01 * float(clean[ventricle].mean())


def test_thick_slices_average_thin_ones(ball: Anatomy) -> None:
    """A slice of 4 mm is the mean of the four slices of 1 mm that it covers."""
    thin_grid = Grid(ball.shape, ball.affine)
    thick_affine = ball.affine @ np.diag([1.0, 1.0, 4.0, 1.0])
    thick_affine[:3, 3] += [0, 0, 1.5]
    thick_grid = Grid((*ball.shape[:2], ball.shape[2] // 4), thick_affine)
    thin = render(ball, get_protocol("guys"), thin_grid, thickness_mm=1.0)
    thick = render(ball, get_protocol("guys"), thick_grid, thickness_mm=4.0)
    averaged = thin.unflatten(2, (-1, 4)).mean(3)
    # Each image is in units of its own median.
    scale = float(thick.sum() / averaged.sum())
    assert torch.allclose(thick, averaged * scale, atol=2e-3)
    assert float((thick - thin[:, :, ::4] * scale).abs().max()) > 0.5


def test_image_does_not_depend_on_how_the_grid_is_cut(
    ball: Anatomy, ball_grid: Grid, clean: torch.Tensor
) -> None:
    """A grid shifted by whole voxels shows the same voxels."""
    affine = ball.affine.copy()
    affine[:3, 3] += [2, 3, 1]
    shifted = render(ball, get_protocol("guys"), Grid(ball.shape, affine))
    expected = clean[2:, 3:, 1:]
    ratio = shifted[:-2, :-3, :-1][expected > 0.5] / expected[expected > 0.5]
    assert float(ratio.std()) < 1e-3
    assert float(ratio.mean()) == pytest.approx(1, abs=0.01)


def test_t2w_is_the_spin_echos_signal(ball: Anatomy, ball_grid: Grid, clean: torch.Tensor) -> None:
    """Without texture, tissue by tissue: ratios in the middle of each are the equation's."""
    person = torch.Generator().manual_seed(1)
    deviation = 1 + 0.03 * torch.randn(3, 22, generator=person).clamp(-2, 2)
    properties = interpolate_tissue_properties(1.5) * deviation
    signal = compute_spin_echo(*properties, repetition_ms=8178, echo_ms=100)
    smooth_ball = replace(ball, texture=torch.zeros_like(ball.texture))
    image = render(smooth_ball, get_protocol("guys"), ball_grid)
    fluid, white = float(image[31, 33, 24]), float(image[31, 18, 24])
    expected = signal[TISSUE_INDEX["csf"]] / signal[TISSUE_INDEX["wm"]]
    assert fluid / white == pytest.approx(float(expected), rel=1e-3)
    # As rendered before there were other modalities.
    assert float(clean.mean()) == pytest.approx(0.4310744, rel=1e-4)
    assert float(clean[31, 33, 24]) == pytest.approx(2.752786, rel=1e-4)


def test_opposed_signals_cancel_where_they_share_a_voxel(ball: Anatomy, ball_grid: Grid) -> None:
    """Early after the inversion fluid is negative and white matter positive."""
    sequence = InversionRecovery(repetition_ms=9000, inversion_ms=1200, echo_ms=20)
    protocol = change(sequence=sequence, blur_fwhm_mm=2.0)
    tissue = torch.full_like(ball.tissue, TISSUE_INDEX["wm"])
    tissue[31:] = TISSUE_INDEX["csf"]
    step = replace(ball, tissue=tissue, texture=torch.zeros_like(ball.texture))
    profile = render(step, protocol, ball_grid)[:, 33, 24]
    assert float(profile.min()) >= 0
    white, fluid = float(profile[20]), float(profile[42])
    assert min(white, fluid) > 0.2
    assert float(profile[29:33].min()) < 0.5 * min(white, fluid)


# Defects


@pytest.mark.parametrize("name", SCANNERS)
def test_noise_in_a_flat_region_is_the_protocols(name: str) -> None:
    protocol = get_protocol(name).model_copy(update={"bias_std": 0.0})
    grid = Grid((40, 40, 12), np.eye(4))
    acquired = add_scanner_defects(torch.ones(grid.shape), protocol, grid, seeded(1))
    assert float(acquired.std()) / protocol.gain == pytest.approx(protocol.noise_std, rel=0.03)
    assert float(acquired.mean()) / protocol.gain == pytest.approx(1, rel=0.005)


def test_noise_in_air_is_rayleigh() -> None:
    """Its mean is σ √(π / 2), its standard deviation σ √(2 − π / 2)."""
    grid = Grid((40, 40, 12), np.eye(4))
    protocol = change(noise_std=0.05, gain=1.0)
    air = add_scanner_defects(torch.zeros(grid.shape), protocol, grid, seeded(2))
    assert float(air.mean()) == pytest.approx(0.05 * math.sqrt(math.pi / 2), rel=0.02)
    assert float(air.std()) == pytest.approx(0.05 * math.sqrt(2 - math.pi / 2), rel=0.02)


@pytest.mark.parametrize("std", [0.05, 0.2])
def test_bias_field_has_its_standard_deviation_and_is_smooth(std: float) -> None:
    grid = Grid((45, 50, 20), np.diag([4.0, 4.0, 8.0, 1.0]))
    log_field = draw_bias_field(grid, std, seeded(3)).log()
    assert float(log_field.std()) == pytest.approx(std, rel=1e-3)
    assert float(log_field.mean()) == pytest.approx(0, abs=1e-5)
    # Over 4 mm of about 80 a field cannot change by more than a fraction of its range.
    reach = float(log_field.max() - log_field.min())
    assert float(log_field.diff(dim=0).abs().max()) < 0.1 * reach


def test_bias_field_of_strength_zero_is_one() -> None:
    grid = Grid((8, 9, 10), np.eye(4))
    assert torch.equal(draw_bias_field(grid, 0.0, seeded(4)), torch.ones(8, 9, 10))


def test_bias_multiplies(clean: torch.Tensor, ball_grid: Grid) -> None:
    protocol = change(bias_std=0.2, noise_std=0.0, gain=7.0)
    acquired = add_scanner_defects(clean, protocol, ball_grid, seeded(5))
    field = draw_bias_field(ball_grid, 0.2, seeded(5))
    assert torch.allclose(acquired, 7 * clean * field, rtol=1e-4)
    assert float(field.std()) > 0.1


def test_acquired_is_gain_times_clean_on_average(
    clean: torch.Tensor, ball_grid: Grid, brain: torch.Tensor
) -> None:
    protocol = change(bias_std=0.0)
    acquired = add_scanner_defects(clean, protocol, ball_grid, seeded(6))
    expected = 320 * float(clean[brain].mean())
    assert float(acquired[brain].mean()) == pytest.approx(expected, rel=0.01)
    nominal = add_scanner_defects(clean, get_protocol("guys"), ball_grid, seeded(6))
    assert float(nominal[brain].mean()) == pytest.approx(expected, rel=0.1)


def test_same_seed_same_bytes(clean: torch.Tensor, ball_grid: Grid) -> None:
    protocol = get_protocol("hh")
    first, again, other = (
        add_scanner_defects(clean, protocol, ball_grid, seeded(seed)).numpy().tobytes()
        for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


# Truth


def test_truth_on_the_anatomys_own_grid_is_the_anatomy(ball: Anatomy, ball_grid: Grid) -> None:
    truth = compute_truth(ball, ball_grid, thickness_mm=1.0)
    roles = ball.compute_roles()
    assert truth.segmentation.dtype == torch.uint8
    assert float((truth.brain == (roles != Role.OUTSIDE)).float().mean()) > 0.995
    assert float((truth.segmentation == roles).float().mean()) > 0.99
    assert torch.equal(truth.segmentation > 0, truth.brain)


def test_truth_volume_does_not_depend_on_the_grid(ball: Anatomy) -> None:
    roles = ball.compute_roles()
    for seed, name in enumerate(("guys", "adni")):
        protocol = get_protocol(name)
        grid = place_grid(ball, protocol, seeded(seed), margin_mm=8)
        truth = compute_truth(ball, grid, thickness_mm=protocol.slice_thickness_mm)
        voxel = abs(np.linalg.det(grid.affine[:3, :3]))
        assert float(truth.brain.sum()) * voxel == pytest.approx(
            float((roles != Role.OUTSIDE).sum()), rel=0.02
        )
        white = float((truth.segmentation == Role.WM).sum()) * voxel
        assert white == pytest.approx(float((roles == Role.WM).sum()), rel=0.05)


def test_lesion_is_brain_and_scalp_is_not(ball: Anatomy, ball_grid: Grid) -> None:
    tissue = ball.tissue.clone()
    lesion = slice(28, 33), slice(15, 20), slice(22, 27)
    tissue[lesion] = TISSUE_INDEX["lesion"]
    tissue[28:33, 1:4, 22:27] = TISSUE_INDEX["fat"]
    truth = compute_truth(replace(ball, tissue=tissue), ball_grid, thickness_mm=1.0)
    assert truth.brain[lesion].all()
    assert truth.lesion.dtype == torch.bool
    assert truth.lesion[29:32, 16:19, 23:26].all()
    assert int(truth.lesion.sum()) == pytest.approx(125, rel=0.15)
    assert not truth.brain[28:33, 1:4, 22:27].any()
    assert int(truth.segmentation[29:32, 16:19, 23:26].max()) == 0
