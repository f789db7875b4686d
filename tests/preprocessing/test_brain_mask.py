"""Stripped brains are recognized, heads are refused, given masks are checked."""

from pathlib import Path, PurePath

import numpy as np
import pytest
from scipy import ndimage

from prism_mri.bids import ImageRef
from prism_mri.errors import ImageError, InputError
from prism_mri.preprocessing.brain_mask import (
    compute_skull_share,
    find_brain_mask,
    resolve_mask_path,
)
from prism_mri.volume import Volume, read_mask, read_volume

SHAPE = (90, 104, 30)
SPACING = (2.0, 2.0, 4.0)


def radius_map() -> np.ndarray:
    """1 on the surface of a brain of 140 × 170 × 100 mm."""
    axes = [
        (np.arange(n) - (n - 1) / 2) * step / half
        for n, step, half in zip(SHAPE, SPACING, (70, 85, 50), strict=True)
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    return np.asarray(np.sqrt(sum(axis**2 for axis in grid)))


def make_brain() -> np.ndarray:
    """Grey rim, white core, bright ventricles, fluid in the sulci, texture; exactly zero around."""
    radius = radius_map()
    rng = np.random.default_rng(3)
    image = np.where(radius < 0.85, 250.0, 330.0)
    image[radius < 0.2] = 900
    sulci = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.5) > 0.12
    image[(radius > 0.8) & sulci] = 800
    image += rng.normal(0, 15, SHAPE)
    return np.where(radius <= 1, image, 0).astype(np.float32)


def make_head() -> np.ndarray:
    """The brain in a dark skull in a bright scalp, in air of exactly zero."""
    radius = radius_map()
    head = make_brain()
    head[(radius > 1) & (radius <= 1.1)] = 40
    head[(radius > 1.1) & (radius <= 1.2)] = 500
    return head


def as_volume(data: np.ndarray) -> Volume:
    return Volume(data, np.diag([*SPACING, 1.0]))


def reference(path: str = "data/sub-01_ses-b_T2w.nii.gz", session: str | None = "b") -> ImageRef:
    return ImageRef(Path(path), "01", session, PurePath(path), {"sub": "01"})


def test_a_stripped_brain_is_its_own_mask_with_holes_filled() -> None:
    brain = make_brain()
    brain[45, 52, 15] = 0
    expected = radius_map() <= 1
    assert np.array_equal(find_brain_mask(as_volume(brain)), expected)


@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_rule_does_not_depend_on_voxel_order(
    flip: tuple[int, ...], order: tuple[int, ...]
) -> None:
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, axis in enumerate(order):
        affine[axis, column] = flip[axis] * SPACING[axis]
    brain = Volume(np.ascontiguousarray(make_brain().transpose(order)), affine)
    head = Volume(np.ascontiguousarray(make_head().transpose(order)), affine)
    assert find_brain_mask(brain).sum() == (radius_map() <= 1).sum()
    with pytest.raises(ImageError, match="shows scalp"):
        find_brain_mask(head)


def test_a_head_in_zero_air_is_refused_and_told_what_to_do() -> None:
    head = as_volume(make_head())
    assert compute_skull_share(head, head.data != 0) > 0.9
    assert compute_skull_share(as_volume(make_brain()), radius_map() <= 1) < 0.1
    with pytest.raises(ImageError, match=r"shows scalp: .* pass a brain mask with --brain-mask"):
        find_brain_mask(head)


def test_a_head_is_taken_with_a_mask() -> None:
    mask = radius_map() <= 1
    assert np.array_equal(find_brain_mask(as_volume(make_head()), mask), mask)


def test_noise_in_the_air_is_no_stripped_background() -> None:
    brain = make_brain()
    brain[brain == 0] = 1
    with pytest.raises(ImageError, match="its background is not zero; pass a brain mask"):
        find_brain_mask(as_volume(brain))


def test_more_than_a_brain_is_refused() -> None:
    larger = Volume(make_brain(), np.diag([3.5, 3.5, 5.0, 1.0]))
    with pytest.raises(ImageError, match="ml are not zero; pass a brain mask"):
        find_brain_mask(larger)


def test_a_brain_that_is_negative_is_refused() -> None:
    with pytest.raises(ImageError, match="not positive deep inside"):
        find_brain_mask(as_volume(-make_brain()))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones((90, 104, 29), bool), r"has shape \(90, 104, 29\), the image \(90, 104, 30\)"),
        (np.zeros(SHAPE, bool), "mask is empty"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        find_brain_mask(as_volume(make_head()), mask)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("mask.nii.gz", "mask.nii.gz"),
        ("{dir}/{stem}_mask.nii.gz", "data/sub-01_ses-b_T2w_mask.nii.gz"),
        ("m/sub-{sub}/ses-{ses}/mask.nii", "m/sub-01/ses-b/mask.nii"),
    ],
)
def test_mask_patterns(pattern: str, expected: str) -> None:
    assert resolve_mask_path(pattern, reference()) == Path(expected)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{subject}.nii", r"unknown placeholders \['subject'\]; use \{dir\}"),
        ("{sub.__class__}.nii", "unknown placeholders"),
        ("{}.nii", "unknown placeholders"),
        ("{sub.nii", "is not a valid pattern"),
    ],
)
def test_mask_patterns_that_mean_nothing(pattern: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        resolve_mask_path(pattern, reference())


def test_a_pattern_with_session_needs_a_session() -> None:
    with pytest.raises(InputError, match=r"asks for a session, but scan\.nii has none"):
        resolve_mask_path("{ses}.nii", reference("scan.nii", None))


@pytest.mark.parametrize("study", ["study1", "study2"])
def test_real_scans_need_a_mask_and_are_recognized_once_stripped(
    shared_data: Path, study: str
) -> None:
    path = shared_data / "t2w_real" / "patient01" / f"{study}_T2W.nii.gz"
    volume = read_volume(path)
    mask = read_mask(path.with_name(f"{study}_T2W_brainmask.nii.gz"), volume)
    with pytest.raises(ImageError, match=r"not stripped: 31.. ml are not zero"):
        find_brain_mask(volume)
    # Not only for their size: lines that cross a skull.
    assert compute_skull_share(volume, ndimage.binary_fill_holes(volume.data != 0)) > 0.8
    stripped = Volume(np.where(mask, volume.data, np.float32(0)), volume.affine)
    found = find_brain_mask(stripped)
    # Bone in the rim of the given mask is exactly zero in these scans.
    assert (found ^ mask).sum() < 0.01 * mask.sum()
