"""Quantile matching: what it maps onto what, and what it refuses."""

import numpy as np
import pytest

from prism_mri.baselines import PERCENTILES, QuantileMatching
from prism_mri.errors import ImageError


def make_brain(seed, gain=1.0, shape=(4, 20, 17)):
    generator = np.random.default_rng(seed)
    data = gain * generator.gamma(4.0, 0.1, size=shape).astype(np.float32)
    mask = generator.random(shape) > 0.3
    return np.where(mask, data, 0).astype(np.float32), mask


def test_landmarks_are_the_mean_over_people():
    ramp = np.linspace(0, 1, 1001, dtype=np.float32)
    mask = np.ones(ramp.shape, dtype=bool)
    fitted = QuantileMatching.fit([(ramp, mask), (3 * ramp, mask)])
    assert fitted.landmarks == pytest.approx(2 * np.array(PERCENTILES) / 100, abs=1e-6)


def test_a_gain_is_undone():
    data, mask = make_brain(0)
    matched = QuantileMatching.fit([(data, mask)]).transform(2.5 * data, mask)
    assert matched == pytest.approx(data, abs=1e-5)


def test_a_monotone_contrast_lands_on_the_landmarks():
    data, mask = make_brain(1)
    fitted = QuantileMatching.fit([make_brain(2), make_brain(3)])
    matched = fitted.transform(np.sqrt(data), mask)
    assert np.percentile(matched[mask], PERCENTILES) == pytest.approx(fitted.landmarks, abs=2e-3)
    assert not matched[~mask].any()


def test_order_is_kept_and_the_tails_follow_the_outer_pieces():
    ramp = np.linspace(1, 2, 1001, dtype=np.float32)
    mask = np.ones(ramp.shape, dtype=bool)
    fitted = QuantileMatching.fit([(2 * ramp, mask)])
    matched = fitted.transform(ramp, mask)
    assert (np.diff(matched) > 0).all()
    assert matched[[0, -1]] == pytest.approx([2.0, 4.0], abs=1e-4)


def test_the_lower_tail_is_cut_at_zero():
    mask = np.ones(1001, dtype=bool)
    source = np.linspace(1, 2, 1001, dtype=np.float32)
    source[0] = -9.0
    target = np.linspace(0, 1, 1001, dtype=np.float32)
    assert QuantileMatching.fit([(target, mask)]).transform(source, mask)[0] == 0.0


def test_coinciding_percentiles_are_no_obstacle():
    data, mask = make_brain(4)
    flat = np.where(data > np.median(data[mask]), data, np.float32(0.25))
    matched = QuantileMatching.fit([make_brain(5)]).transform(flat, mask)
    assert np.isfinite(matched).all()
    assert np.unique(matched[mask & (flat == 0.25)]).size == 1


@pytest.mark.parametrize(
    ("data", "mask", "message"),
    [
        (np.ones((3, 3), np.float32), np.ones((3, 3), bool), "needs contrast"),
        (np.full((3, 3), np.nan, np.float32), np.ones((3, 3), bool), "needs contrast"),
        (np.ones((3, 3), np.float32), np.zeros((3, 3), bool), "at least one voxel"),
        (np.ones((3, 3), np.float32), np.ones((3, 2), bool), "of one shape"),
    ],
)
def test_images_without_contrast_or_mask_are_refused(data, mask, message):
    with pytest.raises(ImageError, match=message):
        QuantileMatching.fit([(data, mask)])


def test_a_site_without_people_is_refused():
    with pytest.raises(ImageError, match="0 training images"):
        QuantileMatching.fit([])
