"""The whole evaluation on a tiny world where the answers are known."""

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from prism_mri.config import PreprocessingContract
from prism_mri.errors import CompatibilityError, ImageError, InputError
from prism_mri.evaluate.files import read_panels, read_results
from prism_mri.evaluate.scans import Scan
from prism_mri.evaluate.travelling import evaluate_travelling
from prism_mri.harmonize import harmonize_volume
from prism_mri.metrics import compute_scores
from prism_mri.networks.registry import AnatomyEncoderSpec, build_anatomy_encoder
from prism_mri.preprocessing.intensity import compute_intensity_scale
from prism_mri.volume import read_mask, read_volume, reorient_to_ras, write_volume

CONTRACT = PreprocessingContract(shape=(48, 48), min_brain_area_mm2=150.0)
PAIRS = (("guys", "hh"), ("hh", "guys"), ("far", "guys"), ("far", "hh"))


def evaluate(world, out, *, dataset=None, **changes):
    options = {
        "cards": world.cards,
        "prepared": world.prepared,
        "anatomy_encoder": world.anatomy_encoder,
        "out": out,
    }
    return evaluate_travelling(dataset or world.dataset, **(options | changes))


@pytest.fixture(scope="module")
def perfect_run(world, make_harmonizer, tmp_path_factory):
    """Return results and folder of one evaluation of the harmonizer that knows the answer."""
    out = tmp_path_factory.mktemp("perfect") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prism_mri.evaluate.pairs.harmonize_volume", make_harmonizer())
        patch.setattr(Scan, "cleaned", property(lambda scan: scan.brain))
        return evaluate(world, out), out


def pick(rows, **wanted):
    return [row for row in rows if all(getattr(row, key) == wanted[key] for key in wanted)]


def copy_dataset(world, folder):
    shutil.copytree(world.dataset, folder)
    return folder


def test_a_perfect_harmonizer_reaches_the_oracle(perfect_run):
    results, _ = perfect_run
    assert results.pairs == PAIRS
    assert (results.sites, results.unseen) == (("guys", "hh"), ("far",))
    for row in pick(results.scores, method="prism", truth="clean"):
        assert row.ssim == pytest.approx(1.0, abs=1e-5)
        assert row.psnr_db > 90
        assert row.slices == 5
    by_contrast = {(one.contrast, one.metric): one.interval for one in results.comparisons}
    assert by_contrast["share", "ssim"].estimate == pytest.approx(1.0, abs=1e-4)
    assert by_contrast["share", "psnr_db"].estimate == pytest.approx(1.0, abs=1e-4)
    assert by_contrast["prism-quantile", "psnr_db"].low > 3
    assert by_contrast["prism-none", "ssim"].low > 0.05


def test_every_person_pair_method_and_truth_is_scored_once(perfect_run):
    scores = perfect_run[0].scores
    keys = {(row.person, row.source, row.target, row.method, row.truth) for row in scores}
    assert len(scores) == len(keys) == 3 * 4 * 11
    assert not pick(scores, method="oracle", truth="clean")
    # The people's own scans carry no noise and share a grid, so resampled and clean are one.
    for row in pick(scores, method="oracle", truth="resampled"):
        assert row.psnr_db > 90


def test_noise_sets_what_the_oracle_scores(perfect_run):
    scores = perfect_run[0].scores
    # The noise is 4 % of white matter, which lies at the contract's value.
    for row in pick(scores, method="oracle", truth="acquired"):
        assert row.psnr_db == pytest.approx(
            -20 * np.log10(0.04 * CONTRACT.intensity_value), abs=1.0
        )


def test_prism_is_scored_as_it_harmonizes(world, tmp_path):
    """The real harmonizer, applied by hand to a session stored in another voxel order."""
    results = evaluate(world, tmp_path / "results")
    anat = "sub-trav01/ses-guys/anat/sub-trav01_ses-guys"
    truths = world.dataset / "derivatives" / "truth"
    volume = read_volume(world.dataset / f"{anat}_T2w.nii.gz")
    mask = read_mask(truths / f"{anat}_desc-brain_mask.nii.gz", volume)
    truth = read_volume(truths / f"{anat}_acq-hh_desc-acquired_T2w.nii.gz").data
    card = world.cards["hh"]
    drawn = harmonize_volume(volume, mask, card, world.anatomy_encoder).data
    own = np.float32(compute_intensity_scale(truth, mask, CONTRACT))
    stacks = [
        np.ascontiguousarray(array.transpose(2, 0, 1))
        for array in (drawn / np.float32(card.manifest.intensity_scale), truth / own, mask)
    ]
    expected = compute_scores(*stacks)
    (row,) = pick(
        results.scores,
        person="trav01",
        source="guys",
        target="hh",
        method="prism",
        truth="acquired",
    )
    assert row.ssim == pytest.approx(expected.ssim, abs=1e-4)
    assert row.psnr_db == pytest.approx(expected.psnr_db, abs=1e-3)
    assert row.mae == pytest.approx(expected.mae, rel=1e-4)


