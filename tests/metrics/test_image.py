"""Scores in the brain: golden values, closed forms, and what they must not depend on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data as pictures

from prism_mri.errors import ImageError
from prism_mri.metrics import (
    compute_mae,
    compute_psnr,
    compute_scores,
    compute_ssim,
    compute_ssim_map,
)


def make_pair(shape=(3, 40, 33), seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.random(shape, dtype=np.float32)
    image = np.clip(truth + 0.1 * generator.standard_normal(shape), 0, None).astype(np.float32)
    mask = np.zeros(shape, dtype=bool)
    mask[:, 6:30, 5:28] = True
    return image, truth, mask


def test_ssim_agrees_with_ipol():
    # Golden value of the IPOL (program imdiff of article 2011/g_lmii) for this noise:
    # 0.357959091663361, as scikit-image's own test suite quotes it; border left out as there.
    np.random.seed(5)  # noqa: NPY002 - the published number belongs to this generator
    camera = pictures.camera()
    noisy = np.clip(camera + 20.0 * np.random.randn(*camera.shape), 0, 255).astype(np.uint8)  # noqa: NPY002
    stacks = [picture[None].astype(np.float32) / 255 for picture in (camera, noisy)]
    ssim = compute_ssim_map(*stacks, np.ones((1, *camera.shape), dtype=bool), data_range=1.0)
    assert ssim[0, 5:-5, 5:-5].mean(dtype=np.float64) == pytest.approx(0.357959091663361, abs=2e-5)


def test_ssim_of_constants_has_closed_form():
    mask = np.ones((1, 31, 31), dtype=bool)
    image, truth = (np.full(mask.shape, value, dtype=np.float32) for value in (0.3, 0.6))
    ssim = compute_ssim_map(image, truth, mask, data_range=1.0)
    c1 = 0.01**2
    assert ssim[0, 15, 15] == pytest.approx((2 * 0.3 * 0.6 + c1) / (0.3**2 + 0.6**2 + c1), rel=1e-5)


def test_ssim_matches_the_formula_written_out():
    image, truth, mask = make_pair((1, 40, 33))
    offsets = np.arange(-5, 6)
    weights = np.exp(-0.5 * (offsets / 1.5) ** 2)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    x, y = (np.where(mask, stack, 0)[0].astype(np.float64) for stack in (image, truth))
    row, column = 7, 26
    window = np.s_[row - 5 : row + 6, column - 5 : column + 6]
    mx, my = (weights * x[window]).sum(), (weights * y[window]).sum()
    vx, vy = (weights * x[window] ** 2).sum() - mx**2, (weights * y[window] ** 2).sum() - my**2
    vxy = (weights * x[window] * y[window]).sum() - mx * my
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert compute_ssim_map(image, truth, mask)[0, row, column] == pytest.approx(expected, abs=1e-5)


def test_psnr_and_mae_of_a_known_error():
    mask = np.zeros((2, 16, 16), dtype=bool)
    mask[:, 4:12, 4:12] = True
    truth = np.full(mask.shape, 0.3, dtype=np.float32)
    image = truth + np.where(mask, np.float32(0.1), np.float32(7))
    assert compute_psnr(image, truth, mask, data_range=1.0) == pytest.approx(20.0, abs=1e-4)
    assert compute_psnr(image, truth, mask, data_range=2.0) == pytest.approx(26.0206, abs=1e-3)
    assert compute_mae(image, truth, mask) == pytest.approx(0.1, rel=1e-5)


def test_equal_images_score_perfectly():
    _, truth, mask = make_pair()
    scores = compute_scores(truth, truth, mask)
    assert scores.ssim == pytest.approx(1.0, abs=1e-6)
    assert scores.psnr_db == float("inf")
    assert scores.mae == 0.0


def test_what_lies_outside_the_brain_does_not_count():
    image, truth, mask = make_pair()
    spoiled = np.where(mask, image, np.float32(np.nan))
    assert compute_scores(spoiled, truth, mask) == compute_scores(image, truth, mask)


@settings(max_examples=15, deadline=None)
@given(
    before=st.tuples(*[st.integers(0, 9)] * 3),
    after=st.tuples(*[st.integers(0, 9)] * 3),
    seed=st.integers(0, 99),
)
def test_scores_do_not_depend_on_the_background(before, after, seed):
    image, truth, mask = make_pair((2, 24, 21), seed)
    mask[:, :, :] = np.random.default_rng(seed).random(mask.shape) > 0.4
    widths = tuple(zip(before, after, strict=True))
    padded = [np.pad(array, widths) for array in (image, truth, mask)]
    expected = compute_scores(image, truth, mask)
    assert compute_scores(*padded).ssim == pytest.approx(expected.ssim, abs=1e-6)
    assert compute_scores(*padded).psnr_db == pytest.approx(expected.psnr_db, abs=1e-9)


def test_slices_are_scored_one_by_one():
    image, truth, mask = make_pair()
    singles = [
        compute_ssim(image[k : k + 1], truth[k : k + 1], mask[k : k + 1]) for k in range(len(mask))
    ]
    assert compute_ssim(image, truth, mask) == pytest.approx(np.mean(singles), abs=1e-6)


def test_a_slice_smaller_than_the_window_is_scored():
    image, truth, mask = make_pair((1, 4, 3))
    mask[:] = True
    assert 0 < compute_ssim(image, truth, mask) < 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda i, t, m: (i[:1], t, m), "shapes differ"),
        (lambda i, t, m: (i, t, np.zeros_like(m)), "the mask is empty"),
        (lambda i, t, m: (np.where(m, np.float32(np.nan), i), t, m), "NaN or infinity"),
    ],
)
def test_what_cannot_be_compared_is_refused(spoil, message):
    with pytest.raises(ImageError, match=message):
        compute_scores(*spoil(*make_pair()))


def test_data_range_must_be_positive():
    with pytest.raises(ImageError, match=r"data range 0\.0 is not positive"):
        compute_psnr(*make_pair(), data_range=0.0)
