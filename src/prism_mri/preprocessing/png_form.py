"""Write a site's images in the paper's form: middle axial slices as 8-bit grey PNG.

Source:
    Section 2.1 of the paper (arXiv 2411.06513). Where it leaves a choice, or its published code has
    a defect: a grid of 256 × 256 pixels covers 256 mm at every site, so that sizes in pixels mean
    the same everywhere; grey values are scaled by the brain of the volume, not by the brightest
    pixel of the slice; the background is what lies outside the brain mask, not what is dark.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

import prism_mri
from prism_mri.bids import BidsName, ImageRef, write_json
from prism_mri.config import PreprocessingContract
from prism_mri.errors import ImageError, InputError
from prism_mri.layouts import Layout
from prism_mri.preprocessing.brain_extraction import Extraction
from prism_mri.preprocessing.brain_mask import resolve_mask_path
from prism_mri.preprocessing.dataset_folder import (
    build_folder,
    check_out,
    check_settings,
    draw_held_out,
    list_problems,
)
from prism_mri.preprocessing.png import to_pixels, write_grey_png
from prism_mri.preprocessing.png_manifest import (
    GAMMAS,
    PNG_MANIFEST,
    UNITS_RANGE,
    PngEntry,
    PngGammaCopy,
    PngManifest,
    PngSplit,
    is_png_form,
)
from prism_mri.preprocessing.prepare import PreparedBrain, find_raw_images, prepare_image

logger = logging.getLogger(__name__)

WHITE_PERCENTILE = 99.9
"""Drawn as 255; what is brighter, vessels and noise, is clipped."""
_KIND = f"dataset of PNG files (it has no {PNG_MANIFEST} of 'prepare --png')"
Progress = Callable[[int, int], None]


def write_png_site(
    inputs: Sequence[Path],
    out: Path,
    *,
    site: str,
    contract: PreprocessingContract,
    layout: Layout = "files",
    brain_mask: str | None = None,
    extraction: Extraction = "none",
    test_fraction: float = 0.1,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PngManifest:
    """Write the middle slice of every image as PNG, with γ copies and brain mask, all or none.

    ``out`` holds ``{train,test}/sub-<label>/`` with, for an image ``sub-01_T2w``, the files
    ``sub-01_T2w.png``, ``sub-01_desc-gamma05_T2w.png``, ``sub-01_desc-gamma15_T2w.png`` and
    ``sub-01_desc-brain_mask.png``; and ``dataset.json``.

    Args:
        inputs: NIfTI files, folders, BIDS datasets; one folder of IXI or ADNI.
        out: folder to make.
        site: lower-case name of the site; of IXI, which is taken.
        contract: modality, grid and intensity, as for :func:`prepare_site`.
        layout: how the inputs lie.
        brain_mask: as for :func:`prepare_site`.
        extraction: as for :func:`prepare_site`.
        test_fraction: share of people in ``test``, at least one where there are two.
        seed: draws who that is.
        overwrite: replace such a folder that exists.
        progress: called with (images done, images in all).

    Returns:
        What was written to ``dataset.json``.

    Raises:
        ConfigError: site name or fraction are out of range.
        InputError: one or more images cannot be used (all are named), ``out`` exists, or cannot be
            written.
    """
    check_settings(site, test_fraction)
    check_out(out, kind=_KIND, ours=is_png_form(out), overwrite=overwrite)
    images = find_raw_images(inputs, contract.modality, layout=layout, site=site)
    if brain_mask is not None:
        resolve_mask_path(brain_mask, images[0])
    tested = draw_held_out([image.subject for image in images], test_fraction, seed)
    if not tested:
        logger.warning("one person only: nobody is set aside for testing")
    with build_folder(out) as folder:
        masks = (brain_mask, extraction)
        entries = _write_images(images, folder, contract, masks, tested, progress)
        manifest = PngManifest(
            site=site,
            contract=contract,
            white_percentile=WHITE_PERCENTILE,
            seed=seed,
            test_fraction=test_fraction,
            people=len({entry.subject for entry in entries}),
            software=prism_mri.__version__,
            images=tuple(entries),
        )
        write_json(folder / PNG_MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def find_middle_slice(brain: PreparedBrain) -> int:
    """Return the slice in the middle of the brain's extent, the lower one of two.

    Raises:
        ImageError: it holds too little brain.
    """
    occupied = np.flatnonzero(brain.conformed.mask.any(axis=(1, 2)))
    middle = int(occupied[0] + occupied[-1]) // 2
    if middle not in brain.kept:
        raise ImageError(
            f"the middle slice, number {middle} from below, holds too little brain; check the mask"
        )
    return middle


def draw_gamma(fractions: Float32[np.ndarray, "R C"], gamma: float) -> UInt8[np.ndarray, "R C"]:
    """Return fractions of white, 0 to 1, raised to a power and rounded to grey values."""
    return np.rint(255 * fractions**gamma).astype(np.uint8)


def _write_images(
    images: Sequence[ImageRef],
    folder: Path,
    contract: PreprocessingContract,
    masks: tuple[str | None, Extraction],
    tested: frozenset[str],
    progress: Progress | None,
) -> list[PngEntry]:
    """Write every image; bad ones are collected and raised together, in one error."""
    entries, problems = [], []
    for number, image in enumerate(images, start=1):
        split: PngSplit = "test" if image.subject in tested else "train"
        try:
            brain = prepare_image(image, contract, masks[0], extraction=masks[1])
            for warning in brain.warnings:
                logger.warning("image %d of %d: %s", number, len(images), warning)
            middle = find_middle_slice(brain)
            _check_units(brain)
        except InputError as problem:
            text = str(problem)
            problems.append(text if str(image.path) in text else f"{image.path}: {text}")
        else:
            if not problems:
                entries.append(_write_slice(image, brain, middle, folder, contract.modality, split))
        finally:
            if progress is not None:
                progress(number, len(images))
    if problems:
        raise InputError(list_problems(problems, len(images)))
    return entries


def _check_units(brain: PreparedBrain) -> None:
    """Refuse what the reader would refuse: grey values of a scale that no scanner gives."""
    scale, (low, high) = brain.conformed.scale, UNITS_RANGE
    units = (scale, _find_white(brain) * scale / 255)
    if not (low <= min(units) and max(units) <= high):
        raise ImageError(
            f"its intensities are of the order of {scale:g}, expected {low:g} to {high:g}; rescale"
            " the image"
        )


def _find_white(brain: PreparedBrain) -> float:
    """Return what is drawn as 255, in the prepared scale."""
    conformed = brain.conformed
    return float(np.percentile(conformed.slices[conformed.mask], WHITE_PERCENTILE))


def _write_slice(
    image: ImageRef,
    brain: PreparedBrain,
    middle: int,
    folder: Path,
    modality: str,
    split: PngSplit,
) -> PngEntry:
    conformed = brain.conformed
    white = _find_white(brain)
    plane, mask = conformed.slices[middle], conformed.mask[middle]
    fractions = to_pixels(np.minimum(plane / np.float32(white), np.float32(1)))
    image_path = _png_path(image, split, suffix=modality)
    mask_path = _png_path(image, split, suffix="mask", desc="brain")
    write_grey_png(folder / image_path, draw_gamma(fractions, 1.0))
    write_grey_png(folder / mask_path, to_pixels(mask.astype(np.uint8) * np.uint8(255)))
    copies = []
    for gamma in GAMMAS:
        desc = f"gamma{10 * gamma:02.0f}"
        path = _png_path(image, split, suffix=modality, desc=desc)
        write_grey_png(folder / path, draw_gamma(fractions, gamma))
        copies.append(PngGammaCopy(gamma=gamma, image=path))
    return PngEntry(
        subject=image.subject,
        session=image.session,
        split=split,
        image=image_path,
        mask=mask_path,
        gammas=tuple(copies),
        slice_index=middle,
        spacing_mm=brain.grid.spacing_mm,
        native_per_grey=white * conformed.scale / 255,
        scale=conformed.scale,
        clipped=int((plane > white).sum()),
    )


def _png_path(image: ImageRef, split: PngSplit, *, suffix: str, desc: str | None = None) -> str:
    name = BidsName(image.entities, suffix, ".png").with_entities(desc=desc).filename()
    return f"{split}/sub-{image.subject}/{name}"
