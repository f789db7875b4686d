"""Score harmonization on travelling people: the same person under every scanner."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prism_mri.baselines import QuantileMatching
from prism_mri.card import SiteCard, check_compatible
from prism_mri.config import PreprocessingContract
from prism_mri.data.prepared import PreparedDataset, read_prepared
from prism_mri.errors import CompatibilityError, InputError
from prism_mri.evaluate.collect import Findings, collect_results
from prism_mri.evaluate.dataset import TravellingDataset, find_travelling
from prism_mri.evaluate.files import check_results_folder, write_results
from prism_mri.evaluate.home import read_style, score_reconstruction
from prism_mri.evaluate.pairs import PairImages, Target, cut_panel, harmonize_pair, score_pair
from prism_mri.evaluate.results import Panel, Reconstruction, StyleStage, TravellingResults, Truth
from prism_mri.evaluate.scans import Scan, read_scan, read_truth, resample_scan
from prism_mri.evaluate.styles import VolumeStyle
from prism_mri.models.translator import compute_digest
from prism_mri.networks.anatomy_encoder import AnatomyEncoder
from prism_mri.preprocessing.conform import conform
from prism_mri.types import MaskStack, SliceStack, VolumeArray

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of steps done and the number of all steps."""


@dataclass(frozen=True)
class Visit:
    """One person on the way from one scanner to one site."""

    person: str
    source: str
    target: str


