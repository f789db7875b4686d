"""``prism-mri prepare`` from the paper's datasets, simulated, to prepared datasets."""

import json

import pytest

from prism_mri.cli.main import main
from prism_mri.volume import read_volume

MASKS = ["--brain-mask", "{dir}/{stem}_mask.nii.gz"]


def prepare(*words) -> int:
    return main(["prepare", *map(str, words)])


def read_images(out) -> list[dict[str, object]]:
    return json.loads((out / "prepared.json").read_text())["images"]


@pytest.mark.parametrize(
    ("layout", "site", "people"),
    [
        ("auto", "guys", ["IXI012", "IXI013"]),
        ("ixi", "hh", ["IXI014", "IXI015"]),
        ("ixi", "HH", ["IXI014", "IXI015"]),
    ],
)
def test_ixi(write_ixi_tree, tmp_path, capsys, layout, site, people) -> None:
    raw, out = write_ixi_tree(tmp_path / "raw"), tmp_path / "out"
    assert prepare(raw, out, "--site", site, "--layout", layout) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert f"{site.lower()}: 2 people (paper: {319 if site == 'guys' else 185})" in captured.err
    assert "without BIDS names" not in captured.err
    assert "IXI0" not in captured.err
    assert [image["subject"] for image in read_images(out)] == people
    manifest = json.loads((out / "prepared.json").read_text())
    assert (manifest["site"], manifest["people"]) == (site.lower(), 2)
    assert read_volume(out / f"sub-{people[0]}/anat/sub-{people[0]}_desc-prepared_T2w.nii.gz")


def test_adni(write_adni_tree, tmp_path, capsys) -> None:
    raw, out = write_adni_tree(tmp_path / "raw"), tmp_path / "out"
    assert prepare(raw, out, "--site", "adni") == 0
    captured = capsys.readouterr()
    assert "further scans of the same people, left out: 1" in captured.err
    assert "adni: 2 people (paper: 77)" in captured.err
    assert "002" not in captured.err
    images = read_images(out)
    assert [(image["subject"], image["session"]) for image in images] == [
        ("002S0295", "20120510"),
        ("002S0296", "20110510"),
    ]
    assert images[0]["image"] == (
        "sub-002S0295/ses-20120510/anat/sub-002S0295_ses-20120510_desc-prepared_T2w.nii.gz"
    )


@pytest.mark.parametrize("dataset", ["ixi", "adni"])
def test_heads_come_with_masks_by_pattern(
    write_ixi_tree, write_adni_tree, tmp_path, capsys, dataset
) -> None:
    write, site = {"ixi": (write_ixi_tree, "hh"), "adni": (write_adni_tree, "adni")}[dataset]
    stripped, heads = write(tmp_path / "stripped"), write(tmp_path / "heads", heads=True)
    options = ["--site", site, "--layout", dataset]
    assert prepare(heads, tmp_path / "none", *options, "--brain-extraction", "none") == 1
    lines = capsys.readouterr().err.splitlines()
    assert sum("the image is not stripped" in line for line in lines) == 2
    assert lines[-1] == "2 of 2 images cannot be used"
    assert prepare(heads, tmp_path / "masked", *options, *MASKS) == 0
    assert prepare(stripped, tmp_path / "plain", *options) == 0
    for masked, plain in zip(
        read_images(tmp_path / "masked"), read_images(tmp_path / "plain"), strict=True
    ):
        assert masked["subject"] == plain["subject"]
        assert masked["scale"] == pytest.approx(plain["scale"], rel=0.02)


def test_masks_by_subject_and_session(write_adni_tree, tmp_path, capsys) -> None:
    raw = write_adni_tree(tmp_path / "raw", heads=True)
    for mask in sorted(raw.rglob("*_mask.nii.gz")):
        day = mask.parent.parent.name[:10].replace("-", "")
        subject = mask.parts[-5].replace("_", "")
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask.rename(tmp_path / "masks" / f"{subject}-{day}.nii.gz")
    pattern = f"{tmp_path}/masks/{{sub}}-{{ses}}.nii.gz"
    options = ["--site", "adni", "--brain-mask", pattern]
    assert prepare(raw, tmp_path / "out", *options) == 0
    assert len(read_images(tmp_path / "out")) == 2


def test_png_form_of_ixi(write_ixi_tree, tmp_path, capsys) -> None:
    raw, out = write_ixi_tree(tmp_path / "raw"), tmp_path / "png"
    assert prepare(raw, out, "--site", "guys", "--png") == 0
    written = json.loads((out / "dataset.json").read_text())
    assert sorted(image["subject"] for image in written["images"]) == ["IXI012", "IXI013"]


def test_an_unreadable_file_is_one_line(write_ixi_tree, tmp_path, capsys) -> None:
    raw = write_ixi_tree(tmp_path / "raw")
    bad = raw / "IXI012-Guys-0712-T2.nii.gz"
    bad.write_bytes(bad.read_bytes()[:2000])
    assert prepare(raw, tmp_path / "out", "--site", "guys") == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1] == f"prism-mri: error: {bad} is cut short or damaged; copy or export it again"
    assert not (tmp_path / "out").exists()


def test_a_site_that_ixi_does_not_have(write_ixi_tree, tmp_path, capsys) -> None:
    raw = write_ixi_tree(tmp_path / "raw")
    assert prepare(raw, tmp_path / "out", "--site", "mine") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"prism-mri: error: no image of site mine in {raw}, but of guys (2),")
    options = ["--site", "mine", "--layout", "files"]
    assert prepare(raw, tmp_path / "out", *options) == 0
    assert len(read_images(tmp_path / "out")) == 4
