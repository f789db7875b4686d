"""What an image shows of tissues, lesions, edges and slices, on images whose truth is known."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import ndimage

from prism_mri.errors import ImageError
from prism_mri.metrics import count_volumes, measure_fidelity

LEVELS = {1: 0.9, 2: 0.5, 3: 0.3}


def make_head():
    """Stripes of white, grey matter and fluid, a lesion in the white; 6 slices of 40 × 40."""
    labels = np.zeros((6, 40, 40), np.uint8)
    labels[:, 4:36, 4:20] = 3
    labels[:, 4:36, 20:30] = 2
    labels[:, 4:36, 30:36] = 1
    lesion = np.zeros(labels.shape, bool)
    lesion[:, 10:14, 8:12] = True
    mask = labels > 0
    image = np.zeros(labels.shape, np.float32)
    for label, level in LEVELS.items():
        image[labels == label] = level
    image[lesion] = 0.6
    return image, labels, lesion, mask


def test_contrasts_lesions_and_volumes_are_read_off():
    image, labels, lesion, mask = make_head()
    found = measure_fidelity(image, labels, lesion, mask)
    assert found.gm_wm == pytest.approx(0.5 / 0.3, rel=1e-5)
    assert found.csf_wm == pytest.approx(3.0, rel=1e-5)
    assert found.lesion_wm == pytest.approx(1.0, rel=1e-5)
    assert found.flicker == 0
    share = lesion.sum() / mask.sum()
    csf, gm, wm = count_volumes(labels, mask)
    assert (csf, gm, wm) == pytest.approx((6 / 32, 10 / 32, 16 / 32))
    # By intensity the lesion is grey matter.
    assert found.csf_volume == pytest.approx(csf)
    assert found.gm_volume == pytest.approx(gm + share)
    assert found.wm_volume == pytest.approx(wm - share)


def test_the_order_of_tissues_may_be_another():
    image, labels, lesion, mask = make_head()
    inverted = np.where(mask, 1.2 - image, 0).astype(np.float32)
    found = measure_fidelity(inverted, labels, lesion, mask)
    assert found.csf_volume == pytest.approx(6 / 32)
    assert found.csf_wm == pytest.approx(0.3 / 0.9, rel=1e-5)


def test_gain_changes_nothing_and_an_image_equals_itself():
    image, labels, lesion, mask = make_head()
    one = measure_fidelity(image, labels, lesion, mask)
    two = measure_fidelity(np.float32(7) * image, labels, lesion, mask)
    ratios = dataclasses.asdict(two.relate(one))
    assert math.isnan(ratios.pop("flicker"))
    assert list(ratios.values()) == pytest.approx([1.0] * len(ratios), rel=1e-5)


def test_blur_lowers_sharpness_and_contrast_does_not():
    image, labels, lesion, mask = make_head()
    truth = measure_fidelity(image, labels, lesion, mask)
    blurred = ndimage.gaussian_filter(image, (0, 1.5, 1.5)).astype(np.float32)
    assert measure_fidelity(blurred, labels, lesion, mask).relate(truth).sharpness < 0.8
    wider = np.where(mask, 0.3 + 2 * (image - 0.3), 0).astype(np.float32)
    ratio = measure_fidelity(wider, labels, lesion, mask).relate(truth)
    assert ratio.sharpness == pytest.approx(1, rel=1e-4)
    assert ratio.gm_wm > 1.3


def test_a_slice_of_another_brightness_flickers():
    image, labels, lesion, mask = make_head()
    image[3] *= np.float32(1.1)
    # Second differences of white: 0, 0.03, -0.06, 0.03 over a mean of 0.305.
    expected = math.sqrt((0.03**2 * 2 + 0.06**2) / 4) / 0.305
    assert measure_fidelity(image, labels, lesion, mask).flicker == pytest.approx(
        expected, rel=1e-3
    )


def test_slices_with_little_white_matter_do_not_count_for_flicker():
    image, labels, lesion, mask = make_head()
    labels[5, :, 8:20] = 0  # a quarter of the white matter is left, less than that below
    labels[5, 4:12, 4:8] = 0
    image[5] *= np.float32(1.5)
    assert measure_fidelity(image, labels, lesion, mask).flicker == 0


def test_what_cannot_be_measured_is_not_a_number():
    image, labels, lesion, mask = make_head()
    found = measure_fidelity(image, labels, np.zeros_like(lesion), mask)
    assert math.isnan(found.lesion_wm)


def test_shapes_and_tissues_are_checked():
    image, labels, lesion, mask = make_head()
    with pytest.raises(ImageError, match="must have one shape"):
        measure_fidelity(image[1:], labels, lesion, mask)
    with pytest.raises(ImageError, match="needs voxels of CSF, GM and WM"):
        measure_fidelity(image, np.where(labels == 1, 0, labels).astype(np.uint8), lesion, mask)
