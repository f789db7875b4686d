"""Cohorts: the datasets, their truth, what is refused, and that they are whole or not there."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prism_mri.assets import TissueMap
from prism_mri.bids import find_images, read_sidecar
from prism_mri.errors import ConfigError, InputError, PrismError
from prism_mri.simulate import anatomy, cohort
from prism_mri.simulate.cohort import CohortPlan, simulate_cohort
from prism_mri.simulate.protocols import get_protocol
from prism_mri.volume import Volume, read_volume

LabelMapWriter = Callable[..., Path]
COARSE = CohortPlan(sites=("guys", "adni"), subjects=1, travelling=1, slice_spacing_mm=20.0)


def list_files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def read_truth(image: Path, suffix: str) -> Volume:
    """Read the mask or segmentation that belongs to a raw image."""
    dataset = next(parent for parent in image.parents if (parent / "derivatives").is_dir())
    truth = dataset / "derivatives" / "truth" / image.relative_to(dataset).parent
    return read_volume(truth / image.name.replace("_T2w", suffix))


# From the template


@pytest.fixture(scope="module")
def steps() -> list[tuple[int, int]]:
    return []


@pytest.fixture(scope="module")
def template_cohort(
    tmp_path_factory: pytest.TempPathFactory,
    half_template: TissueMap,
    steps: list[tuple[int, int]],
) -> Path:
    out = tmp_path_factory.mktemp("cohort") / "made" / "here"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anatomy, "read_tissue_map", lambda: half_template)
        simulate_cohort(COARSE, out, progress=lambda done, total: steps.append((done, total)))
    return out


@pytest.fixture(scope="module")
def template_images(template_cohort: Path) -> list[Path]:
    """Every raw image of the cohort."""
    datasets = [template_cohort / name for name in ("guys", "adni", "travelling")]
    return [image.path for image in find_images(datasets, "T2w")]


def test_cohort_has_the_files_that_are_promised(template_cohort: Path) -> None:
    expected = ["simulation.json"]
    for site in ("guys", "adni", "travelling"):
        expected += [f"{site}/dataset_description.json", f"{site}/participants.tsv"]
        expected += [f"{site}/derivatives/truth/dataset_description.json"]
        expected += [f"{site}/derivatives/truth/dseg.tsv"]
    scans = [("guys", "sub-001", ""), ("adni", "sub-001", "")]
    scans += [("travelling", "sub-trav01", session) for session in ("guys", "adni")]
    for dataset, subject, session in scans:
        prefix = f"{subject}_ses-{session}" if session else subject
        anat = f"{subject}/ses-{session}/anat" if session else f"{subject}/anat"
        expected += [f"{dataset}/{anat}/{prefix}_T2w.{end}" for end in ("nii.gz", "json")]
        truth = f"{dataset}/derivatives/truth/{anat}/{prefix}"
        expected += [f"{truth}_desc-brain_mask.nii.gz", f"{truth}_dseg.nii.gz"]
        if session:
            other = {"guys": "adni", "adni": "guys"}[session]
            expected += [
                f"{truth}_acq-{other}_desc-{kind}_T2w.nii.gz" for kind in ("acquired", "clean")
            ]
    assert list_files(template_cohort) == sorted(expected)


def test_each_dataset_is_found_as_bids(template_images: list[Path]) -> None:
    names = sorted(path.name for path in template_images)
    assert names == [
        "sub-001_T2w.nii.gz",
        "sub-001_T2w.nii.gz",
        "sub-trav01_ses-adni_T2w.nii.gz",
        "sub-trav01_ses-guys_T2w.nii.gz",
    ]


def test_participants_are_listed(template_cohort: Path) -> None:
    for dataset, person in (("guys", "sub-001"), ("travelling", "sub-trav01")):
        table = (template_cohort / dataset / "participants.tsv").read_text()
        assert table == f"participant_id\n{person}\n"


def test_sidecar_states_the_protocol(template_cohort: Path) -> None:
    sidecar = read_sidecar(template_cohort / "adni/sub-001/anat/sub-001_T2w.nii.gz")
    assert sidecar == {
        "Modality": "MR",
        "MagneticFieldStrength": 3.0,
        "RepetitionTime": 3.0,
        "EchoTime": 0.095,
        "SliceThickness": 20.0,
        "SkullStripped": True,
        "PrismProtocol": "adni version 1",
    }


def test_simulation_json_names_protocols_and_seed(template_cohort: Path) -> None:
    described = json.loads((template_cohort / "simulation.json").read_text())
    assert described["anatomy"] == "deformed-template"
    assert (described["seed"], described["subjects"], described["travelling"]) == (0, 1, 1)
    assert described["sites"] == ["guys", "adni"]
    thick = {"slice_spacing_mm": 20.0, "slice_thickness_mm": 20.0}
    for name in ("guys", "adni"):
        protocol = get_protocol(name).model_copy(update=thick)
        assert described["protocols"][name]["sha256"] == protocol.digest()
        assert described["protocols"][name]["noise_std"] == protocol.noise_std


def test_progress_counts_scans(template_cohort: Path, steps: list[tuple[int, int]]) -> None:
    assert template_cohort.is_dir()
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_background_is_exactly_zero_and_the_brain_is_not(template_images: list[Path]) -> None:
    for path in template_images:
        image = read_volume(path).data
        brain = read_truth(path, "_desc-brain_mask").data > 0
        assert float(np.abs(image[~brain]).max()) == 0
        assert float((image[brain] > 0).mean()) > 0.999


def test_image_has_the_protocols_voxels_and_gain(template_images: list[Path]) -> None:
    for path in template_images:
        name = "adni" if "adni" in str(path.relative_to(path.parents[4])) else "guys"
        volume, protocol = read_volume(path), get_protocol(name)
        assert volume.spacing_mm == pytest.approx((0.94, 0.94, 20.0), abs=1e-4)
        brain = read_truth(path, "_desc-brain_mask").data > 0
        # A session's gain is within 20 % of the protocol's; bias field and noise add to it.
        assert float(np.median(volume.data[brain])) == pytest.approx(protocol.gain, rel=0.35)


def test_segmentation_fits_the_mask_and_the_contrast(template_images: list[Path]) -> None:
    for path in template_images:
        image, labels = read_volume(path).data, read_truth(path, "_dseg").data
        assert np.array_equal(labels > 0, read_truth(path, "_desc-brain_mask").data > 0)
        csf, gm, wm = (float(np.median(image[labels == label])) for label in (1, 2, 3))
        assert wm < gm < csf


def test_brain_on_the_grid_has_the_volume_of_a_brain(template_images: list[Path]) -> None:
    for path in template_images:
        mask = read_truth(path, "_desc-brain_mask")
        millilitres = float(mask.data.sum()) * float(np.prod(mask.spacing_mm)) / 1000
        assert 1500 < millilitres < 2400


def test_travelling_truth_lies_on_the_sources_grid(template_cohort: Path) -> None:
    travelling = template_cohort / "travelling"
    for session, other in (("guys", "adni"), ("adni", "guys")):
        anat = f"sub-trav01/ses-{session}/anat/sub-trav01_ses-{session}"
        source = read_volume(travelling / f"{anat}_T2w.nii.gz")
        for kind in ("acquired", "clean"):
            truth = read_volume(
                travelling / "derivatives/truth" / f"{anat}_acq-{other}_desc-{kind}_T2w.nii.gz"
            )
            assert truth.data.shape == source.data.shape
            assert np.array_equal(truth.affine, source.affine)
            assert np.array_equal(truth.data > 0, source.data > 0)


def test_travelling_truth_is_the_target_with_and_without_defects(template_cohort: Path) -> None:
    """Clean and acquired agree up to bias and noise; the source is scaled and curved otherwise."""
    anat = template_cohort / "travelling/derivatives/truth/sub-trav01/ses-guys/anat"
    acquired, clean = (
        read_volume(anat / f"sub-trav01_ses-guys_acq-adni_desc-{kind}_T2w.nii.gz").data
        for kind in ("acquired", "clean")
    )
    brain = clean > 0
    ratio = acquired[brain] / clean[brain]
    assert float(np.median(ratio)) == pytest.approx(1, abs=0.15)
    assert 0.05 < float(np.log(ratio[ratio > 0]).std()) < 0.5
    adni = get_protocol("adni")
    assert float(np.median(clean[brain])) == pytest.approx(adni.gain, rel=0.21)
    # Noise is rough and the bias field smooth: neighbours of the clean image differ less.
    assert roughness(clean) < 0.95 * roughness(acquired)


def roughness(image: np.ndarray) -> float:
    row = image[:, :, image.shape[2] // 2]
    inside = (row[1:] > 0) & (row[:-1] > 0)
    return float(np.median(np.abs(np.diff(row, axis=0))[inside]) / np.median(row[row > 0]))


# From label maps


def list_images(out: Path, dataset: str) -> list[str]:
    return sorted(image.path.name for image in find_images([out / dataset], "T2w"))


def test_scans_of_one_label_map_are_sessions_of_one_subject(
    label_plan: CohortPlan, tmp_path: Path
) -> None:
    plan = replace(label_plan, subjects=5, site_people=("head-01_labels", "head-03_labels"))
    simulate_cohort(plan, tmp_path / "out")
    assert list_images(tmp_path / "out", "guys") == [
        "sub-head01_ses-01_T2w.nii.gz",
        "sub-head01_ses-02_T2w.nii.gz",
        "sub-head01_ses-03_T2w.nii.gz",
        "sub-head03_ses-01_T2w.nii.gz",
        "sub-head03_ses-02_T2w.nii.gz",
    ]
    table = (tmp_path / "out/guys/participants.tsv").read_text()
    assert table == "participant_id\nsub-head01\nsub-head03\n"
    described = json.loads((tmp_path / "out/simulation.json").read_text())
    assert described["anatomy"] == "label-maps"


def test_sessions_of_one_subject_are_deformed_each_in_its_own_way(
    label_plan: CohortPlan, tmp_path: Path
) -> None:
    simulate_cohort(
        replace(label_plan, subjects=2, site_people=("head-01_labels",)), tmp_path / "o"
    )
    first, second = (
        read_volume(tmp_path / f"o/guys/sub-head01/ses-0{n}/anat/sub-head01_ses-0{n}_T2w.nii.gz")
        for n in (1, 2)
    )
    assert not np.array_equal(first.affine, second.affine)
    volumes = [float((v.data > 0).sum()) * float(np.prod(v.spacing_mm)) for v in (first, second)]
    # Sizes differ by 3 % an axis; the sampling of one and the same head would by less than 1 %.
    assert volumes[0] != pytest.approx(volumes[1], rel=0.02)
    assert volumes[0] == pytest.approx(volumes[1], rel=0.25)


def test_last_people_travel_and_never_stand_at_a_site(
    label_plan: CohortPlan, tmp_path: Path
) -> None:
    simulate_cohort(replace(label_plan, travelling=1), tmp_path / "out")
    assert list_images(tmp_path / "out", "guys") == [
        f"sub-head0{n}_ses-01_T2w.nii.gz" for n in (1, 2, 3)
    ]
    assert list_images(tmp_path / "out", "travelling") == ["sub-head04_ses-guys_T2w.nii.gz"]


def test_unseen_scanners_are_sources_and_never_targets(
    label_plan: CohortPlan, tmp_path: Path
) -> None:
    plan = replace(label_plan, subjects=1, travelling=1, unseen=1)
    simulate_cohort(plan, tmp_path / "out")
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["guys", "simulation.json", "travelling"]
    truth = out / "travelling/derivatives/truth/sub-head04"
    seen, unseen = (
        [name.split("_", 2)[2] for name in list_files(truth / f"ses-{session}/anat")]
        for session in ("guys", "unseen1")
    )
    assert seen == ["desc-brain_mask.nii.gz", "dseg.nii.gz"]
    assert unseen == [
        "acq-guys_desc-acquired_T2w.nii.gz",
        "acq-guys_desc-clean_T2w.nii.gz",
        *seen,
    ]
    described = json.loads((out / "simulation.json").read_text())
    assert list(described["protocols"]) == ["guys", "unseen1"]


def test_whole_head_keeps_what_lies_outside_the_brain(
    label_plan: CohortPlan, tmp_path: Path
) -> None:
    simulate_cohort(replace(label_plan, subjects=1, whole_head=True), tmp_path / "out")
    path = tmp_path / "out/guys/sub-head01/ses-01/anat/sub-head01_ses-01_T2w.nii.gz"
    image, brain = read_volume(path).data, read_truth(path, "_desc-brain_mask").data > 0
    assert float((image[~brain] > 0).mean()) > 0.99
    rim = image[~brain].max()
    assert rim > 0.3 * np.median(image[brain])
    assert read_sidecar(path)["SkullStripped"] is False


def test_same_seed_same_bytes(label_plan: CohortPlan, tmp_path: Path) -> None:
    plan = replace(label_plan, sites=("guys", "hh"), subjects=1, travelling=1, unseen=1)
    first, again, other = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    simulate_cohort(plan, first)
    simulate_cohort(plan, again)
    simulate_cohort(replace(plan, seed=1), other)
    names = list_files(first)
    assert names == list_files(again) == list_files(other)
    for name in names:
        assert (first / name).read_bytes() == (again / name).read_bytes(), name
        if name.endswith(".nii.gz"):
            assert (first / name).read_bytes() != (other / name).read_bytes(), name


def test_more_people_do_not_change_the_first(label_plan: CohortPlan, tmp_path: Path) -> None:
    for count in (1, 2):
        simulate_cohort(replace(label_plan, subjects=count), tmp_path / str(count))
    image = "guys/sub-head01/ses-01/anat/sub-head01_ses-01_T2w.nii.gz"
    assert (tmp_path / "1" / image).read_bytes() == (tmp_path / "2" / image).read_bytes()


# What is refused


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sites": ("guys", "oasis")}, ConfigError, r"unknown site protocol 'oasis'"),
        ({"sites": ()}, ConfigError, r"named once each, got none"),
        ({"sites": ("hh", "hh")}, ConfigError, r"named once each, got hh, hh"),
        ({"subjects": 0}, ConfigError, r"at least 1 subject .* got 0 subjects"),
        ({"travelling": -1}, ConfigError, r"no negative counts, .* -1 travelling"),
        ({"unseen": -2}, ConfigError, r"no negative counts, .* -2 unseen"),
        ({"whole_head": True}, ConfigError, r"template has no skull: give label maps"),
        ({"slice_spacing_mm": 0.0}, ConfigError, r"slice spacing must be above 0 .*, got 0"),
        ({"slice_spacing_mm": 500.0}, ConfigError, r"at most 30 mm, got 500"),
        ({"slice_spacing_mm": -3.0}, ConfigError, r"at most 30 mm, got -3"),
        ({"slice_spacing_mm": float("nan")}, ConfigError, r"at most 30 mm, got nan"),
        ({"lesions_ml": -1.0}, ConfigError, r"lesions must be 0 to 50 ml on average, got -1"),
        ({"lesions_ml": 51.0}, ConfigError, r"0 to 50 ml on average, got 51"),
        ({"lesions_ml": float("nan")}, ConfigError, r"0 to 50 ml on average, got nan"),
        ({"atrophy": -0.1}, ConfigError, r"atrophy must be 0 to 0.3 of the cortex .*, got -0.1"),
        ({"atrophy": 0.31}, ConfigError, r"0 to 0.3 of the cortex on average, got 0.31"),
        ({"site_atrophy": {"guys": 0.4}}, ConfigError, r"0 to 0.3 of the cortex .*, got 0.4"),
        ({"site_atrophy": {"oasis": 0.1}}, ConfigError, r"atrophy is given for oasis, which is no"),
        ({"visited": ("west",)}, ConfigError, r"visited scanner 'west': choose from north, south"),
    ],
)
def test_bad_plans_are_refused_before_anything_is_made(
    tmp_path: Path, change: dict[str, Any], error: type[PrismError], message: str
) -> None:
    with pytest.raises(error, match=message):
        simulate_cohort(replace(COARSE, **change), tmp_path / "deep" / "out")
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match=f"{tmp_path} exists already: choose another folder"):
        simulate_cohort(COARSE, tmp_path)
    assert list_files(tmp_path) == ["note.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"travelling": 4},
            r"holds 4 label maps: too few for 4 travelling people and at least one",
        ),
        ({"site_people": ("head-09",)}, r"no label map named head-09 in .*maps"),
        ({"travelling": 1, "travelling_people": ("nobody",)}, r"no label map named nobody"),
        (
            {"travelling": 2, "travelling_people": ("head-01_labels",)},
            r"too few for 2 travelling people",
        ),
        (
            {
                "travelling": 1,
                "site_people": ("head-01_labels", "head-02_labels"),
                "travelling_people": ("head-02_labels",),
            },
            r"head-02_labels must not both stand at a site and travel",
        ),
    ],
)
def test_label_maps_that_do_not_fit_the_plan_are_refused(
    label_plan: CohortPlan, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        simulate_cohort(replace(label_plan, **change), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["maps"]


def test_folder_without_label_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no NIfTI label maps in"):
        simulate_cohort(replace(COARSE, anatomies=tmp_path / "maps"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_label_maps_whose_names_differ_after_a_dot_are_two_people(
    write_label_map: LabelMapWriter, label_plan: CohortPlan, tmp_path: Path
) -> None:
    folder = tmp_path / "dotted"
    folder.mkdir()
    for name in ("head.1.nii.gz", "head.2.nii.gz"):
        write_label_map(name).rename(folder / name)
    simulate_cohort(replace(label_plan, subjects=2, anatomies=folder), tmp_path / "out")
    assert list_images(tmp_path / "out", "guys") == [
        "sub-head1_ses-01_T2w.nii.gz",
        "sub-head2_ses-01_T2w.nii.gz",
    ]


def test_nothing_is_left_behind_on_an_error(
    label_plan: CohortPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fail_the_second_time(clean: torch.Tensor, *_: object) -> torch.Tensor:
        calls.append(clean)
        if len(calls) == 2:
            raise PrismError("scanner is out of helium")
        return clean

    monkeypatch.setattr(cohort, "add_scanner_defects", fail_the_second_time)
    with pytest.raises(PrismError, match="out of helium"):
        simulate_cohort(label_plan, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["maps"]
