"""The group level: numbers of the sidecars as a table and a page."""

import json

import numpy as np
import pytest

from prism_mri.errors import InputError
from prism_mri.report.group import compute_robust_z, write_group


@pytest.fixture
def write(tmp_path):
    """Write one result's sidecar beside an empty volume."""

    def run(participant, scale, *, session=None, warnings=(), **more):
        name = f"sub-{participant}" + (f"_ses-{session}" if session else "")
        folder = tmp_path.joinpath(*name.split("_"), "anat")
        folder.mkdir(parents=True, exist_ok=True)
        prism = {
            "SourceIntensityScale": scale,
            "StyleVector": [0.5, -1.0],
            "Seed": None,
            "AnyModality": False,
            "Warnings": list(warnings),
            **more,
        }
        sidecar = {"Prism": prism, "SourceEchoTime": 0.1, "SkullStripped": True}
        (folder / f"{name}_desc-harmonized_T2w.json").write_text(json.dumps(sidecar))
        (folder / f"{name}_desc-harmonized_T2w.nii.gz").touch()

    return run


@pytest.fixture
def seven(write):
    for number, scale in enumerate((100.0, 102.0, 98.0, 101.0, 99.0, 100.5, 160.0), start=1):
        write(f"0{number}", scale, session="a", warnings=["<b>&"] if number == 2 else [])


def read_table(path):
    head, *lines = (line.split("\t") for line in path.read_text().splitlines())
    return [dict(zip(head, line, strict=True)) for line in lines]


def test_robust_z_of_known_numbers():
    # Median 3, median deviation 1: (100 − 3) / 1.4826.
    z = compute_robust_z(np.array([1.0, 2.0, 3.0, 4.0, 100.0]))
    np.testing.assert_allclose(z, np.array([-2, -1, 0, 1, 97]) / 1.4826)
    # Most are the same: mean deviation 2, (10 − 0) / (1.2533 · 2).
    z = compute_robust_z(np.array([0.0, 0.0, 0.0, 0.0, 10.0]))
    np.testing.assert_allclose(z, [0, 0, 0, 0, 10 / (1.2533 * 2)])
    np.testing.assert_array_equal(compute_robust_z(np.full(9, 7.0)), 0)
    np.testing.assert_array_equal(compute_robust_z(np.array([1.0, 2.0, 3.0, 99.0])), 0)


def test_the_table_has_a_row_an_image(seven, tmp_path):
    table, page = write_group(tmp_path)
    rows = read_table(table)
    assert [row["participant_id"] for row in rows] == [f"sub-0{n}" for n in range(1, 8)]
    assert rows[6] == {
        "participant_id": "sub-07",
        "session_id": "ses-a",
        "image": "sub-07/ses-a/anat/sub-07_ses-a_desc-harmonized_T2w.nii.gz",
        "warnings": "0",
        "source_echo_time": "0.1",
        "source_intensity_scale": "160",
        "style_vector_1": "0.5",
        "style_vector_2": "-1",
        "robust_z": f"{(160 - 100.5) / (1.4826 * 1.5):.3f}",
        "farthest": "source_intensity_scale",
    }
    assert rows[1]["warnings"] == "1"
    assert page.name == "group_harmonized.html"
    assert (tmp_path / ".bidsignore").read_text() == "group_harmonized.*\n"


def test_the_page_has_outliers_first_and_loads_nothing(seven, tmp_path):
    page = write_group(tmp_path)[1].read_text()
    places = [page.index(f"sub-0{n}_ses-a_desc") for n in range(1, 8)]
    assert min(places) == places[6]
    assert "<strong>2 of 7 images lie far from the others; 1 have warnings.</strong>" in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "://" not in page
    assert "style_vector_1 0.5" in page
    assert str(tmp_path) not in page


def test_names_are_escaped(write, tmp_path):
    for number in range(2):
        write(f"0{number}", 1.0 + number, **{"<img src=x>": number})
    page = write_group(tmp_path)[1].read_text()
    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page
    assert "Fewer than 2 images" not in page
    assert "too few to tell outliers" in page


def test_missing_numbers_and_sessions_are_na(write, tmp_path):
    write("01", 1.0, TissueContrast={"GmWm": 0.3})
    write("02", float("nan"))
    rows = read_table(write_group(tmp_path)[0])
    assert [row["session_id"] for row in rows] == ["n/a", "n/a"]
    assert [row["tissue_contrast_gm_wm"] for row in rows] == ["0.3", "n/a"]
    assert [row["source_intensity_scale"] for row in rows] == ["1", "n/a"]


def test_labels_choose_rows(seven, write, tmp_path):
    write("01", 1.0, session="b")
    rows = read_table(write_group(tmp_path, participants=["01", "sub-02"], sessions=["a"])[0])
    assert [row["participant_id"] for row in rows] == ["sub-01", "sub-02"]
    with pytest.raises(InputError, match="no harmonized image of that choice"):
        write_group(tmp_path, participants=["99"], overwrite=True)


def test_results_are_replaced_only_when_asked(seven, write, tmp_path):
    before = [path.read_bytes() for path in write_group(tmp_path)]
    assert [path.read_bytes() for path in write_group(tmp_path)] == before
    write("08", 1.0)
    with pytest.raises(InputError, match=r"group_harmonized\.tsv.* says something else"):
        write_group(tmp_path)
    assert (tmp_path / "group_harmonized.tsv").read_bytes() == before[0]
    write_group(tmp_path, overwrite=True)
    assert len(read_table(tmp_path / "group_harmonized.tsv")) == 8


def test_an_unfinished_image_is_left_out_and_a_bad_sidecar_named(seven, write, tmp_path):
    (tmp_path / "sub-01/ses-a/anat/sub-01_ses-a_desc-harmonized_T2w.nii.gz").unlink()
    assert len(read_table(write_group(tmp_path)[0])) == 6
    broken = tmp_path / "sub-02/ses-a/anat/sub-02_ses-a_desc-harmonized_T2w.json"
    broken.write_text("{")
    with pytest.raises(InputError, match=r"sub-02_ses-a_desc-harmonized_T2w\.json is not valid"):
        write_group(tmp_path)
    broken.unlink()
    with pytest.raises(InputError, match="missing or not of prism-mri"):
        write_group(tmp_path)


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(InputError, match="is no folder: give the OUT_DIR"):
        write_group(tmp_path / "none")
