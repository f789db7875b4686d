"""Z-score and histogram matching: what they map onto what, and what they refuse."""

import numpy as np
import pytest

from prism_mri.baselines import HistogramMatching, ZScore
from prism_mri.errors import ImageError


def make_brain(seed, gain=1.0):
    generator = np.random.default_rng(seed)
    data = gain * generator.gamma(4.0, 0.1, size=(4, 20, 17)).astype(np.float32)
    mask = generator.random(data.shape) > 0.3
    return np.where(mask, data, 0).astype(np.float32), mask


def test_z_score_gives_the_sites_mean_and_spread():
    data, mask = make_brain(0)
    people = [make_brain(1), make_brain(2, gain=2.0)]
    fitted = ZScore.fit(people)
    assert fitted.mean == pytest.approx(np.mean([d[m].mean() for d, m in people]), rel=1e-5)
    matched = fitted.transform(0.2 * data, mask)
    # Nothing falls below zero here but a few of the darkest voxels.
    assert matched[mask].mean() == pytest.approx(fitted.mean, rel=0.02)
    assert matched[mask].std() == pytest.approx(fitted.std, rel=0.05)
    assert not matched[~mask].any()
    assert matched.min() >= 0


def test_z_score_undoes_a_gain_and_an_offset():
    data, mask = make_brain(3)
    changed = np.where(mask, 3 * data + 1, 0).astype(np.float32)
    assert ZScore.fit([(data, mask)]).transform(changed, mask) == pytest.approx(data, abs=1e-5)


def test_histogram_matching_gives_the_sites_quantiles_whatever_the_curve():
    data, mask = make_brain(4)
    fitted = HistogramMatching.fit([make_brain(5), make_brain(6)])
    matched = fitted.transform(data**2, mask)
    levels = np.linspace(0.05, 0.95, 10)
    wanted = np.quantile(fitted.reference, levels)
    assert np.quantile(matched[mask], levels) == pytest.approx(wanted, rel=0.01)
    order = np.argsort(data[mask])
    assert (np.diff(matched[mask][order]) >= 0).all()
    assert not matched[~mask].any()


def test_the_mean_histogram_is_of_quantiles_and_not_pooled():
    data, mask = make_brain(7)
    fitted = HistogramMatching.fit([(data, mask), (3 * data, mask)])
    assert fitted.reference.mean() == pytest.approx(2 * data[mask].mean(), rel=1e-3)
    pooled_top = (3 * data[mask]).max()
    assert fitted.reference.max() < 0.75 * pooled_top


@pytest.mark.parametrize("kind", [ZScore, HistogramMatching])
def test_what_cannot_be_used_is_refused(kind):
    data, mask = make_brain(8)
    with pytest.raises(ImageError, match="got 0 training images"):
        kind.fit([])
    fitted = kind.fit([(data, mask)])
    with pytest.raises(ImageError, match="at least one voxel set; 0 are set"):
        fitted.transform(data, np.zeros_like(mask))
    with pytest.raises(ImageError, match="of one shape"):
        fitted.transform(data[1:], mask)


def test_z_score_needs_contrast():
    flat, mask = np.ones((2, 3, 4), np.float32), np.ones((2, 3, 4), bool)
    with pytest.raises(ImageError, match=r"standard deviation in the brain are 1 and 0"):
        ZScore.fit([(flat, mask)])
