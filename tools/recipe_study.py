"""Sites trained by several recipes and seeds, and their scores; everything cached by configuration.

A model or a score whose configuration (data, recipe's settings, site, seed) was seen before is read
back, so that an interrupted study goes on and a new row costs only itself.
"""

import dataclasses
import hashlib
import json
import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from prism_mri.baselines import QuantileMatching
from prism_mri.card import SiteCard, publish_card, read_card
from prism_mri.config import PreprocessingContract
from prism_mri.data.prepared import read_prepared
from prism_mri.evaluate.dataset import TravellingDataset, find_travelling
from prism_mri.evaluate.home import reconstruct
from prism_mri.evaluate.scans import Scan, read_scan, read_truth
from prism_mri.files import write_whole
from prism_mri.harmonize.volume import encode_anatomy, harmonize_volume
from prism_mri.metrics import compute_scores
from prism_mri.models.site_model import DESCRIPTION_NAME, read_anatomy_encoder, read_model
from prism_mri.models.tissue_order import check_tissue_order, measure_tissues
from prism_mri.models.translator import read_translator
from prism_mri.networks.anatomy_encoder import TISSUES
from prism_mri.networks.level_anatomy import LevelAnatomyEncoder
from prism_mri.preprocessing.conform import brain_box
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.simulate.cohort import CohortPlan, simulate_cohort
from prism_mri.training.anchored import AnchoredSettings, train_anchored
from prism_mri.training.paper import PaperSettings, train_paper
from prism_mri.types import SliceStack

_LOGGER = logging.getLogger("study")
_HARMONIZATION = 14
"""Round of the lab notebook that last changed what a card of recipe ``anchored`` draws."""

Settings = PaperSettings | AnchoredSettings


@dataclass(frozen=True)
class Row:
    """One row of the table: a recipe with its settings.

    Attributes:
        name: as printed.
        settings: of the recipe.
        renumber: give each source's levels the target's numbers, matched by the tissues that the
            shipped anatomy encoder finds under them: a diagnosis, not a method.
        source_detail: add what the networks leave out of the source (recipe ``anchored`` alone).
    """

    name: str
    settings: Settings
    renumber: bool = False
    source_detail: bool = True


@dataclass(frozen=True)
class Score:
    """One person's scan of one scanner, harmonized to one site (or decoded again at home)."""

    person: str
    source: str
    target: str
    ssim: float
    psnr_db: float
    in_order: bool
    """Tissues come out in the modality's order."""


@dataclass(frozen=True)
class Study:
    """Where the data lies and what it was made from."""

    plan: CohortPlan
    root: Path

    @property
    def key(self) -> str:
        """Digest of the data's configuration."""
        return digest(dataclasses.asdict(self.plan) | {"anatomies": None})

    @property
    def data(self) -> Path:
        """Folder of the simulated datasets."""
        return self.root / f"data-{self.key}"

    def prepared(self, site: str) -> Path:
        """Folder of a prepared site."""
        return self.root / f"prepared-{site}-{self.key}"

    def model(self, row: Row, site: str, seed: int) -> Path:
        """Folder of a site's model."""
        translator = read_translator().digest if isinstance(row.settings, AnchoredSettings) else ""
        content = [self.key, site, seed, row.settings.model_dump(), translator]
        return self.root / "models" / f"{site}-{seed}-{digest(content)}"

    def simulate(self) -> None:
        """Simulate and prepare every site, if that has not been done."""
        if not self.data.exists():
            simulate_cohort(self.plan, self.data)
        for site in self.plan.sites:
            if not self.prepared(site).exists():
                contract = PreprocessingContract.for_modality(self.plan.modality)
                prepare_site(
                    [self.data / site], self.prepared(site), site=site, contract=contract, seed=0
                )


def digest(content: Any) -> str:
    """Return a short digest of JSON-able content."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_parallel(work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], workers: int) -> None:
    """Do jobs in processes of one thread each; what they return must come from their cache."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        futures = [pool.submit(work, *job) for job in jobs]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            sys.stderr.write(f"{work.__name__}: {done} of {len(futures)}\n")


def _start_worker() -> None:
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


def is_trained(study: Study, row: Row, site: str, seed: int) -> bool:
    """Return whether a site's model is there and complete."""
    return is_complete(study.model(row, site, seed))


def is_complete(model: Path) -> bool:
    """Return whether a folder holds a model whose training ended."""
    return (model / DESCRIPTION_NAME).exists() and read_model(model)[0].complete


