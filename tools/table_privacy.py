"""What differential privacy costs a style card, by its budget and the number of people.

    python tools/table_privacy.py --anatomies FOLDER --bench BENCH --out PRIVACY [--draws 3]

BENCH is the folder of ``bench_travelling.py``. A site there has twelve scans, so people of a larger
one are drawn from these with replacement; their mean style is released as ``train --epsilon``
releases it, anew for every draw, and the travelling heads are harmonized with it. Scores as in the
benchmark, mean over pairs and people, ± standard deviation over draws; *share* is that of quantile
matching → oracle. The table goes to stdout, its numbers to ``privacy.json``.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from bench_travelling import SITES, plan_rows, plan_study, score_simple
from recipe_study import Study, draw, read_trained, run_parallel, train_site
from travelling_methods import read_visits

from prism_mri.data.prepared import read_prepared
from prism_mri.files import write_whole
from prism_mri.metrics import compute_scores
from prism_mri.models.translator import read_translator
from prism_mri.training.mechanism import PrivacySettings, plan_noise, release_style
from prism_mri.training.site import encode_styles, read_style_slices

BUDGETS = (None, 8.0, 4.0, 1.0)
PEOPLE = (20, 100)


@dataclass(frozen=True)
class Cell:
    """Scores with one budget, number of people and draw of the noise."""

    epsilon: float | None
    people: int
    draw: int
    ssim: float
    psnr_db: float


def read_site_styles(study: Study, site: str) -> torch.Tensor:
    """Return the style of every training scan of a site, ``(P, Z)``."""
    networks = read_translator().networks
    slices = read_style_slices(read_prepared(study.prepared(site)))
    cpu = torch.device("cpu")
    return torch.stack(encode_styles(slices, networks.anatomy_encoder, networks.style_encoder, cpu))


def release(
    styles: torch.Tensor, epsilon: float | None, people: int, numbers: np.random.Generator
) -> torch.Tensor:
    """Return the mean style of so many people, as a card of that budget says it."""
    chosen = styles[torch.from_numpy(numbers.integers(len(styles), size=people))]
    if epsilon is None:
        return chosen.mean(0)
    settings = PrivacySettings(epsilon=epsilon)
    noise = plan_noise(settings, trains=False).style
    return release_style(chosen, radius=settings.style_radius, noise=noise, numbers=numbers)


def score_cell(
    study: Study, out: Path, epsilon: float | None, people: int, number: int, heads: int
) -> Cell:
    """Release every site's style and harmonize to it, unless that was done."""
    path = out / f"cell-{epsilon}-{people}-{number}-{heads}-{read_translator().digest[:8]}.json"
    if path.exists():
        return Cell(**json.loads(path.read_text()))
    numbers = np.random.default_rng(1000 * people + number)
    (row,) = (row for row in plan_rows() if row.name == "style card alone")
    cards = {}
    for site in SITES:
        trained = read_trained(study, row, site, 0)
        mean = release(read_site_styles(study, site), epsilon, people, numbers)
        cards[site] = dataclasses.replace(trained.card, style_mean=mean)
        encoder = trained.anatomy_encoder
    scores = [
        compute_scores(
            draw(visit.scan, cards[visit.target], encoder), visit.acquired, visit.scan.mask
        )
        for visit in read_visits(study)
        if visit.person in list_heads(study)[:heads]
    ]
    ssim, psnr = (
        float(np.mean([getattr(score, key) for score in scores])) for key in ("ssim", "psnr_db")
    )
    cell = Cell(epsilon, people, number, ssim, psnr)
    write_whole(path, json.dumps(asdict(cell)).encode(), overwrite=True)
    return cell


def list_heads(study: Study) -> list[str]:
    """Return the travelling people in order."""
    return sorted({measure.person for measure in score_simple(study, "oracle")})


def main() -> None:
    """Parse arguments, release, harmonize, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--heads", type=int, default=4, help="of the travelling heads the first")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    study = plan_study(arguments.anatomies, arguments.bench, "T2w")
    study.simulate()
    (row,) = (row for row in plan_rows() if row.name == "style card alone")
    for site in SITES:
        train_site(study, row, site, 0)
    heads = list_heads(study)[: arguments.heads]
    jobs = [
        (study, arguments.out, epsilon, people, number, arguments.heads)
        for people in PEOPLE
        for epsilon in BUDGETS
        for number in range(arguments.draws if epsilon is not None else 1)
    ]
    run_parallel(score_cell, jobs, arguments.workers)
    cells = [score_cell(*job) for job in jobs]
    ends = {
        name: [
            float(np.mean([getattr(m, k) for m in score_simple(study, name) if m.person in heads]))
            for k in ("ssim", "psnr_db")
        ]
        for name in ("quantile matching", "oracle")
    }
    content = {"heads": heads, "ends": ends, "cells": [asdict(cell) for cell in cells]}
    text = json.dumps(content, indent=1) + "\n"
    write_whole(arguments.out / "privacy.json", text.encode(), overwrite=True)
    sys.stdout.write(format_table(cells, ends))


def format_table(cells: Sequence[Cell], ends: dict[str, list[float]]) -> str:
    """Return a row per number of people and budget as Markdown."""
    lines = ["| people | ε | SSIM | PSNR (dB) | share SSIM | share PSNR |", "|---" * 6 + "|"]
    low, high = ends["quantile matching"], ends["oracle"]
    for people, epsilon in dict.fromkeys((cell.people, cell.epsilon) for cell in cells):
        found = [c for c in cells if (c.people, c.epsilon) == (people, epsilon)]
        values = np.array([[c.ssim, c.psnr_db] for c in found])
        mean, spread = values.mean(axis=0), values.std(axis=0)
        shares = [(m - a) / (b - a) for m, a, b in zip(mean, low, high, strict=True)]
        budget = "none asked" if epsilon is None else f"{epsilon:g}"
        lines.append(
            f"| {people} | {budget} | {mean[0]:.3f} ± {spread[0]:.3f} | "
            f"{mean[1]:.1f} ± {spread[1]:.1f} | {shares[0]:.0%} | {shares[1]:.0%} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
