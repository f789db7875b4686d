"""The travelling benchmark: every method, every ordered pair, people and scanners never seen.

    python tools/bench_travelling.py --anatomies FOLDER --out BENCH [--modality T2w] [--seeds 5]

FOLDER holds the SynthSeg training label maps as ``head-NN_labels.nii.gz``. Sites guys, hh, iop and
adni scan deformed copies of heads 02 04 06 09 12 14, those at adni with atrophy; heads 16 to 19
travel to all four and to two scanners, north and south, that nobody trains at: 20 ordered pairs.
Everybody has lesions. The protocols are fixed (``simulate/protocols.py``; a test holds their
digests).

Every image is scored on the source's own grid inside the brain against the same anatomy as the
target would have acquired it, and, for PSNR, against that without noise and bias field. Means over
pairs, people and seeds; intervals are a paired bootstrap over people and seeds. *Share* is how much
of the distance from quantile matching to the oracle a method covers. The other measures are of
:mod:`prism_mri.metrics.fidelity`, over the noise-free truth's: 1 is right.

Models and scores are cached under BENCH by configuration, and an interrupted run goes on. BENCH
gets ``travelling-MODALITY.json``, ``travelling-MODALITY.png`` (pairs × methods) and
``travelling-MODALITY-bytes.png`` (share covered against the size of the card); the table goes to
stdout.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from recipe_study import (
    Row,
    Study,
    digest,
    is_trained,
    locate_card,
    name_harmonization,
    run_parallel,
    train_site,
)
from table_recipes import SITE_PEOPLE, TRAVELLING
from travelling_methods import SIMPLE, Method, Visit, build_simple, build_trained, read_visits

from prism_mri.config import Modality
from prism_mri.files import write_whole
from prism_mri.metrics import (
    Fidelity,
    compute_psnr,
    compute_scores,
    count_volumes,
    measure_fidelity,
)
from prism_mri.simulate.cohort import CohortPlan
from prism_mri.simulate.protocols import get_protocol, get_visited_protocol
from prism_mri.training.anchored import AnchoredSettings
from prism_mri.training.paper import PaperSettings

VERSION = 2
"""Of the benchmark: people, protocols and measures. A change makes older results incomparable."""
SITES = ("guys", "hh", "iop", "adni")
VISITED = ("north", "south")
_DRAWS = 2000
_BASELINE, _ORACLE = "quantile matching", "oracle"
_FIDELITY = tuple(field.name for field in fields(Fidelity))


@dataclass(frozen=True)
class Measure:
    """One image of one person under one method and seed."""

    person: str
    source: str
    target: str
    ssim: float
    psnr_db: float
    mae: float
    psnr_clean_db: float
    fidelity: Mapping[str, float]
    """Over the noise-free truth's."""
    volume_error: float
    """Mean over CSF, GM and WM of the relative error of the segmented volume."""
    volume_error_rescan: float
    """The same on the truth as acquired: what the segmenter does by itself."""


def plan_study(anatomies: Path, out: Path, modality: Modality) -> Study:
    """Return the benchmark's people and scanners."""
    plan = CohortPlan(
        sites=SITES,
        subjects=2 * len(SITE_PEOPLE),
        travelling=len(TRAVELLING),
        visited=VISITED,
        seed=0,
        anatomies=anatomies,
        site_people=tuple(f"head-{name}_labels" for name in SITE_PEOPLE),
        travelling_people=tuple(f"head-{name}_labels" for name in TRAVELLING),
        slice_spacing_mm=5.0,
        modality=modality,
        lesions_ml=6.0,
        site_atrophy={"adni": 0.1},
    )
    return Study(plan, out)


def plan_rows() -> list[Row]:
    """Return what is trained; the style card alone keeps the shipped networks."""
    paper = PaperSettings(epochs=5, validation_slices=24)
    anchored = AnchoredSettings(epochs=3, max_steps_per_epoch=25)
    return [
        Row("paper", paper),
        Row("paper, common initialization", paper.model_copy(update={"initialization": "common"})),
        Row("published objective", paper.model_copy(update={"objective": "published-code"})),
        Row("style card alone", AnchoredSettings(kind="style")),
        Row("adapter card", anchored.model_copy(update={"kind": "adapter"})),
        Row("anchored, networks alone", anchored, source_detail=False),
        Row("anchored", anchored),
    ]