def train_site(study: Study, row: Row, site: str, seed: int) -> Path:
    """Train and publish one site by one row's recipe, unless it has been; return its folder."""
    out = study.model(row, site, seed)
    if not is_trained(study, row, site, seed):
        _train(study, row, site, seed, out)
    # Here, where every model has one process: several rows read a model at once.
    if not locate_card(out, site).exists():
        publish_card(out, locate_card(out, site), private_key=None, local_only=True)
    return out


def locate_card(folder: Path, site: str) -> Path:
    """Return where a model's card lies."""
    return folder / f"{site}.prism"


def _train(study: Study, row: Row, site: str, seed: int, out: Path) -> None:
    def report(line: str) -> None:
        _LOGGER.info("%s %s seed %d: %s", row.name, site, seed, line)

    # A run that was killed goes on from its last epoch.
    if isinstance(row.settings, PaperSettings):
        train_paper(
            study.prepared(site), out, row.settings, seed=seed, resume=out.exists(), report=report
        )
    else:
        train_anchored(
            study.prepared(site),
            out,
            row.settings,
            translator=read_translator(),
            seed=seed,
            resume=out.exists(),
            report=report,
        )


@dataclass(frozen=True)
class Trained:
    """A trained site as the others meet it, and the anatomy encoder that stays there."""

    card: SiteCard
    anatomy_encoder: nn.Module


def read_trained(study: Study, row: Row, site: str, seed: int) -> Trained:
    """Read a site's model, its card through the bytes that would travel."""
    folder = study.model(row, site, seed)
    card = read_card(locate_card(folder, site), allow_unsigned=True)
    return Trained(card, read_anatomy_encoder(folder, read_translator()))


def name_harmonization(row: Row) -> list[int]:
    """Return what a cached score depends on beside models and settings."""
    return [_HARMONIZATION] if isinstance(row.settings, AnchoredSettings) else []


def score_row(study: Study, row: Row, sites: tuple[str, ...], seed: int) -> list[Score]:
    """Return the scores of all people between and at the sites, computed once."""
    models = [str(study.model(row, site, seed).name) for site in sites]
    name = digest([models, row.renumber, row.source_detail, *name_harmonization(row)])
    path = study.root / "scores" / f"{name}.json"
    if path.exists():
        return [Score(**item) for item in json.loads(path.read_text())]
    trained = {site: read_trained(study, row, site, seed) for site in sites}
    if row.renumber:
        meanings = {site: find_meaning(study, site, trained[site]) for site in sites}
    scores = []
    for person, source, scan in read_scans(study, sites):
        tissues = encode_tissues(scan)
        for target in sites:
            encoder = trained[source].anatomy_encoder
            if row.renumber and source != target:
                encoder = Renumbered(encoder, match_levels(meanings[source], meanings[target]))
            card = trained[target].card
            if source == target:
                drawn = redraw(scan, card, encoder)
            else:
                drawn = draw(scan, card, encoder, source_detail=row.source_detail)
            visit = (person, source, target)
            truth = read_acquired(study, visit, scan)
            scores.append(_score(visit, scan, tissues, drawn, truth))
    write_whole(path, json.dumps([vars(score) for score in scores]).encode(), overwrite=True)
    return scores


def read_scans(study: Study, sites: tuple[str, ...]) -> Iterator[tuple[str, str, Scan]]:
    """Yield (person, scanner, scan) of every travelling session at the sites."""
    contract = PreprocessingContract.for_modality(study.plan.modality)
    for (person, scanner), session in find(study, sites).sessions.items():
        if scanner in sites:
            yield person, scanner, read_scan(session, contract)


def find(study: Study, sites: tuple[str, ...]) -> TravellingDataset:
    """Find the travelling people's sessions and truths."""
    folder = study.data / "travelling"
    return find_travelling(folder, targets=sites, modality=study.plan.modality)


def _score(
    visit: tuple[str, str, str],
    scan: Scan,
    tissues: torch.Tensor,
    drawn: SliceStack,
    truth: SliceStack,
) -> Score:
    scores = compute_scores(drawn, truth, scan.mask)
    order = check_tissue_order(measure_tissues(drawn, scan.mask, tissues), scan.contract.modality)
    return Score(*visit, scores.ssim, scores.psnr_db, order is None)


