"""Scores slice by slice: golden values, closed forms, and what background does to them."""

import numpy as np
import pytest
from skimage import data as pictures

from prism_mri.errors import ImageError
from prism_mri.metrics import (
    PSNR_LIMIT_DB,
    compute_brain_slice_scores,
    compute_psnr,
    compute_ssim,
    compute_whole_slice_scores,
)


def make_pair(shape=(3, 40, 33), seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.random(shape, dtype=np.float32)
    image = (truth + 0.1 * generator.standard_normal(shape)).astype(np.float32)
    mask = np.zeros(shape, dtype=bool)
    mask[:, 6:30, 5:28] = True
    return image, truth, mask


def test_whole_slice_ssim_agrees_with_ipol():
    # IPOL's imdiff (article 2011/g_lmii) on this noise, as scikit-image's own tests quote it.
    np.random.seed(5)  # noqa: NPY002 - the published number belongs to this generator
    camera = pictures.camera()
    noisy = np.clip(camera + 20.0 * np.random.randn(*camera.shape), 0, 255).astype(np.uint8)  # noqa: NPY002
    stacks = [picture[None].astype(np.float32) / 255 for picture in (camera, noisy)]
    assert compute_whole_slice_scores(*stacks).ssim == pytest.approx([0.357959091663361], abs=2e-5)


def test_a_known_error_in_part_of_a_slice():
    truth = np.full((2, 20, 30), 0.3, dtype=np.float32)
    image, mask = truth.copy(), np.zeros(truth.shape, dtype=bool)
    mask[:, 5:15, 5:20] = True  # a quarter of the slice
    image[0][mask[0]] += 0.1
    image[1][mask[1]] -= 0.2
    whole = compute_whole_slice_scores(image, truth)
    brain = compute_brain_slice_scores(image, truth, mask)
    assert whole.mse == pytest.approx([0.0025, 0.01], rel=1e-4)
    assert brain.mse == pytest.approx([0.01, 0.04], rel=1e-4)
    assert whole.psnr_db == pytest.approx([26.0206, 20.0], abs=1e-3)
    assert brain.psnr_db == pytest.approx([20.0, 13.9794], abs=1e-3)
    doubled = compute_whole_slice_scores(image, truth, data_range=2.0)
    assert doubled.psnr_db == pytest.approx(whole.psnr_db + 6.0206, abs=1e-3)


def test_one_slice_inside_the_brain_scores_as_the_volume_of_it():
    image, truth, mask = make_pair()
    scores = compute_brain_slice_scores(image, truth, mask)
    for k in range(3):
        part = image[k : k + 1], truth[k : k + 1], mask[k : k + 1]
        assert scores.ssim[k] == pytest.approx(compute_ssim(*part), abs=1e-9)
        assert scores.psnr_db[k] == pytest.approx(compute_psnr(*part), abs=1e-9)


def test_zero_background_flatters_whole_slices_only():
    image, truth, mask = make_pair()
    image, truth = image * mask, truth * mask
    wide = [np.pad(stack, ((0, 0), (30, 30), (30, 30))) for stack in (image, truth, mask)]
    near = compute_whole_slice_scores(image, truth)
    far = compute_whole_slice_scores(*wide[:2])
    assert (far.ssim > near.ssim).all()
    assert far.mse * (100 * 93) == pytest.approx(near.mse * (40 * 33), rel=1e-5)
    inside = compute_brain_slice_scores(image, truth, mask)
    assert compute_brain_slice_scores(*wide).ssim == pytest.approx(inside.ssim, abs=1e-9)


def test_background_counts_over_whole_slices_and_not_in_the_brain():
    _, truth, mask = make_pair()
    truth = truth * mask
    image = np.where(mask, truth, np.float32(0.5))
    assert compute_brain_slice_scores(image, truth, mask).mse == pytest.approx([0, 0, 0])
    share = 1 - mask[0].mean()
    assert compute_whole_slice_scores(image, truth).mse == pytest.approx([0.25 * share] * 3)


def test_equal_slices_score_perfectly_and_finitely():
    _, truth, mask = make_pair()
    for scores in (
        compute_whole_slice_scores(truth, truth),
        compute_brain_slice_scores(truth, truth, mask),
    ):
        assert scores.ssim == pytest.approx([1, 1, 1], abs=1e-6)
        assert scores.psnr_db == pytest.approx([PSNR_LIMIT_DB] * 3)
        assert scores.mse == pytest.approx([0, 0, 0])


def test_what_cannot_be_compared():
    image, truth, mask = make_pair()
    with pytest.raises(ImageError, match="shapes differ"):
        compute_whole_slice_scores(image, truth[:2])
    with pytest.raises(ImageError, match="window of 11"):
        compute_whole_slice_scores(image[:, :8], truth[:, :8])
    with pytest.raises(ImageError, match=r"data range 0\.0 is not positive"):
        compute_whole_slice_scores(image, truth, data_range=0.0)
    mask[1] = False
    with pytest.raises(ImageError, match="1 slices hold no brain"):
        compute_brain_slice_scores(image, truth, mask)
    image[0, 0, 0] = np.nan
    with pytest.raises(ImageError, match="NaN or infinity"):
        compute_whole_slice_scores(image, truth)
