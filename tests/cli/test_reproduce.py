"""The paper's protocol on simulated downloads of IXI and ADNI, from raw files to the page."""

import json

import pytest

from prism_mri.cli.main import main

QUICK = ["--kind", "style", "--runs", "1", "--slices", "2"]


@pytest.fixture
def downloads(tmp_path, write_ixi_tree, write_adni_tree):
    return write_ixi_tree(tmp_path / "ixi"), write_adni_tree(tmp_path / "adni")


@pytest.fixture
def quick(monkeypatch):
    """Networks of one training step: this is about the way, not the numbers."""
    from prism_mri.evaluate.paper import results

    fields = results.PaperSettings.model_fields
    for name in ("classifier_steps", "segmenter_steps", "batch"):
        monkeypatch.setattr(fields[name], "default", 2)
    monkeypatch.setattr(fields["classifier_size"], "default", 32)
    results.PaperSettings.model_rebuild(force=True)
    yield
    monkeypatch.undo()
    results.PaperSettings.model_rebuild(force=True)


def test_from_the_downloads_to_the_page_and_again_without_repeating(
    downloads, tmp_path, capsys, quick
):
    ixi, adni = downloads
    (ixi / "IXI099-Guys-0999-T2.nii.gz").write_bytes(b"no image")
    out = tmp_path / "out"
    command = ["reproduce", "--ixi", str(ixi), "--adni", str(adni), "--out", str(out), *QUICK]
    assert main(command) == 0
    written = capsys.readouterr()
    assert written.out == f"{out / 'report.html'}\n"
    assert "guys: 2 people (paper: 319)" in written.err
    assert "adni: 2 people (paper: 77)" in written.err
    assert "left out: " in written.err
    assert "IXI099-Guys-0999-T2.nii.gz" in written.err
    assert "0.99 hh 1.00 adni 0.86" in written.err, "the paper's recall stands beside ours"
    results = json.loads((out / "results.json").read_text())
    assert results["target"] == "guys"
    assert {row["site"] for row in results["similarity"]} == {"guys", "hh", "adni"}
    assert results["labels"] == "anatomy-encoder"
    page = (out / "report.html").read_text()
    assert "harmonized to" in page.lower()

    (out / "results.json").unlink()
    assert main(command) == 0
    again = json.loads((out / "results.json").read_text())
    assert again == results
    assert "prepared already" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--seed", "3"]) == 1
    assert "begun with other options (seed)" in capsys.readouterr().err


def test_a_folder_that_is_no_download_is_one_clear_line(tmp_path, capsys, downloads):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    command = ["reproduce", "--ixi", str(tmp_path / "empty"), "--adni", str(downloads[1])]
    assert main([*command, "--out", str(out), *QUICK]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(tmp_path / "empty") in error
    assert not (out / "results.json").exists()