def test_doing_nothing_scores_as_not_harmonized(world, harmonize_by, tmp_path):
    def keep(data, mask, site):
        own = compute_intensity_scale(data, mask, CONTRACT)
        return data * (world.cards[site].manifest.intensity_scale / own)

    harmonize_by(keep)
    results = evaluate(world, tmp_path / "results")
    for row in pick(results.scores, method="prism"):
        (none,) = pick(
            results.scores,
            method="none",
            person=row.person,
            source=row.source,
            target=row.target,
            truth=row.truth,
        )
        assert (row.ssim, row.mae) == pytest.approx((none.ssim, none.mae), abs=1e-5)
    contrast = pick(results.comparisons, contrast="prism-none", metric="ssim")[0].interval
    assert contrast.estimate == pytest.approx(0, abs=1e-6)


def test_a_wrong_gain_costs_prism_its_score(world, harmonize_by, perfect, tmp_path):
    harmonize_by(lambda data, mask, site: 0.2 * perfect(data, mask, site))
    results = evaluate(world, tmp_path / "results")
    for row in pick(results.scores, method="prism", truth="clean"):
        assert row.ssim < 0.8
        assert row.psnr_db < 20


def test_files_agree_with_each_other(perfect_run):
    results, out = perfect_run
    assert read_results(out) == results
    names = {path.name for path in out.iterdir()}
    assert names == {"results.json", "scores.tsv", "summary.tsv", "table.md", "panels.npz"}
    with (out / "scores.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [float(row["ssim"]) for row in rows] == pytest.approx(
        [row.ssim for row in results.scores], abs=1e-6
    )
    assert "| hh → guys |" in (out / "table.md").read_text()


def test_the_seed_fixes_every_byte(world, harmonize_by, tmp_path):
    for name in ("a", "b"):
        harmonize_by()
        evaluate(world, tmp_path / name, seed=4)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_pictures_are_ras_slices_in_the_prepared_scale(world, perfect_run):
    results, out = perfect_run
    panel = pick(results.panels, source="guys", target="hh")[0]
    arrays = read_panels(out)
    path = "sub-trav01/ses-guys/anat/sub-trav01_ses-guys_T2w.nii.gz"
    stored = read_volume(world.dataset / path)
    ras, _ = reorient_to_ras(stored)
    assert not np.array_equal(ras.data, stored.data)
    whole = ras.data[:, :, panel.slice_index]
    occupied = [np.flatnonzero((whole > 0).any(axis=axis)) for axis in (1, 0)]
    box = tuple(slice(max(one[0] - 6, 0), one[-1] + 7) for one in occupied)
    expected = whole[box] * (CONTRACT.intensity_value / 250)  # 250: white matter at guys
    np.testing.assert_allclose(arrays[f"{panel.key}_source"], expected, rtol=1e-5)
    assert len(results.panels) == len(PAIRS)


def test_styles_tell_before_after_and_where_to_go(perfect_run):
    styles = perfect_run[0].styles
    stages = Counter((point.card, point.stage) for point in styles)
    assert stages == {
        (card, stage): count
        for card in ("guys", "hh")
        for stage, count in (("before", 6), ("after", 6), ("truth", 3))
    }
    # A perfect result is the target's own noiseless scan, so their styles are the same.
    for point in pick(styles, stage="after", card="hh"):
        (own,) = pick(styles, stage="truth", card="hh", person=point.person)
        assert point.style == pytest.approx(own.style, abs=1e-4)


def test_warnings_are_counted_and_name_nobody(perfect_run):
    warnings = perfect_run[0].warnings
    assert "6 images (far → guys, far → hh), for instance: 3.1 is unlike the card" in warnings
    assert not any("hh → guys" in text for text in warnings)
    assert sum("unlike" in text for text in warnings) == 1
    assert "unsigned cards: guys, hh" in warnings
    assert any(text.startswith("3 anatomies only") for text in warnings)
    assert any("deformations of one template" in text for text in warnings)
    assert not any("trav" in text for text in warnings)


def test_copies_of_one_head_are_one_person_in_the_bootstrap(world, harmonize_by, tmp_path):
    harmonize_by()
    dataset = copy_dataset(world, tmp_path / "travelling")
    heads = {"trav01": "head-16", "trav02": "head-16", "trav03": "head-16"}
    (dataset / "simulation.json").write_text(
        json.dumps({"anatomy": "label-maps", "anatomy_of": heads})
    )
    results = evaluate(world, tmp_path / "results", dataset=dataset)
    assert results.anatomies == 1
    assert {one.people for one in results.comparisons} == {1}
    assert all(one.interval.low is None for one in results.comparisons)


