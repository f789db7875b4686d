"""The paper's experiments on simulated sites like its own, beside the paper's numbers.

    python tools/bench_paper.py --out BENCH [--anatomies FOLDER] [--subjects 24] [--runs 5]

Sites guys, hh and adni scan people of their own (by default deformations of the embedded template;
FOLDER holds label maps instead), with lesions and atrophy, adni's people older; two thirds are
trained on, the others are tested. guys is the target. Four more people travel: on them the truth is
known, and the methods' ranking by distances that need no truth is compared with their ranking by
it.

Data, models and every network's answers are cached under BENCH, so that an interrupted run goes on.
BENCH/results gets what ``prism-mri evaluate paper`` writes, ``ranking.json`` the comparison of
rankings; the tables go to stdout. ``prism-mri report BENCH/results --out PAGE.html`` makes a page.
"""

import argparse
import json
import logging
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from recipe_study import Row, Study, find, read_scans, run_parallel, train_site
from scipy.stats import spearmanr

from prism_mri.card import publish_card, read_card
from prism_mri.config import PreprocessingContract
from prism_mri.data.prepared import read_prepared
from prism_mri.evaluate.paper.methods import (
    HarmonizationMethod,
    Prism,
    TargetImages,
    build_baselines,
)
from prism_mri.evaluate.paper.results import PaperResults, PaperSettings
from prism_mri.evaluate.paper.run import PaperInputs, evaluate_paper
from prism_mri.evaluate.paper.table import format_paper
from prism_mri.evaluate.scans import read_truth
from prism_mri.files import write_whole
from prism_mri.metrics import compute_scores
from prism_mri.models.translator import read_translator
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.simulate.cohort import CohortPlan, simulate_cohort
from prism_mri.training.anchored import AnchoredSettings

_LOGGER = logging.getLogger("bench")
SITES = ("guys", "hh", "adni")
TARGET = "guys"
_LABELS = "{data}/{site}/derivatives/truth/sub-{{sub}}/anat/sub-{{sub}}_dseg.nii.gz"
_MAPS = (
    "{data}/{site}/derivatives/truth/sub-{{sub}}/ses-{{ses}}/anat/"
    "sub-{{sub}}_ses-{{ses}}_dseg.nii.gz"
)
_ROW = Row("anchored", AnchoredSettings(epochs=3, max_steps_per_epoch=25))


@dataclass(frozen=True)
class PaperStudy(Study):
    """A study whose sites come with tissue labels, a third of their people held out."""

    def simulate(self) -> None:
        """Simulate and prepare every site, if that has not been done."""
        if not self.data.exists():
            simulate_cohort(self.plan, self.data)
        pattern = _MAPS if self.plan.anatomies else _LABELS
        for site in self.plan.sites:
            if not self.prepared(site).exists():
                prepare_site(
                    [self.data / site],
                    self.prepared(site),
                    site=site,
                    contract=PreprocessingContract.for_modality(self.plan.modality),
                    labels=pattern.format(data=self.data, site=site),
                    validation_fraction=1 / 3,
                )


def plan_study(out: Path, anatomies: Path | None, subjects: int) -> PaperStudy:
    """Return three sites and four people who travel between them."""
    plan = CohortPlan(
        sites=SITES,
        subjects=subjects,
        travelling=4,
        seed=11,
        anatomies=anatomies,
        slice_spacing_mm=6.0,
        lesions_ml=4.0,
        atrophy=0.05,
        site_atrophy={"adni": 0.05},
    )
    return PaperStudy(plan, out)


