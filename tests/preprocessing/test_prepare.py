"""A site's images become a prepared dataset, all or none."""

import errno
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import prism_mri
from prism_mri.bids import find_images, write_json
from prism_mri.config import PreprocessingContract
from prism_mri.errors import BidsError, ConfigError, ImageError, InputError
from prism_mri.preprocessing.manifest import PreparedManifest
from prism_mri.preprocessing.prepare import prepare_image, prepare_site
from prism_mri.volume import Volume, read_mask, read_volume, resample_to, write_volume

CONTRACT = PreprocessingContract(shape=(48, 64), spacing_mm=2.0, min_brain_area_mm2=1000)
AFFINE = np.array(
    [[-2.0, 0, 0, 40], [0, 0, 4.0, -60], [0, -2.5, 0, 60], [0, 0, 0, 1]], dtype=np.float64
)
"""Voxels run to left, inferior, anterior."""


def make_brain(seed: int) -> np.ndarray:
    """Stripped brain (40, 40, 30) of about 74 × 110 × 92 mm, exactly zero around."""
    axes = [(np.arange(n) - (n - 1) / 2) / (0.46 * n) for n in (40, 40, 30)]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    rng = np.random.default_rng(seed)
    image = np.where(radius < 0.6, 300, 420) + rng.normal(0, 20, radius.shape)
    image[radius < 0.2] = 900
    return np.where(radius <= 1, image, 0).astype(np.float32)


def write_brain(path: Path, seed: int) -> Path:
    brain = make_brain(seed)
    write_volume(path, brain, Volume(brain, AFFINE))
    return path


def write_site(folder: Path, people: int) -> Path:
    """BIDS dataset with so many people, the first of them scanned twice where there are several."""
    for person in range(people):
        subject = f"sub-{person:02d}"
        write_brain(folder / subject / "anat" / f"{subject}_T2w.nii.gz", person)
    if people > 1:
        write_brain(folder / "sub-00" / "ses-b" / "anat" / "sub-00_ses-b_T2w.nii.gz", 99)
    return folder


def prepare(inputs: list[Path], out: Path, **options: object) -> PreparedManifest:
    settings: dict[str, object] = {"site": "guys", "contract": CONTRACT, **options}
    return prepare_site(inputs, out, **settings)  # type: ignore[arg-type]


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if ".part" in path.name or ".old" in path.name]


