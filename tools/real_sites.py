"""Two real scanners as sites: what each kind of card makes of them, and of one another.

    python tools/real_sites.py --real PATIENT --out REAL [--modality T2w]

PATIENT holds ``study{1,2}_{T2W,T1W,FLAIR}.nii.gz`` of one person under two protocols, and brain
masks of the T2w scans. Each scan becomes a site of one person; of every kind of card each gets one
(local-only). First table: SSIM inside the brain of the scan drawn again by its own card, over all
slices and over those held out from training (every tenth). Second: the scan harmonized to the other
site; how far its contrast ratios moved towards those of the other scan, told apart by the shipped
anatomy encoder (100 % is all the way; the person is the same).

REAL gets the harmonized volumes and ``real-sites-MODALITY.json``.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from real_modalities import WORDS, carry_mask

from prism_mri.card import SiteCard, publish_card, read_card
from prism_mri.config import Modality, PreprocessingContract
from prism_mri.data.prepared import PreparedDataset, read_prepared
from prism_mri.evaluate.home import reconstruct
from prism_mri.files import write_whole
from prism_mri.harmonize.clean import SourceCleaning, clean_source
from prism_mri.harmonize.volume import encode_anatomy, harmonize_volume
from prism_mri.metrics import compute_ssim
from prism_mri.models.site_model import CardKind
from prism_mri.models.tissue_order import TissueMeans, check_tissue_order, measure_tissues
from prism_mri.models.translator import Translator, read_translator
from prism_mri.preprocessing.conform import brain_box, conform
from prism_mri.preprocessing.orient import OrientedBrain, orient_brain
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.training.anchored import AnchoredSettings, train_anchored
from prism_mri.types import MaskStack, SliceStack
from prism_mri.volume import Volume, read_mask, read_volume, write_volume

KINDS: tuple[CardKind, ...] = ("style", "adapter", "full")
STUDIES = (1, 2)


@dataclass(frozen=True)
class Home:
    """How well a card draws its own scan: SSIM inside the brain."""

    study: int
    kind: CardKind
    ssim: float
    ssim_held_out: float


@dataclass(frozen=True)
class Passage:
    """A scan harmonized to the other site: contrast ratios, and how far they moved."""

    source: int
    kind: CardKind
    before: dict[str, float]
    after: dict[str, float]
    target: dict[str, float]
    moved: dict[str, float]
    order: str


@dataclass(frozen=True)
class Place:
    """Where a study's files lie."""

    scan: Path
    mask: Path
    prepared: Path
    out: Path


def make_site(patient: Path, study: int, modality: Modality, out: Path) -> Place:
    """Prepare one scan as a site of one person."""
    path = patient / f"study{study}_{WORDS[modality]}.nii.gz"
    mask, prepared = out / f"study{study}_{modality}_mask.nii.gz", out / f"{modality}-study{study}"
    carry_mask(patient, study, read_volume(path), mask)
    if not prepared.exists():
        contract = PreprocessingContract.for_modality(modality)
        prepare_site(
            [path], prepared, site=f"study{study}", contract=contract, brain_mask=str(mask)
        )
    return Place(path, mask, prepared, out)


def make_card(place: Place, kind: CardKind, translator: Translator) -> SiteCard:
    """Train a card of a kind, unless it was, and read it as it would travel."""
    model = place.prepared.with_name(f"{place.prepared.name}-{kind}-{translator.digest[:8]}")
    card = model / "card.prism"
    if not card.exists():
        settings = AnchoredSettings(kind=kind, epochs=30, patience=30)
        train_anchored(
            place.prepared, model, settings, translator=translator, resume=True, report=_say
        )
        publish_card(model, card, private_key=None, local_only=True)
    return read_card(card, allow_unsigned=True)


def score_home(
    dataset: PreparedDataset, card: SiteCard, translator: Translator
) -> tuple[float, float]:
    """Return SSIM inside the brain of all slices, and of those held out."""
    encoder = translator.networks.anatomy_encoder
    (image,) = dataset.items
    slices, mask = image.load()
    drawn = reconstruct(slices, mask, card=card, anatomy_encoder=encoder)
    held = np.isin(image.slices, dataset.split("validation")[0].slices)
    return compute_ssim(drawn, slices, mask), compute_ssim(drawn[held], slices[held], mask[held])