def score_simple(study: Study, name: str) -> list[Measure]:
    """Return the measures of a method that does not depend on a seed, computed once."""
    path = study.root / "scores" / f"{digest([VERSION, study.key, name])}.json"
    return _read_or(path, lambda: _score(study, build_simple(study, name)))


def score_trained(study: Study, row: Row, seed: int) -> list[Measure]:
    """Return the measures of a trained row, computed once."""
    models = [study.model(row, site, seed).name for site in SITES]
    name = digest([VERSION, study.key, models, row.source_detail, *name_harmonization(row)])
    leave_out = VISITED if isinstance(row.settings, PaperSettings) else ()
    return _read_or(
        study.root / "scores" / f"{name}.json",
        lambda: _score(study, build_trained(study, row, seed), leave_out),
    )


def _read_or(path: Path, compute) -> list[Measure]:  # type: ignore[no-untyped-def]
    if not path.exists():
        found = [asdict(measure) for measure in compute()]
        write_whole(path, json.dumps(found).encode(), overwrite=True)
    return [Measure(**item) for item in json.loads(path.read_text())]


def _score(study: Study, method: Method, leave_out: Sequence[str] = ()) -> list[Measure]:
    return [
        measure(visit, method(visit))
        for visit in read_visits(study)
        if visit.source not in leave_out
    ]


def measure(visit: Visit, drawn: np.ndarray) -> Measure:
    """Score one harmonized scan."""
    mask = visit.scan.mask
    scores = compute_scores(drawn, visit.acquired, mask)
    shown, clean, acquired = (
        measure_fidelity(image, visit.labels, visit.lesion, mask)
        for image in (drawn, visit.clean, visit.acquired)
    )
    return Measure(
        visit.person,
        visit.source,
        visit.target,
        scores.ssim,
        scores.psnr_db,
        scores.mae,
        min(compute_psnr(drawn, visit.clean, mask), 99.0),
        asdict(shown.relate(clean)),
        _compare_volumes(shown, visit),
        _compare_volumes(acquired, visit),
    )


def _compare_volumes(shown: Fidelity, visit: Visit) -> float:
    true = count_volumes(visit.labels, visit.scan.mask)
    found = (shown.csf_volume, shown.gm_volume, shown.wm_volume)
    return float(np.mean([abs(f / t - 1) for f, t in zip(found, true, strict=True)]))


Scores = Mapping[str, Sequence[Sequence[Measure]]]
"""Method to seeds to measures."""


def tabulate(
    scores: Scores, attribute: str, pairs: Sequence[tuple[str, str]]
) -> dict[str, np.ndarray]:
    """Return method to ``(seeds, people)``: mean over the pairs."""
    people = sorted({m.person for m in scores[_BASELINE][0]})
    return {
        name: np.array(
            [
                [
                    np.mean(
                        [
                            getattr(m, attribute)
                            for m in seed
                            if m.person == person and (m.source, m.target) in pairs
                        ]
                    )
                    for person in people
                ]
                for seed in seeds
            ]
        )
        for name, seeds in scores.items()
    }


def bootstrap(
    values: Mapping[str, np.ndarray], name: str, generator: np.random.Generator
) -> dict[str, list[float]]:
    """Return difference to quantile matching and share of its distance to the oracle.

    Each as estimate, lower and upper 95 % bound over people and seeds.
    """
    method, baseline, oracle = (values[key] for key in (name, _BASELINE, _ORACLE))
    seeds, people = method.shape
    who = generator.integers(0, people, (_DRAWS, people))
    which = generator.integers(0, seeds, (_DRAWS, seeds))
    means = np.array([method[np.ix_(s, p)].mean() for s, p in zip(which, who, strict=True)])
    base, best = baseline[0][who].mean(axis=1), oracle[0][who].mean(axis=1)
    gained, distance = method.mean() - baseline.mean(), oracle.mean() - baseline.mean()
    return {
        "difference": [gained, *np.percentile(means - base, (2.5, 97.5))],
        "share": [gained / distance, *np.percentile((means - base) / (best - base), (2.5, 97.5))],
    }


