"""Noise is measured and taken off; edges stay."""

from types import SimpleNamespace

import numpy as np
import pytest

from prism_mri.preprocessing.noise import denoise_slices, estimate_noise


@pytest.fixture
def stripes():
    """Two levels in stripes 9 pixels wide, in a disc, in two slices and an empty one."""
    _, h, w = np.indices((3, 80, 96))
    mask = np.hypot((h - 40) / 36, (w - 48) / 44) < 1
    mask[2] = False
    clean = (np.array([0.3, 0.7])[(w // 9) % 2] * mask).astype(np.float32)
    noise = np.random.default_rng(1).standard_normal(clean.shape)
    return SimpleNamespace(mask=mask, clean=clean, noise=noise)


def add(stripes, deviation):
    return (stripes.clean + deviation * stripes.noise * stripes.mask).astype(np.float32)


@pytest.mark.parametrize("deviation", [0.02, 0.05])
def test_noise_halves_at_least_and_edges_stay(stripes, deviation):
    source = add(stripes, deviation)
    result = denoise_slices(source, stripes.mask)
    error = (result - stripes.clean)[stripes.mask]
    assert error.std() < deviation / 2
    edge = stripes.mask[:2, :, 1:] & (np.abs(np.diff(stripes.clean[:2], axis=2)) > 0.3)
    steps = np.abs(np.diff(result[:2], axis=2))[edge]
    assert np.median(steps) == pytest.approx(0.4, abs=0.02)


def test_outside_the_brain_nothing_changes(stripes):
    source = add(stripes, 0.05) + np.where(stripes.mask, 0, 0.2).astype(np.float32)
    result = denoise_slices(source, stripes.mask)
    assert np.array_equal(result[~stripes.mask], source[~stripes.mask])
    assert np.array_equal(result[2], source[2])


def test_an_image_without_noise_stays_as_it_is(stripes):
    assert np.array_equal(denoise_slices(stripes.clean, stripes.mask), stripes.clean)


def test_the_source_itself_is_left_alone(stripes):
    source = add(stripes, 0.05)
    kept = source.copy()
    denoise_slices(source, stripes.mask)
    assert np.array_equal(source, kept)


def test_strength_follows_the_units(stripes):
    source = add(stripes, 0.03)
    louder = denoise_slices(1000 * source, stripes.mask)
    np.testing.assert_allclose(louder, 1000 * denoise_slices(source, stripes.mask), rtol=2e-3)


@pytest.mark.parametrize("deviation", [0.01, 0.03, 0.06])
def test_noise_is_estimated_in_spite_of_edges(stripes, deviation):
    noise = np.random.default_rng(1).normal(0, deviation, stripes.clean.shape)
    source = ((stripes.clean + noise) * stripes.mask).astype(np.float32)
    assert estimate_noise(source, stripes.mask) == pytest.approx(deviation, rel=0.35)


def test_a_brain_too_thin_to_tell_has_no_noise():
    mask = np.zeros((1, 20, 20), bool)
    mask[:, 9:12] = True
    assert (
        estimate_noise(np.random.default_rng(0).random((1, 20, 20)).astype(np.float32), mask) == 0
    )
