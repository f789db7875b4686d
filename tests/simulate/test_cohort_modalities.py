"""Cohorts in every modality, and with lesions and atrophy."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prism_mri.assets import TissueMap
from prism_mri.bids import check_modality, find_images, read_sidecar
from prism_mri.config import Modality
from prism_mri.simulate import anatomy
from prism_mri.simulate.cohort import CohortPlan, simulate_cohort
from prism_mri.simulate.protocols import get_visited_protocol
from prism_mri.volume import Volume, read_volume


def read_truth(image: Path, suffix: str, modality: str = "T2w") -> Volume:
    """Read the mask or segmentation that belongs to a raw image."""
    dataset = next(parent for parent in image.parents if (parent / "derivatives").is_dir())
    truth = dataset / "derivatives" / "truth" / image.relative_to(dataset).parent
    return read_volume(truth / image.name.replace(f"_{modality}", suffix))


def find_one(out: Path, dataset: str, modality: str) -> Path:
    (image,) = find_images([out / dataset], modality)
    return image.path


@pytest.mark.parametrize("modality", ["T1w", "PDw", "FLAIR"])
def test_files_and_contrast_follow_the_modality(
    label_plan: CohortPlan, tmp_path: Path, modality: Modality
) -> None:
    plan = replace(label_plan, sites=("guys", "adni"), subjects=1, travelling=1, modality=modality)
    simulate_cohort(plan, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*T2w*"))
    path = find_one(tmp_path / "out", "guys", modality)
    check_modality(path, modality)
    image, labels = read_volume(path).data, read_truth(path, "_dseg", modality).data
    csf, gm, wm = (float(np.median(image[labels == label])) for label in (1, 2, 3))
    darkest_first = {"T1w": (csf, gm, wm), "PDw": (wm, gm), "FLAIR": (csf, wm, gm)}[modality]
    assert list(darkest_first) == sorted(darkest_first)
    truth = tmp_path / "out/travelling/derivatives/truth/sub-head04/ses-guys/anat"
    assert sorted(path.name.split("_", 2)[2] for path in truth.iterdir()) == [
        f"acq-adni_desc-acquired_{modality}.nii.gz",
        f"acq-adni_desc-clean_{modality}.nii.gz",
        "desc-brain_mask.nii.gz",
        "dseg.nii.gz",
    ]
    described = json.loads((tmp_path / "out/simulation.json").read_text())
    assert described["modality"] == modality
    assert described["protocols"]["guys"]["modality"] == modality


@pytest.mark.parametrize(
    ("modality", "expected"),
    [
        ("PDw", {"RepetitionTime": 3.0, "EchoTime": 0.011}),
        ("FLAIR", {"RepetitionTime": 9.0, "EchoTime": 0.135, "InversionTime": 2.5}),
        (
            "T1w",
            {"RepetitionTime": 2.3, "EchoTime": 0.0035, "InversionTime": 0.9, "FlipAngle": 9.0},
        ),
    ],
)
def test_sidecar_states_what_the_sequence_has(
    label_plan: CohortPlan, tmp_path: Path, modality: Modality, expected: dict[str, float]
) -> None:
    plan = replace(label_plan, sites=("adni",), subjects=1, modality=modality)
    simulate_cohort(plan, tmp_path / "out")
    sidecar = read_sidecar(find_one(tmp_path / "out", "adni", modality))
    keys = {"RepetitionTime", "EchoTime", "InversionTime", "FlipAngle"}
    assert {key: value for key, value in sidecar.items() if key in keys} == expected


def test_modalities_show_the_same_people_in_scans_of_their_own(
    label_plan: CohortPlan, tmp_path: Path
) -> None:
    plan = replace(label_plan, subjects=1, lesions_ml=1.0)
    volumes = {}
    for modality in ("T2w", "PDw"):
        simulate_cohort(replace(plan, modality=modality), tmp_path / modality)
        truth = read_truth(find_one(tmp_path / modality, "guys", modality), "_dseg", modality)
        white = float((truth.data == 3).sum()) * float(np.prod(truth.spacing_mm))
        volumes[modality] = (white, truth.affine)
    participants = [(tmp_path / m / "guys/participants.tsv").read_text() for m in ("T2w", "PDw")]
    assert participants[0] == participants[1]
    # One head, sampled twice; the people of the ball differ by 3 % an axis and more.
    assert volumes["T2w"][0] == pytest.approx(volumes["PDw"][0], rel=0.03)
    assert not np.array_equal(volumes["T2w"][1], volumes["PDw"][1])


# Lesions and atrophy


def read_participants(dataset: Path) -> dict[str, dict[str, float]]:
    header, *rows = [
        line.split("\t") for line in (dataset / "participants.tsv").read_text().splitlines()
    ]
    assert header[0] == "participant_id"
    return {row[0]: dict(zip(header[1:], map(float, row[1:]), strict=True)) for row in rows}


@pytest.fixture(scope="module")
def ill_cohort(tmp_path_factory: pytest.TempPathFactory, half_template: TissueMap) -> Path:
    out = tmp_path_factory.mktemp("ill") / "out"
    plan = CohortPlan(
        sites=("guys", "adni"), subjects=1, travelling=1, slice_spacing_mm=12.0, lesions_ml=30.0,
        atrophy=0.1,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anatomy, "read_tissue_map", lambda: half_template)
        simulate_cohort(plan, out)
    return out


def test_lesions_and_atrophy_stand_in_the_participants_tables(ill_cohort: Path) -> None:
    for dataset in ("guys", "adni", "travelling"):
        (columns,) = read_participants(ill_cohort / dataset).values()
        assert list(columns) == ["atrophy", "lesion_ml"]
        # Means 0.1 and 30 ml; cut at two standard deviations.
        assert 0.1 / 3 <= columns["atrophy"] <= 0.5 / 3
        assert 30 * np.exp(-1.38) <= columns["lesion_ml"] <= 30 * np.exp(1.02)
        described = json.loads((ill_cohort / dataset / "participants.json").read_text())
        assert {name: entry["Units"] for name, entry in described.items()} == {
            "atrophy": "1",
            "lesion_ml": "mL",
        }


def test_one_site_is_older_and_nobody_trains_at_a_visited_scanner(
    tmp_path: Path, half_template: TissueMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anatomy, "read_tissue_map", lambda: half_template)
    plan = CohortPlan(
        sites=("guys", "adni"), subjects=1, travelling=1, slice_spacing_mm=12.0,
        visited=("north",), site_atrophy={"adni": 0.2},
    )  # fmt: skip
    simulate_cohort(plan, tmp_path / "out")
    assert list(read_participants(tmp_path / "out/adni")["sub-001"]) == ["atrophy"]
    assert read_participants(tmp_path / "out/adni")["sub-001"]["atrophy"] > 0.2 / 3
    assert read_participants(tmp_path / "out/guys") == {"sub-001": {}}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "adni", "guys", "simulation.json", "travelling",
    ]  # fmt: skip
    truths = (tmp_path / "out/travelling/derivatives/truth").rglob("*ses-north*desc-clean*")
    targets = [path.name.split("acq-")[1].split("_")[0] for path in truths]
    assert sorted(targets) == ["adni", "guys"]
    described = json.loads((tmp_path / "out/simulation.json").read_text())
    assert (
        described["protocols"]["north"]["sha256"]
        == get_visited_protocol("north")
        .model_copy(update={"slice_spacing_mm": 12.0, "slice_thickness_mm": 12.0})
        .digest()
    )


def test_people_differ_in_lesions_and_atrophy(ill_cohort: Path) -> None:
    people = [
        next(iter(read_participants(ill_cohort / name).values())) for name in ("guys", "adni")
    ]
    assert people[0]["atrophy"] != people[1]["atrophy"]
    assert people[0]["lesion_ml"] != pytest.approx(people[1]["lesion_ml"], rel=0.01)


def test_lesion_truth_is_bright_brain_outside_the_three_tissues(ill_cohort: Path) -> None:
    images = find_images([ill_cohort / name for name in ("guys", "adni", "travelling")], "T2w")
    assert len(images) == 4
    for reference in images:
        path = reference.path
        image, lesion = read_volume(path).data, read_truth(path, "_label-lesion_mask").data > 0
        labels = read_truth(path, "_dseg").data
        assert lesion.sum() > 20
        assert float(labels[lesion].max()) == 0
        assert (read_truth(path, "_desc-brain_mask").data[lesion] > 0).all()
        white = float(np.median(image[labels == 3]))
        assert float(np.median(image[lesion])) > 1.15 * white


def test_a_traveller_has_the_same_lesions_at_every_scanner(
    label_plan: CohortPlan, tmp_path: Path
) -> None:
    """On grids of 2 mm slices the lesions' volume and centre are the anatomy's."""
    plan = replace(
        label_plan, sites=("guys", "hh"), subjects=1, travelling=1, slice_spacing_mm=2.0,
        lesions_ml=3.0,
    )  # fmt: skip
    found = []
    for modality in ("T2w", "FLAIR"):
        out = tmp_path / modality
        simulate_cohort(replace(plan, modality=modality), out)
        for reference in find_images([out / "travelling"], modality):
            mask = read_truth(reference.path, "_label-lesion_mask", modality)
            voxels = np.argwhere(mask.data > 0)
            millilitres = len(voxels) * float(np.prod(mask.spacing_mm)) / 1000
            found.append((millilitres, *(mask.affine[:3] @ [*voxels.mean(0), 1.0])))
    assert len(found) == 4
    stated = read_participants(tmp_path / "T2w/travelling")["sub-head04"]["lesion_ml"]
    for millilitres, *centre in found:
        assert 0.6 * stated < millilitres < 1.2 * stated
        assert centre == pytest.approx(found[0][1:], abs=1.0)


def test_atrophy_leaves_more_fluid_and_the_same_brain(
    label_plan: CohortPlan, tmp_path: Path
) -> None:
    plan = replace(label_plan, subjects=1)
    for name, atrophy in (("well", 0.0), ("shrunken", 0.3)):
        simulate_cohort(replace(plan, atrophy=atrophy), tmp_path / name)
    well, shrunken = (
        read_truth(find_one(tmp_path / name, "guys", "T2w"), "_dseg").data
        for name in ("well", "shrunken")
    )
    assert (shrunken == 1).sum() > 1.05 * (well == 1).sum()
    assert (shrunken == 2).sum() < 0.95 * (well == 2).sum()
    assert abs(int((shrunken > 0).sum()) - int((well > 0).sum())) < 0.01 * (well > 0).sum()
    assert not list((tmp_path / "shrunken").rglob("*lesion*"))
    assert list(read_participants(tmp_path / "shrunken/guys")["sub-head01"]) == ["atrophy"]