def rank_methods(study: Study, results: PaperResults) -> dict[str, object]:
    """Return methods' scores on travelling people, and how distances without truth rank them.

    Spearman's correlation over methods of the mean SSIM and PSNR of travelling people, source to
    target, with every distance's mean over source sites; of distances that should fall, negated.
    """
    truth = _score_travelling(study)
    sources = {record.site for record in results.sites} - {results.target}
    names = sorted(truth)
    rows: dict[str, dict[str, float]] = defaultdict(dict)
    for row in results.distances:
        if row.site in sources and row.method in truth:
            share = row.value.estimate / len(sources)
            rows[row.measure][row.method] = rows[row.measure].get(row.method, 0.0) + share
    correlations = {}
    for measure, values in rows.items():
        sign = 1.0 if measure == "gradient SSIM" else -1.0
        for column, metric in enumerate(("ssim", "psnr_db")):
            found = spearmanr(
                [sign * values[name] for name in names], [truth[name][column] for name in names]
            )
            correlations[f"{measure}, {metric}"] = float(found.statistic)
    return {
        "truth": {name: dict(zip(("ssim", "psnr_db"), truth[name], strict=True)) for name in names},
        "distances": rows,
        "spearman": correlations,
    }


def _score_travelling(study: Study) -> dict[str, tuple[float, float]]:
    """Return mean SSIM and PSNR of every method against the truth as the target acquired it."""
    scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
    methods = _fit_methods(study)
    sessions = find(study, SITES).sessions
    for person, source, scan in read_scans(study, SITES):
        if source == TARGET:
            continue
        image = scan.stack(scan.brain.volume.data)
        truth = read_truth(sessions[person, source].truths[TARGET].acquired, scan)
        for method in methods:
            drawn = method.transform(image, scan.mask, scan.brain.volume.spacing_mm)
            found = compute_scores(drawn, truth, scan.mask)
            scores[method.name].append((found.ssim, found.psnr_db))
    return {
        name: (float(np.mean([s for s, _ in found])), float(np.mean([p for _, p in found])))
        for name, found in scores.items()
    }


def _fit_methods(study: Study) -> list[HarmonizationMethod]:
    train = read_prepared(study.prepared(TARGET)).split("train")
    target: TargetImages = lambda: (  # noqa: E731
        (*image.load(), image.entry.spacing_mm) for image in train
    )
    card = read_card(study.root / f"{TARGET}.prism", allow_unsigned=True)
    encoder = read_translator().networks.anatomy_encoder
    methods = [*build_baselines(study.plan.modality), Prism(card, encoder)]
    for method in methods:
        method.fit(target)
    return methods


def main() -> None:
    """Parse arguments, simulate, train, evaluate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--anatomies", type=Path)
    parser.add_argument("--subjects", type=int, default=24)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    study = plan_study(arguments.out, arguments.anatomies, arguments.subjects)
    study.simulate()
    run_parallel(train_site, [(study, _ROW, site, 0) for site in SITES], arguments.workers)
    models = {site: study.model(_ROW, site, 0) for site in SITES}
    card_file = study.root / f"{TARGET}.prism"
    publish_card(models[TARGET], card_file, private_key=None, local_only=True, overwrite=True)
    out = arguments.out / "results"
    results = evaluate_paper(
        PaperInputs(
            prepared=tuple(study.prepared(site) for site in SITES),
            models=tuple(models.values()),
            participants={site: study.data / site / "participants.tsv" for site in SITES},
        ),
        read_card(card_file, allow_unsigned=True),
        read_translator(),
        out,
        settings=PaperSettings(runs=arguments.runs, covariate="atrophy"),
        overwrite=True,
        progress=lambda stage, done, total: _LOGGER.info("%s: %d of %d", stage, done, total),
    )
    ranking = rank_methods(study, results)
    text = json.dumps(ranking, indent=1) + "\n"
    write_whole(arguments.out / "ranking.json", text.encode(), overwrite=True)
    sys.stdout.write(format_paper(results))
    sys.stdout.write("\nRanks of methods without truth against ranks by truth (Spearman)\n\n")
    for name, value in ranking["spearman"].items():  # type: ignore[attr-defined]
        sys.stdout.write(f"- {name}: {value:+.2f}\n")


if __name__ == "__main__":
    main()
