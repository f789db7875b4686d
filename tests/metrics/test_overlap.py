"""Dice and IoU on masks whose overlap can be counted by hand."""

import numpy as np
import pytest

from prism_mri.errors import ImageError
from prism_mri.metrics.overlap import compute_dice, compute_iou

TRUTH = np.array([[1, 1, 1, 1], [2, 2, 0, 0]], np.uint8)
FOUND = np.array([[1, 1, 2, 2], [2, 2, 2, 0]], np.uint8)


def test_overlap_is_counted_by_hand():
    """Tissue 1: 2 voxels in common of 2 and 4; tissue 2: 2 in common of 5 and 2."""
    assert compute_dice(FOUND, TRUTH, 1) == pytest.approx(4 / 6)
    assert compute_iou(FOUND, TRUTH, 1) == pytest.approx(2 / 4)
    assert compute_dice(FOUND, TRUTH, 2) == pytest.approx(4 / 7)
    assert compute_iou(FOUND, TRUTH, 2) == pytest.approx(2 / 5)


def test_equal_is_one_disjoint_zero_and_absent_from_both_one():
    assert compute_dice(TRUTH, TRUTH, 1) == compute_iou(TRUTH, TRUTH, 1) == 1.0
    assert compute_dice(np.zeros_like(TRUTH), TRUTH, 1) == 0.0
    assert compute_iou(np.zeros_like(TRUTH), TRUTH, 1) == 0.0
    assert compute_dice(FOUND, TRUTH, 3) == compute_iou(FOUND, TRUTH, 3) == 1.0


def test_other_shapes_are_refused():
    with pytest.raises(ImageError, match=r"shape \(2, 4\).*\(1, 4\)"):
        compute_dice(FOUND, TRUTH[:1], 1)
