"""Which way back to a native grid finer than 1 mm is best?

    python tools/compare_detail.py --anatomies FOLDER [--real SCAN MASK]

Three ways, scored in the brain against the same person's image under the target's protocol:
conforming and resampling back ("conform"), the same plus the source's lost detail times the local
slope of contrast ("detail"), and running the networks on the native grid ("native"). People are the
validation heads 15 and 20; the style is read from the target's own rendering, so that only the way
back differs. A real scan is reconstructed under its own style.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from prism_mri.config import PreprocessingContract
from prism_mri.harmonize.native_detail import add_native_detail
from prism_mri.harmonize.volume import decode_slices, encode_anatomy
from prism_mri.metrics import compute_scores
from prism_mri.models.style import encode_volume_style, select_style_slices
from prism_mri.models.translator import TranslatorNetworks, read_translator
from prism_mri.preprocessing.conform import Conformed, brain_box, conform
from prism_mri.preprocessing.orient import OrientedBrain, orient_brain
from prism_mri.simulate.anatomy import read_anatomy
from prism_mri.simulate.protocols import Protocol, get_protocol
from prism_mri.simulate.scanner import (
    add_scanner_defects,
    compute_truth,
    place_grid,
    render_clean,
)
from prism_mri.types import SliceStack, VolumeArray
from prism_mri.volume import Volume, read_mask, read_volume

_PIXELS_MM = (0.5, 0.7, 0.94)
_SLICES = slice(None, None, 3)


def harmonize_three_ways(
    source: OrientedBrain, style_of: OrientedBrain, networks: TranslatorNetworks
) -> Mapping[str, VolumeArray]:
    """Return the source under the style of another volume, prepared scale, by way back."""
    contract = PreprocessingContract()
    spacing = source.volume.spacing_mm
    fine = contract.model_copy(update={"spacing_mm": spacing[0], "shape": (512, 512)})
    conformed = _conform(source, contract)
    decoded = _decode(conformed, _read_style(_conform(style_of, contract), networks), networks)
    plain = conformed.transform.restore_brain(decoded, conformed.mask)
    native = _conform(source, fine)
    on_native = _decode(native, _read_style(_conform(style_of, fine), networks), networks)
    return {
        "conform": np.where(source.mask, np.maximum(plain, 0), np.float32(0)),
        "detail": add_native_detail(decoded, conformed, source.volume.data, source.mask),
        "native": native.transform.restore(on_native) * source.mask,
    }


def score(volume: VolumeArray, truth: OrientedBrain) -> tuple[float, float]:
    """Return SSIM and PSNR in the brain against a truth, every third slice."""
    conformed_scale = _conform(truth, PreprocessingContract()).scale
    mask = np.ascontiguousarray(truth.mask.transpose(2, 0, 1)[_SLICES])
    keep = mask.sum(axis=(1, 2)) > 500
    expected = (truth.volume.data / np.float32(conformed_scale)).transpose(2, 0, 1)[_SLICES][keep]
    scores = compute_scores(
        np.ascontiguousarray(volume.transpose(2, 0, 1)[_SLICES][keep] * mask[keep]),
        np.ascontiguousarray(expected * mask[keep]),
        mask[keep],
    )
    return scores.ssim, scores.psnr_db


def _conform(brain: OrientedBrain, contract: PreprocessingContract) -> Conformed:
    return conform(brain.volume.data, brain.mask, brain.volume.spacing_mm, contract)


def _cut(conformed: Conformed) -> tuple[slice, slice, SliceStack, np.ndarray]:
    rows, columns = brain_box(conformed.mask)
    image = np.ascontiguousarray(conformed.slices[:, rows, columns])
    return rows, columns, image, np.ascontiguousarray(conformed.mask[:, rows, columns])


def _read_style(conformed: Conformed, networks: TranslatorNetworks) -> torch.Tensor:
    _, _, image, mask = _cut(conformed)
    chosen = select_style_slices(mask)
    anatomy = encode_anatomy(image[chosen], networks.anatomy_encoder)
    return encode_volume_style(image[chosen], mask[chosen], anatomy, networks.style_encoder)


def _decode(conformed: Conformed, style: torch.Tensor, networks: TranslatorNetworks) -> SliceStack:
    rows, columns, image, mask = _cut(conformed)
    decoded = np.zeros_like(conformed.slices)
    anatomy = encode_anatomy(image, networks.anatomy_encoder)
    decoded[:, rows, columns] = decode_slices(anatomy, style, networks.decoder) * mask
    return decoded


def _simulate(
    path: Path, protocols: tuple[Protocol, Protocol], pixel_mm: float
) -> tuple[OrientedBrain, OrientedBrain]:
    """Return a person under two protocols on one grid of the given pixel size."""
    generator = torch.Generator().manual_seed(0)
    anatomy = read_anatomy(path, generator)
    update = {"in_plane_mm": (pixel_mm, pixel_mm), "slice_spacing_mm": 5.0}
    source, target = (protocol.model_copy(update=update) for protocol in protocols)
    grid = place_grid(anatomy, source, generator, margin_mm=4.0)
    mask = compute_truth(anatomy, grid, thickness_mm=3.0).brain.numpy()

    def scan(protocol: Protocol) -> OrientedBrain:
        clean = render_clean(anatomy, protocol, grid, thickness_mm=3.0, person_seed=1)
        image = add_scanner_defects(clean, protocol, grid, generator).numpy() * mask
        return orient_brain(Volume(image.astype(np.float32), grid.affine), mask)

    return scan(source), scan(target)


def main() -> None:
    """Parse arguments, print one line a case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--real", type=Path, nargs=2, metavar=("SCAN", "MASK"), action="append")
    arguments = parser.parse_args()
    networks = read_translator().networks
    sys.stdout.write("| case | conform | detail | native |\n|---|---|---|---|\n")
    for pixel_mm in _PIXELS_MM:
        for names in (("guys", "hh"), ("hh", "guys")):
            protocols = (get_protocol(names[0]), get_protocol(names[1]))
            found: dict[str, list[tuple[float, float]]] = {}
            for head in ("15", "20"):
                path = arguments.anatomies / f"head-{head}_labels.nii.gz"
                source, target = _simulate(path, protocols, pixel_mm)
                for way, volume in harmonize_three_ways(source, target, networks).items():
                    found.setdefault(way, []).append(score(volume, target))
            _print_row(f"{names[0]} → {names[1]}, {pixel_mm} mm", found)
    for scan_path, mask_path in arguments.real or []:
        scan = read_volume(scan_path)
        brain = orient_brain(scan, read_mask(mask_path, scan))
        ways = harmonize_three_ways(brain, brain, networks)
        found = {way: [score(image, brain)] for way, image in ways.items()}
        _print_row(f"real, own style, {scan.spacing_mm[0]:.2f} mm", found)


def _print_row(case: str, found: Mapping[str, list[tuple[float, float]]]) -> None:
    cells = []
    for scores in found.values():
        ssim, psnr = np.mean(np.array(scores), axis=0)
        cells.append(f"{ssim:.3f} / {psnr:.1f}")
    sys.stdout.write(f"| {case} | {' | '.join(cells)} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
