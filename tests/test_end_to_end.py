"""The whole path: two simulated sites from scans to report, and a slab of a real scan."""

import base64
import json
import re
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from prism_mri.card import inspect_card, read_card
from prism_mri.data.prepared import read_prepared
from prism_mri.demo import StudyPlan, run_study
from prism_mri.errors import InputError, SignatureError
from prism_mri.evaluate.results import METHODS, TRUTHS, TravellingResults
from prism_mri.harmonize import HarmonizeOptions, harmonize_inputs
from prism_mri.models.site_model import read_model
from prism_mri.models.translator import read_translator
from prism_mri.simulate.cohort import CohortPlan
from prism_mri.training.anchored import AnchoredSettings
from prism_mri.volume import Volume, read_mask, read_volume, write_volume

SITES = ("guys", "adni")
PLAN = StudyPlan(
    cohort=CohortPlan(sites=SITES, subjects=2, travelling=1, slice_spacing_mm=20.0, seed=3),
    training=AnchoredSettings(epochs=1, batch=2, crop=64, max_steps_per_epoch=2),
    harmonize_to="guys",
    local_only=True,
)


@pytest.fixture(scope="module")
def translator():
    return read_translator()


@pytest.fixture(scope="module")
def study(tmp_path_factory, translator):
    """Run the plan; return folder, results, titles of stages, and lines said."""
    stages, lines = [], []

    @contextmanager
    def stage(title, unit):
        counts = []
        yield lambda done, total: counts.append((done, total))
        stages.append((title, unit, counts))

    folder = tmp_path_factory.mktemp("study") / "demo"
    results = run_study(PLAN, folder, translator=translator, stage=stage, say=lines.append)
    return SimpleNamespace(folder=folder, results=results, stages=stages, lines=lines)


# --- what is left ---------------------------------------------------------------------------------


def test_every_result_is_where_it_is_said_to_be(study):
    names = {str(path.relative_to(study.folder)) for path in study.folder.rglob("*")}
    expected = {"results.json", "scores.tsv", "summary.tsv", "table.md", "panels.npz"}
    expected |= {"report.html", "data/simulation.json", "data/travelling/sub-trav01"}
    for site in SITES:
        expected |= {f"{site}.prism", f"keys/{site}-private.pem", f"trust/{site}.pem"}
        expected |= {f"prepared/{site}/prepared.json", f"data/{site}/dataset_description.json"}
        expected |= {f"models/{site}/{name}" for name in ("model.json", "best.safetensors")}
        expected |= {f"models/{site}/{name}" for name in ("config.json", "log.jsonl")}
    for person in ("sub-001", "sub-002"):
        stem = f"harmonized/adni-to-guys/{person}/anat/{person}_desc-harmonized_T2w"
        expected |= {f"{stem}.nii.gz", f"{stem}.json"}
    assert expected - names == set()
    assert not any(
        ".part" in name or "/." in name
        for name in names - {f"prepared/{site}/.bidsignore" for site in SITES}
    )


def test_every_stage_is_shown_to_its_end(study):
    assert [title for title, _, _ in study.stages] == [
        "simulate",
        *(f"prepare {site}" for site in SITES),
        "harmonize adni to guys",
        "score",
    ]
    for title, _, counts in study.stages:
        total = counts[-1][1]
        assert [done for done, _ in counts] == list(range(1, total + 1)), title
    for site in SITES:
        said = [line for line in study.lines if line.startswith(f"train {site}: ")]
        assert said[0].startswith(f"train {site}: before training: score ")
        assert said[1].startswith(f"train {site}: epoch 1/1: l1 ")


def test_the_scores_hold_every_pair_person_method_and_truth(study):
    stored = (study.folder / "results.json").read_text()
    results = TravellingResults.model_validate_json(stored)
    assert results == study.results
    assert (
        results.anatomy
        == json.loads((study.folder / "data" / "simulation.json").read_text())["anatomy"]
    )
    assert (set(results.sites), results.people) == (set(SITES), ("trav01",))
    assert set(results.pairs) == set(permutations(SITES))
    seen = {(row.source, row.target, row.person, row.method, row.truth) for row in results.scores}
    scored = {
        (*pair, person, method, truth)
        for pair in results.pairs
        for person in results.people
        for method in METHODS
        for truth in TRUTHS
    }
    assert seen <= scored
    assert {key for key in scored if key[3] != "oracle"} <= seen
    assert {row.site for row in results.reconstructions} == set(SITES)
    for row in results.scores:
        assert np.isfinite([row.ssim, row.psnr_db, row.mae]).all()
        assert -1 <= row.ssim <= 1


def test_the_oracle_is_above_not_harmonizing(study):
    means = {
        (row.source, row.target, row.method): row.ssim
        for row in study.results.summary
        if row.truth == "acquired"
    }
    for pair in permutations(SITES):
        assert means[*pair, "oracle"] > means[*pair, "none"]


# --- cards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", SITES)
def test_every_card_verifies_and_is_of_its_site(study, translator, site):
    path = study.folder / f"{site}.prism"
    card = read_card(path, trust=study.folder / "trust")
    assert card.signed_by.trusted_as == f"{site}.pem"
    manifest = card.manifest
    assert (manifest.site, manifest.people, manifest.local_only) == (site, 2, True)
    assert manifest.anatomy_digest == translator.digest
    scales = [
        image.scale for image in read_prepared(study.folder / "prepared" / site).manifest.images
    ]
    assert manifest.intensity_scale == pytest.approx(np.mean(scales))
    assert "sub-001" not in path.read_bytes().decode("latin-1")
    assert site in str(inspect_card(path, study.folder / "trust"))
    description, _ = read_model(study.folder / "models" / site)
    assert manifest.training == description.training


