"""A site's middle slices as PNG: what is in the files, and that it can be undone."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prism_mri.bids import find_images
from prism_mri.config import PreprocessingContract
from prism_mri.errors import ConfigError, ImageError, InputError
from prism_mri.preprocessing.png import from_pixels, read_grey_png
from prism_mri.preprocessing.png_form import find_middle_slice, write_png_site
from prism_mri.preprocessing.png_manifest import PngManifest, is_png_form
from prism_mri.preprocessing.prepare import prepare_image
from prism_mri.volume import read_volume, write_volume

CONTRACT = PreprocessingContract(shape=(48, 64), spacing_mm=2.0, min_brain_area_mm2=1000)


def write(inputs, out, **options):
    return write_png_site([inputs], out, **({"site": "guys", "contract": CONTRACT} | options))


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_files_of_a_site(write_people, tmp_path):
    progress = []
    out = tmp_path / "png"
    manifest = write(write_people(3), out, seed=4, progress=lambda *counts: progress.append(counts))
    split = {entry.subject: entry.split for entry in manifest.images}
    assert sorted(split.values()) == ["test", "train", "train"]
    expected = {"dataset.json"}
    for stem in ("sub-00", "sub-00_ses-b", "sub-01", "sub-02"):
        folder = f"{split[stem[4:6]]}/{stem[:6]}"
        for rest in ("T2w", "desc-gamma05_T2w", "desc-gamma15_T2w", "desc-brain_mask"):
            expected.add(f"{folder}/{stem}_{rest}.png")
    found = {path.relative_to(out).as_posix() for path in out.rglob("*.*") if path.is_file()}
    assert found == expected
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert PngManifest.model_validate_json((out / "dataset.json").read_bytes()) == manifest
    assert (manifest.people, manifest.seed, manifest.site) == (3, 4, "guys")
    assert is_png_form(out)
    for path in out.rglob("*.png"):
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("L", (48, 64))


def test_the_grid_is_256_pixels_of_1_mm(write_people, tmp_path):
    manifest = write(write_people(1), tmp_path / "png", contract=PreprocessingContract())
    entry = manifest.images[0]
    assert read(tmp_path / "png" / entry.image).shape == (256, 256)
    assert entry.spacing_mm == pytest.approx((1.0, 1.0, 2.5))
    mask = read(tmp_path / "png" / entry.mask) > 0
    # 40 × 30 voxels of 2 × 4 mm, 92 % of them brain; the middle is in the middle.
    assert np.ptp(np.flatnonzero(mask.any(axis=0))) + 1 == pytest.approx(74, abs=3)
    assert np.ptp(np.flatnonzero(mask.any(axis=1))) + 1 == pytest.approx(110, abs=5)
    centre = [np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1)]
    assert [(c[0] + c[-1]) / 2 for c in centre] == pytest.approx([127.5, 127.5], abs=1)


def test_grey_values_can_be_undone(write_people, tmp_path):
    raw = write_people(2)
    manifest = write(raw, tmp_path / "png")
    for image in find_images([raw], "T2w"):
        brain = prepare_image(image, CONTRACT)
        middle = find_middle_slice(brain)
        entry = next(
            entry
            for entry in manifest.images
            if (entry.subject, entry.session) == (image.subject, image.session)
        )
        assert entry.slice_index == middle
        native = brain.conformed.slices[middle] * brain.conformed.scale
        inside = brain.conformed.mask[middle]
        pixels = from_pixels(read(tmp_path / "png" / entry.image))
        white = 255 * entry.native_per_grey
        assert white == pytest.approx(
            np.percentile(
                brain.conformed.slices[brain.conformed.mask] * brain.conformed.scale, 99.9
            ),
            rel=1e-5,
        )
        clipped = native > white
        assert entry.clipped == clipped.sum() < 0.02 * inside.sum()
        assert (pixels[clipped] == 255).all()
        undone = pixels * entry.native_per_grey
        half_step = 0.5001 * entry.native_per_grey
        assert np.abs(undone - native)[~clipped].max() <= half_step
        assert not pixels[~inside].any()
        mask = from_pixels(read(tmp_path / "png" / entry.mask))
        assert np.array_equal(mask, np.where(inside, 255, 0))
        assert entry.scale == brain.conformed.scale


def test_one_bright_voxel_and_gain_leave_grey_values_alone(write_people, tmp_path):
    raw = write_people(1)
    path = raw / "sub-00" / "anat" / "sub-00_T2w.nii.gz"
    before = read(tmp_path / "a" / write(raw, tmp_path / "a").images[0].image)
    volume = read_volume(path)
    spoilt = volume.data * np.float32(3)
    spoilt[20, 20, 15] *= 30
    write_volume(path, spoilt, volume, overwrite=True)
    after = read(tmp_path / "b" / write(raw, tmp_path / "b").images[0].image)
    changed = np.abs(after.astype(int) - before.astype(int)) > 2
    assert 0 < changed.sum() < 40  # the voxel, resampled, and nothing else
    assert np.median(before[before > 0]) > 60


def test_gamma_copies_bend_grey_values_and_leave_black_and_white(write_people, tmp_path):
    manifest = write(write_people(1), tmp_path / "png")
    entry = manifest.images[0]
    assert [copy.gamma for copy in entry.gammas] == [0.5, 1.5]
    pixels = read(tmp_path / "png" / entry.image).astype(float)
    for copy in entry.gammas:
        bent = read(tmp_path / "png" / copy.image)
        low, high = (
            255 * (np.clip(pixels + shift, 0, 255) / 255) ** copy.gamma for shift in (-0.5, 0.5)
        )
        assert (bent >= np.floor(low)).all()
        assert (bent <= np.ceil(high)).all()
        assert not bent[pixels == 0].any() or copy.gamma < 1
    assert read(tmp_path / "png" / entry.gammas[0].image).mean() > pixels.mean()
    assert read(tmp_path / "png" / entry.gammas[1].image).mean() < pixels.mean()


def test_the_front_of_the_head_is_up_and_its_right_at_the_right(write_people, tmp_path):
    manifest = write(write_people(1), tmp_path / "png")
    pixels = read(tmp_path / "png" / manifest.images[0].image)
    mask = read(tmp_path / "png" / manifest.images[0].mask) > 0
    spot = np.argwhere(pixels > 180).mean(axis=0)
    brain = np.argwhere(mask).mean(axis=0)
    assert spot[0] < brain[0] - 5  # rows: in front, so above
    assert spot[1] > brain[1] + 2  # columns: on the right


def test_people_are_split_whole_by_the_seed(write_people, tmp_path):
    raw = write_people(4)
    tested = []
    for number, seed in enumerate((0, 0, 1)):
        manifest = write(raw, tmp_path / f"png{number}", seed=seed, test_fraction=0.4)
        by_split = {
            split: {entry.subject for entry in manifest.images if entry.split == split}
            for split in ("train", "test")
        }
        assert (len(by_split["test"]), len(by_split["train"])) == (2, 2)
        assert not by_split["test"] & by_split["train"]
        tested.append(frozenset(by_split["test"]))
    assert tested[0] == tested[1]
    assert len(set(tested)) > 1


def test_the_same_call_writes_the_same_bytes(write_people, tmp_path):
    raw = write_people(2)
    for name in ("first", "second"):
        write(raw, tmp_path / name)
    for path in (tmp_path / "first").rglob("*.*"):
        if path.is_file():
            other = tmp_path / "second" / path.relative_to(tmp_path / "first")
            assert other.read_bytes() == path.read_bytes()


def test_one_person_alone_is_trained_on(write_people, tmp_path, caplog):
    manifest = write(write_people(1), tmp_path / "png")
    assert {entry.split for entry in manifest.images} == {"train"}
    assert "nobody is set aside for testing" in caplog.text
    assert "sub-" not in caplog.text


@pytest.mark.parametrize("modality", ["T1w", "PDw", "FLAIR"])
def test_other_modalities(write_people, tmp_path, modality):
    contract = PreprocessingContract.for_modality(modality)
    manifest = write(write_people(1, modality), tmp_path / "png", contract=contract)
    assert manifest.images[0].image == f"train/sub-00/sub-00_{modality}.png"
    assert manifest.contract == contract


# --- what must fail -------------------------------------------------------------------------------


def test_all_bad_images_are_named_and_nothing_is_left(write_people, tmp_path):
    raw = write_people(3)
    for name in ("sub-01", "sub-02"):
        (raw / name / "anat" / f"{name}_T2w.nii.gz").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        write(raw, tmp_path / "png")
    lines = str(caught.value).splitlines()
    assert ["sub-01" in lines[0], "sub-02" in lines[1], len(lines)] == [True, True, 3]
    assert lines[2] == "2 of 4 images cannot be used"
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_middle_slice_with_little_brain_is_refused(write_people):
    raw = write_people(1)
    brain = prepare_image(find_images([raw], "T2w")[0], CONTRACT)
    hollow = type(brain)(brain.conformed, brain.affine, tuple(k for k in brain.kept if k != 19))
    assert find_middle_slice(brain) == 19
    with pytest.raises(ImageError, match="middle slice, number 19 from below, holds too little"):
        find_middle_slice(hollow)


def test_an_image_whose_scale_could_not_be_read_back_is_refused(write_people, tmp_path):
    raw = write_people(2)
    path = raw / "sub-01" / "anat" / "sub-01_T2w.nii.gz"
    volume = read_volume(path)
    write_volume(path, volume.data * np.float32(1e-20), volume, overwrite=True)
    with pytest.raises(InputError, match=r"sub-01_T2w.*of the order of .*expected 1e-12 to 1e\+12"):
        write(raw, tmp_path / "png")
    assert not (tmp_path / "png").exists()


def test_only_folders_of_this_kind_are_replaced(write_people, tmp_path):
    raw = write_people(1)
    write(raw, tmp_path / "png")
    with pytest.raises(InputError, match="png exists already; pass --overwrite"):
        write(raw, tmp_path / "png")
    assert write(raw, tmp_path / "png", site="hh", overwrite=True).site == "hh"
    # Others name a file so too: the name alone does not make it ours.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dataset.json").write_text(json.dumps({"name": "mine"}))
    with pytest.raises(InputError, match=r"is no dataset of PNG files .* and is not replaced"):
        write(raw, tmp_path / "other", overwrite=True)
    assert json.loads((tmp_path / "other" / "dataset.json").read_text()) == {"name": "mine"}


def test_settings_out_of_range(write_people, tmp_path):
    raw = write_people(1)
    with pytest.raises(ConfigError, match="site name 'Guys' is not valid"):
        write(raw, tmp_path / "png", site="Guys")
    with pytest.raises(ConfigError, match="fraction 1 is out of range"):
        write(raw, tmp_path / "png", test_fraction=1.0)


def test_a_real_scan_stands_upright(shared_data: Path, tmp_path: Path):
    folder = shared_data / "t2w_real" / "patient01"
    manifest = write(
        folder / "study1_T2W.nii.gz",
        tmp_path / "png",
        contract=PreprocessingContract(),
        brain_mask="{dir}/{stem}_brainmask.nii.gz",
    )
    entry = manifest.images[0]
    mask = read_grey_png(tmp_path / "png" / entry.mask) > 0
    assert mask.any(axis=1).sum() > 1.2 * mask.any(axis=0).sum()  # longer than wide
    assert entry.slice_index == 17
    assert entry.clipped < 100
