"""The conform grid: where pixels lie, what is kept, and the way back."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prism_mri.config import PreprocessingContract
from prism_mri.errors import ImageError
from prism_mri.preprocessing.conform import (
    ConformTransform,
    brain_box,
    conform,
    plan_transform,
)

CONTRACT = PreprocessingContract(shape=(64, 80), spacing_mm=1.0, intensity_value=0.25)


def ellipsoid(
    shape: tuple[int, int, int], radii: tuple[float, ...] = (0.4, 0.4, 0.5)
) -> np.ndarray:
    """Mask of an ellipsoid in the middle; radii as shares of the shape."""
    axes = [
        (np.arange(n) - (n - 1) / 2) / (n * radius) for n, radius in zip(shape, radii, strict=True)
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    return np.asarray(sum(axis**2 for axis in grid) <= 1)


def world_mm(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """In-plane positions of voxel centres, mm from the image's corner."""
    x, y, _ = np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij")
    return x * spacing[0], y * spacing[1]


def smooth(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    x, y = world_mm(shape, spacing)
    image = 2 + np.cos(2 * np.pi * x / 14) * np.cos(2 * np.pi * y / 18)
    return np.asarray(image * (1 + 0.1 * np.arange(shape[2])), dtype=np.float32)


# --- without interpolation ------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(9, 78), st.integers(9, 96), st.integers(1, 4)),
    spacing=st.sampled_from([1.0, 0.996, 1.004]),
    seed=st.integers(0, 10),
)
def test_at_the_same_spacing_the_round_trip_is_exact(
    shape: tuple[int, int, int], spacing: float, seed: int
) -> None:
    mask = ellipsoid(shape)
    assume(mask.any())
    data = np.random.default_rng(seed).uniform(1, 9, shape).astype(np.float32) * mask
    transform = plan_transform(mask, (spacing, spacing, 3.0), CONTRACT)
    assert transform.is_identity
    slices = transform.apply(data)
    assert slices.shape == (shape[2], 64, 80)
    assert slices.sum(dtype=np.float64) == pytest.approx(data.sum(dtype=np.float64))
    assert np.array_equal(transform.restore(slices), data)
    assert np.array_equal(transform.apply_mask(mask).sum(axis=(1, 2)), mask.sum(axis=(0, 1)))


def test_the_axes_are_slice_left_right_and_posterior_anterior() -> None:
    mask = np.zeros((10, 12, 3), dtype=bool)
    mask[2:8, 4:8] = True
    data = np.zeros((10, 12, 3), dtype=np.float32)
    data[2, 7, 1] = 5
    transform = plan_transform(mask, (1.0, 1.0, 2.0), CONTRACT)
    k, h, w = (int(axis[0]) for axis in np.nonzero(transform.apply(data)))
    # The box I 2…8, J 4…8 lies in the middle of 64 by 80: it begins at 29 and 38.
    assert (k, h, w) == (1, 29, 41)


def test_what_the_grid_does_not_reach_comes_back_as_zero() -> None:
    mask = np.zeros((100, 30, 2), dtype=bool)
    mask[40:60, 10:20] = True
    transform = plan_transform(mask, (1.0, 1.0, 1.0), CONTRACT)
    restored = transform.restore(transform.apply(np.ones(mask.shape, np.float32)))
    assert restored[18:82].min() == 1
    assert not restored[:18].any()
    assert not restored[82:].any()


# --- with interpolation ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spacing", [(0.513, 0.6, 4.0), (1.3, 0.9, 2.0), (1.0, 0.7, 1.0), (1.7, 1.7, 1.0)]
)
def test_pixels_lie_where_the_affine_says(spacing: tuple[float, float, float]) -> None:
    shape = (round(60 / spacing[0]), round(70 / spacing[1]), 2)
    x, y = world_mm(shape, spacing)
    ramp = np.asarray(1 + x + 2 * y, dtype=np.float32)
    transform = plan_transform(ellipsoid(shape), spacing, CONTRACT)
    slices = transform.apply(ramp)
    grid = transform.native_from_grid()
    h, w = np.arange(64), np.arange(80)
    grid_x = ((grid[0, 0] * h + grid[0, 3] + 0.5) * spacing[0])[:, None]
    grid_y = ((grid[1, 1] * w + grid[1, 3] + 0.5) * spacing[1])[None]
    inside = (grid_x > 6) & (grid_x < 54) & (grid_y > 6) & (grid_y < 64)
    assert inside.sum() > 2000
    error_mm = np.abs(slices[0] - (1 + grid_x + 2 * grid_y))[inside].max()
    assert error_mm < 0.04
    assert grid[0, 0] * spacing[0] == pytest.approx(1.0)
    assert grid[1, 1] * spacing[1] == pytest.approx(1.0)


@settings(max_examples=25, deadline=None)
@given(
    spacing=st.tuples(st.floats(0.4, 1.5), st.floats(0.4, 1.5), st.just(3.0)),
    extent_mm=st.tuples(st.floats(40, 60), st.floats(40, 70)),
)
def test_a_smooth_image_comes_back(
    spacing: tuple[float, float, float], extent_mm: tuple[float, float]
) -> None:
    shape = (round(extent_mm[0] / spacing[0]), round(extent_mm[1] / spacing[1]), 3)
    image = smooth(shape, spacing)
    mask = ellipsoid(shape)
    transform = plan_transform(mask, spacing, CONTRACT)
    restored = transform.restore(transform.apply(image))
    assert restored.shape == shape
    core = ellipsoid(shape, (0.35, 0.35, 0.5))
    # The finest wave is 14 mm long; the kernel loses little of it.
    assert np.abs(restored - image)[core].max() < 0.02 * np.ptp(image)