def summarize(scores: Scores) -> dict[str, dict[str, object]]:
    """Return every method's means, shares and fidelity over all pairs, and differences by pair.

    The paper's rows are compared on the pairs that they have.
    """
    summary: dict[str, dict[str, object]] = {}
    for name, seeds in scores.items():
        pairs = sorted({(m.source, m.target) for m in seeds[0]})
        row: dict[str, object] = {"pairs": len(pairs), "seeds": len(seeds)}
        for key in ("ssim", "psnr_db", "mae", "psnr_clean_db", "volume_error"):
            means = [float(np.mean([getattr(m, key) for m in seed])) for seed in seeds]
            row[key] = float(np.mean(means))
            row[f"{key}_sd"] = float(np.std(means, ddof=1)) if len(means) > 1 else 0.0
        for key in ("ssim", "psnr_db"):
            generator = np.random.default_rng(0)
            row[f"{key}_over_quantile"] = bootstrap(tabulate(scores, key, pairs), name, generator)
        row["fidelity"] = {key: _describe_fidelity(seeds, key) for key in _FIDELITY}
        row["by_pair"] = {
            f"{source} → {target}": {
                key: bootstrap(
                    tabulate(scores, key, [(source, target)]), name, np.random.default_rng(0)
                )["difference"]
                for key in ("ssim", "psnr_db")
            }
            for source, target in pairs
        }
        summary[name] = row
    rescan = [m.volume_error_rescan for m in scores[_BASELINE][0]]
    summary[_ORACLE]["volume_error_rescan"] = float(np.mean(rescan))
    return summary


def _describe_fidelity(seeds: Sequence[Sequence[Measure]], key: str) -> dict[str, float]:
    """Return mean of a measure over the truth's, and its mean distance from 1."""
    ratios = np.array([m.fidelity[key] for seed in seeds for m in seed], dtype=float)
    ratios = ratios[np.isfinite(ratios)]
    if not len(ratios):
        return {"ratio": math.nan, "error": math.nan}
    return {"ratio": float(ratios.mean()), "error": float(np.abs(ratios - 1).mean())}


