"""Put together what an evaluation found: means, intervals, warnings and versions."""

import importlib.metadata
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

import prism_mri
from prism_mri.card import SiteCard
from prism_mri.config import PreprocessingContract
from prism_mri.evaluate.bootstrap import DRAWS
from prism_mri.evaluate.dataset import TravellingDataset
from prism_mri.evaluate.results import (
    CardRecord,
    EvaluationSettings,
    Panel,
    Reconstruction,
    ScoreRow,
    TravellingResults,
)
from prism_mri.evaluate.styles import VolumeStyle, place_styles
from prism_mri.evaluate.summary import compare, summarize
from prism_mri.evaluate.table import FEW_PEOPLE
from prism_mri.metrics import DATA_RANGE, SSIM_SIGMA

_NUMBER = re.compile(r"[0-9][0-9.]*")
REPORTED_PACKAGES = ("nibabel", "numpy", "scikit-image", "scipy", "torch")


@dataclass
class Findings:
    """What an evaluation has found so far."""

    scores: list[ScoreRow] = field(default_factory=list)
    styles: list[VolumeStyle] = field(default_factory=list)
    reconstructions: list[Reconstruction] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    arrays: dict[str, Float32[np.ndarray, "_H _W"]] = field(default_factory=dict)
    """Pictures of the panels, by name."""
    warnings: list[tuple[str, str, str]] = field(default_factory=list)
    """Source, target and text of every warning that harmonizing gave."""


def collect_results(
    findings: Findings,
    travelling: TravellingDataset,
    *,
    cards: Mapping[str, SiteCard],
    contract: PreprocessingContract,
    seed: int,
) -> TravellingResults:
    """Compute means and intervals and state where everything came from.

    Args:
        findings: scores, styles and pictures.
        travelling: the dataset that was evaluated.
        cards: site card by site.
        contract: preprocessing of all cards.
        seed: of the bootstrap.

    Returns:
        Everything that results.json holds.
    """
    points, axes = place_styles(findings.styles)
    comparisons = compare(
        findings.scores,
        anatomy_of=travelling.anatomy_of,
        draws=DRAWS,
        generator=np.random.default_rng(seed),
    )
    return TravellingResults(
        dataset=travelling.name,
        anatomy=travelling.anatomy,
        people=travelling.people,
        anatomies=len(set(travelling.anatomy_of.values())),
        sites=tuple(cards),
        unseen=tuple(scanner for scanner in travelling.scanners if scanner not in cards),
        pairs=travelling.pairs(tuple(cards)),
        settings=EvaluationSettings(
            seed=seed,
            bootstrap_draws=DRAWS,
            data_range=DATA_RANGE,
            ssim_sigma_pixels=SSIM_SIGMA,
            contract=contract,
        ),
        cards=tuple(record_card(card) for card in cards.values()),
        scores=tuple(findings.scores),
        summary=summarize(findings.scores),
        comparisons=comparisons,
        reconstructions=tuple(findings.reconstructions),
        styles=points,
        style_axes=axes,
        panels=tuple(findings.panels),
        versions=find_versions(),
        warnings=_list_warnings(findings, travelling, cards),
    )


def record_card(card: SiteCard) -> CardRecord:
    """Return what results say of a card."""
    return CardRecord(
        site=card.manifest.site,
        digest=card.digest,
        signer=card.signer,
        people=card.manifest.people,
        intensity_scale=card.manifest.intensity_scale,
        local_only=card.manifest.local_only,
    )


def _list_warnings(
    findings: Findings, travelling: TravellingDataset, cards: Mapping[str, SiteCard]
) -> tuple[str, ...]:
    warnings = []
    anatomies = len(set(travelling.anatomy_of.values()))
    if anatomies < FEW_PEOPLE:
        noun = "anatomy" if anatomies == 1 else "anatomies"
        warnings.append(
            f"{anatomies} {noun} only: intervals are a rough guide and tend to be too narrow"
        )
    if travelling.anatomy == "deformed-template":
        warnings.append(
            "the people are deformations of one template: intervals tell how the result varies "
            "over deformations, not over a population"
        )
    unsigned = [site for site, card in cards.items() if card.signer is None]
    if unsigned:
        warnings.append(f"unsigned cards: {', '.join(unsigned)}")
    return (*warnings, *_gather(findings.warnings))


def _gather(given: Sequence[tuple[str, str, str]]) -> list[str]:
    """Make one line of warnings that differ in their numbers only."""
    alike: dict[str, list[tuple[str, str, str]]] = {}
    for warning in given:
        alike.setdefault(_NUMBER.sub("#", warning[2]), []).append(warning)
    lines = []
    for same in alike.values():
        pairs = ", ".join(dict.fromkeys(f"{source} → {target}" for source, target, _ in same))
        images = "1 image" if len(same) == 1 else f"{len(same)} images"
        lines.append(f"{images} ({pairs}), for instance: {same[0][2]}")
    return lines


def find_versions() -> dict[str, str]:
    """Return the versions of this package, Python and what the numbers depend on."""
    versions = {name: importlib.metadata.version(name) for name in REPORTED_PACKAGES}
    return {"prism-mri": prism_mri.__version__, "python": platform.python_version()} | versions
