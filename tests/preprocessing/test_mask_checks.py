"""Wrong masks are warned of by what is wrong with them; sound ones pass."""

import numpy as np
import pytest
from scipy import ndimage

from prism_mri.preprocessing.mask_checks import (
    check_brain_mask,
    check_brain_volume,
    compute_mask_ml,
)
from prism_mri.volume import Volume

SHAPE = (90, 104, 40)
SPACING = (2.0, 2.0, 4.0)


def make_radius() -> np.ndarray:
    """1 on the surface of a brain of 140 × 170 × 110 mm."""
    axes = [
        (np.arange(n) - (n - 1) / 2) * step / half
        for n, step, half in zip(SHAPE, SPACING, (70, 85, 55), strict=True)
    ]
    return np.asarray(np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij"))))


RADIUS = make_radius()


def make_head(affine: np.ndarray | None = None) -> Volume:
    """Brain with bright fluid around it, dark skull, bright scalp, faint air."""
    noise = np.random.default_rng(1).normal(0, 10, SHAPE)
    image = np.select(
        [RADIUS < 0.9, RADIUS < 1.0, RADIUS < 1.1, RADIUS < 1.2], [300, 600, 40, 500], 5
    )
    data = np.abs(image + noise).astype(np.float32)
    return Volume(data, np.diag([*SPACING, 1.0]) if affine is None else affine)


def test_a_sound_mask_passes() -> None:
    assert check_brain_mask(make_head(), RADIUS < 1) == ()


def test_holes_are_named_with_their_size() -> None:
    mask = (RADIUS < 1) & (RADIUS > 0.2)
    hole_ml = (RADIUS <= 0.2).sum() * 0.016
    (line,) = check_brain_mask(make_head(), mask)
    assert line.startswith(f"the brain mask has holes of {hole_ml:.0f} ml")
    small = RADIUS < 1
    small[45, 52, 20] = False
    assert check_brain_mask(make_head(), small) == ()


def test_stray_pieces_are_named() -> None:
    mask = RADIUS < 0.9
    mask[2:8, 2:8, 2:6] = True
    (line,) = check_brain_mask(make_head(), mask)
    assert line.startswith("the brain mask has 2 pieces, 2 ml beside the largest")
    mask = RADIUS < 1
    mask[2, 2, 2] = True
    assert check_brain_mask(make_head(), mask) == ()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("axis", "end", "name"),
    [(0, 0, "left"), (0, -1, "right"), (1, 0, "back"), (1, -1, "front"), (2, -1, "upper")],
)
def test_a_cut_off_brain_is_named_by_the_border(axis: int, end: int, name: str, flip: bool) -> None:
    volume, mask = make_head(), RADIUS < 1
    middle = SHAPE[axis] // 2
    kept = slice(middle, None) if end == 0 else slice(None, middle)
    index = tuple(kept if one == axis else slice(None) for one in range(3))
    affine = volume.affine.copy()
    data, cut = volume.data[index], mask[index]
    if flip:
        # The same place in the world, stored from the other side.
        affine[:3, axis] *= -1
        affine[axis, 3] += SPACING[axis] * (cut.shape[axis] - 1)
        data, cut = np.flip(data, axis), np.flip(cut, axis)
    lines = check_brain_mask(Volume(np.ascontiguousarray(data), affine), cut)
    assert any(line.startswith(f"the brain mask touches the {name} border") for line in lines)


def test_a_brain_stem_may_run_out_below_but_not_half_a_brain() -> None:
    volume, mask = make_head(), RADIUS < 1
    stem = mask.copy()
    stem[43:48, 48:53, :20] = True
    assert check_brain_mask(volume, stem) == ()
    half = Volume(volume.data[:, :, 20:], volume.affine)
    (line,) = check_brain_mask(half, mask[:, :, 20:])
    assert line.startswith("the brain mask touches the lower border")


def test_scalp_inside_is_noticed() -> None:
    (line,) = check_brain_mask(make_head(), RADIUS < 1.2)
    assert line.startswith("inside the brain mask")
    assert line.endswith("of lines cross a skull: scalp left in?")


def test_a_volume_no_adult_has() -> None:
    assert check_brain_volume(800) == check_brain_volume(2300) == ()
    (line,) = check_brain_volume(799)
    assert line.startswith("the brain mask holds 799 ml, expected 800 to 2300")
    assert check_brain_volume(2301)
    assert compute_mask_ml(make_head(), RADIUS < 1) == pytest.approx(
        4 / 3 * np.pi * 7 * 8.5 * 5.5, rel=0.01
    )


def test_voxel_neighbours_over_corners_are_one_piece() -> None:
    mask = ndimage.binary_erosion(RADIUS < 1)
    assert check_brain_mask(make_head(), mask) == ()