def test_the_dataset_is_bids_and_says_what_was_done(tmp_path: Path) -> None:
    raw = write_site(tmp_path / "raw", 3)
    progress: list[tuple[int, int]] = []
    manifest = prepare(
        [raw], tmp_path / "out", seed=5, progress=lambda done, total: progress.append((done, total))
    )
    files = sorted(
        path.relative_to(tmp_path / "out").as_posix()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    )
    expected = [
        *(".bidsignore", "dataset_description.json", "participants.tsv", "prepared.json"),
    ]
    for stem in ("sub-00/anat/sub-00", "sub-00/ses-b/anat/sub-00_ses-b", "sub-01/anat/sub-01"):
        for rest in ("desc-prepared_T2w", "desc-brain_mask"):
            expected += [f"{stem}_{rest}.json", f"{stem}_{rest}.nii.gz"]
    for rest in ("desc-prepared_T2w", "desc-brain_mask"):
        expected += [f"sub-02/anat/sub-02_{rest}.json", f"sub-02/anat/sub-02_{rest}.nii.gz"]
    assert files == sorted(expected)

    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    stored = PreparedManifest.model_validate_json((tmp_path / "out/prepared.json").read_bytes())
    assert stored == manifest
    assert (stored.people, len(stored.images), stored.seed) == (3, 4, 5)
    assert (stored.site, stored.contract) == ("guys", CONTRACT)
    assert stored.software == prism_mri.__version__
    description = json.loads((tmp_path / "out/dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["DatasetLinks"] == {"raw": raw.as_uri()}
    image = json.loads((tmp_path / "out/sub-01/anat/sub-01_desc-prepared_T2w.json").read_text())
    assert image["SkullStripped"] is True
    assert image["Sources"] == ["bids:raw:sub-01/anat/sub-01_T2w.nii.gz"]
    assert leftovers(tmp_path) == []


def test_prepared_images_lie_where_the_brain_lies(tmp_path: Path) -> None:
    raw = write_site(tmp_path / "raw", 1)
    manifest = prepare([raw], tmp_path / "out")
    entry = manifest.images[0]
    prepared = read_volume(tmp_path / "out" / entry.image)
    mask = read_mask(tmp_path / "out" / entry.mask, prepared)
    source = read_volume(raw / "sub-00/anat/sub-00_T2w.nii.gz")
    assert nib.aff2axcodes(prepared.affine) == ("R", "A", "S")
    assert prepared.spacing_mm == pytest.approx((2.0, 2.0, 2.5))
    assert prepared.data.shape == (48, 64, 40)
    assert prepared.data.min() == 0
    assert not prepared.data[~mask].any()
    assert np.percentile(prepared.data[mask], 25) == pytest.approx(0.25, rel=0.03)
    # Put back on the scan's own voxels by an independent resampler, it is the scan.
    back = resample_to(prepared, source) * entry.scale
    inside = find_core(source)
    assert np.corrcoef(back[inside], source.data[inside])[0, 1] > 0.97
    assert back[inside].mean() == pytest.approx(source.data[inside].mean(), rel=0.01)


def find_core(volume: Volume) -> np.ndarray:
    core = volume.data > 0
    for axis in range(3):
        core = core & np.roll(core, 4, axis) & np.roll(core, -4, axis)
    return core


def test_people_are_held_out_whole_and_by_the_seed(tmp_path: Path) -> None:
    raw = write_site(tmp_path / "raw", 4)
    splits = []
    for seed in (0, 0, 1, 2, 3):
        out = tmp_path / f"out{len(splits)}"
        manifest = prepare([raw], out, seed=seed, validation_fraction=0.25)
        assert manifest.held_out == "people"
        held = {entry.subject for entry in manifest.images if entry.validation_slices}
        trained = {entry.subject for entry in manifest.images if entry.train_slices}
        assert len(held) == 1
        assert held | trained == {"00", "01", "02", "03"}
        assert not held & trained
        rows = (out / "participants.tsv").read_text().splitlines()
        assert rows[0] == "participant_id\tsplit"
        assert {row.split("\t")[0] for row in rows if row.endswith("validation")} == {
            f"sub-{subject}" for subject in held
        }
        splits.append(held)
    assert splits[0] == splits[1]
    assert len({frozenset(split) for split in splits}) > 1


def test_one_person_validates_on_slices_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = write_site(tmp_path / "raw", 1)
    manifest = prepare([raw], tmp_path / "out")
    entry = manifest.images[0]
    assert manifest.held_out == "slices"
    assert "one person only" in caplog.text
    kept = sorted(entry.train_slices + entry.validation_slices)
    assert kept == list(range(kept[0], kept[-1] + 1))
    assert not set(entry.train_slices) & set(entry.validation_slices)
    assert entry.validation_slices == tuple(kept[5::10])


def test_slices_with_little_brain_are_dropped(tmp_path: Path) -> None:
    raw = write_site(tmp_path / "raw", 1)
    entry = prepare([raw], tmp_path / "out").images[0]
    mask = read_mask(tmp_path / "out" / entry.mask, read_volume(tmp_path / "out" / entry.image))
    areas_mm2 = mask.sum(axis=(0, 1)) * 4.0
    kept = {*entry.train_slices, *entry.validation_slices}
    assert kept == set(np.flatnonzero(areas_mm2 >= 1000).tolist())
    assert 0 < len(kept) < mask.shape[2]


def test_the_same_call_writes_the_same_bytes(tmp_path: Path) -> None:
    raw = write_site(tmp_path / "raw", 2)
    for name in ("first", "second"):
        prepare([raw], tmp_path / name)
    for path in (tmp_path / "first").rglob("*.*"):
        other = tmp_path / "second" / path.relative_to(tmp_path / "first")
        assert other.read_bytes() == path.read_bytes(), path.name


def test_masks_are_found_by_pattern(tmp_path: Path) -> None:
    brain = make_brain(0)
    head = np.where(brain > 0, brain, np.float32(30))
    like = Volume(head, AFFINE)
    write_volume(tmp_path / "raw" / "scan.nii.gz", head, like)
    write_volume(tmp_path / "raw" / "scan_mask.nii.gz", brain > 0, like, dtype=np.uint8)
    with pytest.raises(ImageError, match="background is not zero"):
        prepare_image(find_images([tmp_path / "raw"], "T2w")[0], CONTRACT)
    manifest = prepare([tmp_path / "raw"], tmp_path / "out", brain_mask="{dir}/{stem}_mask.nii.gz")
    assert manifest.images[0].image == "sub-scan/anat/sub-scan_desc-prepared_T2w.nii.gz"
    write_volume(tmp_path / "stripped" / "scan.nii.gz", brain, like)
    stripped = prepare([tmp_path / "stripped"], tmp_path / "out2")
    assert stripped.images[0].scale == manifest.images[0].scale


# --- what must fail -------------------------------------------------------------------------------


def test_all_bad_inputs_are_named_at_once_and_nothing_is_left(tmp_path: Path) -> None:
    raw = write_site(tmp_path / "raw", 4)
    (raw / "sub-00/anat/sub-00_T2w.nii.gz").write_bytes(b"")
    write_json(raw / "sub-01/anat/sub-01_T2w.json", {"SeriesDescription": "T1 MPRAGE"})
    whole = np.where(make_brain(0) > 0, make_brain(0), np.float32(30))
    write_volume(
        raw / "sub-02/anat/sub-02_T2w.nii.gz", whole, Volume(whole, AFFINE), overwrite=True
    )
    with pytest.raises(InputError) as caught:
        prepare([raw], tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "sub-00_T2w.nii.gz is an empty file" in lines[0]
    assert "sub-01_T2w.nii.gz says SeriesDescription 'T1 MPRAGE', which is T1w" in lines[1]
    assert "sub-02_T2w.nii.gz: the image is not stripped" in lines[2]
    assert lines[3] == "3 of 5 images cannot be used"
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize("failure", ["missing", "shape", "empty"])
def test_bad_masks(tmp_path: Path, failure: str) -> None:
    image = write_brain(tmp_path / "scan.nii.gz", 0)
    mask = np.zeros((40, 40, 29 if failure == "shape" else 30), np.float32)
    if failure != "missing":
        write_volume(tmp_path / "m.nii.gz", mask, Volume(mask, AFFINE), dtype=np.uint8)
    words = {"missing": "m.nii.gz does not exist", "shape": "has shape", "empty": "is empty"}
    with pytest.raises(InputError, match=words[failure]):
        prepare([image], tmp_path / "out", brain_mask=str(tmp_path / "m.nii.gz"))


def test_wrong_modality_by_suffix(tmp_path: Path) -> None:
    image = write_brain(tmp_path / "sub-01_T1w.nii.gz", 0)
    with pytest.raises(InputError, match="is named as T1w, expected T2w"):
        prepare([image], tmp_path / "out")
    with pytest.raises(BidsError, match="is named as T1w, expected T2w"):
        prepare_image(find_images([image], "T2w")[0], CONTRACT)


def test_no_slice_left(tmp_path: Path) -> None:
    image = write_brain(tmp_path / "scan.nii.gz", 0)
    contract = PreprocessingContract(shape=(64, 64), spacing_mm=2.0, min_brain_area_mm2=99999)
    with pytest.raises(InputError, match=r"scan\.nii\.gz: no slice has 99999 mm² of brain"):
        prepare([image], tmp_path / "out", contract=contract)


def test_a_brain_larger_than_the_grid(tmp_path: Path) -> None:
    image = write_brain(tmp_path / "scan.nii.gz", 0)
    contract = PreprocessingContract(shape=(32, 32), spacing_mm=2.0, min_brain_area_mm2=100)
    with pytest.raises(InputError, match=r"scan\.nii\.gz: the brain is .* mm wide along axis"):
        prepare([image], tmp_path / "out", contract=contract)


@pytest.mark.parametrize("site", ["", "Guys", "-a", "a b", "../up", "a" * 33, "guys\n"])
def test_site_names(tmp_path: Path, site: str) -> None:
    with pytest.raises(ConfigError, match="is not valid; use 1 to 32"):
        prepare([tmp_path], tmp_path / "out", site=site)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_validation_fractions(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(ConfigError, match="is out of range; choose above 0, below 1"):
        prepare([tmp_path], tmp_path / "out", validation_fraction=fraction)


def test_two_inputs_with_the_same_person(tmp_path: Path) -> None:
    sites = [write_site(tmp_path / name, 1) for name in ("a", "b")]
    with pytest.raises(InputError, match=r"name the same subject and session: .*/a/.* and .*/b/"):
        prepare(sites, tmp_path / "out")


def test_nothing_is_replaced_unless_told_and_never_what_is_not_ours(tmp_path: Path) -> None:
    raw = write_site(tmp_path / "raw", 1)
    prepare([raw], tmp_path / "out")
    with pytest.raises(InputError, match="out exists already; pass --overwrite"):
        prepare([raw], tmp_path / "out")
    assert prepare([raw], tmp_path / "out", site="hh", overwrite=True).site == "hh"
    assert b'"hh"' in (tmp_path / "out" / "prepared.json").read_bytes()
    assert leftovers(tmp_path) == []
    with pytest.raises(InputError, match=r"is no prepared dataset .* and is not replaced"):
        prepare([raw], tmp_path / "raw", overwrite=True)
    assert (raw / "sub-00/anat/sub-00_T2w.nii.gz").exists()


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "no permission")]
)
@pytest.mark.parametrize("after", [0, 3])
def test_disk_full_or_no_permission_keeps_the_old_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str, after: int
) -> None:
    raw = write_site(tmp_path / "raw", 2)
    prepare([raw], tmp_path / "out")
    before = (tmp_path / "out" / "prepared.json").read_bytes()
    replace, calls = os.replace, []

    def fail(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match=words):
        prepare([raw], tmp_path / "out", site="hh", overwrite=True)
    assert (tmp_path / "out" / "prepared.json").read_bytes() == before
    assert leftovers(tmp_path) == []


