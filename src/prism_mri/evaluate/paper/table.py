"""The tables of an evaluation of sites as Markdown, beside the published numbers."""

from collections.abc import Iterable, Sequence
from typing import Final

from prism_mri.evaluate.paper.results import (
    TISSUES,
    PaperResults,
    RecallRow,
    SimilarityRow,
    Spread,
)
from prism_mri.evaluate.paper.verdict import OVERALL
from prism_mri.evaluate.results import Interval
from prism_mri.evaluate.table import format_interval

PUBLISHED_SIMILARITY: Final = {
    ("reconstruction", "guys"): (0.9768, 33.8, 0.0004),
    ("reconstruction", "hh"): (0.9775, 35.4, 0.0003),
    ("reconstruction", "adni"): (0.9524, 29.7, 0.0013),
    ("preservation", "guys"): (0.9786, 34.2, 0.0004),
    ("preservation", "hh"): (0.9598, 31.0, 0.0008),
    ("preservation", "adni"): (0.9266, 25.5, 0.0032),
}
"""Table 1 of the paper: SSIM, PSNR (dB), MSE."""
PUBLISHED_RECALL: Final = {
    ("resnet50", "none"): {"guys": 0.9935, "hh": 1.0, "adni": 0.8571, "f1": 0.9780},
    ("resnet50", "prism"): {"guys": 1.0, "hh": 0.3111, "adni": 0.0571, "f1": 0.5757},
    ("efficientnet-b2", "none"): {"guys": 1.0, "hh": 1.0, "adni": 0.7714, "f1": 0.9695},
    ("efficientnet-b2", "prism"): {"guys": 1.0, "hh": 0.6778, "adni": 0.0857, "f1": 0.7383},
}
"""Table 2 of the paper: recall by site and weighted F1."""
PUBLISHED_DICE: Final = {
    ("adni", "none"): {"GM": 0.8482, "WM": 0.8108, "CSF": 0.8099},
    ("adni", "prism"): {"GM": 0.8614, "WM": 0.9087, "CSF": 0.8828},
    ("hh", "none"): {"GM": 0.8968, "WM": 0.9134, "CSF": 0.8314},
    ("hh", "prism"): {"GM": 0.9133, "WM": 0.9469, "CSF": 0.8964},
}
"""Table 3 of the paper: Dice of a U-Net trained at guys."""


def format_paper(results: PaperResults) -> str:
    """Return verdicts and the paper's three tables as Markdown."""
    labels = {method.name: method.label for method in results.methods}
    parts = [
        _format_verdicts(results, labels),
        _format_similarity(results, labels),
        _format_recall(results, labels),
        _format_dice(results, labels),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def format_estimate(interval: Interval, digits: int = 3) -> str:
    """Return an estimate with its bounds, without signs."""
    if interval.low is None or interval.high is None:
        return f"{interval.estimate:.{digits}f}"
    return (
        f"{interval.estimate:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"
    )


def format_spread(value: Spread) -> str:
    """Return mean ± standard deviation over runs."""
    return f"{value.mean:.3f}" if value.sd is None else f"{value.mean:.3f} ± {value.sd:.3f}"


def _format_verdicts(results: PaperResults, labels: dict[str, str]) -> str:
    rows = [
        [labels[one.method], one.judgement, "; ".join(one.reasons)]
        for one in results.verdicts
        if one.site == OVERALL
    ]
    return _draw(f"Harmonized to {results.target}: verdict", ["method", "verdict", "why"], rows)


def _format_similarity(results: PaperResults, labels: dict[str, str]) -> str:
    rows = []
    for row in results.similarity:
        if row.region != "whole" or row.method not in ("none", "prism"):
            continue
        published = (
            PUBLISHED_SIMILARITY.get((row.kind, row.site)) if row.method == "prism" else None
        )
        rows.append(
            [
                row.site,
                row.kind,
                labels[row.method],
                *_format_scores(row),
                " / ".join(f"{value:g}" for value in published) if published else "–",
            ]
        )
    head = ["site", "", "method", "SSIM", "PSNR (dB)", "MSE", "paper"]
    return _draw("Table 1: reconstruction, and likeness to the source (whole slices)", head, rows)


def _format_scores(row: SimilarityRow) -> list[str]:
    return [f"{row.ssim.estimate:.4f}", f"{row.psnr_db.estimate:.1f}", f"{row.mse.estimate:.4f}"]


def _format_recall(results: PaperResults, labels: dict[str, str]) -> str:
    if not results.recalls:
        return ""
    sites = [record.site for record in results.sites]
    rows = [
        [
            row.network,
            row.trained_on,
            labels[row.method],
            *(format_spread(row.recall[site]) for site in sites),
            format_spread(row.weighted_f1),
            " ".join(f"{name} {value.mean:.2f}" for name, value in row.called_target.items()),
            _find_published(row, sites),
        ]
        for row in results.recalls
    ]
    shares = results.majority_share
    best = max(shares, key=lambda name: shares[name])
    head = [
        "network",
        "trained on",
        "tested on",
        *(f"recall {site}" for site in sites),
        "weighted F1",
        f"called {results.target}",
        "paper",
    ]
    note = f"Always naming {best} is right for {shares[best]:.0%} of the slices."
    return _draw("Table 2: which site is it?", head, rows) + f"\n\n{note}"


def _find_published(row: RecallRow, sites: Sequence[str]) -> str:
    known = PUBLISHED_RECALL.get((row.network, row.method))
    if known is None or row.trained_on != "original":
        return "–"
    return " ".join(f"{site} {known[site]:.2f}" for site in sites if site in known) or "–"


def _format_dice(results: PaperResults, labels: dict[str, str]) -> str:
    if not results.segmentation:
        return ""
    rows = []
    for site, role, method in dict.fromkeys(
        (row.site, row.role, row.method) for row in results.segmentation
    ):
        found = {
            row.tissue: row
            for row in results.segmentation
            if (row.site, row.role, row.method) == (site, role, method)
        }
        known = PUBLISHED_DICE.get((site, method)) if role == "target on source" else None
        rows.append(
            [
                site,
                role,
                labels[method],
                *(format_estimate(found[tissue].dice) for tissue in TISSUES),
                " / ".join(f"{known[tissue]:.2f}" for tissue in TISSUES) if known else "–",
            ]
        )
    changes = [
        [
            one.site,
            labels[one.method],
            labels[one.versus],
            format_interval(one.difference, digits=3),
        ]
        for one in results.dice_changes
        if one.tissue == "mean" and (one.site == "mean" or one.method == "prism")
    ]
    head = ["source", "network", "images", *TISSUES, "paper"]
    return "\n\n".join(
        (
            _draw("Table 3: Dice of a U-Net for tissues", head, rows),
            _draw(
                "Change of Dice, mean of tissues, the target's network",
                ["source", "method", "against", "change"],
                changes,
            ),
        )
    )


def _draw(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return f"{title}\n\n" + "\n".join(lines)
