"""The BIDS filter file: what it lets through, and what is refused in it."""

import json
from pathlib import Path, PurePath

import pytest

from prism_mri.app.filters import is_chosen, read_filter
from prism_mri.bids import reference_image
from prism_mri.errors import BidsError

NAMES = (
    "sub-01_T2w.nii.gz",
    "sub-01_acq-low_run-1_T2w.nii.gz",
    "sub-01_acq-high_run-02_T2w.nii.gz",
    "sub-01_ses-01_acq-high_T2w.nii.gz",
)


@pytest.fixture
def read(tmp_path):
    """Read a filter for T2w."""

    def run(content):
        path = tmp_path / "filter.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_filter(path, "T2w")

    return run


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        ({}, (0, 1, 2, 3)),
        ({"acquisition": "high"}, (2, 3)),
        ({"acq": ["low", "high"]}, (1, 2, 3)),
        ({"acquisition": None}, (0,)),
        ({"acquisition": [None, "low"]}, (0, 1)),
        ({"acquisition": "*"}, (1, 2, 3)),
        ({"run": 2}, (2,)),
        ({"run": "01"}, (1,)),
        ({"session": "01", "datatype": "anat", "suffix": "T2w"}, (3,)),
        ({"session": "1"}, ()),
        ({"acquisition": "high", "session": None}, (2,)),
        ({"acquisition": "other"}, ()),
    ],
)
def test_a_filter_lets_through_what_it_names(read, query, chosen):
    wanted = read({"t2w": query})
    images = [reference_image(Path(name), PurePath(name)) for name in NAMES]
    assert [NAMES.index(one.path.name) for one in images if is_chosen(one, wanted)] == list(chosen)


def test_what_a_filter_says_of_another_modality_does_not_count(read):
    assert dict(read({"T1w": {"acquisition": "high"}})) == {}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", r"filter\.json is not valid JSON"),
        ("[]", r"filter\.json is no object"),
        ({"bold": {}}, r"filter\.json has unknown key 'bold': use T1w, T2w"),
        ({"T2w": []}, r"filter\.json, T2w: \[\] is no object"),
        ({"T2w": {"colour": "red"}}, r"T2w: unknown key 'colour': use subject, session"),
        ({"T1w": {"colour": "red"}}, r"T1w: unknown key 'colour'"),
        ({"T2w": {"suffix": "T1w"}}, r"suffix 'T1w' is not harmonized, only 'T2w'"),
        ({"T2w": {"run": 1.5}}, r"T2w, run: 1\.5 is no label"),
        ({"T2w": {"run": True}}, r"T2w, run: True is no label"),
    ],
)
def test_a_filter_that_cannot_be_right_is_one_line(read, content, line):
    with pytest.raises(BidsError, match=line) as caught:
        read(content)
    assert "\n" not in str(caught.value)


def test_a_filter_that_is_missing_is_named(tmp_path):
    with pytest.raises(BidsError, match=r"cannot read --bids-filter-file .*none\.json"):
        read_filter(tmp_path / "none.json", "T2w")