def evaluate_travelling(
    dataset: Path,
    *,
    cards: Mapping[str, SiteCard],
    prepared: Mapping[str, Path],
    anatomy_encoder: AnatomyEncoder,
    out: Path,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TravellingResults:
    """Harmonize every travelling person to every site with a card, and score it.

    All scores are taken on the source's native grid, in slices with enough brain, inside the brain
    mask, with every image in the prepared scale.

    Args:
        dataset: travelling BIDS dataset with truths under ``derivatives/truth``.
        cards: site card by site.
        prepared: prepared dataset by site; quantile matching is fitted on its training people and
            reconstruction is scored on its held-out people.
        anatomy_encoder: the encoder that the cards belong to.
        out: folder for results.json, scores.tsv, summary.tsv, table.md and panels.npz.
        seed: of the bootstrap.
        overwrite: replace earlier results.
        progress: called after every pair.

    Returns:
        What was written to results.json.

    Raises:
        InputError: the dataset is incomplete, a site lacks its prepared dataset, the cards differ
            in preprocessing, or results stand there already.
        CompatibilityError: a card is of recipe ``paper``, whose anatomy encoder stays at its site,
            belongs to another anatomy encoder or modality, or its site's prepared dataset was
            prepared otherwise than it asks.
    """
    check_results_folder(out, overwrite=overwrite)
    contract = _check_sites(cards, prepared)
    digest = compute_digest(anatomy_encoder.state_dict())
    for card in cards.values():
        check_compatible(card, digest, contract.modality)
    sites = {site: _read_site(prepared[site], card) for site, card in cards.items()}
    travelling = find_travelling(dataset, targets=tuple(cards), modality=contract.modality)
    targets = {site: Target(cards[site], _fit_quantiles(sites[site])) for site in cards}
    findings = Findings()
    visits = list(_plan_visits(travelling, tuple(cards)))
    scans: dict[str, Scan] = {}
    for done, visit in enumerate(visits, start=1):
        if done == 1 or visit.person != visits[done - 2].person:
            scans = _read_person(travelling, visit.person, contract)
            _note_own_styles(findings, visit.person, scans, targets, anatomy_encoder)
        _evaluate_visit(findings, visit, travelling, scans, targets[visit.target], anatomy_encoder)
        if progress is not None:
            progress(done, len(visits))
    findings.reconstructions += [
        _reconstruct(sites[site], card, anatomy_encoder) for site, card in cards.items()
    ]
    results = collect_results(findings, travelling, cards=cards, contract=contract, seed=seed)
    write_results(out, results, findings.arrays, overwrite=overwrite)
    return results


def _check_sites(
    cards: Mapping[str, SiteCard], prepared: Mapping[str, Path]
) -> PreprocessingContract:
    if not cards:
        raise InputError("no site card was given; pass at least one with --card")
    missing = sorted(set(cards) - set(prepared))
    if missing:
        raise InputError(
            f"no prepared dataset of {', '.join(missing)}; pass the folders that "
            "'prism-mri prepare' made with --prepared"
        )
    _check_recipes(cards)
    contracts = {site: card.manifest.contract for site, card in cards.items()}
    first, *others = contracts.values()
    if any(other != first for other in others):
        raise InputError(
            f"the cards of {', '.join(contracts)} differ in preprocessing; evaluate them one by one"
        )
    return first


def _check_recipes(cards: Mapping[str, SiteCard]) -> None:
    """Refuse cards whose decoder draws from anatomy that only their own site's encoder gives."""
    others = {
        site: card.manifest.recipe
        for site, card in cards.items()
        if card.manifest.recipe != "anchored"
    }
    if others:
        named = ", ".join(f"{site} (recipe {recipe})" for site, recipe in others.items())
        raise CompatibilityError(
            f"the anatomy encoder of {named} stays at its site, so the card cannot be evaluated"
            " here: give cards of recipe anchored, or compare recipes with tools/table_recipes.py"
        )


def _read_site(folder: Path, card: SiteCard) -> PreparedDataset:
    """Read a site's prepared dataset, which must be prepared as its card asks."""
    site, wanted = read_prepared(folder), card.manifest.contract
    found = site.manifest.contract
    if found != wanted:
        same = " with another grid or intensity" if found.modality == wanted.modality else ""
        raise CompatibilityError(
            f"{folder} is prepared as {found.modality}, the card of {card.manifest.site} asks for"
            f" {wanted.modality}{same}: prepare that site's {wanted.modality} images as the card"
            f" asks, or give its card for what {folder.name} holds"
        )
    return site


def _fit_quantiles(site: PreparedDataset) -> QuantileMatching:
    return QuantileMatching.fit(image.load() for image in site.split("train"))


def _plan_visits(travelling: TravellingDataset, targets: tuple[str, ...]) -> Iterator[Visit]:
    for person in travelling.people:
        for source, target in travelling.pairs(targets):
            if (person, source) in travelling.sessions:
                yield Visit(person, source, target)


def _read_person(
    travelling: TravellingDataset, person: str, contract: PreprocessingContract
) -> dict[str, Scan]:
    return {
        scanner: read_scan(session, contract)
        for (who, scanner), session in travelling.sessions.items()
        if who == person
    }


def _evaluate_visit(
    findings: Findings,
    visit: Visit,
    travelling: TravellingDataset,
    scans: Mapping[str, Scan],
    target: Target,
    anatomy_encoder: AnatomyEncoder,
) -> None:
    scan = scans[visit.source]
    paths = travelling.sessions[visit.person, visit.source].truths[visit.target]
    truths: dict[Truth, tuple[SliceStack, MaskStack]] = {
        "acquired": (read_truth(paths.acquired, scan), scan.mask),
        "clean": (read_truth(paths.clean, scan), scan.mask),
    }
    if visit.target in scans:
        truths["resampled"] = resample_scan(scans[visit.target], scan)
    images = harmonize_pair(scan, truths, target=target, anatomy_encoder=anatomy_encoder)
    findings.scores += score_pair(
        images, person=visit.person, source=visit.source, target=visit.target
    )
    findings.warnings += [(visit.source, visit.target, text) for text in images.warnings]
    stages: dict[StyleStage, VolumeArray] = {
        "before": scan.brain.volume.data,
        "after": images.harmonized,
    }
    for stage, data in stages.items():
        style = _find_style(scan, data, target.card, anatomy_encoder)
        findings.styles.append(VolumeStyle(visit.target, visit.person, visit.source, stage, style))
    if visit.person == travelling.people[0]:
        _keep_panel(findings, visit, scan, images)


def _note_own_styles(
    findings: Findings,
    person: str,
    scans: Mapping[str, Scan],
    targets: Mapping[str, Target],
    anatomy_encoder: AnatomyEncoder,
) -> None:
    """Note the styles of a person's own scans at the targets: where a harmonized scan should go."""
    for site, target in targets.items():
        if site in scans:
            scan = scans[site]
            style = _find_style(scan, scan.brain.volume.data, target.card, anatomy_encoder)
            findings.styles.append(VolumeStyle(site, person, site, "truth", style))


def _find_style(
    scan: Scan, data: VolumeArray, card: SiteCard, anatomy_encoder: AnatomyEncoder
) -> tuple[float, ...]:
    brain = scan.brain
    conformed = conform(data, brain.mask, brain.volume.spacing_mm, scan.contract)
    style = read_style(conformed.slices, conformed.mask, card=card, anatomy_encoder=anatomy_encoder)
    return tuple(style.tolist())


def _keep_panel(findings: Findings, visit: Visit, scan: Scan, images: PairImages) -> None:
    index, arrays = cut_panel(images, scan.mask)
    key = f"pair{len(findings.panels)}"
    spacing_mm = scan.brain.volume.spacing_mm
    findings.arrays |= {f"{key}_{name}": array for name, array in arrays.items()}
    findings.panels.append(
        Panel(
            key=key,
            person=visit.person,
            source=visit.source,
            target=visit.target,
            slice_index=int(np.flatnonzero(scan.keep)[index]),
            pixel_mm=(spacing_mm[0], spacing_mm[1]),
        )
    )


def _reconstruct(
    site: PreparedDataset, card: SiteCard, anatomy_encoder: AnatomyEncoder
) -> Reconstruction:
    images = site.split("validation")
    if not images:
        raise InputError(f"{site.folder} holds nobody out; prepare the site again")
    return score_reconstruction(
        images, held_out=site.manifest.held_out, card=card, anatomy_encoder=anatomy_encoder
    )
