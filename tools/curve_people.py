"""How many people a site needs: every kind of card from 5, 10, 20, 50 and 300 people.

    python tools/curve_people.py --anatomies FOLDER --bench BENCH --out CURVE [--seeds 2]

BENCH is the folder of ``bench_travelling.py``, whose travelling heads and scanners are used: every
scanner's images harmonized to the target (guys). Its people are deformed copies of the benchmark's
site heads, each copy counted as a person, every size the first so many of them. The row *paper's
skew* has three targets with the paper's 319, 185 and 77 people in place of one.

Models and scores are cached under CURVE; ``curve.json`` and ``curve.png`` are written, the table
goes to stdout.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from bench_travelling import plan_study
from matplotlib.figure import Figure
from recipe_study import Study, draw, is_complete, run_parallel
from table_recipes import SITE_PEOPLE
from travelling_methods import Visit, read_visits

from prism_mri.bids import PREPARED_MANIFEST
from prism_mri.card import publish_card, read_card
from prism_mri.data.prepared import PreparedImage, read_prepared
from prism_mri.data.subset import write_subset
from prism_mri.files import write_whole
from prism_mri.metrics import compute_scores
from prism_mri.models.site_model import CardKind
from prism_mri.models.translator import read_translator
from prism_mri.simulate.cohort import CohortPlan
from prism_mri.training.anchored import AnchoredSettings, train_anchored

SIZES = (5, 10, 20, 50, 300)
SKEW = {"guys": 319, "hh": 185, "adni": 77}
KINDS: tuple[CardKind, ...] = ("style", "adapter", "full")
_HELD_OUT = 2


@dataclass(frozen=True)
class Point:
    """One card's scores, mean over the visits to its site."""

    site: str
    people: int
    kind: CardKind
    seed: int
    ssim: float
    psnr_db: float


@dataclass(frozen=True)
class Curve:
    """Where things lie."""

    study: Study
    out: Path

    def prepared(self, site: str, people: int) -> Path:
        """Folder of a site's prepared people."""
        return self.out / f"{site}-{people}"

    def model(self, site: str, people: int, kind: CardKind, seed: int) -> Path:
        """Folder of a model."""
        name = f"{site}-{people}-{kind}-{seed}-{read_translator().digest[:8]}"
        return self.out / "models" / name


def make_people(curve: Curve, site: str, most: int) -> list[PreparedImage]:
    """Simulate and prepare a site's scans, unless that was done."""
    plan = CohortPlan(
        sites=(site,),
        subjects=most + _HELD_OUT,
        travelling=0,
        seed=1,
        anatomies=curve.study.plan.anatomies,
        site_people=tuple(f"head-{name}_labels" for name in SITE_PEOPLE),
        slice_spacing_mm=curve.study.plan.slice_spacing_mm,
        lesions_ml=curve.study.plan.lesions_ml,
        site_atrophy=curve.study.plan.site_atrophy,
    )
    people = Study(plan, curve.out)
    people.simulate()
    return list(read_prepared(people.prepared(site)).items)


def write_sizes(
    curve: Curve, site: str, images: Sequence[PreparedImage], sizes: Sequence[int]
) -> None:
    """Write a prepared dataset of every size; two scans are held out, the same for all."""
    manifest = read_prepared(images[0].folder).manifest
    for size in sizes:
        folder = curve.prepared(site, size)
        if (folder / PREPARED_MANIFEST).exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        write_subset(
            folder,
            manifest,
            train={i: [images[_HELD_OUT + i]] for i in range(size)},
            validation={size + i: [images[i]] for i in range(_HELD_OUT)},
        )


