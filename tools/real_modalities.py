"""Harmonize the real scans of one patient, each modality to its card, and check them by number.

    python tools/real_modalities.py --real PATIENT --cards T1w.prism FLAIR.prism --out REAL

PATIENT holds ``study{1,2}_{T2W,T1W,FLAIR}.nii.gz`` and brain masks of the T2w scans, which are
carried over to the other grids of the same session. Prints the medians of cerebrospinal fluid, grey
and white matter before and after, told apart by the shipped anatomy encoder on the source, and
whether they are in the modality's order.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from prism_mri.card import SiteCard, read_card
from prism_mri.harmonize import (
    HarmonizeOptions,
    SourceCleaning,
    clean_source,
    harmonize_inputs,
)
from prism_mri.harmonize.volume import encode_anatomy, redraw_source
from prism_mri.harmonize.warn import compute_self_correlation
from prism_mri.models.tissue_order import TissueMeans, check_tissue_order, measure_tissues
from prism_mri.models.translator import Translator, read_translator
from prism_mri.preprocessing.conform import brain_box, conform
from prism_mri.preprocessing.orient import orient_brain
from prism_mri.volume import Volume, read_mask, read_volume, resample_to, write_volume

_HEAD = "| scan | CSF / GM / WM before | after | order | own decoding |\n|---|---|---|---|---|\n"
WORDS = {"T1w": "T1W", "T2w": "T2W", "FLAIR": "FLAIR"}


def carry_mask(patient: Path, study: int, scan: Volume, out: Path) -> Path:
    """Bring a session's T2w brain mask to the grid of another of its scans, and write it."""
    reference = read_volume(patient / f"study{study}_T2W.nii.gz")
    mask = read_mask(patient / f"study{study}_T2W_brainmask.nii.gz", reference)
    inside = resample_to(Volume(mask.astype(np.float32), reference.affine), scan) > 0.5
    write_volume(out, inside, scan, dtype=np.uint8, overwrite=True)
    return out


def measure(
    scan: Volume, result: Volume, mask_path: Path, card: SiteCard, translator: Translator
) -> tuple[TissueMeans, TissueMeans, float]:
    """Return tissue medians of a scan and of its harmonized volume, in the prepared scale.

    And how well anatomy and style explain the scan: its correlation with its own decoding.
    """
    mask = read_mask(mask_path, scan)
    contract = card.manifest.contract
    conformed = []
    for volume in (scan, result):
        brain = orient_brain(Volume(volume.data, scan.affine, scan.header), mask)
        if volume is scan:  # as harmonizing reads it
            brain = clean_source(brain, SourceCleaning())
        conformed.append(conform(brain.volume.data, brain.mask, brain.volume.spacing_mm, contract))
    box = (slice(None), *brain_box(conformed[0].mask))
    before, after, inside = (
        np.ascontiguousarray(stack[box])
        for stack in (conformed[0].slices, conformed[1].slices, conformed[0].mask)
    )
    anatomy = encode_anatomy(before, translator.networks.anatomy_encoder)
    return (
        measure_tissues(before, inside, anatomy),
        measure_tissues(after, inside, anatomy),
        compute_self_correlation(before, redraw_source(before, inside, anatomy, card), inside),
    )


def main() -> None:
    """Parse arguments, harmonize, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--cards", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    arguments.out.mkdir(parents=True, exist_ok=True)
    translator = read_translator()
    sys.stdout.write(_HEAD)
    for card in (read_card(path, allow_unsigned=True) for path in arguments.cards):
        modality = card.manifest.modality
        for study in (1, 2):
            path = arguments.real / f"study{study}_{WORDS[modality]}.nii.gz"
            scan = read_volume(path)
            mask = arguments.out / f"study{study}_{modality}_mask.nii.gz"
            carry_mask(arguments.real, study, scan, mask)
            options = HarmonizeOptions(brain_mask=str(mask), overwrite=True)
            (written,) = harmonize_inputs(
                [path], arguments.out, card=card, translator=translator, options=options
            )
            *means, correlation = measure(scan, read_volume(written), mask, card, translator)
            before, after = (f"{m.csf:.2f} / {m.gm:.2f} / {m.wm:.2f}" for m in means)
            order = check_tissue_order(means[1], modality) or "right"
            cells = (f"study {study} {modality}", before, after, order, f"{correlation:.2f}")
            sys.stdout.write(f"| {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
