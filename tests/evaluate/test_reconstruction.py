"""Reconstruction as in the paper's Table 1: which people, which regions, which numbers."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from prism_mri.config import PreprocessingContract
from prism_mri.data.prepared import read_prepared
from prism_mri.errors import CompatibilityError, InputError
from prism_mri.evaluate.reconstruction import evaluate_reconstruction, score_slices
from prism_mri.evaluate.reconstruction_results import (
    ReconstructionResults,
    ReconstructionScore,
    format_reconstruction,
    summarize,
)
from prism_mri.evaluate.redraw import SiteNetworks, redraw_brain, redraw_whole
from prism_mri.metrics import compute_psnr, compute_ssim
from prism_mri.networks.decoder import Decoder
from prism_mri.networks.style_encoder import GaussianStyle, StyleEncoder
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.preprocessing.prepare_png import prepare_png_site
from prism_mri.volume import Volume, write_volume

CONTRACT = PreprocessingContract(shape=(48, 48), min_brain_area_mm2=150.0)


class AddTenth(Decoder):
    """The image is the anatomy plus 0.1, everywhere."""

    def __init__(self):
        nn.Module.__init__(self)

    def forward(self, anatomy, style):  # noqa: ARG002 - the signature is the network's
        return anatomy[:, :1] + 0.1


class NoStyle(StyleEncoder):
    """Every slice has the same style."""

    def __init__(self):
        nn.Module.__init__(self)

    def forward(self, image, anatomy, mask):  # noqa: ARG002 - the signature is the network's
        zeros = torch.zeros(len(image), 1)
        return GaussianStyle(zeros, zeros)


@pytest.fixture
def site(world):
    """Three people of guys, one of them held out."""
    return world.prepared["guys"]


@pytest.fixture
def png_site(tmp_path):
    """Three people to train on, two to test on, one slice each."""
    row, column = np.indices((44, 40))
    radius = np.hypot((row - 22) / 16, (column - 20) / 13)
    levels = np.array([60, 100, 220, 0])[np.digitize(radius, [0.7, 0.88, 1.0])]
    for person in range(5):
        noise = np.random.default_rng(person).normal(1, 0.04, levels.shape)
        split = "test" if person > 2 else "train"
        path = tmp_path / "png" / split / str(person) / f"IXI-Guys-{person}-T2_stripped.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.clip(levels * noise, 0, 255).astype(np.uint8)).save(path)
    prepare_png_site(tmp_path / "png", tmp_path / "site", site="guys", contract=CONTRACT)
    return tmp_path / "site"


def rows_of(results, region):
    return [row for row in results.scores if row.region == region]


def test_a_known_error_in_every_region(site):
    known = SiteNetworks(nn.Identity(), NoStyle(), AddTenth())
    image = read_prepared(site).split("validation")[0]
    slices, mask = image.load()
    scores = score_slices(slices, mask, known)
    share = mask.mean(axis=(1, 2))
    assert scores["brain"].mse == pytest.approx(np.full(len(slices), 0.01), rel=1e-4)
    assert scores["brain"].psnr_db == pytest.approx(np.full(len(slices), 20.0), abs=1e-3)
    assert scores["background"].mse == pytest.approx(np.full(len(slices), 0.01), rel=1e-4)
    assert scores["whole"].mse == pytest.approx(0.01 * share, rel=1e-4)
    assert (scores["whole"].ssim > scores["background"].ssim).all()


@pytest.mark.parametrize("recipe", ["anchored", "paper"])
def test_people_are_means_of_their_slices(site, make_model, translator, recipe):
    model, networks = make_model(recipe)
    results = evaluate_reconstruction(site, model, translator=translator)
    image = read_prepared(site).split("validation")[0]
    slices, mask = image.load()
    drawn, whole = (draw(slices, mask, networks) for draw in (redraw_brain, redraw_whole))
    brain, outside, background = (
        rows_of(results, region)[0] for region in ("brain", "whole", "background")
    )
    assert (brain.person, brain.slices) == (image.subject, len(slices))
    parts = [(drawn[k : k + 1], slices[k : k + 1], mask[k : k + 1]) for k in range(len(slices))]
    assert brain.ssim == pytest.approx(np.mean([compute_ssim(*part) for part in parts]), abs=1e-6)
    psnr = np.mean([compute_psnr(*part) for part in parts])
    assert brain.psnr_db == pytest.approx(psnr, abs=1e-4)
    assert outside.mse == pytest.approx(np.mean((drawn - slices) ** 2), rel=1e-4)
    assert background.mse == pytest.approx(np.mean((whole - slices) ** 2), rel=1e-4)
    assert (results.recipe, results.split, results.held_out) == (recipe, "validation", "people")
    assert results.summary[0].people == 1
    assert results.summary[0].ssim_sd is None
    assert results.warnings == ("validation people were not trained on, but chose the best epoch",)


def test_test_people_come_first_and_validation_on_request(png_site, make_model, translator):
    model, _ = make_model("paper")
    progress = []
    results = evaluate_reconstruction(
        png_site,
        model,
        translator=translator,
        progress=lambda done, total: progress.append((done, total)),
    )
    assert results.split == "test"
    assert {row.person for row in results.scores} == {"3", "4"}
    assert (results.summary[0].people, results.summary[0].slices) == (2, 2)
    assert results.warnings == ()
    assert progress == [(1, 2), (2, 2)]
    other = evaluate_reconstruction(png_site, model, translator=translator, split="validation")
    assert {row.person for row in other.scores} <= {"0", "1", "2"}


def test_mean_and_deviation_are_over_people_not_slices():
    scores = [
        ReconstructionScore(
            person=person, region=region, slices=slices, ssim=ssim, psnr_db=30.0, mse=0.001
        )
        for person, slices, ssim in (("a", 1, 0.9), ("b", 99, 0.8), ("c", 1, 0.7))
        for region in ("whole", "background", "brain")
    ]
    for row in summarize(scores):
        assert (row.people, row.slices) == (3, 101)
        assert row.ssim == pytest.approx(0.8)
        assert row.ssim_sd == pytest.approx(0.1)
        assert row.psnr_db_sd == pytest.approx(0, abs=1e-12)


def test_results_are_written_and_replaced_only_when_told(
    png_site, make_model, translator, tmp_path
):
    model, _ = make_model("paper")
    out = tmp_path / "results"
    results = evaluate_reconstruction(png_site, model, translator=translator, out=out)
    content = (out / "results.json").read_bytes()
    assert ReconstructionResults.model_validate_json(content) == results
    assert json.loads(content)["kind"] == "reconstruction"
    table = format_reconstruction(results)
    assert (out / "table.md").read_text() == table
    assert "recipe paper: 2 people, 2 slices of split test" in table
    assert "data range 1." in table
    summary = results.summary[0]
    cell = f"| whole slice, zero outside the brain | {summary.ssim:.4f} ± {summary.ssim_sd:.4f} |"
    assert cell in table
    with open(out / "scores.tsv", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["region"] for row in rows] == ["whole", "background", "brain"] * 2
    assert float(rows[0]["ssim"]) == pytest.approx(results.scores[0].ssim, abs=1e-6)
    with pytest.raises(InputError, match=r"results\.json exists; pass --overwrite"):
        evaluate_reconstruction(png_site, model, translator=translator, out=out)
    evaluate_reconstruction(
        png_site, model, translator=translator, split="validation", out=out, overwrite=True
    )
    assert (out / "summary.tsv").read_text().count("n/a") == 9  # one person has no deviation
    assert sorted(path.name for path in out.iterdir()) == [
        *("results.json", "scores.tsv", "summary.tsv", "table.md"),
    ]


def test_what_makes_the_numbers_doubtful_is_said(world, make_model, translator, tmp_path):
    model, _ = make_model("anchored", site="hh", complete=False)
    results = evaluate_reconstruction(world.prepared["guys"], model, translator=translator)
    assert results.warnings[:2] == (
        "the model is of hh, not of this site",
        "the model's training was cut short",
    )
    assert "Note: the model is of hh, not of this site." in format_reconstruction(results)
    data = np.zeros((40, 40, 12), np.float32)
    data[8:32, 8:32] = np.random.default_rng(0).uniform(200, 300, (24, 24, 12))
    write_volume(tmp_path / "one.nii.gz", data, Volume(data, np.eye(4)))
    prepare_site([tmp_path / "one.nii.gz"], tmp_path / "one", site="hh", contract=CONTRACT)
    alone = evaluate_reconstruction(tmp_path / "one", model, translator=translator)
    assert alone.held_out == "slices"
    assert alone.warnings[-1] == "the slices are of the one person that the model was trained on"


def test_a_slice_that_is_trained_on_is_called_so(png_site, make_model, translator, tmp_path):
    model, _ = make_model("paper")
    png = tmp_path / "png"
    for person in ("1", "2"):
        (png / "train" / person / f"IXI-Guys-{person}-T2_stripped.png").unlink()
    prepare_png_site(png, tmp_path / "one", site="guys", contract=CONTRACT)
    (warning,) = evaluate_reconstruction(
        tmp_path / "one", model, translator=translator, split="validation"
    ).warnings
    assert warning.startswith("the model is validated on the slice that it trains on, which says")
    tested = evaluate_reconstruction(tmp_path / "one", model, translator=translator)
    assert (tested.split, tested.warnings) == ("test", ())


# --- what must fail -------------------------------------------------------------------------------


def test_refusals(site, make_model, translator, tmp_path):
    model, _ = make_model("anchored")
    with pytest.raises(InputError, match="has nobody in split test; choose another with --split"):
        evaluate_reconstruction(site, model, translator=translator, split="test")
    with pytest.raises(InputError, match="is no prepared dataset"):
        evaluate_reconstruction(tmp_path, model, translator=translator)
    other, _ = make_model("paper", contract=PreprocessingContract())
    with pytest.raises(CompatibilityError, match="slices of another preparation than"):
        evaluate_reconstruction(site, other, translator=translator)
