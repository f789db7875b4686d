"""Folders of PNG slices, our own and the published repository's, become prepared datasets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from prism_mri.bids import find_images
from prism_mri.config import PreprocessingContract
from prism_mri.data.prepared import read_prepared
from prism_mri.errors import ConfigError, InputError
from prism_mri.preprocessing.png import from_pixels
from prism_mri.preprocessing.png_form import write_png_site
from prism_mri.preprocessing.png_layout import find_png_scans, is_png_layout, read_png_brain
from prism_mri.preprocessing.prepare import prepare_image
from prism_mri.preprocessing.prepare_png import prepare_png_site
from prism_mri.volume import read_volume

OWN = PreprocessingContract(shape=(48, 64), spacing_mm=2.0, min_brain_area_mm2=1000)
PUBLISHED = PreprocessingContract(shape=(64, 72), min_brain_area_mm2=100)


def prepare(folder, out, **options):
    options = {"site": "guys", "contract": PUBLISHED} | options
    return prepare_png_site(folder, out, **options)


def draw_slice(seed=0, shape=(50, 46), rows=(5, 41), columns=(8, 37)):
    """Grey brain with a dark hole inside and a bright spot at the top right, black around it."""
    pixels = np.zeros(shape, np.uint8)
    noise = np.random.default_rng(seed).integers(60, 120, shape)
    pixels[slice(*rows), slice(*columns)] = noise[slice(*rows), slice(*columns)]
    pixels[rows[0] + 10 : rows[0] + 14, columns[0] + 8 : columns[0] + 12] = 0
    pixels[rows[0] + 1 : rows[0] + 5, columns[1] - 6 : columns[1] - 1] = 240
    return pixels


def save(path, pixels, mode="RGBA"):
    """Write as the published code does: by a plotting library, grey stored in colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def published(tmp_path):
    """Four people to train on and one to test on, with what may lie beside their images."""
    folder = tmp_path / "Guys"
    for number, person in enumerate(["012", "020", "033", "047", "105"]):
        split = "test" if person == "105" else "train"
        stem = folder / split / person / f"IXI-Guys-{person}"
        save(stem.with_name(f"{stem.name}-T2_stripped.png"), draw_slice(number))
        save(stem.with_name(f"{stem.name}-PD_stripped.png"), draw_slice(90 + number))
        save(stem.with_name(f"{stem.name}-T2_stripped_gamma0.5.png"), draw_slice(50))
        save(stem.with_name(f"{stem.name}-T2_mask.png"), draw_slice(50))
    return folder


def cut(array, mask):
    """Cut to the mask's box."""
    box = np.argwhere(mask)
    return array[tuple(slice(a, b + 1) for a, b in zip(box.min(0), box.max(0), strict=True))]


# --- our own form ---------------------------------------------------------------------------------


def test_nifti_to_png_to_prepared_keeps_pixels_within_rounding(write_people, tmp_path):
    raw = write_people(3)
    manifest = write_png_site([raw], tmp_path / "png", site="guys", contract=OWN)
    entries = {(entry.subject, entry.session): entry for entry in manifest.images}
    prepare(tmp_path / "png", tmp_path / "out", contract=OWN)
    dataset = read_prepared(tmp_path / "out")
    assert len(dataset.items) == 4
    for image in find_images([raw], "T2w"):
        item = next(
            item
            for item in dataset.items
            if (item.subject, item.entry.session) == (image.subject, image.session)
        )
        entry = entries[image.subject, image.session]
        slices, mask = item.load()
        brain = prepare_image(image, OWN).conformed
        truth, inside = brain.slices[entry.slice_index], brain.mask[entry.slice_index]
        assert item.entry.scale == pytest.approx(brain.scale)
        assert np.array_equal(cut(mask[0], mask[0]), cut(inside, inside))
        error = np.abs(cut(slices[0], mask[0]) - cut(truth, inside))
        white = 255 * entry.native_per_grey / brain.scale
        kept = cut(truth, inside) <= white
        assert (~kept).sum() == entry.clipped
        assert error[kept].max() <= 0.5001 * entry.native_per_grey / brain.scale
        assert item.entry.spacing_mm == pytest.approx((2.0, 2.0, 2.5))


def test_the_volumes_scale_is_left_where_another_statistic_is_asked_for(write_people, tmp_path):
    write_png_site([write_people(2)], tmp_path / "png", site="guys", contract=OWN)
    other = OWN.model_copy(update={"intensity_value": 0.5})
    prepare(tmp_path / "png", tmp_path / "out", contract=other)
    slices, mask = read_prepared(tmp_path / "out").items[0].load()
    assert np.percentile(slices[mask], 25) == pytest.approx(0.5, rel=0.01)