def test_a_failed_rename_keeps_the_old_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_site(tmp_path / "raw", 1)
    prepare([raw], tmp_path / "out")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(InputError, match=r"cannot write .*out: the disk is full"):
        prepare([raw], tmp_path / "out", site="hh", overwrite=True)
    assert b'"guys"' in (tmp_path / "out" / "prepared.json").read_bytes()
    assert leftovers(tmp_path) == []


def test_logs_name_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    prepare([write_site(tmp_path / "raw", 1)], tmp_path / "out")
    assert caplog.records
    assert "sub-" not in caplog.text
    assert str(tmp_path) not in caplog.text


def test_real_scans(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "t2w_real" / "patient01"
    manifest = prepare_site(
        [folder],
        tmp_path / "out",
        site="real",
        contract=PreprocessingContract(),
        brain_mask="{dir}/{stem}_brainmask.nii.gz",
    )
    assert [entry.subject for entry in manifest.images] == ["study1T2W", "study2T2W"]
    for entry in manifest.images:
        prepared = read_volume(tmp_path / "out" / entry.image)
        mask = read_mask(tmp_path / "out" / entry.mask, prepared)
        assert prepared.data.shape[:2] == (256, 256)
        assert prepared.spacing_mm[:2] == pytest.approx((1.0, 1.0), abs=1e-4)
        millilitres = mask.sum() * np.prod(prepared.spacing_mm) / 1000
        given = {"study1T2W": 1566.3, "study2T2W": 1504.0}[entry.subject]
        assert millilitres == pytest.approx(given, rel=0.01)


def test_what_is_prepared_already_is_refused(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", people=2)
    prepare([site], tmp_path / "once")
    with pytest.raises(InputError, match="is prepared already"):
        prepare([tmp_path / "once"], tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


def test_plain_names_are_counted_as_people_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [write_brain(tmp_path / f"scan{index}.nii.gz", index) for index in range(2)]
    prepare(images, tmp_path / "out")
    assert "counted as one person each" in caplog.text
