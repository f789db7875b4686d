"""N4: a smooth gain goes, contrast and level stay."""

from types import SimpleNamespace

import numpy as np
import pytest

from prism_mri.preprocessing.bias_field import correct_bias_field
from prism_mri.volume import Volume

GENERATOR = np.random.default_rng(0)


@pytest.fixture(scope="module")
def phantom():
    """Blobs of two tissues in an ellipsoid on thick slices, and a gain that rises to one side."""
    i, j, k = np.indices((90, 110, 16))
    mask = np.sqrt(((i - 45) / 40) ** 2 + ((j - 55) / 50) ** 2 + ((k - 8) / 8) ** 2) < 1
    tissue = np.where(np.sin(i / 4) + np.cos(j / 5 + k) > 0, 100.0, 160.0)
    clean = tissue + 3 * GENERATOR.standard_normal(tissue.shape)
    field = np.exp(0.25 * ((i - 45) / 40 + ((j - 55) / 50) ** 2))
    affine = np.diag([2.0, 2.0, 6.0, 1.0])
    return SimpleNamespace(
        mask=mask,
        tissue=tissue,
        clean=Volume((clean * mask).astype(np.float32), affine),
        biased=Volume((clean * field * mask).astype(np.float32), affine),
    )


def spread(volume, phantom):
    """Return the spread of each tissue over its mean, the larger of the two."""
    parts = [volume[phantom.mask & (phantom.tissue == level)] for level in (100.0, 160.0)]
    return max(float(part.std() / part.mean()) for part in parts)


def test_a_smooth_gain_goes_and_tissues_keep_their_contrast(phantom):
    corrected = correct_bias_field(phantom.biased, phantom.mask)
    assert corrected.dtype == np.float32
    before, after = spread(phantom.biased.data, phantom), spread(corrected, phantom)
    assert before > 0.1
    assert after < 0.06
    low, high = (
        np.median(corrected[phantom.mask & (phantom.tissue == level)]) for level in (100.0, 160.0)
    )
    assert high / low == pytest.approx(1.6, rel=0.03)


def test_the_level_in_the_brain_stays(phantom):
    corrected = correct_bias_field(phantom.biased, phantom.mask)
    ratio = corrected[phantom.mask] / phantom.biased.data[phantom.mask]
    assert np.log(ratio).mean() == pytest.approx(0, abs=1e-4)
    assert (corrected[~phantom.mask] == 0).all()


def test_what_is_even_stays_so(phantom):
    corrected = correct_bias_field(phantom.clean, phantom.mask)
    assert spread(corrected, phantom) < spread(phantom.clean.data, phantom) + 0.01


def test_it_is_the_same_every_time(phantom):
    first, second = (correct_bias_field(phantom.biased, phantom.mask) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("slices", [2, 3])
def test_few_slices_are_deep_enough(phantom, slices):
    part = Volume(phantom.biased.data[:, :, 7 : 7 + slices].copy(), phantom.biased.affine)
    mask = phantom.mask[:, :, 7 : 7 + slices]
    corrected = correct_bias_field(part, mask)
    assert np.isfinite(corrected).all()
    assert corrected[mask].std() < part.data[mask].std()


def test_a_constant_brain_stays_constant(phantom):
    constant = Volume(np.where(phantom.mask, 100, 0).astype(np.float32), phantom.biased.affine)
    assert np.array_equal(correct_bias_field(constant, phantom.mask), constant.data)


def test_a_single_slice_stays_as_it_is(phantom):
    part = Volume(phantom.biased.data[:, :, 8:9].copy(), phantom.biased.affine)
    assert np.array_equal(correct_bias_field(part, phantom.mask[:, :, 8:9]), part.data)


def test_a_brain_of_a_few_voxels_stays_as_it_is():
    data = GENERATOR.random((6, 7, 2)).astype(np.float32)
    corrected = correct_bias_field(Volume(data, np.eye(4)), data > 0)
    assert np.array_equal(corrected, data)