def draw(
    scan: Scan, card: SiteCard, encoder: nn.Module, *, source_detail: bool = True
) -> SliceStack:
    """Harmonize a scan to a card's site."""
    # Cleaned once for all targets and seeds; the paper's recipe takes images as they come.
    brain = scan.brain if card.manifest.recipe == "paper" else scan.cleaned
    volume, mask = brain.volume, brain.mask
    result = harmonize_volume(
        volume, mask, card, encoder, source_detail=source_detail, cleaning=None
    )
    return scan.stack(result.data, card.manifest.intensity_scale)


def redraw(scan: Scan, card: SiteCard, encoder: nn.Module) -> SliceStack:
    """Decode a scan again under its own style, at home."""
    kept = scan.stack(scan.brain.volume.data)
    return reconstruct(kept, scan.mask, card=card, anatomy_encoder=encoder)


def read_acquired(study: Study, visit: tuple[str, str, str], scan: Scan) -> SliceStack:
    """Return the same person as the target would have acquired it, on the source's grid."""
    person, source, target = visit
    if source == target:
        return scan.stack(scan.brain.volume.data)
    sessions = find(study, study.plan.sites).sessions
    return read_truth(sessions[person, source].truths[target].acquired, scan)


def score_baselines(study: Study, sites: tuple[str, ...]) -> dict[str, list[Score]]:
    """Return the scores of doing nothing, of quantile matching, and of the oracle."""
    matching = {
        site: QuantileMatching.fit(
            image.load() for image in read_prepared(study.prepared(site)).split("train")
        )
        for site in sites
    }
    rows: dict[str, list[Score]] = {"not harmonized": [], "quantile matching": [], "oracle": []}
    sessions = find(study, sites).sessions
    for person, source, scan in read_scans(study, sites):
        kept, tissues = scan.stack(scan.brain.volume.data), encode_tissues(scan)
        for target in sites:
            if source == target:
                continue
            visit = (person, source, target)
            truths = sessions[person, source].truths[target]
            truth = read_truth(truths.acquired, scan)
            images = {
                "not harmonized": kept,
                "quantile matching": matching[target].transform(kept, scan.mask),
                "oracle": read_truth(truths.clean, scan),
            }
            for name, image in images.items():
                rows[name].append(_score(visit, scan, tissues, image, truth))
    return rows


def encode_tissues(scan: Scan) -> torch.Tensor:
    """Return the tissue fractions that the shipped anatomy encoder finds in the kept slices."""
    kept = scan.stack(scan.brain.volume.data)
    return encode_anatomy(kept, read_translator().networks.anatomy_encoder)[:, : len(TISSUES)]


class Renumbered(nn.Module):
    """An anatomy encoder whose levels carry other numbers."""

    def __init__(self, encoder: nn.Module, order: tuple[int, ...]) -> None:
        """Give level ``i`` of the encoder the number ``order[i]``."""
        super().__init__()
        self.encoder = encoder
        self.order = torch.tensor(order)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Encode slices; see :class:`LevelAnatomyEncoder`."""
        top = len(self.order) - 1
        levels = (self.encoder(image) * top).round().long()
        return self.order[levels].to(image) / top


@torch.no_grad()
def find_meaning(study: Study, site: str, trained: Trained) -> np.ndarray:
    """Return which tissues lie under each level, ``(levels, 4)``: CSF, GM, WM, background.

    Rows sum to 1; a level that is never used has zeros.
    """
    encoder = trained.anatomy_encoder
    if not isinstance(encoder, LevelAnatomyEncoder):
        raise TypeError(f"expected LevelAnatomyEncoder, got {type(encoder).__name__}")
    fractions_of = read_translator().networks.anatomy_encoder
    top = len(encoder.values) - 1
    sums = np.zeros((top + 1, len(TISSUES) + 1))
    for image in read_prepared(study.prepared(site)).split("train")[:4]:
        slices, mask = image.load()
        rows, columns = brain_box(mask)
        source, inside = slices[:, rows, columns], mask[:, rows, columns]
        levels = (encode_anatomy(source, encoder)[:, 0] * top).round().long().numpy()
        tissues = encode_anatomy(source, fractions_of)[:, : len(TISSUES)].numpy()
        for level in range(top + 1):
            here = levels == level
            sums[level, :-1] += (tissues * (here & inside)[:, None]).sum(axis=(0, 2, 3))
            sums[level, -1] += float((here & ~inside).sum())
    meaning: np.ndarray = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1.0)
    return meaning


def match_levels(source: np.ndarray, target: np.ndarray) -> tuple[int, ...]:
    """Return for each level of the source the target's level that means most nearly the same."""
    distance = np.abs(source[:, None] - target[None]).sum(axis=2)
    return tuple(int(column) for column in linear_sum_assignment(distance)[1])
