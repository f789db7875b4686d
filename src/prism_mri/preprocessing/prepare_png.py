"""Turn a folder of slices as PNG into a prepared dataset of volumes of one slice."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

import prism_mri
from prism_mri.config import PreprocessingContract
from prism_mri.errors import InputError
from prism_mri.preprocessing.dataset_folder import build_folder, check_settings, draw_held_out
from prism_mri.preprocessing.manifest import PreparedImageEntry, PreparedManifest, Split
from prism_mri.preprocessing.png_layout import PngScan, find_png_scans, read_png_brain
from prism_mri.preprocessing.prepare import (
    PreparedBrain,
    check_prepared_out,
    conform_brain,
    split_slices,
    warn_of_one_person,
    write_prepared_image,
    write_prepared_tables,
)
from prism_mri.types import MaskStack

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def prepare_png_site(
    folder: Path,
    out: Path,
    *,
    site: str,
    contract: PreprocessingContract,
    pixel_mm: float | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PreparedManifest:
    """Prepare a folder of PNG slices; people of its ``test`` folder are in no other split.

    Slices of any size are moved, not stretched: the brain's box comes to the middle of the
    contract's grid, as for volumes. Intensities are scaled as the volume was where ``dataset.json``
    says how, else by the contract's statistic over the slice.

    Args:
        folder: as ``prepare --png`` writes it, or in the published repository's layout.
        out: folder to make.
        site: lower-case name of the site.
        contract: modality, grid, intensity, smallest slice.
        pixel_mm: pixel size where the folder does not say it; None for 1 mm.
        validation_fraction: share of the people of ``train`` held out, at least one of them.
        seed: draws who is held out.
        overwrite: replace a prepared dataset that exists.
        progress: called with (images done, images in all).

    Returns:
        What was written to ``prepared.json``.

    Raises:
        ConfigError: site name, fraction or pixel size are out of range.
        InputError: the folder or one or more images cannot be used (all are named), the folder says
            that it is of another site, ``out`` exists, or cannot be written.
    """
    check_settings(site, validation_fraction)
    check_prepared_out(out, overwrite=overwrite)
    scans, problems = find_png_scans(folder, contract, pixel_mm, site=site)
    people = sorted({scan.image.subject for scan in scans})
    with build_folder(out) as temporary:
        brains = _read_all(scans, contract, problems, progress)
        _warn_if_sideways(brains)
        trained = [scan.image.subject for scan in scans if scan.split == "train"]
        held_out = draw_held_out(trained, validation_fraction, seed)
        entries = [
            _write(scan, brain, temporary, contract.modality, held_out)
            for scan, brain in zip(scans, brains, strict=True)
        ]
        manifest = PreparedManifest(
            site=site,
            contract=contract,
            seed=seed,
            validation_fraction=validation_fraction,
            people=len(people),
            held_out="people" if held_out else "slices",
            software=prism_mri.__version__,
            images=tuple(entries),
        )
        warn_of_one_person(manifest)
        write_prepared_tables(temporary, manifest, None)
    return manifest


def _read_all(
    scans: list[PngScan],
    contract: PreprocessingContract,
    problems: list[str],
    progress: Progress | None,
) -> list[PreparedBrain]:
    """Read every slice; what is wrong with the folder and with them is raised in one error."""
    brains, found = [], list(problems)
    for number, scan in enumerate(scans, start=1):
        try:
            volume, mask = read_png_brain(scan)
            brains.append(conform_brain(volume, mask, contract, scale=scan.scale))
        except InputError as problem:
            text = str(problem)
            path = str(scan.image.path)
            found.append(text if path in text else f"{path}: {text}")
        if progress is not None:
            progress(number, len(scans))
    if found:
        raise InputError("\n".join(found))
    return brains


def _warn_if_sideways(brains: list[PreparedBrain]) -> None:
    """Say so where brains lie on their side: an axial brain is longer than it is wide."""
    if np.median([_aspect(brain.conformed.mask) for brain in brains]) > 1.1:
        logger.warning(
            "most brains are wider than high: slices are expected with the front of the head up;"
            " turn them first"
        )


def _aspect(mask: MaskStack) -> float:
    return float(mask.any(axis=(0, 2)).sum() / mask.any(axis=(0, 1)).sum())


def _write(
    scan: PngScan,
    brain: PreparedBrain,
    folder: Path,
    modality: str,
    held_out: frozenset[str],
) -> PreparedImageEntry:
    slices: dict[Split, tuple[int, ...]] = {"test": brain.kept}
    if scan.split == "train":
        slices = split_slices(scan.image.subject, brain.kept, held_out)
    return write_prepared_image(scan.image, brain, folder, modality, slices)