def read_brain(place: Place) -> OrientedBrain:
    """Read a scan as harmonizing begins with it, without noise and bias field."""
    volume = read_volume(place.scan)
    return clean_source(orient_brain(volume, read_mask(place.mask, volume)), SourceCleaning())


def cut_slices(
    brain: OrientedBrain, contract: PreprocessingContract
) -> tuple[SliceStack, MaskStack]:
    """Return prepared slices and mask in the brain's box."""
    conformed = conform(brain.volume.data, brain.mask, brain.volume.spacing_mm, contract)
    box = (slice(None), *brain_box(conformed.mask))
    return (
        np.ascontiguousarray(conformed.slices[box]),
        np.ascontiguousarray(conformed.mask[box]),
    )


def relate(means: TissueMeans) -> dict[str, float]:
    """Return the contrast ratios."""
    return {"GM/WM": means.gm / means.wm, "CSF/WM": means.csf / means.wm}


def pass_over(
    source: Place, target: Place, card: SiteCard, translator: Translator, name: str
) -> tuple[dict[str, float], dict[str, float], dict[str, float], str]:
    """Harmonize a scan; return its ratios before and after, the target's, and the order."""
    encoder = translator.networks.anatomy_encoder
    contract = card.manifest.contract
    volume = read_volume(source.scan)
    mask = read_mask(source.mask, volume)
    harmonized = harmonize_volume(volume, mask, card, encoder)
    write_volume(source.out / name, harmonized.data, volume, overwrite=True)
    brain = read_brain(source)
    slices, inside = cut_slices(brain, contract)
    anatomy = encode_anatomy(slices, encoder)
    result = orient_brain(Volume(harmonized.data, volume.affine, volume.header), mask)
    after = measure_tissues(cut_slices(result, contract)[0], inside, anatomy)
    other, inside_other = cut_slices(read_brain(target), contract)
    there = measure_tissues(other, inside_other, encode_anatomy(other, encoder))
    order = check_tissue_order(after, card.manifest.modality) or "right"
    return relate(measure_tissues(slices, inside, anatomy)), relate(after), relate(there), order


def main() -> None:
    """Parse arguments, make both sites' cards, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--modality", choices=tuple(WORDS), default="T2w")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    translator = read_translator()
    places = {
        study: make_site(arguments.real, study, arguments.modality, arguments.out)
        for study in STUDIES
    }
    homes, passages = [], []
    for kind in KINDS:
        cards = {study: make_card(places[study], kind, translator) for study in STUDIES}
        for study in STUDIES:
            dataset = read_prepared(places[study].prepared)
            homes.append(Home(study, kind, *score_home(dataset, cards[study], translator)))
            other = 3 - study
            name = f"study{study}-as-study{other}-{arguments.modality}-{kind}.nii.gz"
            before, after, target, order = pass_over(
                places[study], places[other], cards[other], translator, name
            )
            moved = {
                key: (after[key] - before[key]) / (target[key] - before[key]) for key in before
            }
            passages.append(Passage(study, kind, before, after, target, moved, order))
    content = {"home": [asdict(h) for h in homes], "passages": [asdict(p) for p in passages]}
    out = arguments.out / f"real-sites-{arguments.modality}.json"
    write_whole(out, (json.dumps(content, indent=1) + "\n").encode(), overwrite=True)
    sys.stdout.write(format_tables(homes, passages))


def format_tables(homes: list[Home], passages: list[Passage]) -> str:
    """Return both tables as Markdown."""
    lines = ["| scan | card | SSIM, all slices | SSIM, slices held out |", "|---|---|---|---|"]
    lines += [
        f"| study {h.study} | {h.kind} | {h.ssim:.3f} | {h.ssim_held_out:.3f} |" for h in homes
    ]
    lines += ["", "| scan → site | card | GM/WM | CSF/WM | order |", "|---|---|---|---|---|"]
    for passage in passages:
        cells = [
            f"{passage.before[key]:.2f} → {passage.after[key]:.2f}, there "
            f"{passage.target[key]:.2f} ({passage.moved[key]:.0%})"
            for key in passage.before
        ]
        where = f"study {passage.source} → {3 - passage.source}"
        lines.append(f"| {where} | {passage.kind} | {' | '.join(cells)} | {passage.order} |")
    return "\n".join(lines) + "\n"


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
