"""Harmonize files: find inputs, refuse early what cannot work, write volumes and sidecars."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from prism_mri.bids import (
    ImageRef,
    find_images,
    harmonized_name,
    is_bids_dataset,
    write_dataset_description,
)
from prism_mri.card import SiteCard
from prism_mri.errors import InputError, PartialFailure, PrismError
from prism_mri.harmonize.image import (
    HarmonizeOptions,
    gather_networks,
    harmonize_image,
    name_file,
    sidecar_path,
)
from prism_mri.models.translator import Translator
from prism_mri.preprocessing.brain_mask import resolve_mask_path

_LOGGER = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def harmonize_inputs(
    inputs: Sequence[Path],
    out: Path,
    *,
    card: SiteCard,
    translator: Translator,
    model: Path | None = None,
    options: HarmonizeOptions | None = None,
    progress: Progress = lambda _done, _total: None,
) -> list[Path]:
    """Harmonize images and write each with a JSON sidecar.

    Args:
        inputs: NIfTI files, folders, BIDS or prepared datasets.
        out: folder for the results; images of a dataset keep their folders within it.
        card: the target's.
        translator: holds the anatomy encoder of recipe ``anchored``, whose digest must be the
            card's, and tells tissues apart in any case.
        model: this site's own; a card of recipe ``paper`` needs one.
        options: how.
        progress: called with images done and images in all.

    Returns:
        The written volumes.

    Raises:
        CompatibilityError: the card belongs to another anatomy space, recipe or modality, or the
            one input looks like another modality.
        InputError: nothing to do, outputs exist, or every input failed.
        PartialFailure: some inputs failed; the others are written.
    """
    options = options or HarmonizeOptions()
    networks = gather_networks(card, translator, model, options)
    check_out(inputs, out)
    images = find_images(inputs, options.modality or card.manifest.modality)
    if options.brain_mask is not None:
        resolve_mask_path(options.brain_mask, images[0])
    targets = _plan_outputs(images, out, overwrite=options.overwrite)
    linked = _is_one_dataset(inputs)
    for doubt in networks.warnings:
        _LOGGER.warning(doubt)
    failures: list[str] = []
    written: list[Path] = []
    for done, (image, target) in enumerate(zip(images, targets, strict=True), start=1):
        try:
            warnings = harmonize_image(image, target, networks, options, linked=linked)
            for warning in warnings:
                _LOGGER.warning("image %d of %d: %s", done, len(images), warning)
            written.append(target)
        except PrismError as error:
            named = name_file(error, image)
            if len(images) == 1:
                raise type(error)(named) from error
            failures.append(named)
        progress(done, len(images))
    if failures and not written:
        raise InputError(f"all {len(failures)} inputs failed: {'; '.join(failures)}")
    if linked:
        describe_output(inputs[0], out, card, overwrite=options.overwrite)
    if failures:
        raise PartialFailure(failures, len(written), [str(path) for path in written])
    return written


def check_out(inputs: Sequence[Path], out: Path) -> None:
    """Refuse a file in the folder's place, and the dataset to harmonize as its own result."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder with --out")
    for path in inputs:
        if path.is_dir() and is_bids_dataset(path) and path.resolve() == out.resolve():
            raise InputError(f"{out} is the dataset to harmonize: choose another --out")


def find_target(image: ImageRef, out: Path) -> Path:
    """Return where an image's result stands: below ``out`` as the source in its dataset."""
    return out / image.relative.parent / harmonized_name(image.path)


def _plan_outputs(images: Sequence[ImageRef], out: Path, *, overwrite: bool) -> list[Path]:
    targets = [find_target(image, out) for image in images]
    doubled = sorted({str(path) for path in targets if targets.count(path) > 1})
    if doubled:
        raise InputError(
            f"several inputs would be written to {', '.join(doubled)}: harmonize them one at a time"
        )
    standing = [str(path) for path in targets if path.exists() or sidecar_path(path).exists()]
    if standing and not overwrite:
        raise InputError(
            f"{', '.join(standing)} exists already: pass --overwrite or choose another --out"
        )
    return targets


def _is_one_dataset(inputs: Sequence[Path]) -> bool:
    return len(inputs) == 1 and inputs[0].is_dir() and is_bids_dataset(inputs[0])


def name_output(card: SiteCard) -> str:
    """Return the name of a dataset that was harmonized to a card's site."""
    return f"Harmonized to {card.manifest.site}"


def describe_output(dataset: Path, out: Path, card: SiteCard, *, overwrite: bool) -> None:
    """Make the output of one BIDS dataset a BIDS derivative."""
    if (out / "dataset_description.json").exists() and not overwrite:
        return
    write_dataset_description(
        out,
        name_output(card),
        derivative=True,
        raw=dataset,
        description="Harmonized with a PRISM site card; for research, not for diagnosis",
        overwrite=True,
    )
