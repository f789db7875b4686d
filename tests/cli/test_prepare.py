"""``prism-mri prepare`` on the command line."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from prism_mri.cli import prepare
from prism_mri.errors import InputError
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
        run(heads, tmp_path / "out", "--site", "guys")
    assert str(caught.value).count("--brain-mask") == 2
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [[], ["in", "out"], ["in", "--site", "a"], ["in", "out", "--site", "a", "--modality", "T1w"]],
)
def test_usage_errors_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
