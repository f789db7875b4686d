"""The looks for harm on images whose harm is known."""

import numpy as np
import pytest
from scipy import ndimage

from prism_mri.metrics.structure import (
    compute_edge_sharpness,
    compute_gradient_ssim,
    compute_island_contrast,
    compute_lost_structure,
    compute_shift,
    find_islands,
)

LEVELS = np.array([0.0, 0.9, 0.5, 0.25], np.float32)
"""Background, CSF, GM, WM, as on T2w."""


@pytest.fixture
def brain():
    """Folded white matter in grey in fluid, three slices; spots in white matter."""
    _, h, w = np.indices((3, 128, 128))
    angle, radius = np.arctan2(h - 64, w - 64), np.hypot(h - 64, w - 64)
    labels = np.digitize(-radius, (-56, -50 - 3 * np.sin(9 * angle[0, 0, 0]), -38))
    labels = np.where(radius < 38 + 5 * np.sin(7 * angle), 3, labels).astype(np.uint8)
    image = LEVELS[labels]
    for row, column in ((64, 64), (50, 70), (72, 48), (80, 72)):
        image[:, row : row + 4, column : column + 4] = 0.7
    image = ndimage.gaussian_filter(image, (0, 0.6, 0.6)).astype(np.float32)
    mask = labels > 0
    return image * mask, labels, mask


def change_contrast(image, mask):
    """A brighter, flatter look; monotone."""
    return (np.sqrt(image) * 0.8 * mask).astype(np.float32)


def test_an_image_kept_as_it_is_passes_every_look(brain):
    image, labels, mask = brain
    assert compute_gradient_ssim(image, image, mask) == pytest.approx(1, abs=1e-5)
    assert compute_lost_structure(image, image, mask) == 0
    assert compute_shift(image, image, mask) == 0
    islands = find_islands(image, labels, mask)
    assert islands.count == 12
    assert compute_island_contrast(image, image, labels, islands) == pytest.approx(1)


def test_a_change_of_contrast_alone_is_no_harm(brain):
    image, labels, mask = brain
    drawn = change_contrast(image, mask)
    assert compute_lost_structure(drawn, image, mask) < 0.01
    assert compute_shift(drawn, image, mask) < 0.2
    islands = find_islands(image, labels, mask)
    assert compute_island_contrast(drawn, image, labels, islands) > 0.8
    own, new = compute_edge_sharpness(image, labels), compute_edge_sharpness(drawn, labels)
    assert new == pytest.approx(own, rel=0.25)


def test_blur_is_seen_as_blur(brain):
    image, labels, mask = brain
    drawn = ndimage.gaussian_filter(image, (0, 2.5, 2.5)).astype(np.float32)
    assert compute_edge_sharpness(drawn, labels) < 0.7 * compute_edge_sharpness(image, labels)
    assert compute_gradient_ssim(drawn, image, mask) < 0.9


def test_moved_anatomy_is_seen_to_have_moved(brain):
    image, _, mask = brain
    moved = np.roll(image, (2, -1), axis=(1, 2))
    assert compute_shift(moved, image, mask) == pytest.approx(np.hypot(2, 1), abs=0.25)


@pytest.mark.parametrize("distance", [0.4, 0.7, 1.0])
def test_a_part_of_a_pixel_is_measured(brain, distance):
    image, _, mask = brain
    moved = ndimage.shift(image, (0, distance, 0), order=3, mode="nearest").astype(np.float32)
    assert compute_shift(moved, image, mask) == pytest.approx(distance, abs=0.15)


def test_noise_is_no_sharpness(brain):
    image, labels, _ = brain
    noise = np.random.default_rng(0).normal(0, 0.04, image.shape).astype(np.float32)
    own = compute_edge_sharpness(image, labels)
    assert compute_edge_sharpness(image + noise, labels) == pytest.approx(own, rel=0.15)
    blurred = ndimage.gaussian_filter(image, (0, 2.5, 2.5)).astype(np.float32)
    assert compute_edge_sharpness(blurred + noise, labels) < 0.75 * own


def test_erased_spots_are_seen_to_be_gone(brain):
    image, labels, mask = brain
    islands = find_islands(image, labels, mask)
    grown = ndimage.binary_dilation(islands.spots, np.ones((1, 5, 5)))
    erased = np.where(grown, LEVELS[3], image).astype(np.float32)
    assert abs(compute_island_contrast(erased, image, labels, islands)) < 0.1
    halved = np.where(grown, (image + LEVELS[3]) / 2, image).astype(np.float32)
    assert compute_island_contrast(halved, image, labels, islands) == pytest.approx(0.5, abs=0.05)


def test_structure_drawn_anew_is_seen_to_be_lost(brain):
    image, _, mask = brain
    other = np.roll(image, 12, axis=1) * mask
    assert compute_lost_structure(other, image, mask) > 0.1
    assert compute_lost_structure(1 - image, image, mask) < 0.01, "inverted contrast varies along"


def test_too_few_spots_tell_nothing(brain):
    _, labels, mask = brain
    plain = LEVELS[labels]
    islands = find_islands(plain, labels, mask)
    assert islands.count == 0
    assert compute_island_contrast(plain, plain, labels, islands) is None
