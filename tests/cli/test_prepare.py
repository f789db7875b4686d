"""``prism-mri prepare`` on the command line."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prism_mri.cli import prepare
from prism_mri.data.prepared import read_prepared
from prism_mri.errors import ConfigError, InputError
from prism_mri.volume import Volume, write_volume


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    prepare.add_parser(parser.add_subparsers())
    args = parser.parse_args(["prepare", *(str(argument) for argument in arguments)])
    return int(args.run(args))


def write_head(folder: Path, people: int) -> Path:
    """Heads in air that is not zero, with brain masks beside them."""
    axes = np.meshgrid(*(np.arange(40.0) - 19.5 for _ in range(3)), indexing="ij")
    ball = sum(axis**2 for axis in axes) < 15**2
    for person in range(people):
        noise = np.random.default_rng(person).uniform(100, 200, ball.shape)
        image = np.where(ball, noise, 10).astype(np.float32)
        like = Volume(image, np.diag([3.0, 3.0, 3.0, 1.0]))
        write_volume(folder / f"p{person}.nii.gz", image, like)
        write_volume(folder / f"p{person}_mask.nii.gz", ball, like, dtype=np.uint8)
    return folder


def test_the_path_of_the_dataset_goes_to_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = write_head(tmp_path / "raw", 3)
    out = tmp_path / "out"
    options = ["--site", "guys", "--brain-mask", "{dir}/{stem}_mask.nii.gz", "--seed", "7"]
    assert run(heads, out, *options, "--validation-fraction", "0.5") == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert "prepare: 3 of 3 images" in captured.err
    manifest = json.loads((out / "prepared.json").read_text())
    assert (manifest["site"], manifest["seed"], manifest["people"]) == ("guys", 7, 3)
    assert manifest["contract"]["shape"] == [256, 256]
    assert sum(not image["train_slices"] for image in manifest["images"]) == 2

    with pytest.raises(InputError, match="pass --overwrite"):
        run(heads, out, *options)
    assert run(heads / "p0.nii.gz", heads / "p1.nii.gz", out, *options, "--overwrite") == 0
    assert json.loads((out / "prepared.json").read_text())["people"] == 2


def test_heads_without_masks_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = write_head(tmp_path / "raw", 2)
    with pytest.raises(InputError, match=r"p0\.nii\.gz: the image is not stripped") as caught:
        run(heads, tmp_path / "out", "--site", "guys", "--brain-extraction", "none")
    assert str(caught.value).count("--brain-mask") == 2
    assert str(caught.value).count("--brain-extraction auto") == 2
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [[], ["in", "out"], ["in", "--site", "a"], ["in", "out", "--site", "a", "--modality", "CT"]],
)
def test_usage_errors_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_png_slices_are_written_and_prepared_in_turn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = write_head(tmp_path / "raw", 3)
    png, out = tmp_path / "png", tmp_path / "out"
    options = ["--site", "guys", "--modality", "T1w", "--seed", "7"]
    masks = ["--brain-mask", "{dir}/{stem}_mask.nii.gz"]
    assert run(heads, png, *options, *masks, "--png", "--validation-fraction", "0.6") == 0
    assert capsys.readouterr().out == f"{png}\n"
    written = json.loads((png / "dataset.json").read_text())
    assert (written["seed"], written["test_fraction"]) == (7, 0.6)
    assert [image["split"] for image in written["images"]].count("test") == 2
    assert written["contract"]["intensity_reference"] == "upper_quartile"

    assert run(png, out, *options) == 0  # the folder says what it is
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert "prepare: 3 of 3 images" in captured.err
    manifest = json.loads((out / "prepared.json").read_text())
    assert manifest["contract"]["modality"] == "T1w"
    assert sum(bool(image["test_slices"]) for image in manifest["images"]) == 2
    assert run(png, out, *options, "--layout", "png", "--overwrite") == 0


def test_the_published_layout_is_recognized(tmp_path: Path) -> None:
    for name in ("train/012", "train/013", "test/105"):
        path = tmp_path / "in" / name / f"IXI-Guys-{name[-3:]}-T2_stripped.png"
        pixels = np.zeros((90, 80), np.uint8)
        pixels[10:80, 10:70] = np.random.default_rng(0).integers(60, 250, (70, 60))
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels).convert("RGBA").save(path)
    assert run(tmp_path / "in", tmp_path / "out", "--site", "guys", "--pixel-mm", "0.9") == 0
    manifest = json.loads((tmp_path / "out" / "prepared.json").read_text())
    assert [image["test_slices"] for image in manifest["images"]] == [[], [], [0]]
    with pytest.raises(InputError, match="no T2w image in"):
        run(tmp_path / "in", tmp_path / "other", "--site", "guys", "--layout", "files")


def test_options_that_contradict_each_other(tmp_path: Path) -> None:
    heads = write_head(tmp_path / "raw", 2)
    with pytest.raises(ConfigError, match="--pixel-mm is for PNG slices"):
        run(heads, tmp_path / "out", "--site", "a", "--pixel-mm", "1")
    with pytest.raises(ConfigError) as caught:
        run(
            *(heads, heads, tmp_path / "out", "--site", "a", "--layout", "png", "--png"),
            *("--brain-mask", "m.nii.gz"),
        )
    for words in (
        "--png writes slices of NIfTI images",
        "--brain-mask is for NIfTI images",
        "one folder of PNG slices at a time, got 2 inputs",
    ):
        assert words in str(caught.value)
    with pytest.raises(InputError, match="holds no T2w slices as PNG"):
        run(heads, tmp_path / "out", "--site", "a", "--layout", "png")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("first", ["png", "raw"])
def test_a_folder_of_png_slices_among_others_is_not_passed_over(tmp_path: Path, first: str) -> None:
    heads = write_head(tmp_path / "raw", 2)
    options = ["--site", "guys", "--brain-mask", "{dir}/{stem}_mask.nii.gz"]
    assert run(heads, tmp_path / "png", *options, "--png") == 0
    inputs = sorted([heads, tmp_path / "png"], reverse=first == "raw")
    with pytest.raises(ConfigError, match="one folder of PNG slices at a time, got 2 inputs"):
        run(*inputs, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_images_of_another_modality_name_the_option(tmp_path: Path) -> None:
    heads = write_head(tmp_path / "raw", 1)
    named = heads / "sub-1_T1w.nii.gz"
    (heads / "p0.nii.gz").rename(named)
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"or --modality T1w for these$") as caught:
        run(heads, out, "--site", "guys")
    assert f"no T2w image in {heads}, but T1w; " in str(caught.value)
    with pytest.raises(InputError, match="expected T2w; give T2w images, or --modality T1w for"):
        run(named, out, "--site", "guys")


def test_heads_without_masks_are_extracted_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = write_head(tmp_path / "raw", 2)
    mask = tmp_path / "raw" / "p0_mask.nii.gz"
    program = tmp_path / "bin" / "mri_synthstrip"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncp {mask} "$4"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.delenv("FREESURFER_HOME", raising=False)
    assert run(heads, tmp_path / "out", "--site", "guys") == 0
    masked = ["--site", "guys", "--brain-mask", str(mask)]
    assert run(heads, tmp_path / "masked", *masked) == 0
    manifests = [
        json.loads((tmp_path / name / "prepared.json").read_text()) for name in ("out", "masked")
    ]
    source = "SynthStrip (version unknown)"
    assert [image["mask_source"] for image in manifests[0]["images"]] == [source] * 2
    assert [image["mask_source"] for image in manifests[1]["images"]] == ["given"] * 2
    for image in manifests[0]["images"]:
        for kind in ("image", "mask"):
            made, given = (tmp_path / name / image[kind] for name in ("out", "masked"))
            assert made.read_bytes() == given.read_bytes()
        sidecar = (tmp_path / "out" / image["mask"]).with_suffix("").with_suffix(".json")
        assert json.loads(sidecar.read_text()) == {"Type": "Brain", "MaskSource": source}


def test_a_manifest_that_does_not_say_where_masks_come_from_is_read(tmp_path: Path) -> None:
    heads = write_head(tmp_path / "raw", 1)
    options = ["--site", "guys", "--brain-mask", "{dir}/{stem}_mask.nii.gz"]
    assert run(heads, tmp_path / "out", *options) == 0
    path = tmp_path / "out" / "prepared.json"
    manifest = json.loads(path.read_text())
    for image in manifest["images"]:
        del image["mask_source"]
    path.write_text(json.dumps(manifest))
    assert read_prepared(tmp_path / "out").manifest.images[0].mask_source is None
