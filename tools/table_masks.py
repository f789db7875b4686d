"""Masks of the built-in brain extraction against the truth of simulated heads, and on real scans.

    python tools/table_masks.py --anatomies FOLDER [--heads 16 17 18 19] [--scans FILE...]

FOLDER holds the SynthSeg training label maps as ``head-NN_labels.nii.gz``. Each head is scanned
whole, as T2w of site guys in slices of 5 mm. The truth is the simulator's brain mask, labels 1 to
499: sulcal fluid and the cord's upper end are in it. A real scan has no truth; where a mask lies
beside it as ``NAME_brainmask.nii.gz``, Dice is with that one. ``--thresholds`` tries others.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from prism_mri.config import Modality
from prism_mri.layouts import find_layout_images
from prism_mri.preprocessing.bet import SETTINGS, extract_by_bet
from prism_mri.simulate.cohort import CohortPlan, simulate_cohort
from prism_mri.types import MaskArray
from prism_mri.volume import Volume, read_mask, read_volume, strip_nifti_suffix

Case = tuple[str, Volume, MaskArray | None, Modality]
TEST_HEADS = ("16", "17", "18", "19")
_WORDS: tuple[tuple[str, Modality], ...] = (("T1", "T1w"), ("FLAIR", "FLAIR"), ("PD", "PDw"))


def simulate_heads(anatomies: Path, heads: Sequence[str], out: Path) -> Iterator[Case]:
    """Scan whole heads; yield name, image, true brain and modality of each."""
    people = tuple(f"head-{head}_labels" for head in heads)
    plan = CohortPlan(
        sites=("guys",),
        subjects=len(people),
        travelling=0,
        anatomies=anatomies,
        site_people=people,
        slice_spacing_mm=5.0,
        whole_head=True,
    )
    simulate_cohort(plan, out)
    site = out / "guys"
    for image in find_layout_images([site], "T2w", layout="bids", site="guys"):
        volume = read_volume(image.path)
        truth = site / "derivatives" / "truth" / image.relative.parent
        name = image.path.name.replace("_T2w", "_desc-brain_mask")
        yield image.subject, volume, read_mask(truth / name, volume), "T2w"


def read_scans(paths: Sequence[Path]) -> Iterator[Case]:
    """Yield real scans, with the mask beside them if there is one."""
    for path in paths:
        volume, stem = read_volume(path), strip_nifti_suffix(path)
        mask = path.with_name(f"{stem}_brainmask.nii.gz")
        modality: Modality = next((kind for word, kind in _WORDS if word in stem), "T2w")
        yield stem, volume, read_mask(mask, volume) if mask.exists() else None, modality


def describe(case: Case, threshold: float | None) -> tuple[str, float | None]:
    """Return a row of the table, and Dice where it is known."""
    name, volume, truth, modality = case
    settings = SETTINGS[modality]
    if threshold is not None:
        settings = replace(settings, threshold=threshold)
    start = time.monotonic()
    mask = extract_by_bet(volume, modality, settings=settings)
    seconds = time.monotonic() - start
    voxel_ml = float(np.prod(volume.spacing_mm)) / 1000
    cells = [name, modality, f"{settings.threshold:g}", f"{mask.sum() * voxel_ml:.0f}"]
    if truth is None:
        return " | ".join([*cells, "–", "–", "–", f"{seconds:.0f}"]), None
    dice = float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
    wrong = [(mask & ~truth).sum() * voxel_ml, (truth & ~mask).sum() * voxel_ml]
    more = [f"{dice:.3f}", *(f"{ml:.0f}" for ml in wrong), f"{seconds:.0f}"]
    return " | ".join([*cells, *more]), dice


def main() -> None:
    """Parse arguments, print a Markdown table row by row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anatomies", type=Path, help="folder of label maps")
    parser.add_argument("--heads", nargs="*", default=TEST_HEADS)
    parser.add_argument("--scans", type=Path, nargs="*", default=[], help="real scans")
    parser.add_argument("--thresholds", type=float, nargs="*", default=[None])
    arguments = parser.parse_args()
    sys.stdout.write("| scan | modality | threshold | ml | Dice | ml too much | ml missing | s |\n")
    sys.stdout.write("|---|---|---|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        cases = list(read_scans(arguments.scans))
        if arguments.anatomies is not None:
            cases += simulate_heads(arguments.anatomies, arguments.heads, Path(folder) / "heads")
        for threshold in arguments.thresholds:
            scores = []
            for case in cases:
                row, dice = describe(case, threshold)
                sys.stdout.write(f"| {row} |\n")
                sys.stdout.flush()
                scores += [] if dice is None else [dice]
            if scores:
                sys.stdout.write(f"| mean | | | | {np.mean(scores):.3f} | | | |\n")


if __name__ == "__main__":
    main()
