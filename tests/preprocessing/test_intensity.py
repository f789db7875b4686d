"""One scale a volume."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_mri.config import PreprocessingContract
from prism_mri.errors import ImageError
from prism_mri.preprocessing.intensity import compute_intensity_scale

CONTRACT = PreprocessingContract(intensity_value=0.25)


def test_the_lower_quartile_in_the_mask_becomes_the_contracts_value() -> None:
    data = np.array([[10, 20, 30, 40, 50, 9999]], dtype=np.float32)
    mask = np.array([[True, True, True, True, True, False]])
    assert compute_intensity_scale(data, mask, CONTRACT) == pytest.approx(20 / 0.25)


@given(gain=st.floats(1e-3, 1e4), seed=st.integers(0, 100))
def test_the_scale_follows_the_gain(gain: float, seed: int) -> None:
    data = np.random.default_rng(seed).uniform(1, 5, (7, 5, 3)).astype(np.float32)
    mask = data > 1.5
    scale = compute_intensity_scale(data, mask, CONTRACT)
    gained = compute_intensity_scale((data * np.float32(gain)), mask, CONTRACT)
    assert gained == pytest.approx(gain * scale, rel=1e-5)


def test_bright_fluid_does_not_move_it() -> None:
    rng = np.random.default_rng(0)
    tissue = rng.normal(100, 5, 10000)
    fluid = rng.normal(900, 5, 500)
    young = np.concatenate([tissue, fluid[:50]]).astype(np.float32)
    old = np.concatenate([tissue, fluid]).astype(np.float32)
    scales = [compute_intensity_scale(x, np.ones(x.shape, bool), CONTRACT) for x in (young, old)]
    assert scales[1] == pytest.approx(scales[0], rel=0.005)


@pytest.mark.parametrize(
    ("values", "inside", "words"),
    [
        ([1, 2, 3], [False] * 3, "mask is empty"),
        ([7, 7, 3], [True, True, False], "constant, 7 everywhere"),
        ([0, 0, 0, 3], [True] * 4, "lower quartile over the brain is 0, expected above 0"),
        ([-5, -4, -3, 3], [True] * 4, "lower quartile over the brain is -4.25"),
    ],
)
def test_a_brain_without_intensities_is_refused(
    values: list[float], inside: list[bool], words: str
) -> None:
    with pytest.raises(ImageError, match=words):
        compute_intensity_scale(np.array(values, np.float32), np.array(inside), CONTRACT)
