"""Prepared datasets are read back as they were written, or refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prism_mri.config import PreprocessingContract
from prism_mri.data.prepared import read_prepared
from prism_mri.errors import ImageError, InputError
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.volume import read_volume

CONTRACT = PreprocessingContract(shape=(48, 64), spacing_mm=2.0, min_brain_area_mm2=1000)


def change_manifest(site: Path, change: dict[str, Any]) -> None:
    path = site / "prepared.json"
    content = json.loads(path.read_text())
    content["images"][0].update(change.pop("image", {}))
    path.write_text(json.dumps(content | change))


def test_slices_are_the_kept_ones_in_order(site: Path) -> None:
    dataset = read_prepared(site)
    assert dataset.manifest.people == len(dataset.items) == 3
    for item in dataset.items:
        slices, mask = item.load()
        volume = read_volume(site / item.entry.image)
        assert slices.shape == mask.shape == (len(item.slices), 48, 64)
        assert slices.dtype == np.float32
        assert mask.dtype == np.bool_
        for position, k in enumerate(item.slices):
            assert np.array_equal(slices[position], volume.data[:, :, k])
        assert (mask.sum(axis=(1, 2)) * 4 >= 1000).all()
        assert not slices[~mask].any()
        assert np.percentile(slices[mask], 25) == pytest.approx(0.25, rel=0.02)


def test_splits_share_nobody_and_leave_out_nobody(site: Path) -> None:
    dataset = read_prepared(site)
    train = {item.subject for item in dataset.split("train")}
    validation = {item.subject for item in dataset.split("validation")}
    assert (len(train), len(validation)) == (2, 1)
    assert train | validation == {"0", "1", "2"}


def test_one_person_is_split_by_slices(site: Path) -> None:
    raw = site.parent / "raw" / "sub-0"
    prepare_site([raw], site.parent / "one", site="guys", contract=CONTRACT)
    dataset = read_prepared(site.parent / "one")
    (train,), (validation,) = dataset.split("train"), dataset.split("validation")
    assert not set(train.slices) & set(validation.slices)
    assert sorted(train.slices + validation.slices) == list(dataset.items[0].slices)
    assert len(train.load()[0]) == len(train.slices)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no prepared dataset: it has no prepared\.json; make"):
        read_prepared(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version"),
        ({"site": "../x"}, "site"),
        ({"surprise": 1}, "surprise"),
        ({"image": {"scale": -1}}, r"images\.0\.scale"),
        ({"image": {"mask": "../../secret.nii.gz"}}, "lies outside the dataset"),
        ({"image": {"image": "/etc/passwd"}}, "lies outside the dataset"),
    ],
)
def test_a_manifest_that_is_not_ours(site: Path, change: dict[str, Any], words: str) -> None:
    change_manifest(site, change)
    with pytest.raises(InputError, match=words) as caught:
        read_prepared(site)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_no_json(site: Path) -> None:
    (site / "prepared.json").write_text("{")
    with pytest.raises(InputError, match=r"is not valid: .*prepare the site again"):
        read_prepared(site)


def test_slices_that_are_not_there(site: Path) -> None:
    change_manifest(site, {"image": {"train_slices": [5, 400], "validation_slices": []}})
    with pytest.raises(InputError, match="has 40 slices, its manifest names slice 400"):
        read_prepared(site).items[0].load()


def test_a_file_that_is_gone(site: Path) -> None:
    item = read_prepared(site).items[0]
    (site / item.entry.mask).unlink()
    with pytest.raises(ImageError, match="does not exist"):
        item.load()


def test_people_for_testing_are_a_split_of_their_own(site: Path) -> None:
    slices = read_prepared(site).items[0].slices
    change_manifest(
        site,
        {"image": {"train_slices": [], "validation_slices": [], "test_slices": list(slices)}},
    )
    dataset = read_prepared(site)
    tested = dataset.split("test")
    assert [(item.subject, item.slices) for item in tested] == [("0", slices)]
    for split in ("train", "validation"):
        assert "0" not in {item.subject for item in dataset.split(split)}
    assert dataset.items[0].slices == slices


def test_datasets_prepared_before_there_was_a_test_split_are_read(site: Path) -> None:
    path = site / "prepared.json"
    content = json.loads(path.read_text())
    for image in content["images"]:
        del image["test_slices"]
    path.write_text(json.dumps(content))
    assert read_prepared(site).split("test") == ()