def test_a_card_is_refused_by_who_trusts_the_other_site_alone(study, tmp_path):
    (tmp_path / "adni.pem").write_bytes((study.folder / "trust" / "adni.pem").read_bytes())
    with pytest.raises(SignatureError, match="not in the trust folder"):
        read_card(study.folder / "guys.prism", trust=tmp_path)


# --- harmonized volumes ---------------------------------------------------------------------------


def test_harmonized_volumes_have_the_sources_grid_and_the_targets_scale(study):
    card = read_card(study.folder / "guys.prism", trust=study.folder / "trust")
    for path in sorted((study.folder / "harmonized").rglob("*.nii.gz")):
        name = path.name.replace("_desc-harmonized", "")
        source = read_volume(study.folder / "data" / "adni" / path.parts[-3] / "anat" / name)
        result = read_volume(path)
        assert result.data.shape == source.data.shape
        np.testing.assert_array_equal(result.affine, source.affine)
        inside = source.data > 0
        assert (result.data[source.data == 0] == 0).mean() > 0.999
        assert np.median(result.data[inside]) > 0
        sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        assert sidecar["Prism"]["CardDigest"] == card.digest
        assert sidecar["Prism"]["TargetIntensityScale"] == card.manifest.intensity_scale


def test_harmonizing_again_gives_the_same_bytes(study, translator, tmp_path):
    card = read_card(study.folder / "guys.prism", trust=study.folder / "trust")
    harmonize_inputs([study.folder / "data" / "adni"], tmp_path, card=card, translator=translator)
    first = study.folder / "harmonized" / "adni-to-guys"
    files = [path for path in first.rglob("*") if path.is_file()]
    assert len(files) == 5
    for path in files:
        assert path.read_bytes() == (tmp_path / path.relative_to(first)).read_bytes(), path.name


# --- report ---------------------------------------------------------------------------------------


def test_the_report_stands_alone(study):
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    assert re.findall(r"""(?:https?:)?//[^"'\s]*""", re.sub(r"base64,[^\"')]*", "", page)) == []
    pictures = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    assert len(pictures) >= 3
    for picture in pictures:
        assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert "<script" not in page
    assert "not for diagnosis" in page
    assert all(site in page for site in SITES)


def test_a_folder_that_exists_is_not_run_into(study, translator):
    before = sorted(study.folder.rglob("*"))
    with pytest.raises(InputError, match="exists already: remove it or choose another folder"):
        run_study(PLAN, study.folder, translator=translator, stage=pytest.fail, say=pytest.fail)
    assert sorted(study.folder.rglob("*")) == before


# --- a real scan ----------------------------------------------------------------------------------


def cut_slab(volume, first, count):
    """Return some axial slices as a volume of their own, in the same place."""
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * first
    data = np.ascontiguousarray(volume.data[:, :, first : first + count])
    return Volume(data, affine, volume.header)


@pytest.fixture(scope="module")
def real(shared_data, study, translator, tmp_path_factory):
    """Harmonize six middle slices of a real scan with scalp; return the paths and the result."""
    folder = tmp_path_factory.mktemp("real")
    patient: Path = shared_data / "t2w_real" / "patient01"
    whole = read_volume(patient / "study1_T2W.nii.gz")
    mask = read_mask(patient / "study1_T2W_brainmask.nii.gz", whole)
    middle = whole.data.shape[2] // 2
    scan, inside = folder / "scan.nii.gz", folder / "mask.nii.gz"
    slab = cut_slab(whole, middle, 6)
    write_volume(scan, slab.data, slab)
    write_volume(inside, mask[:, :, middle : middle + 6], slab, dtype=np.uint8)
    card = read_card(study.folder / "guys.prism", trust=study.folder / "trust")
    (path,) = harmonize_inputs(
        [scan],
        folder / "out",
        card=card,
        translator=translator,
        options=HarmonizeOptions(brain_mask=str(inside)),
    )
    return SimpleNamespace(scan=scan, path=path, mask=mask[:, :, middle : middle + 6])


def test_a_real_scan_keeps_its_geometry_and_gets_an_intensity_everywhere_in_the_brain(real):
    source, result = read_volume(real.scan), read_volume(real.path)
    assert result.data.shape == source.data.shape
    np.testing.assert_array_equal(result.affine, source.affine)
    for field in ("sform_code", "qform_code", "xyzt_units", "pixdim"):
        np.testing.assert_array_equal(result.header[field], source.header[field])
    assert (result.data[~real.mask] == 0).all()
    # The mask reaches beyond the brain here and there, over what is dark.
    assert (result.data[real.mask] > 0).mean() > 0.99


def test_a_real_scan_stays_a_t2w_image(real):
    source, result = (read_volume(path).data[real.mask] for path in (real.scan, real.path))
    fluid = result[source > np.percentile(source, 95)].mean()
    white = result[source < np.percentile(source, 25)].mean()
    assert fluid > 1.2 * white


def test_a_slab_is_warned_of_as_part_of_a_brain(real):
    sidecar = json.loads(real.path.with_name("scan_desc-harmonized.json").read_text())
    assert any("part of the brain" in line for line in sidecar["Prism"]["Warnings"])
    assert sidecar["Prism"]["BrainMask"] == "given"


def test_a_real_scan_with_scalp_and_no_mask_is_refused(real, study, translator, tmp_path):
    card = read_card(study.folder / "guys.prism", trust=study.folder / "trust")
    with pytest.raises(InputError, match=r"scan\.nii\.gz: the image .*--brain-mask"):
        harmonize_inputs([real.scan], tmp_path, card=card, translator=translator)
    assert list(tmp_path.iterdir()) == []
