"""Detail finer than the conform grid: kept in the target's contrast, and nothing invented."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from prism_mri.config import PreprocessingContract
from prism_mri.harmonize.native_detail import add_native_detail, compute_local_slope, extend_brain
from prism_mri.preprocessing.conform import conform

CONTRACT = PreprocessingContract(shape=(48, 64))


def make_scan(pixel_mm, *, seed=0, shape=(40, 48, 2)):
    """Return a textured brain of about 40 mm: native data, mask, conformed, native over scale."""
    shape = (*(round(n / pixel_mm) for n in shape[:2]), shape[2])
    numbers = np.random.default_rng(seed)
    x, y, _ = np.meshgrid(*((np.arange(n) + 0.5) / n - 0.5 for n in shape), indexing="ij")
    mask = np.hypot(x, y) < 0.45
    sigma = (0.5 / pixel_mm, 0.5 / pixel_mm, 0)
    texture = ndimage.gaussian_filter(numbers.standard_normal(shape), sigma)
    coarse = ndimage.gaussian_filter(numbers.standard_normal(shape), tuple(4 * s for s in sigma))
    data = 400 + 120 * texture / texture.std() + 80 * coarse / coarse.std()
    data = (np.maximum(data, 40) * mask).astype(np.float32)
    conformed = conform(data, mask, (pixel_mm, pixel_mm, 4.0), CONTRACT)
    return SimpleNamespace(
        data=data, mask=mask, conformed=conformed, scaled=data / np.float32(conformed.scale)
    )


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


# --- the way back ---------------------------------------------------------------------------------


def test_without_interpolation_decoded_values_are_not_touched():
    scan = make_scan(1.0)
    assert scan.conformed.transform.is_identity
    decoded = np.random.default_rng(1).uniform(0, 2, scan.conformed.slices.shape)
    decoded = (decoded * scan.conformed.mask).astype(np.float32)
    native = add_native_detail(decoded, scan.conformed, scan.data, scan.mask)
    np.testing.assert_array_equal(native, scan.conformed.transform.restore(decoded))
    assert native[scan.mask].min() > 0


@pytest.mark.parametrize("pixel_mm", [0.5, 0.6, 0.8])
def test_an_image_that_should_stay_as_it_is_does(pixel_mm):
    scan = make_scan(pixel_mm)
    source = scan.conformed.slices
    native = add_native_detail(source, scan.conformed, scan.data, scan.mask)
    resampled = scan.conformed.transform.restore_brain(source, scan.conformed.mask)
    left = rms((native - scan.scaled)[scan.mask])
    lost = rms((resampled - scan.scaled)[scan.mask])
    spread = scan.scaled[scan.mask].std()
    assert left < 0.03 * spread
    assert left < 0.2 * lost


def test_coarser_pixels_than_the_grids_come_back_too():
    scan = make_scan(1.3)
    native = add_native_detail(scan.conformed.slices, scan.conformed, scan.data, scan.mask)
    assert rms((native - scan.scaled)[scan.mask]) < 0.03 * scan.scaled[scan.mask].std()


@pytest.mark.parametrize(("slope", "offset"), [(0.5, 0.3), (2.0, 0.1), (-0.8, 1.5)])
def test_detail_takes_the_targets_contrast_in_size_and_sign(slope, offset):
    scan = make_scan(0.5)
    decoded = np.where(scan.conformed.mask, slope * scan.conformed.slices + offset, 0)
    native = add_native_detail(decoded.astype(np.float32), scan.conformed, scan.data, scan.mask)
    truth = np.maximum(slope * scan.scaled + offset, 0)
    resampled = scan.conformed.transform.restore_brain(
        decoded.astype(np.float32), scan.conformed.mask
    )
    left, lost = (rms((each - truth)[scan.mask]) for each in (native, resampled))
    assert left < 0.2 * lost


def test_noise_where_the_target_is_flat_is_not_brought_in():
    scan = make_scan(0.5)
    flat = np.where(scan.conformed.mask, np.float32(0.7), np.float32(0))
    native = add_native_detail(flat, scan.conformed, scan.data, scan.mask)
    np.testing.assert_allclose(native[scan.mask], 0.7, atol=1e-5)


def test_the_result_is_never_negative_and_zero_outside_the_brain():
    scan = make_scan(0.5)
    decoded = np.maximum(1.0 - scan.conformed.slices, 0) * scan.conformed.mask
    native = add_native_detail(decoded, scan.conformed, scan.data, scan.mask)
    assert native.dtype == np.float32
    assert native.min() == 0
    assert (native[~scan.mask] == 0).all()


def test_a_ragged_rim_is_not_left_black():
    scan = make_scan(0.5)
    ragged = scan.mask & (np.random.default_rng(4).uniform(size=scan.mask.shape) < 0.8)
    ragged |= ndimage.binary_erosion(scan.mask, iterations=2)
    conformed = conform(scan.data, ragged, (0.5, 0.5, 4.0), CONTRACT)
    uncovered = conformed.transform.restore_brain(conformed.mask.astype(np.float32), conformed.mask)
    assert (ragged & (uncovered == 0)).sum() > 20
    native = add_native_detail(conformed.slices, conformed, scan.data, ragged)
    assert native[ragged].min() > 0
    assert rms((native - scan.scaled)[ragged]) < 0.04 * scan.scaled[ragged].std()


def test_extension_repeats_the_nearest_values_and_leaves_the_brain_alone():
    mask = np.zeros((1, 11, 11), bool)
    mask[0, 4:7, 4:7] = True
    stack = np.where(mask, np.float32(0.25), np.float32(9))
    stack[0, 4, 4] = 0.5
    extended, inside = extend_brain(stack, mask)
    np.testing.assert_array_equal(extended[mask], stack[mask])
    np.testing.assert_array_equal(np.flatnonzero(inside[0].any(axis=0)), np.arange(1, 10))
    assert extended[inside].max() == 0.5
    assert extended[0, 9, 9] == pytest.approx(0.25)
    assert extended[0, 3, 3] == pytest.approx(0.5)


def test_what_is_stored_outside_the_mask_does_not_matter():
    scan = make_scan(0.5)
    decoded = 0.5 * scan.conformed.slices
    scalp = np.where(scan.mask, scan.data, 9000).astype(np.float32)
    np.testing.assert_array_equal(
        add_native_detail(decoded, scan.conformed, scalp, scan.mask),
        add_native_detail(decoded, scan.conformed, scan.data, scan.mask),
    )


# --- the slope ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def textured():
    """Two slices of strong texture, and a mask that leaves a border."""
    numbers = np.random.default_rng(2)
    source = numbers.uniform(0.1, 1.0, (2, 24, 20)).astype(np.float32)
    mask = np.zeros_like(source)
    mask[:, 4:-4, 3:-3] = 1
    return source * mask, mask


@settings(max_examples=30, deadline=None)
@given(slope=st.floats(-2.9, 2.9), offset=st.floats(-1, 1))
def test_a_linear_relation_is_found_with_its_sign(textured, slope, offset):
    source, mask = textured
    decoded = ((slope * source + offset) * mask).astype(np.float32)
    found = compute_local_slope(source, decoded, mask)
    np.testing.assert_allclose(found[mask > 0], slope, rtol=0.02, atol=0.01)
    assert (found[mask == 0] == 0).all()


def test_windows_are_five_by_five_and_look_at_the_brain_alone():
    numbers = np.random.default_rng(3)
    source, decoded = numbers.uniform(0, 1, (2, 1, 11, 11)).astype(np.float32)
    mask = (numbers.uniform(size=source.shape) < 0.7).astype(np.float32)
    mask[0, 5, 5] = 1
    found = compute_local_slope(source, decoded, mask)[0, 5, 5]
    inside = mask[0, 3:8, 3:8] > 0
    x, y = source[0, 3:8, 3:8][inside], decoded[0, 3:8, 3:8][inside]
    expected = np.cov(x, y, bias=True)[0, 1] / (x.var() + 1e-4)
    assert found == pytest.approx(expected, rel=1e-3)


def test_flat_source_has_no_slope_and_steep_ones_are_held_at_three(textured):
    source, mask = textured
    np.testing.assert_allclose(compute_local_slope(0.4 * mask, source, mask), 0, atol=1e-3)
    weak = (0.4 + 1e-4 * source) * mask
    assert abs(compute_local_slope(weak, source, mask)[mask > 0]).max() < 0.2
    steep = compute_local_slope(source, 9 * source, mask)
    assert (steep[mask > 0] == 3).all()
    assert (compute_local_slope(source, -9 * source, mask)[mask > 0] == -3).all()