def test_people_for_testing_are_in_no_other_split(write_people, tmp_path):
    raw = write_people(6)
    png = write_png_site(
        [raw], tmp_path / "png", site="guys", contract=OWN, test_fraction=0.34, seed=2
    )
    manifest = prepare(
        tmp_path / "png", tmp_path / "out", contract=OWN, validation_fraction=0.25, seed=3
    )
    dataset = read_prepared(tmp_path / "out")
    people = {
        split: {item.subject for item in dataset.split(split)}
        for split in ("train", "validation", "test")
    }
    assert people["test"] == {entry.subject for entry in png.images if entry.split == "test"}
    assert [len(people[split]) for split in ("train", "validation", "test")] == [3, 1, 2]
    assert len(people["train"] | people["validation"] | people["test"]) == 6
    assert (manifest.people, manifest.held_out, manifest.seed) == (6, "people", 3)
    rows = dict(
        row.split("\t") for row in (tmp_path / "out" / "participants.tsv").read_text().splitlines()
    )
    assert {name[4:] for name, split in rows.items() if split == "test"} == people["test"]
    sidecars = (tmp_path / "out").rglob("*_T2w.json")
    assert not any("Sources" in json.loads(path.read_text()) for path in sidecars)


# --- the published repository's layout ------------------------------------------------------------


def test_published_slices_are_read_and_what_lies_beside_them_is_not(published, tmp_path):
    assert is_png_layout(published)
    manifest = prepare(published, tmp_path / "out")
    assert (manifest.people, len(manifest.images)) == (5, 5)
    dataset = read_prepared(tmp_path / "out")
    assert [item.subject for item in dataset.split("test")] == ["105"]
    assert len(dataset.split("validation")) == 1
    for number, item in enumerate(dataset.items):
        slices, mask = item.load()
        pixels = draw_slice(number)
        assert slices.shape == (1, 64, 72)
        assert item.entry.spacing_mm == pytest.approx((1.0, 1.0, 1.0))
        assert np.percentile(slices[mask], 25) == pytest.approx(0.25, rel=0.02)
        # Holes are brain, and pixels are moved only.
        brain = from_pixels(pixels[5:41, 8:37])
        assert mask.sum() == brain.size
        assert cut(slices[0], mask[0]) * item.entry.scale == pytest.approx(brain, abs=1e-3)


def test_the_brain_comes_to_the_middle_front_towards_anterior(published, tmp_path):
    manifest = prepare(published, tmp_path / "out")
    volume = read_volume(tmp_path / "out" / manifest.images[0].image)
    assert np.array_equal(np.diag(volume.affine[:3, :3]), [1, 1, 1])
    inside = [np.flatnonzero((volume.data > 0).any(axis=(1 - axis, 2))) for axis in (0, 1)]
    assert [(span[0] + span[-1] + 1) / 2 for span in inside] == pytest.approx([32, 36], abs=0.51)
    spot = np.argwhere(volume.data[:, :, 0] > 1.5 * np.median(volume.data[volume.data > 0]))
    assert spot.mean(axis=0)[0] > 32 + 8  # on the right of the picture: towards the right
    assert spot.mean(axis=0)[1] > 36 + 12  # at the top of the picture: towards anterior


def test_pixel_size_is_1_mm_unless_given(published, tmp_path):
    coarse = PreprocessingContract(shape=(64, 72), spacing_mm=2.0, min_brain_area_mm2=100)
    manifest = prepare(published, tmp_path / "out", contract=coarse, pixel_mm=2.0)
    assert manifest.images[0].spacing_mm == pytest.approx((2.0, 2.0, 1.0))
    _, mask = read_prepared(tmp_path / "out").items[0].load()
    assert cut(mask[0], mask[0]).shape == (29, 36)
    prepare(published, tmp_path / "half", contract=coarse)
    _, mask = read_prepared(tmp_path / "half").items[0].load()
    assert cut(mask[0], mask[0]).shape == pytest.approx((29 / 2, 36 / 2), abs=1)


def test_other_modalities_of_the_folder(published, tmp_path):
    contract = PreprocessingContract(modality="PDw", shape=(64, 72), min_brain_area_mm2=100)
    manifest = prepare(published, tmp_path / "out", contract=contract)
    assert manifest.images[0].image == "sub-012/anat/sub-012_desc-prepared_PDw.nii.gz"
    slices, mask = read_prepared(tmp_path / "out").items[0].load()
    brain = from_pixels(draw_slice(90)[5:41, 8:37])
    assert cut(slices[0], mask[0]) * manifest.images[0].scale == pytest.approx(brain, abs=1e-3)


