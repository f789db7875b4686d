"""Table 1 of the paper on simulated sites: how well both recipes reconstruct unseen people.

    python tools/table_reconstruction.py --out TABLE1 [--rows "paper, small" ...] [--sites guys]

Sites and people are those of ``make demo`` (deformed templates, ten a site, 6 mm slices on
256 x 256 pixels of 1 mm). Scored are the demo's four travelling people, whom no site trained or
validated on, each scanned at the site itself. *Free of noise* is what a network reaches that draws
everything but the noise and bias field of an image. Models are cached under TABLE1 by
configuration, and an interrupted training goes on; the table goes to stdout, all numbers to
``TABLE1/reconstruction.json``.
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from recipe_study import Row, Study, find, is_trained, read_scans, train_site

from prism_mri.demo import plan_demo
from prism_mri.evaluate.reconstruction import score_slices
from prism_mri.evaluate.reconstruction_results import REGION_NAMES, REGIONS, Region
from prism_mri.evaluate.redraw import read_site_networks
from prism_mri.evaluate.scans import Scan, read_truth
from prism_mri.files import write_whole
from prism_mri.metrics import (
    SliceScores,
    compute_brain_slice_scores,
    compute_whole_slice_scores,
)
from prism_mri.models.site_model import read_model
from prism_mri.models.translator import read_translator
from prism_mri.preprocessing.conform import conform
from prism_mri.training.paper import PaperSettings

PAPER_TABLE = {
    "guys": (0.9768, 33.8028, 0.0004),
    "hh": (0.9775, 35.4373, 0.0003),
    "adni": (0.9524, 29.7051, 0.0013),
}
"""SSIM, PSNR in dB and MSE of Galada et al. 2024, Table 1, image reconstruction."""

Means = dict[str, float]
_METRICS = ("ssim", "psnr_db", "mse")


def plan_rows() -> list[Row]:
    """Return what is trained: the paper's recipe at both sizes, and the default recipe."""
    return [
        Row("paper, small", PaperSettings()),
        Row("paper, published size", PaperSettings(size="published", epochs=14)),
        Row(
            "paper, published size, longer",
            PaperSettings(size="published", epochs=40, patience=40),
        ),
        Row("anchored", plan_demo(quick=False).training),
    ]


def score_model(
    study: Study, row: Row, site: str, scans: Sequence[Scan]
) -> dict[Region, list[SliceScores]]:
    """Return the scores of a site's own networks on every person's scan."""
    networks = read_site_networks(study.model(row, site, 0), read_translator())
    found: dict[Region, list[SliceScores]] = {region: [] for region in REGIONS}
    for scan in scans:
        brain = scan.brain
        prepared = conform(brain.volume.data, brain.mask, brain.volume.spacing_mm, scan.contract)
        scores = score_slices(prepared.slices[scan.keep], prepared.mask[scan.keep], networks)
        for region in REGIONS:
            found[region].append(scores[region])
    return found


def score_noise_free(study: Study, site: str) -> dict[Region, list[SliceScores]]:
    """Return the scores of clean against acquired images of a site's protocol.

    They lie on the other scanners' grids, where the travelling dataset has both.
    """
    sites = study.plan.sites
    sessions = find(study, sites).sessions
    found: dict[Region, list[SliceScores]] = {"whole": [], "brain": []}
    for person, source, scan in read_scans(study, sites):
        if source == site:
            continue
        truths = sessions[person, source].truths[site]
        clean, acquired = (read_truth(path, scan) for path in (truths.clean, truths.acquired))
        found["whole"].append(compute_whole_slice_scores(clean, acquired))
        found["brain"].append(compute_brain_slice_scores(clean, acquired, scan.mask))
    return found


def summarize(scores: Mapping[Region, Sequence[SliceScores]]) -> dict[str, Means]:
    """Return means over slices and then people, and the spread of SSIM over people, by region."""
    summary: dict[str, Means] = {}
    for region, people in scores.items():
        means = {name: [getattr(person, name).mean() for person in people] for name in _METRICS}
        summary[region] = {name: float(np.mean(values)) for name, values in means.items()}
        summary[region]["ssim_sd"] = float(np.std(means["ssim"], ddof=1))
    return summary


def describe_training(study: Study, row: Row, site: str) -> dict[str, float | None]:
    """Return the length of a training and what its validation people scored."""
    training = read_model(study.model(row, site, 0))[0].training
    return {
        "steps": training.steps,
        "best_epoch": training.best_epoch,
        "validation_ssim": training.validation_ssim,
    }


def format_table(table: Mapping[str, Mapping[str, Mapping[str, Means]]]) -> str:
    """Return the table as Markdown, one row a recipe, region and site."""
    lines = ["| | site | region | SSIM | PSNR (dB) | MSE |", "|---|---|---|---|---|---|"]
    for name, sites in table.items():
        for site, regions in sites.items():
            for region in (r for r in REGIONS if r in regions):
                means = regions[region]
                cells = [
                    f"{means['ssim']:.4f} ± {means['ssim_sd']:.4f}",
                    f"{means['psnr_db']:.2f}",
                    f"{means['mse']:.5f}",
                ]
                lines.append(f"| {name} | {site} | {REGION_NAMES[region]} | {' | '.join(cells)} |")
    for site, (ssim, psnr, mse) in PAPER_TABLE.items():
        lines.append(
            f"| paper's Table 1, its own data | {site} | | {ssim:.4f} | {psnr:.2f} | {mse:.4f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse arguments, train, score, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", help="only these (default: all)")
    parser.add_argument("--sites", nargs="+", help="only these (default: all)")
    parser.add_argument("--no-training", action="store_true", help="leave out what is not trained")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # As many threads on every machine: their number changes the last bits.
    torch.set_num_threads(1)
    study = Study(plan_demo(quick=False).cohort, arguments.out)
    study.simulate()
    rows = [r for r in plan_rows() if r.name in (arguments.rows or [r.name])]
    sites = [s for s in study.plan.sites if s in (arguments.sites or [s])]
    scans: dict[str, list[Scan]] = {site: [] for site in study.plan.sites}
    for _, scanner, scan in read_scans(study, study.plan.sites):
        scans[scanner].append(scan)
    table: dict[str, dict[str, dict[str, Means]]] = {}
    training: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in rows:
        for site in sites:
            if arguments.no_training and not is_trained(study, row, site, 0):
                continue
            train_site(study, row, site, 0)
            training.setdefault(row.name, {})[site] = describe_training(study, row, site)
            scores = score_model(study, row, site, scans[site])
            table.setdefault(row.name, {})[site] = summarize(scores)
    table["free of noise"] = {site: summarize(score_noise_free(study, site)) for site in sites}
    settings = {row.name: row.settings.model_dump() for row in rows}
    content = {"table": table, "training": training, "settings": settings}
    write_whole(
        arguments.out / "reconstruction.json",
        (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(),
        overwrite=True,
    )
    sys.stdout.write(format_table(table) + "\n")


if __name__ == "__main__":
    main()
