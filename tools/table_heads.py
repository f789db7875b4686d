"""The travelling table on real anatomies: sites scan other people than those who travel.

    python tools/table_heads.py --anatomies FOLDER --out RESULTS

FOLDER holds the SynthSeg training label maps as ``head-NN_labels.nii.gz``. Sites scan deformed
copies of heads 02 04 06 09 12 14, heads 16 to 19 travel; the translator saw none of them. Six
people are fewer than a card may come from, so the cards are marked local-only.
"""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.progress import show_progress
from prism_mri.config import MODALITIES, Modality
from prism_mri.demo import StudyPlan, run_study
from prism_mri.evaluate.table import format_table
from prism_mri.models.translator import read_translator
from prism_mri.simulate.cohort import CohortPlan
from prism_mri.training.anchored import AnchoredSettings

_SITE_PEOPLE = ("02", "04", "06", "09", "12", "14")
_TRAVELLING = ("16", "17", "18", "19")


def plan_heads(
    anatomies: Path,
    *,
    modality: Modality = "T2w",
    copies: int = 1,
    slice_spacing_mm: float = 4.0,
    seed: int = 0,
) -> StudyPlan:
    """Return the plan: three sites, deformed copies of six people at each, four others travel."""
    cohort = CohortPlan(
        subjects=copies * len(_SITE_PEOPLE),
        travelling=len(_TRAVELLING),
        seed=seed,
        anatomies=anatomies,
        site_people=tuple(f"head-{name}_labels" for name in _SITE_PEOPLE),
        travelling_people=tuple(f"head-{name}_labels" for name in _TRAVELLING),
        slice_spacing_mm=slice_spacing_mm,
        modality=modality,
    )
    return StudyPlan(cohort, AnchoredSettings(), local_only=True)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def main() -> None:
    """Parse arguments, run the study, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--modality", choices=MODALITIES, default="T2w")
    parser.add_argument("--copies", type=int, default=1, help="scans of each person at a site")
    parser.add_argument("--slice-spacing", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    results = run_study(
        plan_heads(
            arguments.anatomies,
            modality=arguments.modality,
            copies=arguments.copies,
            slice_spacing_mm=arguments.slice_spacing,
            seed=arguments.seed,
        ),
        arguments.out,
        translator=read_translator(),
        stage=show_progress,
        say=_say,
    )
    sys.stdout.write(format_table(results) + "\n")


if __name__ == "__main__":
    main()