def score_point(curve: Curve, site: str, people: int, kind: CardKind, seed: int) -> Point:
    """Train a card and score it on every visit to its site, unless that was done."""
    out = curve.model(site, people, kind, seed)
    path = out / "point.json"
    if path.exists():
        return Point(**json.loads(path.read_text()))
    translator = read_translator()
    if not is_complete(out):
        train_anchored(
            curve.prepared(site, people),
            out,
            AnchoredSettings(kind=kind, epochs=4, max_steps_per_epoch=40),
            translator=translator,
            seed=seed,
            resume=out.exists(),
            report=lambda _line: None,
        )
    publish_card(out, out / "card.prism", private_key=None, local_only=True, overwrite=True)
    card = read_card(out / "card.prism", allow_unsigned=True)
    scores = [
        compute_scores(
            draw(visit.scan, card, translator.networks.anatomy_encoder),
            visit.acquired,
            visit.scan.mask,
        )
        for visit in _visit(curve.study, site)
    ]
    point = Point(
        site,
        people,
        kind,
        seed,
        float(np.mean([score.ssim for score in scores])),
        float(np.mean([score.psnr_db for score in scores])),
    )
    write_whole(path, json.dumps(asdict(point)).encode(), overwrite=True)
    return point


def _visit(study: Study, site: str) -> Iterator[Visit]:
    return (visit for visit in read_visits(study) if visit.target == site)


def main() -> None:
    """Parse arguments, simulate, train, score, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--skew", action="store_true", help="also the paper's 319, 185 and 77")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    study = plan_study(arguments.anatomies, arguments.bench, "T2w")
    study.simulate()
    curve = Curve(study, arguments.out)
    wanted = {"guys": list(SIZES)}
    if arguments.skew:
        for site, people in SKEW.items():
            wanted[site] = sorted({*wanted.get(site, [20]), people})
    jobs: list[tuple[Curve, str, int, CardKind, int]] = []
    for site, sizes in wanted.items():
        write_sizes(curve, site, make_people(curve, site, max(sizes)), sizes)
        jobs += [
            (curve, site, size, kind, seed)
            for size in sizes
            for kind in KINDS
            for seed in range(1 if kind == "style" else arguments.seeds)
        ]
    run_parallel(score_point, jobs, arguments.workers)
    points = [score_point(*job) for job in jobs]
    content = [asdict(point) for point in points]
    text = json.dumps(content, indent=1) + "\n"
    write_whole(arguments.out / "curve.json", text.encode(), overwrite=True)
    save_figure([p for p in points if p.site == "guys"], arguments.out / "curve.png")
    sys.stdout.write(format_table(points))


def format_table(points: Sequence[Point]) -> str:
    """Return a row per site and size: SSIM and PSNR of every kind, mean ± spread over seeds."""
    lines = [f"| target | people | {' | '.join(KINDS)} |", "|---" * (2 + len(KINDS)) + "|"]
    for site, people in dict.fromkeys((p.site, p.people) for p in points):
        cells = []
        for kind in KINDS:
            found = [p for p in points if (p.site, p.people, p.kind) == (site, people, kind)]
            ssim, psnr = ([getattr(p, key) for p in found] for key in ("ssim", "psnr_db"))
            cells.append(
                f"{np.mean(ssim):.4f} ± {np.std(ssim):.4f} / "
                f"{np.mean(psnr):.2f} ± {np.std(psnr):.2f}"
            )
        lines.append(f"| {site} | {people} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def save_figure(points: Sequence[Point], out: Path) -> None:
    """Draw SSIM and PSNR against the number of people."""
    figure = Figure(figsize=(8, 3.4))
    for axis, key, label in zip(
        figure.subplots(1, 2), ("ssim", "psnr_db"), ("SSIM", "PSNR (dB)"), strict=True
    ):
        for kind in KINDS:
            found = [p for p in points if p.kind == kind]
            sizes = sorted({p.people for p in found})
            means = [np.mean([getattr(p, key) for p in found if p.people == n]) for n in sizes]
            axis.plot(sizes, means, marker="o", label=kind)
        axis.set_xscale("log")
        axis.set_xticks(SIZES, [str(size) for size in SIZES])
        axis.set_xlabel("people at the target")
        axis.set_ylabel(label)
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
