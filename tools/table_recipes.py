"""The travelling table with the paper's recipe in it: does it harmonize, and if not, why not?

    python tools/table_recipes.py --anatomies FOLDER --out RECIPES [--workers 2]

FOLDER holds the SynthSeg training label maps as ``head-NN_labels.nii.gz``. Sites scan deformed
copies of heads 02 04 06 09 12 14, heads 16 to 19 travel. Every row is trained anew for every seed.
Models and scores are cached under RECIPES by their configuration; the table goes to stdout and with
all its numbers, what every training reached at home among them, to ``RECIPES/recipes.json``.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from recipe_study import Row, Score, Study, run_parallel, score_baselines, score_row, train_site

from prism_mri.files import write_whole
from prism_mri.models.site_model import read_model
from prism_mri.simulate.cohort import CohortPlan
from prism_mri.training.anchored import AnchoredSettings
from prism_mri.training.paper import PaperSettings

SITE_PEOPLE = ("02", "04", "06", "09", "12", "14")
TRAVELLING = ("16", "17", "18", "19")
SITES = ("guys", "hh", "adni")
PICTURED = ("paper", "anchored")
PICTURE_SITES = ("guys", "hh", "iop", "adni")


def plan_study(anatomies: Path, out: Path) -> Study:
    """Return four sites of twelve scans of six people, and four others who travel."""
    plan = CohortPlan(
        sites=PICTURE_SITES,
        subjects=2 * len(SITE_PEOPLE),
        travelling=len(TRAVELLING),
        seed=0,
        anatomies=anatomies,
        site_people=tuple(f"head-{name}_labels" for name in SITE_PEOPLE),
        travelling_people=tuple(f"head-{name}_labels" for name in TRAVELLING),
        slice_spacing_mm=6.0,
    )
    return Study(plan, out)


def plan_rows() -> list[Row]:
    """Return the rows that are trained."""
    paper = PaperSettings(epochs=5, validation_slices=24)
    common = paper.model_copy(update={"initialization": "common"})
    published = paper.model_copy(update={"objective": "published-code"})
    anchored = AnchoredSettings(epochs=3, max_steps_per_epoch=25)
    return [
        Row("paper", paper),
        Row("paper, levels renumbered", paper, renumber=True),
        Row("paper, common initialization", common),
        Row("published objective", published),
        Row("anchored, networks alone", anchored, source_detail=False),
        Row("anchored", anchored),
    ]


def train_all(study: Study, rows: Sequence[Row], seeds: Sequence[int], workers: int) -> None:
    """Train what the table and the picture need, in parallel processes of one thread each."""
    wanted = [(study, row, site, seed) for seed in seeds for row in rows for site in SITES]
    pictured = [row for row in rows if row.name in PICTURED]
    wanted += [(study, row, "iop", seeds[0]) for row in pictured]
    # Rows that differ in what becomes of the models share these.
    jobs = {study.model(row, site, seed): (study, row, site, seed) for _, row, site, seed in wanted}
    scorings = [(study, row, SITES, seed) for seed in seeds for row in rows]
    run_parallel(train_site, list(jobs.values()), workers)
    run_parallel(score_row, scorings, workers)


def summarize(scores: Sequence[Sequence[Score]]) -> dict[str, dict[str, float]]:
    """Return mean over people and seeds, and spread over seeds, by pair and over all pairs.

    Args:
        scores: one sequence a seed (a single one for what is not trained).
    """
    pairs = sorted({(s.source, s.target) for s in scores[0] if s.source != s.target})
    groups = {f"{source} → {target}": [(source, target)] for source, target in pairs}
    groups["all pairs"] = pairs
    homes = [(site, site) for site in sorted({s.source for s in scores[0] if s.source == s.target})]
    if homes:
        groups["at home"] = homes
    return {name: _summarize_group(scores, members) for name, members in groups.items()}


def _summarize_group(
    scores: Sequence[Sequence[Score]], members: Sequence[tuple[str, str]]
) -> dict[str, float]:
    of_seeds = [[s for s in seed if (s.source, s.target) in members] for seed in scores]
    ssim = [float(np.mean([s.ssim for s in seed])) for seed in of_seeds]
    psnr = [float(np.mean([s.psnr_db for s in seed])) for seed in of_seeds]
    ordered = [float(np.mean([s.in_order for s in seed])) for seed in of_seeds]
    several = len(ssim) > 1
    return {
        "ssim": float(np.mean(ssim)),
        "ssim_sd": float(np.std(ssim, ddof=1)) if several else 0.0,
        "psnr_db": float(np.mean(psnr)),
        "psnr_db_sd": float(np.std(psnr, ddof=1)) if several else 0.0,
        "in_order": float(np.mean(ordered)),
    }


def describe_training(study: Study, row: Row, seeds: Sequence[int]) -> dict[str, float]:
    """Return validation SSIM and steps of a row's trainings, mean over sites and seeds."""
    summaries = [
        read_model(study.model(row, site, seed))[0].training for site in SITES for seed in seeds
    ]
    return {
        "validation_ssim": float(np.mean([s.validation_ssim for s in summaries])),
        "validation_ssim_min": float(np.min([s.validation_ssim for s in summaries])),
        "steps": float(np.mean([s.steps for s in summaries])),
    }


def format_table(table: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the table as Markdown: SSIM by pair, then means, PSNR, order of tissues, home."""
    columns = [name for name in next(iter(table.values())) if "→" in name]
    head = [*columns, "mean SSIM", "mean PSNR (dB)", "tissues in order", "SSIM at home"]
    lines = ["| | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for name, groups in table.items():
        cells = [f"{groups[column]['ssim']:.3f}" for column in columns]
        mean = groups["all pairs"]
        cells.append(_with_spread(mean["ssim"], mean["ssim_sd"], 3))
        cells.append(_with_spread(mean["psnr_db"], mean["psnr_db_sd"], 1))
        cells.append(f"{mean['in_order']:.0%}")
        cells.append(f"{groups['at home']['ssim']:.3f}" if "at home" in groups else "–")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _with_spread(mean: float, spread: float, digits: int) -> str:
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread else "")


def main() -> None:
    """Parse arguments, train, score, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", help="only these (default: all)")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    study = plan_study(arguments.anatomies, arguments.out)
    rows = [r for r in plan_rows() if r.name in (arguments.rows or [r.name])]
    seeds = list(range(arguments.seeds))
    study.simulate()
    train_all(study, rows, seeds, arguments.workers)
    baselines = score_baselines(study, SITES)
    oracle = baselines.pop("oracle")
    table = {name: summarize([scores]) for name, scores in baselines.items()}
    for row in rows:
        table[row.name] = summarize([score_row(study, row, SITES, seed) for seed in seeds])
    table["oracle"] = summarize([oracle])
    training = {row.name: describe_training(study, row, seeds) for row in rows}
    settings = {row.name: row.settings.model_dump() for row in rows}
    content = {"seeds": seeds, "table": table, "training": training, "settings": settings}
    write_whole(
        arguments.out / "recipes.json",
        (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(),
        overwrite=True,
    )
    sys.stdout.write(format_table(table) + "\n")


if __name__ == "__main__":
    main()
