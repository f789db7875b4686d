"""What the decoder leaves out comes back in the target's contrast, the noise does not."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_mri.harmonize.source_detail import add_source_detail

SOURCE, TARGET = (0.25, 0.45), (0.8, 0.5)
"""Two tissues, whose order the target turns over."""


@pytest.fixture
def two():
    """Stripes of two tissues as both contrasts would be drawn, in a disc."""
    _, h, w = np.indices((2, 80, 96))
    mask = np.hypot((h - 40) / 36, (w - 48) / 44) < 1
    stripes = (w // 9) % 2

    def draw(levels):
        return (np.array(levels)[stripes] * mask).astype(np.float32)

    return SimpleNamespace(mask=mask, own=draw(SOURCE), decoded=draw(TARGET), stripes=stripes)


def inner(mask, margin=4):
    shrunk = mask.copy()
    for axis in (1, 2):
        for shift in (-margin, margin):
            shrunk &= np.roll(mask, shift, axis)
    return shrunk


def test_where_nothing_was_left_out_nothing_is_added(two):
    result = add_source_detail(two.decoded, two.own, two.own, two.mask, slice_mm=4.0)
    np.testing.assert_allclose(result, two.decoded, atol=1e-6)
    assert (result[~two.mask] == 0).all()


def test_what_was_left_out_comes_back_in_the_targets_contrast(two):
    """A spot half way from the first tissue to the second at the source is so at the target."""
    source = two.own.copy()
    spot = (slice(None), slice(38, 42), slice(39, 43))
    assert np.ptp(two.stripes[spot]) == 0
    assert two.own[spot][0, 0, 0] == np.float32(SOURCE[0])
    source[spot] = np.mean(SOURCE)
    result = add_source_detail(two.decoded, two.own, source, two.mask, slice_mm=4.0)
    assert two.decoded[spot].mean() == pytest.approx(TARGET[0])
    assert result[spot].mean() == pytest.approx(np.mean(TARGET), abs=0.04)


def test_a_lesion_in_flat_tissue_follows_the_contrast_around_it(two):
    """Nothing varies within five pixels of it, so the wider window must tell."""
    own = np.where(two.mask, np.float32(SOURCE[0]), np.float32(0))
    decoded = np.where(two.mask, np.float32(TARGET[0]), np.float32(0))
    ring = np.zeros_like(two.mask)
    ring[:, 30:34, 34:62] = True
    own[ring], decoded[ring] = SOURCE[1], TARGET[1]
    source = own.copy()
    source[:, 40:44, 46:50] += np.float32(0.1)
    result = add_source_detail(decoded, own, source, two.mask, slice_mm=4.0)
    change = (result - decoded)[:, 40:44, 46:50].mean()
    assert change == pytest.approx(0.1 * (TARGET[1] - TARGET[0]) / (SOURCE[1] - SOURCE[0]), rel=0.3)


def test_a_bias_field_stays_behind(two):
    _, h, w = np.indices(two.own.shape)
    field = np.exp(0.15 * np.sin(h / 40) + 0.15 * np.cos(w / 50)).astype(np.float32)
    result = add_source_detail(two.decoded, two.own, two.own * field, two.mask, slice_mm=4.0)
    inside = inner(two.mask, 10)
    carried = np.abs((result - two.decoded)[inside]).mean()
    whole = np.abs((two.decoded * field - two.decoded)[inside]).mean()
    assert whole > 0.05
    # It also changes the contrast of the stripes, which is no smooth change.
    assert carried < 0.3 * whole


def test_noise_alone_is_mostly_left_out(two):
    noise = np.random.default_rng(0).normal(0, 0.03, two.own.shape).astype(np.float32)
    source = (two.own + noise) * two.mask
    result = add_source_detail(two.decoded, two.own, source, two.mask, slice_mm=4.0)
    inside = inner(two.mask)
    # The target's contrast is one and a half times the source's, so is what is carried over.
    carried = (result - two.decoded)[inside].std()
    assert carried < 0.5 * 1.5 * 0.03


def test_a_slice_that_is_drawn_too_bright_by_itself_is_put_right():
    """Its own decoding is too bright as well, and tells by how much."""
    mask = np.zeros((9, 60, 60), bool)
    mask[:, 5:55, 5:55] = True
    stripes = (np.indices(mask.shape)[2] // 9) % 2
    source = (np.array(SOURCE, np.float32)[stripes] * mask).astype(np.float32)
    right = (np.array(SOURCE, np.float32)[stripes] * 2 * mask).astype(np.float32)
    wrong = np.ones((9, 1, 1), np.float32)
    wrong[4] = 1.1
    result = add_source_detail(right * wrong, source * wrong, source, mask, slice_mm=5.0)
    before = (right * wrong)[4][mask[4]].mean() / right[4][mask[4]].mean()
    after = result[4][mask[4]].mean() / right[4][mask[4]].mean()
    assert before == pytest.approx(1.1)
    assert after == pytest.approx(1.02, abs=0.015)


def test_a_bias_field_along_slices_stays_behind():
    mask = np.zeros((15, 60, 60), bool)
    mask[:, 5:55, 5:55] = True
    stripes = (np.indices(mask.shape)[2] // 9) % 2
    own = (np.array(SOURCE, np.float32)[stripes] * mask).astype(np.float32)
    decoded = (np.array(TARGET, np.float32)[stripes] * mask).astype(np.float32)
    field = (1 + 0.02 * np.arange(-7, 8, dtype=np.float32))[:, None, None]
    result = add_source_detail(decoded, own, own * field, mask, slice_mm=5.0)
    levels = np.array([result[k][mask[k]].mean() for k in range(2, 13)])
    assert np.ptp(levels) / levels.mean() < 0.03


def test_no_voxel_of_the_brain_turns_to_background(two):
    source = two.own.copy()
    source[:, 30:50, 40:44] = 5.0
    result = add_source_detail(two.decoded, two.own, source, two.mask, slice_mm=4.0)
    assert result[two.mask].min() >= 0.1 * two.decoded[two.mask].min() * (1 - 1e-6)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(3, 40), st.integers(3, 40)),
    seed=st.integers(0, 99),
)
def test_any_shape_gives_finite_slices_that_are_zero_outside(shape, seed):
    numbers = np.random.default_rng(seed)
    mask = numbers.random(shape) < 0.7
    drawn, own, source = (numbers.random(shape).astype(np.float32) * mask for _ in range(3))
    result = add_source_detail(drawn, own, source, mask, slice_mm=4.0)
    assert result.shape == shape
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    assert (result >= 0).all()
    assert (result[~mask] == 0).all()