def test_other_sites_names_and_several_slices_of_a_person(tmp_path):
    folder = tmp_path / "adni"
    for number, name in enumerate(
        ["train/002_S_0413/ADNI-002_S_0413-T2_stripped.png"]
        + [f"train/sub-b/ADNI-b-{visit}_stripped.png" for visit in ("first", "second")]
        + ["test/c/c_stripped.png"]
    ):
        save(folder / name, draw_slice(number), mode="L")
    manifest = prepare(folder, tmp_path / "out", site="adni")
    assert [entry.subject for entry in manifest.images] == ["002S0413", "b", "b", "c"]
    names = [Path(entry.image).name for entry in manifest.images[1:3]]
    assert names == ["sub-b_run-1_desc-prepared_T2w.nii.gz", "sub-b_run-2_desc-prepared_T2w.nii.gz"]
    assert manifest.people == 3


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(12, 90),
    width=st.integers(12, 90),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 99),
)
def test_odd_sizes_are_moved_and_never_stretched(tmp_path_factory, height, width, corner, seed):
    rows, columns = min(height, 41), min(width, 37)
    top, left = (
        round(part * room)
        for part, room in zip(corner, (height - rows, width - columns), strict=True)
    )
    pixels = np.zeros((height, width), np.uint8)
    brain = np.random.default_rng(seed).integers(1, 256, (rows, columns)).astype(np.uint8)
    pixels[top : top + rows, left : left + columns] = brain
    folder = tmp_path_factory.mktemp("odd")
    save(folder / "in" / "train" / "a" / "a_stripped.png", pixels)
    manifest = prepare(folder / "in", folder / "out")
    slices, mask = read_prepared(folder / "out").items[0].load()
    assert slices.shape == (1, 64, 72)
    assert cut(slices[0], mask[0]) * manifest.images[0].scale == pytest.approx(
        from_pixels(brain), abs=1e-3
    )
    shutil.rmtree(folder)


def test_brains_that_lie_on_their_side_are_told(published, tmp_path, caplog):
    prepare(published, tmp_path / "out")
    assert "wider than high" not in caplog.text
    for path in published.rglob("*_stripped.png"):
        with Image.open(path) as picture:
            turned = picture.rotate(90, expand=True)
        turned.save(path)
    prepare(published, tmp_path / "turned")
    assert "most brains are wider than high" in caplog.text
    assert "012" not in caplog.text


def test_one_person_to_train_on_validates_on_the_same_slice(tmp_path, caplog):
    save(tmp_path / "in" / "train" / "a" / "a_stripped.png", draw_slice())
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    assert manifest.held_out == "slices"
    assert manifest.images[0].train_slices == manifest.images[0].validation_slices == (0,)
    assert "one person only: validated on the slice that it trains on, which says" in caplog.text
    assert "held-out" not in caplog.text


# --- what must fail -------------------------------------------------------------------------------