def format_table(summary: Mapping[str, Mapping]) -> str:  # type: ignore[type-arg]
    """Return two tables as Markdown: similarity, then fidelity."""
    lines = [
        "| | SSIM | PSNR (dB) | MAE | PSNR, clean truth | share SSIM | share PSNR | pairs below |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in summary.items():
        cells = [
            f"{row['ssim']:.3f} ± {row['ssim_sd']:.3f}",
            f"{row['psnr_db']:.1f} ± {row['psnr_db_sd']:.1f}",
            f"{row['mae']:.3f}",
            f"{row['psnr_clean_db']:.1f}" if name != _ORACLE else "–",
            *(_format_share(row[f"{key}_over_quantile"]["share"]) for key in ("ssim", "psnr_db")),
            f"{count_below(row)} of {row['pairs']}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    words = ("GM/WM", "CSF/WM", "lesion/WM", "sharpness", "flicker")
    lines += [
        "",
        f"| mean distance from the truth's | {' | '.join(words)} | volumes |",
        "|---" * 7 + "|",
    ]
    for name, row in summary.items():
        cells = [f"{row['fidelity'][key]['error']:.0%}" for key in _FIDELITY[: len(words)]]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['volume_error']:.0%} |")
    rescan = summary[_ORACLE]["volume_error_rescan"]
    lines.append(f"| the truth as acquired, segmented alike | {'| ' * 5}| {rescan:.0%} |")
    return "\n".join(lines)


def _format_share(share: Sequence[float]) -> str:
    return f"{share[0]:.0%} ({share[1]:.0%} to {share[2]:.0%})"


def count_below(row: Mapping) -> int:  # type: ignore[type-arg]
    """Return on how many pairs a method lies below quantile matching with 95 % certainty."""
    return sum(
        any(difference[2] < 0 for difference in pair.values()) for pair in row["by_pair"].values()
    )


def save_figure(summary: Mapping[str, Mapping], out: Path) -> None:  # type: ignore[type-arg]
    """Draw pairs × methods: SSIM over quantile matching."""
    methods = [name for name in summary if name != _BASELINE]
    pairs = list(summary[_ORACLE]["by_pair"])
    values = np.full((len(pairs), len(methods)), np.nan)
    for column, name in enumerate(methods):
        for line, pair in enumerate(pairs):
            if pair in summary[name]["by_pair"]:
                values[line, column] = summary[name]["by_pair"][pair]["ssim"][0]
    figure = Figure(figsize=(1.0 + 1.0 * len(methods), 1.8 + 0.3 * len(pairs)))
    axis = figure.subplots()
    shown = axis.imshow(values, cmap="RdBu", vmin=-0.15, vmax=0.15, aspect="auto")
    axis.set_xticks(range(len(methods)), methods, rotation=40, ha="right", fontsize=8)
    axis.set_yticks(range(len(pairs)), pairs, fontsize=8)
    for (line, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axis.text(column, line, f"{value:+.3f}", ha="center", va="center", fontsize=6)
    figure.colorbar(shown, label="SSIM over quantile matching")
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def measure_cards(study: Study, row: Row, seeds: Sequence[int]) -> float:
    """Return the mean size of a row's cards in bytes."""
    cards = [locate_card(study.model(row, site, seed), site) for site in SITES for seed in seeds]
    return float(np.mean([card.stat().st_size for card in cards]))


def save_bytes_figure(summary: Mapping[str, Mapping], out: Path) -> None:  # type: ignore[type-arg]
    """Draw the share of quantile → oracle that cards cover against their size."""
    figure = Figure(figsize=(6, 4))
    axis = figure.subplots()
    for key, label, marker in (("ssim", "SSIM", "o"), ("psnr_db", "PSNR", "s")):
        rows = sorted(
            (row["card_bytes"], row[f"{key}_over_quantile"]["share"], name)
            for name, row in summary.items()
            if "card_bytes" in row and row["card_kind"] is not None
        )
        sizes = [size for size, _, _ in rows]
        values = np.array([share for _, share, _ in rows])
        errors = np.abs(values[:, 1:] - values[:, :1]).T
        axis.errorbar(sizes, values[:, 0], errors, marker=marker, capsize=3, label=label)
        if key == "ssim":
            for size, share, name in rows:
                place = (size, share[2])
                axis.annotate(name, place, (0, 5), textcoords="offset points", ha="center")
    axis.set_xscale("log")
    axis.set_xlabel("bytes of the card")
    axis.set_ylabel("share of quantile → oracle")
    axis.set_ylim(0, 1)
    axis.margins(x=0.2)
    axis.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def main() -> None:
    """Parse arguments, simulate, train, score, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--modality", choices=("T2w", "T1w", "PDw", "FLAIR"), default="T2w")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", help="of the trained rows only these (default: all)")
    parser.add_argument("--no-training", action="store_true", help="leave out what is not trained")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    study = plan_study(arguments.anatomies, arguments.out, arguments.modality)
    study.simulate()
    wanted = {
        row: [0] if row.name == "style card alone" else list(range(arguments.seeds))
        for row in plan_rows()
        if row.name in (arguments.rows or [row.name])
    }
    if arguments.no_training:
        wanted = {
            row: [s for s in seeds if _all_trained(study, row, s)] for row, seeds in wanted.items()
        }
    jobs = {
        study.model(row, site, seed): (study, row, site, seed)
        for row, seeds in wanted.items()
        for seed in seeds
        for site in SITES
    }
    run_parallel(train_site, list(jobs.values()), arguments.workers)
    trained = [(study, row, seed) for row, seeds in wanted.items() for seed in seeds]
    run_parallel(score_trained, trained, arguments.workers)
    run_parallel(score_simple, [(study, name) for name in SIMPLE], arguments.workers)
    scores = {name: [score_simple(study, name)] for name in SIMPLE}
    oracle = scores.pop(_ORACLE)
    for row, seeds in wanted.items():
        if seeds:
            scores[row.name] = [score_trained(study, row, seed) for seed in seeds]
    scores[_ORACLE] = oracle
    summary = summarize(scores)
    for row, seeds in wanted.items():
        if seeds:
            summary[row.name]["card_bytes"] = measure_cards(study, row, seeds)
            kind = getattr(row.settings, "kind", None)
            summary[row.name]["card_kind"] = kind if row.source_detail else None
    modality = study.plan.modality
    protocols = [get_protocol(name, modality) for name in SITES]
    protocols += [get_visited_protocol(name, modality) for name in VISITED]
    content = {
        "version": VERSION,
        "modality": modality,
        "protocols": {protocol.name: protocol.digest() for protocol in protocols},
        "settings": {row.name: row.settings.model_dump() for row in wanted},
        "summary": summary,
    }
    name = f"travelling-{modality}"
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_whole(arguments.out / f"{name}.json", text.encode(), overwrite=True)
    save_figure(summary, arguments.out / f"{name}.png")
    if sum(row.get("card_kind") is not None for row in summary.values()) > 1:
        save_bytes_figure(summary, arguments.out / f"{name}-bytes.png")
    sys.stdout.write(format_table(summary) + "\n")


def _all_trained(study: Study, row: Row, seed: int) -> bool:
    return all(is_trained(study, row, site, seed) for site in SITES)


if __name__ == "__main__":
    main()