def test_progress_counts_every_pair_of_every_person(world, harmonize_by, tmp_path):
    harmonize_by()
    steps = []
    evaluate(world, tmp_path / "results", progress=lambda done, total: steps.append((done, total)))
    assert steps == [(done, 12) for done in range(1, 13)]


def test_results_are_not_overwritten_unasked(world, harmonize_by, tmp_path):
    harmonize_by()
    out = tmp_path / "results"
    evaluate(world, out)
    before = (out / "results.json").read_bytes()
    with pytest.raises(InputError, match="pass --overwrite"):
        evaluate(world, out)
    evaluate(world, out, seed=1, overwrite=True)
    assert (out / "results.json").read_bytes() != before


def test_all_missing_files_are_named_at_once(world, harmonize_by, tmp_path):
    harmonize_by()
    dataset = copy_dataset(world, tmp_path / "travelling")
    truth = dataset / "derivatives" / "truth" / "sub-trav02" / "ses-far" / "anat"
    gone = ("ses-far_desc-brain_mask", "ses-far_acq-hh_desc-clean_T2w")
    for name in gone:
        (truth / f"sub-trav02_{name}.nii.gz").unlink()
    with pytest.raises(InputError) as caught:
        evaluate(world, tmp_path / "results", dataset=dataset)
    assert all(f"sub-trav02_{name}.nii.gz is missing" in str(caught.value) for name in gone)
    assert not (tmp_path / "results").exists()


def test_a_truth_off_the_grid_is_refused(world, harmonize_by, tmp_path):
    harmonize_by()
    dataset = copy_dataset(world, tmp_path / "travelling")
    name = "sub-trav01_ses-hh_acq-guys_desc-acquired_T2w.nii.gz"
    path = dataset / "derivatives/truth/sub-trav01/ses-hh/anat" / name
    truth = read_volume(path)
    moved = truth.affine.copy()
    moved[0, 3] += 2
    write_volume(path, truth.data, type(truth)(truth.data, moved), overwrite=True)
    with pytest.raises(ImageError, match="does not lie on the grid of its source"):
        evaluate(world, tmp_path / "results", dataset=dataset)


def test_a_site_without_its_prepared_dataset_is_refused(world, tmp_path):
    with pytest.raises(InputError, match="no prepared dataset of hh"):
        evaluate(world, tmp_path / "results", prepared={"guys": world.prepared["guys"]})


def test_a_card_of_another_anatomy_space_is_refused(world, tmp_path):
    torch.manual_seed(9)
    other = build_anatomy_encoder(AnatomyEncoderSpec(width=4, free_channels=1))
    with pytest.raises(CompatibilityError, match="card of guys is for anatomy encoder"):
        evaluate(world, tmp_path / "results", anatomy_encoder=other)


def test_no_cards_no_evaluation(world, tmp_path):
    with pytest.raises(InputError, match="no site card"):
        evaluate(world, tmp_path / "results", cards={})


def test_cards_of_other_preprocessing_are_not_mixed(world, tmp_path):
    card = world.cards["hh"]
    other = card.manifest.model_copy(update={"contract": PreprocessingContract(shape=(64, 64))})
    parts = (card.style_encoder, card.decoder, card.style_mean, card.style_std, card.digest, None)
    cards = {"guys": world.cards["guys"], "hh": type(card)(other, *parts)}
    with pytest.raises(InputError, match="differ in preprocessing"):
        evaluate(world, tmp_path / "results", cards=cards)


def change_card(card, **fields):
    return replace(card, manifest=card.manifest.model_copy(update=fields))


def test_a_card_whose_anatomy_encoder_stays_at_its_site_is_refused(world, harmonize_by, tmp_path):
    harmonize_by()
    cards = world.cards | {"hh": change_card(world.cards["hh"], recipe="paper")}
    with pytest.raises(
        CompatibilityError, match=r"hh \(recipe paper\) stays at its site"
    ) as caught:
        evaluate(world, tmp_path / "results", cards=cards)
    assert "guys" not in str(caught.value)
    assert "compare recipes with tools/table_recipes.py" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"modality": "PDw"},
            "is prepared as PDw, the card of hh asks for T2w: prepare that site's T2w images",
        ),
        (
            {"intensity_value": 0.5},
            "is prepared as T2w, the card of hh asks for T2w with another grid or intensity: prep",
        ),
    ],
)
def test_a_site_prepared_otherwise_than_its_card_is_refused(
    world, harmonize_by, tmp_path, changes, words
):
    harmonize_by()
    folder = shutil.copytree(world.prepared["hh"], tmp_path / "hh")
    manifest = json.loads((folder / "prepared.json").read_text())
    manifest["contract"] |= changes
    (folder / "prepared.json").write_text(json.dumps(manifest))
    prepared = world.prepared | {"hh": folder}
    with pytest.raises(CompatibilityError, match=words) as caught:
        evaluate(world, tmp_path / "results", prepared=prepared)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()
