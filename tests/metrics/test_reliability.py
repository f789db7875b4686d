"""ICC against the worked example of its paper."""

import numpy as np
import pytest

from prism_mri.errors import ImageError
from prism_mri.metrics.reliability import compute_reliability

SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
"""Six subjects, four judges; Shrout and Fleiss 1979, table 2. ICC(2,1) is 0.29 there (table 4)."""


def test_icc_of_the_published_example():
    assert compute_reliability(SHROUT_FLEISS).icc == pytest.approx(0.2898, abs=5e-5)


def test_equal_scanners_agree_and_an_offset_costs_agreement():
    people = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    same = compute_reliability(people)
    assert same.icc == pytest.approx(1)
    assert same.within_cv == 0
    moved = compute_reliability(people + np.array([0.0, 1.0]))
    assert 0.5 < moved.icc < 1


def test_within_person_variation_by_hand():
    """Two people, each 9 and 11 of mean 10: standard deviation sqrt(2), a seventh of the mean."""
    values = np.array([[9.0, 11.0], [18.0, 22.0]])
    assert compute_reliability(values).within_cv == pytest.approx(np.sqrt(2) / 10)


@pytest.mark.parametrize("shape", [(1, 3), (3, 1)])
def test_one_person_or_one_scanner_is_refused(shape):
    with pytest.raises(ImageError, match=f"got {shape[0]} on {shape[1]}"):
        compute_reliability(np.ones(shape))
