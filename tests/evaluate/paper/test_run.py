"""An evaluation of two sites: whole, resumed, refused."""

import json
import shutil

import numpy as np
import pytest

from prism_mri.cli.main import main
from prism_mri.data.prepared import read_prepared
from prism_mri.errors import CompatibilityError, ConfigError, InputError
from prism_mri.evaluate.paper.images import gather_sites
from prism_mri.evaluate.paper.labels import find_truth, segment_with_fast
from prism_mri.evaluate.paper.results import PaperResults, PaperSettings
from prism_mri.evaluate.paper.run import (
    PaperInputs,
    _digest_sites,
    _read_sites,
    evaluate_paper,
)
from prism_mri.evaluate.paper.table import PUBLISHED_DICE, format_paper
from prism_mri.evaluate.paper.workspace import Workspace

TINY = ["--runs", "1", "--slices", "2", "--classifier-steps", "1", "--classifier-size", "32"]
TINY += ["--segmenter-steps", "2"]


@pytest.fixture(scope="session")
def evaluated(small_world, tmp_path_factory):
    """Everything once by the command line, networks of one training step."""
    out = tmp_path_factory.mktemp("evaluated") / "results"
    travelling = out.parent / "travelling.tsv"
    held_out = {
        folder.name: [
            row.split("\t")[0]
            for row in (folder / "participants.tsv").read_text().splitlines()
            if row.endswith("validation")
        ]
        for folder in small_world.prepared
    }
    rows = [f"p{n}\t{site}\t{who[n]}" for site, who in held_out.items() for n in range(2)]
    travelling.write_text("\n".join(["person\tsite\tsubject", *rows]) + "\n")
    command = ["evaluate", "paper", *map(str, small_world.prepared)]
    command += ["--card", str(small_world.card_file), "--allow-unsigned", "--out", str(out), *TINY]
    command += ["--travelling", str(travelling), "--covariate", "lesion_ml", "--participants"]
    command += [f"{site}={small_world.raw / site / 'participants.tsv'}" for site in held_out]
    assert main(command) == 0
    return out, command


def test_everything_is_written_and_says_what_it_is(evaluated, small_world):
    out, _ = evaluated
    results = PaperResults.model_validate_json((out / "results.json").read_bytes())
    assert results.target == "guys"
    assert results.labels == "given"
    assert [method.name for method in results.methods][-1] == "prism"
    assert {row.method for row in results.volumes} >= {"none", "prism", "combat"}
    assert {row.method for row in results.travelling} == {one.name for one in results.methods}
    assert all(0 <= row.dice.estimate <= 1 for row in results.segmentation)
    assert results.majority_share == pytest.approx({"guys": 0.5, "adni": 0.5})
    identity = [r for r in results.similarity if r.method == "none" and r.kind == "preservation"]
    assert all(row.ssim.estimate == pytest.approx(1) for row in identity)
    assert any("3 test people only" in text for text in results.warnings)
    schema = json.loads((out / "results.schema.json").read_text())
    assert set(schema["required"]) >= {"target", "verdicts"}
    for name in ("verdicts.tsv", "segmentation.tsv", "recalls.tsv", "table.md", "panels.npz"):
        assert (out / name).stat().st_size > 0
    assert not (out / "effects.tsv").exists(), "three people are too few for an effect"
    with np.load(out / "panels.npz") as panels:
        assert {"site_adni_none", "site_adni_prism"} <= set(panels.files)


def test_a_second_run_computes_nothing_again_and_writes_the_same(evaluated, monkeypatch, capsys):
    out, command = evaluated
    first = (out / "results.json").read_bytes()
    assert main(command) == 1, "results are not overwritten"
    assert "exists; pass --overwrite" in capsys.readouterr().err

    def refuse(*_args, **_kwargs):
        raise AssertionError("was computed before")

    from prism_mri.evaluate.paper import recall, segmentation

    monkeypatch.setattr(recall, "train_classifier", refuse)
    monkeypatch.setattr(segmentation, "train_segmenter", refuse)
    for method in out.glob("work/prism-*/*"):
        kept = method
    kept.unlink()  # as if it had been killed while it harmonized
    assert main([*command, "--overwrite"]) == 0
    assert (out / "results.json").read_bytes() == first


def test_the_published_numbers_stand_beside_sites_of_their_names(evaluated):
    out, _ = evaluated
    text = format_paper(PaperResults.model_validate_json((out / "results.json").read_bytes()))
    assert "0.81 / 0.85 / 0.81" in text, PUBLISHED_DICE["adni", "none"]
    assert "0.9266 / 25.5 / 0.0032" in text
    assert "Always naming" in text


