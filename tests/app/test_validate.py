"""The BIDS validator: asked where it is, missed where it is not."""

import json
import logging

import pytest

from prism_mri.app.validate import validate_dataset
from prism_mri.errors import BidsError


@pytest.fixture(autouse=True)
def dataset(tmp_path):
    (tmp_path / "sub-01").mkdir()


@pytest.fixture
def validator(tmp_path, monkeypatch):
    """Put a validator on the PATH that prints a report and exits with a code."""

    def install(name, report, code):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "report").write_text(report if isinstance(report, str) else json.dumps(report))
        program = folder / name
        program.write_text(f"#!/bin/sh\n/bin/cat '{folder}/report'\nexit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return install


NEW = {
    "issues": {
        "issues": [
            {"code": "README_FILE_MISSING", "severity": "warning"},
            {"code": "NOT_INCLUDED", "severity": "error"},
            {"code": "EMPTY_FILE", "severity": "error"},
            {"code": "EMPTY_FILE", "severity": "error"},
        ]
    }
}
OLD = {"issues": {"errors": [{"code": 1, "key": "NOT_INCLUDED"}], "warnings": [{"key": "X"}]}}


@pytest.mark.parametrize(
    ("name", "report", "code", "what"),
    [
        ("bids-validator-deno", NEW, 16, "EMPTY_FILE, NOT_INCLUDED"),
        ("bids-validator", OLD, 1, "NOT_INCLUDED"),
        ("bids-validator", "no report", 2, "exit code 2"),
    ],
)
def test_an_invalid_dataset_is_refused(validator, tmp_path, name, report, code, what):
    validator(name, report, code)
    with pytest.raises(BidsError) as caught:
        validate_dataset(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not valid BIDS ({what}): see '{name} {tmp_path}', or pass "
        "--skip-bids-validation"
    )


def test_warnings_are_no_errors(validator, tmp_path, caplog):
    report = {"issues": {"issues": NEW["issues"]["issues"][:1]}}
    validator("bids-validator-deno", report, 0)
    validate_dataset(tmp_path)
    assert caplog.messages == []


def test_without_a_validator_there_is_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        validate_dataset(tmp_path)
    (line,) = caplog.messages
    assert line.startswith("dataset not validated: no bids-validator-deno or bids-validator")


def test_what_is_no_dataset_is_not_asked_about(validator, tmp_path):
    validator("bids-validator", "", 0)
    with pytest.raises(BidsError, match="none is no folder: give the root of a BIDS dataset"):
        validate_dataset(tmp_path / "none")