def test_everything_wrong_with_a_folder_is_said_at_once(published, tmp_path):
    def path(split, person):
        return published / split / person / f"IXI-Guys-{person}-T2_stripped.png"

    shutil.copytree(published / "train" / "047", published / "test" / "047")
    path("train", "012").write_bytes(b"")
    colour = np.stack([draw_slice()] * 3, axis=-1)
    colour[20, 20, 1] += 9
    Image.fromarray(colour).save(path("train", "020"))
    Image.fromarray(draw_slice().astype(np.uint16) * 200).save(path("train", "033"))
    save(path("test", "105"), np.zeros((50, 46), np.uint8))
    with pytest.raises(InputError) as caught:
        prepare(published, tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    for words, line in zip(
        [
            "sub-047 is in train and in test; keep one",
            "012-T2_stripped.png is an empty file",
            "020-T2_stripped.png has colours",
            "033-T2_stripped.png has 16 bits",
            "105-T2_stripped.png is black throughout",
        ],
        lines,
        strict=True,
    ):
        assert words in line
    assert [found.name for found in tmp_path.iterdir()] == ["Guys"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["test/a/a_stripped.png"], "has nobody in train; put the people"),
        (["train/a-b/x_stripped.png", "train/ab/y_stripped.png"], "a-b, ab differ in neither"),
        (["train/--/x_stripped.png"], "folders -- differ in neither"),
        (
            ["train/1/IXI-Guys-1-T2_stripped.png", "train/2/IXI-HH-2-T2_stripped.png"],
            "holds several sites, Guys, HH; give one site's folder",
        ),
        (["train/1/IXI-Guys-1-T1_stripped.png"], "holds no T2w slices as PNG: expected dataset"),
        (["train/1/scan.png"], "holds no T2w slices as PNG"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, names, words):
    for name in names:
        save(tmp_path / "in" / name, draw_slice())
    with pytest.raises(InputError, match=words) as caught:
        prepare(tmp_path / "in", tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_brain_larger_than_the_grid_and_one_too_small(tmp_path):
    large = draw_slice(shape=(120, 90), rows=(5, 110), columns=(8, 80))
    save(tmp_path / "in" / "train" / "a" / "a_stripped.png", large)
    small = np.zeros((50, 46), np.uint8)
    small[20:25, 20:25] = np.arange(25).reshape(5, 5) + 9
    save(tmp_path / "in" / "train" / "b" / "b_stripped.png", small)
    with pytest.raises(InputError) as caught:
        prepare(tmp_path / "in", tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert "a_stripped.png: the brain is 72 mm wide along axis I, the grid 64 mm" in lines[0]
    assert "b_stripped.png: no slice has 100 mm² of brain, the largest has 25 mm²" in lines[1]


def test_what_is_no_folder_and_pixel_sizes_out_of_range(published, tmp_path):
    with pytest.raises(InputError, match="nowhere is no folder; give the folder that holds train"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    for size in (0.0, -1.0, float("nan"), 1000.0):
        with pytest.raises(ConfigError, match=r"pixel size .* mm is out of range"):
            prepare(published, tmp_path / "out", pixel_mm=size)


@pytest.fixture
def own(write_people, tmp_path):
    write_png_site([write_people(2)], tmp_path / "png", site="guys", contract=OWN)
    return tmp_path / "png"


def change(folder, **fields):
    path = folder / "dataset.json"
    content = json.loads(path.read_text())
    content["images"][0].update(fields.pop("image", {}))
    path.write_text(json.dumps(content | fields))


def test_damaged_folders_of_our_own_form(own, tmp_path):
    with pytest.raises(ConfigError, match="states the pixel size; omit --pixel-mm"):
        prepare(own, tmp_path / "out", contract=OWN, pixel_mm=1.0)
    with pytest.raises(InputError, match="holds T2w, expected FLAIR; pass --modality T2w"):
        prepare(own, tmp_path / "out", contract=PreprocessingContract.for_modality("FLAIR"))
    change(own, image={"mask": "../../elsewhere.png"})
    with pytest.raises(InputError, match=r"names \.\./\.\./elsewhere\.png, which lies outside"):
        prepare(own, tmp_path / "out", contract=OWN)
    change(own, image={"mask": "gone.png"})
    with pytest.raises(InputError, match=r"cannot read .*gone\.png: No such file"):
        prepare(own, tmp_path / "out", contract=OWN)
    change(own, image={"image": "train/scan.png"})
    with pytest.raises(InputError, match=r"scan\.png is not a BIDS name"):
        prepare(own, tmp_path / "out", contract=OWN)
    change(own, image={"native_per_grey": -1}, seed="x")
    with pytest.raises(InputError, match=r"dataset\.json is not valid: .*seed.*; write the folder"):
        prepare(own, tmp_path / "out", contract=OWN)
    assert not (tmp_path / "out").exists()


def test_slices_of_another_site_are_refused(own, tmp_path):
    with pytest.raises(
        InputError, match="slices of site guys, expected hh; pass --site g"
    ) as caught:
        prepare(own, tmp_path / "out", contract=OWN, site="hh")
    assert str(caught.value).count(str(own)) == 1
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("field", ["scale", "native_per_grey"])
@pytest.mark.parametrize("value", [1e-30, 1e30])
def test_scales_that_no_scanner_gives_are_refused(own, tmp_path, field, value):
    change(own, image={field: value})
    words = rf"images\.0\.{field}: .*{value:g} is out of range, expected 1e-12 to 1e\+12; write"
    with pytest.raises(InputError, match=words.replace("e+30", r"e\+30")) as caught:
        prepare(own, tmp_path / "out", contract=OWN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["train/sub-00/{name}", "test/elsewhere/{name}"])
def test_an_image_listed_twice_is_refused(own, tmp_path, path):
    content = json.loads((own / "dataset.json").read_text())
    name = Path(content["images"][0]["image"]).name
    again = content["images"][0] | {"image": path.format(name=name)}
    change(own, images=[*content["images"], again])
    with pytest.raises(InputError, match=rf"is not valid: .*lists {name} more than once") as caught:
        prepare(own, tmp_path / "out", contract=OWN)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_mask_of_another_size(own):
    scan = find_png_scans(own, OWN)[0][0]
    save(scan.mask, np.full((9, 9), 255, np.uint8), mode="L")
    with pytest.raises(InputError, match=r"has \(9, 9\) pixels, its image \(64, 48\)"):
        read_png_brain(scan)