def test_what_does_not_go_together_is_refused(small_world, tmp_path):
    world = (small_world.card, small_world.translator, tmp_path / "out")
    one = PaperInputs(small_world.prepared[:1], experiments=())
    with pytest.raises(InputError, match="at least one other site"):
        evaluate_paper(one, *world)
    both = PaperInputs(small_world.prepared, experiments=())
    tables = PaperInputs(small_world.prepared, participants={"guys": tmp_path / "x.tsv"})
    with pytest.raises(ConfigError, match="serve a covariate"):
        evaluate_paper(tables, *world)
    with pytest.raises(ConfigError, match="unknown: nobody"):
        evaluate_paper(both, *world, settings=PaperSettings(retrained=("nobody",)))
    with pytest.raises(ConfigError, match="do not leave those out"):
        evaluate_paper(both, *world, settings=PaperSettings(covariate="age"))
    whole = PaperInputs(small_world.prepared)
    with pytest.raises(ConfigError, match="give SITE=FILE"):
        evaluate_paper(whole, *world, settings=PaperSettings(covariate="age"))
    twice = PaperInputs((*small_world.prepared, small_world.prepared[0]))
    with pytest.raises(InputError, match="both of guys"):
        evaluate_paper(twice, *world)
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_card_of_another_modality_is_refused(small_world, tmp_path):
    manifest = small_world.card.manifest
    contract = manifest.contract.model_copy(update={"modality": "T1w"})
    from dataclasses import replace

    other = replace(
        small_world.card,
        manifest=manifest.model_copy(update={"modality": "T1w", "contract": contract}),
    )
    with pytest.raises(CompatibilityError, match="prepared as T2w"):
        evaluate_paper(
            PaperInputs(small_world.prepared), other, small_world.translator, tmp_path / "out"
        )


def test_labels_for_some_images_only_are_refused(small_world, tmp_path):
    copy = tmp_path / "adni"
    shutil.copytree(small_world.prepared[1], copy)
    manifest = json.loads((copy / "prepared.json").read_text())
    manifest["images"][0]["labels"] = None
    (copy / "prepared.json").write_text(json.dumps(manifest))
    datasets = {folder.name: read_prepared(folder) for folder in (small_world.prepared[0], copy)}
    sites = gather_sites(datasets, "guys", 2)
    encoder = small_world.translator.networks.anatomy_encoder
    with pytest.raises(InputError, match="1 of adni have none"):
        find_truth(sites, "T2w", encoder, Workspace(tmp_path, "data"))


def test_other_labels_are_other_data(small_world, tmp_path):
    """What was computed with the old ones must not come back."""
    card, settings = small_world.card, PaperSettings()
    sites = _read_sites(small_world.prepared, card, small_world.translator, settings)
    before = _digest_sites(sites, small_world.prepared, settings, small_world.translator)
    copies = [tmp_path / folder.name for folder in small_world.prepared]
    for folder, copy in zip(small_world.prepared, copies, strict=True):
        shutil.copytree(folder, copy)
    sites = _read_sites(copies, card, small_world.translator, settings)
    same = _digest_sites(sites, copies, settings, small_world.translator)
    with next(copies[1].rglob("*dseg.nii.gz")).open("ab") as file:
        file.write(b"x")
    assert same == before
    assert _digest_sites(sites, copies, settings, small_world.translator) != before


def test_sizes_out_of_range_are_one_line(capsys, small_world, tmp_path):
    command = ["evaluate", "paper", *map(str, small_world.prepared), "--allow-unsigned"]
    command += ["--card", str(small_world.card_file), "--out", str(tmp_path / "o")]
    assert main([*command, "--runs", "60"]) == 1
    assert "runs: Input should be less than or equal to 50" in capsys.readouterr().err


def test_damaged_work_is_computed_again_or_named(tmp_path):
    workspace = Workspace(tmp_path, "data")
    assert workspace.remember("table", 1, list[int], lambda: [1, 2]) == [1, 2]
    (path,) = (tmp_path / "tables").iterdir()
    path.write_text("[1,")
    assert workspace.remember("table", 1, list[int], lambda: [3]) == [3]
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"x\.npy is damaged.*run again"):
        workspace.read_array(tmp_path / "x.npy")


def test_participants_are_site_and_file(capsys, small_world, tmp_path):
    command = ["evaluate", "paper", *map(str, small_world.prepared), "--allow-unsigned"]
    command += ["--card", str(small_world.card_file), "--out", str(tmp_path / "o")]
    assert main([*command, "--participants", "guys"]) == 1
    assert "give SITE=FILE" in capsys.readouterr().err


FAST = """#!/bin/sh
while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done
{python} - "$1" "$out" <<'END'
import sys, numpy as np, nibabel as nib
image = nib.load(sys.argv[1])
data = image.get_fdata()
classes = np.digitize(data, (0.01, 0.3, 0.6)).astype(np.uint8)
nib.save(nib.Nifti1Image(classes, image.affine), sys.argv[2] + "_seg.nii.gz")
END
"""


@pytest.fixture
def fast(tmp_path):
    import sys

    program = tmp_path / "fast"
    program.write_text(FAST.replace("{python}", sys.executable))
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(("modality", "order"), [("T2w", (3, 2, 1)), ("T1w", (1, 2, 3))])
def test_fasts_classes_are_named_by_brightness(fast, modality, order):
    slices = np.zeros((2, 20, 24), np.float32)
    slices[:, 2:8], slices[:, 8:14], slices[:, 14:18] = 0.2, 0.5, 0.9
    mask = slices > 0
    labels = segment_with_fast(slices, mask, (1.0, 1.0, 3.0), modality, program=fast)
    assert (labels[0, [3, 10, 15], 5] == order).all()
    assert (labels[~mask] == 0).all()


def test_a_fast_that_fails_is_named(tmp_path):
    program = tmp_path / "fast"
    program.write_text("#!/bin/sh\necho 'no licence' >&2\nexit 3\n")
    program.chmod(0o755)
    ones = np.ones((1, 8, 8), np.float32)
    with pytest.raises(InputError, match=r"no licence.*--labels"):
        segment_with_fast(ones, ones > 0, (1.0, 1.0, 3.0), "T2w", program=str(program))