@pytest.mark.parametrize("spacing", [0.98, 0.99, 1.008, 1.02])
def test_a_scale_near_one_is_not_taken_for_one(spacing: float) -> None:
    """torch copies pixels, in spite of the scale, where their number stays the same."""
    shape = (50, 50, 1)
    ramp = np.asarray(world_mm(shape, (spacing, spacing, 1.0))[0], dtype=np.float32)
    transform = plan_transform(ellipsoid(shape), (spacing, spacing, 1.0), CONTRACT)
    grid = transform.native_from_grid()
    expected = (grid[0, 0] * np.arange(64) + grid[0, 3] + 0.5) * spacing
    inside = (expected > 3) & (expected < 46)
    slices = transform.apply(ramp)
    assert slices[0, inside, 40] == pytest.approx(expected[inside], abs=0.02)
    back = transform.restore(slices)
    assert back[4:-4, 25, 0] == pytest.approx(ramp[4:-4, 25, 0], abs=0.02)


def test_the_rim_of_the_brain_is_not_darkened() -> None:
    shape, spacing = (80, 90, 3), (0.7, 0.8, 3.0)
    mask = ellipsoid(shape)
    image = np.where(mask, smooth(shape, spacing), np.float32(0))
    conformed = conform(image, mask, spacing, CONTRACT)
    back = conformed.transform.restore_brain(conformed.slices, conformed.mask) * conformed.scale
    error = np.abs(back - image)[mask] / image[mask]
    assert error.max() < 0.15
    assert error.mean() < 0.005
    plain = conformed.transform.restore(conformed.slices) * conformed.scale
    assert (np.abs(plain - image)[mask] / image[mask]).max() > 0.4


def test_slices_do_not_depend_on_each_other() -> None:
    shape, spacing = (50, 60, 4), (0.8, 0.9, 3.0)
    image = smooth(shape, spacing)
    transform = plan_transform(ellipsoid(shape), spacing, CONTRACT)
    together = transform.apply(image)
    alone = ConformTransform((50, 60, 1), (64, 80), transform.scale, transform.offset)
    for k in range(4):
        assert np.array_equal(together[k], alone.apply(image[:, :, k : k + 1])[0])


def test_a_mask_keeps_its_area() -> None:
    mask = ellipsoid((90, 100, 3))
    transform = plan_transform(mask, (0.6, 0.7, 3.0), CONTRACT)
    native_mm2 = mask.sum(axis=(0, 1)) * 0.6 * 0.7
    assert transform.apply_mask(mask).sum(axis=(1, 2)) == pytest.approx(native_mm2, rel=0.01)


# --- the whole step -------------------------------------------------------------------------------


def test_conform_scales_masks_and_does_not_look_outside() -> None:
    shape, spacing = (50, 60, 4), (0.8, 0.9, 3.0)
    mask = ellipsoid(shape)
    image = smooth(shape, spacing) * 100
    scalp = np.where(mask, image, np.float32(5000))
    conformed = conform(image, mask, spacing, CONTRACT)
    with_scalp = conform(scalp, mask, spacing, CONTRACT)
    assert conformed.scale == pytest.approx(np.percentile(image[mask], 25) / 0.25)
    assert np.array_equal(conformed.slices, with_scalp.slices)
    assert not conformed.slices[~conformed.mask].any()
    assert conformed.slices.min() >= 0
    quartile = np.percentile(conformed.slices[conformed.mask], 25)
    assert quartile == pytest.approx(0.25, rel=0.02)


def test_gain_does_not_change_the_slices() -> None:
    shape = (40, 44, 2)
    image, mask = smooth(shape, (1.1, 1.2, 3.0)), ellipsoid(shape)
    once = conform(image, mask, (1.1, 1.2, 3.0), CONTRACT)
    gained = conform(image * 700, mask, (1.1, 1.2, 3.0), CONTRACT)
    assert gained.slices == pytest.approx(once.slices, abs=1e-5)
    assert gained.scale == pytest.approx(once.scale * 700)


def test_a_brain_larger_than_the_grid_is_refused() -> None:
    mask = np.ones((50, 40, 2), dtype=bool)
    with pytest.raises(ImageError, match="the brain is 65 mm wide along axis I, the grid 64 mm"):
        plan_transform(mask, (1.3, 1.0, 1.0), CONTRACT)
    with pytest.raises(ImageError, match="the brain is 84 mm wide along axis J, the grid 80 mm"):
        plan_transform(mask, (1.0, 2.1, 1.0), CONTRACT)
    with pytest.raises(ImageError, match="mask is empty"):
        plan_transform(~mask, (1.0, 1.0, 1.0), CONTRACT)


# --- the brain's box ------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    first=st.tuples(st.integers(0, 63), st.integers(0, 79)),
    second=st.tuples(st.integers(0, 63), st.integers(0, 79)),
)
def test_the_box_holds_the_brain_in_multiples_of_16(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    mask = np.zeros((2, 64, 80), dtype=bool)
    mask[0][first] = mask[1][second] = True
    box = brain_box(mask)
    assert mask[(slice(None), *box)].sum() == mask.sum()
    for axis, side in enumerate(box):
        length = side.stop - side.start
        needed = abs(first[axis] - second[axis]) + 1
        assert length == -(-needed // 16) * 16
        assert 0 <= side.start < side.stop <= mask.shape[1 + axis]


def test_a_grid_that_is_no_multiple_is_used_whole() -> None:
    mask = np.zeros((1, 50, 40), dtype=bool)
    mask[0, 0, 0] = mask[0, 49, 20] = True
    assert brain_box(mask) == (slice(0, 50), slice(0, 32))
    with pytest.raises(ImageError, match="mask is empty"):
        brain_box(np.zeros((1, 50, 40), dtype=bool))
