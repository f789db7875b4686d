"""Slices with enough brain."""

import numpy as np
import pytest

from prism_mri.config import PreprocessingContract
from prism_mri.errors import ImageError
from prism_mri.preprocessing.slices import select_slices


def make_mask(*areas: int) -> np.ndarray:
    """Slices with so many pixels of brain."""
    mask = np.zeros((len(areas), 400), dtype=bool)
    for k, area in enumerate(areas):
        mask[k, :area] = True
    return mask.reshape(len(areas), 20, 20)


def test_area_is_counted_in_mm2_and_the_limit_is_kept() -> None:
    contract = PreprocessingContract(min_brain_area_mm2=100)
    mask = make_mask(0, 99, 100, 400, 50)
    assert select_slices(mask, (1.0, 1.0), contract).tolist() == [False, False, True, True, False]
    assert select_slices(mask, (0.5, 0.5), contract).tolist() == [False, False, False, True, False]
    assert select_slices(mask, (2.0, 1.0), contract).tolist() == [False, True, True, True, True]


def test_none_left_is_refused() -> None:
    contract = PreprocessingContract(min_brain_area_mm2=2000)
    with pytest.raises(ImageError, match="no slice has 2000 mm² of brain, the largest has 1600"):
        select_slices(make_mask(10, 400), (2.0, 2.0), contract)
