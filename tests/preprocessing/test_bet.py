"""BET in Python finds the brain of a head, in its place, whatever the voxels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from prism_mri.errors import ConfigError
from prism_mri.preprocessing import bet
from prism_mri.preprocessing.bet import SETTINGS, extract_by_bet, keep_largest_piece
from prism_mri.preprocessing.brain_extraction import get_brain_mask
from prism_mri.simulate.cohort import CohortPlan, simulate_cohort
from prism_mri.volume import Volume, read_mask, read_volume

QUICK = replace(SETTINGS["T2w"], first_steps=400, steps=100)
SHORT = replace(SETTINGS["T2w"], first_steps=4, steps=4)
SHAPE = (92, 112, 36)
SPACING = (2.0, 2.0, 4.5)


def compute_dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def make_head() -> tuple[Volume, np.ndarray]:
    """T2w head, voxels to left, posterior, superior, and its brain with fluid."""
    axes = [
        (np.arange(n) - (n - 1) / 2) * step / half
        for n, step, half in zip(SHAPE, SPACING, (65, 80, 58), strict=True)
    ]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    image = np.select(
        [radius < 0.6, radius < 0.93, radius < 1, radius < 1.1, radius < 1.2],
        [300, 400, 800, 40, 450],
        5,
    )
    noise = np.random.default_rng(2).normal(0, 15, SHAPE)
    data = np.abs(ndimage.gaussian_filter(image.astype(float), 0.5) + noise).astype(np.float32)
    return Volume(data, np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])), radius < 1


@pytest.fixture(scope="module")
def found() -> tuple[np.ndarray, np.ndarray]:
    """Mask and truth."""
    pytest.importorskip(bet.PACKAGE)
    head, brain = make_head()
    return extract_by_bet(head, "T2w", settings=QUICK), brain


def test_the_brain_is_found_in_its_place(found: tuple[np.ndarray, np.ndarray]) -> None:
    mask, brain = found
    assert compute_dice(mask, brain) > 0.95
    centre = np.array(ndimage.center_of_mass(mask)) - ndimage.center_of_mass(brain)
    # The package's own mask lies one voxel of 2 mm off along every axis.
    assert np.abs(centre * SPACING).max() < 0.7


def test_the_same_image_gives_the_same_mask() -> None:
    pytest.importorskip(bet.PACKAGE)
    masks = [extract_by_bet(make_head()[0], settings=SHORT) for _ in range(2)]
    assert np.array_equal(*masks)


def test_bone_comes_off_the_rim_only_where_fluid_is_bright() -> None:
    mask = np.zeros((30, 30, 30), bool)
    mask[5:25, 5:25, 5:25] = True
    data = np.where(ndimage.binary_erosion(mask, iterations=3), 300, 20).astype(np.float32)
    data[15, 15, 15] = 0
    trimmed = bet._take_off_rim(mask, data, 150)
    assert compute_dice(trimmed, ndimage.binary_erosion(mask, iterations=3)) > 0.9
    assert trimmed[15, 15, 15]
    assert [name for name, settings in SETTINGS.items() if settings.rim > 0] == ["T2w"]


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(bet.PACKAGE)
    extract_by_bet(make_head()[0], "T2w", settings=SHORT)
    assert capfd.readouterr() == ("", "")


def test_a_simulated_head(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip(bet.PACKAGE)
    plan = CohortPlan(
        sites=("guys",),
        subjects=1,
        travelling=0,
        anatomies=shared_data / "anatomies",
        site_people=("head-01_labels",),
        slice_spacing_mm=8.0,
        whole_head=True,
    )
    simulate_cohort(plan, tmp_path / "sites")
    (path,) = (tmp_path / "sites" / "guys").glob("sub-*/**/*_T2w.nii.gz")
    (truth,) = (tmp_path / "sites").rglob("*_desc-brain_mask.nii.gz")
    head = read_volume(path)
    found = get_brain_mask(head, extraction="bet")
    assert found.source == "brainextractor 0.3.0"
    assert compute_dice(found.mask, read_mask(truth, head)) > 0.94


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bet, "PACKAGE", "no-such-package")
    with pytest.raises(ConfigError, match=r"pip install 'prism-mri\[bet\]', or give a mask with"):
        extract_by_bet(make_head()[0])


def test_the_largest_piece_with_its_holes_filled() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[1:6, 1:6, 1:6] = True
    mask[3, 3, 3] = False
    mask[8, 8, 8] = True
    kept = keep_largest_piece(mask)
    assert kept.sum() == 125
    assert kept[3, 3, 3]
    assert not keep_largest_piece(np.zeros((3, 3, 3), bool)).any()
