"""Harmonize files: find inputs, refuse early what cannot work, write volumes and sidecars."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

import prism_mri
from prism_mri.bids import (
    ImageRef,
    brain_mask_name,
    find_images,
    find_other_modality,
    harmonized_name,
    is_bids_dataset,
    read_sidecar,
    write_dataset_description,
    write_json,
)
from prism_mri.card import SiteCard
from prism_mri.config import Modality
from prism_mri.errors import (
    BidsError,
    CompatibilityError,
    InputError,
    PartialFailure,
    PrismError,
)
from prism_mri.files import write_whole
from prism_mri.harmonize.clean import CLEAN_ALL, SourceCleaning
from prism_mri.harmonize.source import SourceAnatomy, check_source, read_source_anatomy
from prism_mri.harmonize.volume import Harmonized, StyleMode, harmonize_volume
from prism_mri.models.translator import Translator
from prism_mri.preprocessing.brain_extraction import (
    STRIPPED,
    BrainMask,
    Extraction,
    get_brain_mask,
)
from prism_mri.preprocessing.brain_mask import resolve_mask_path
from prism_mri.types import MaskArray, VolumeArray
from prism_mri.volume import Volume, read_mask, read_volume, strip_nifti_suffix, write_volume

_LOGGER = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Networks:
    """What images go through, and what is doubtful about it whatever the image.

    Attributes:
        card: the target's.
        source: what reads the images' anatomy.
        translator: tells tissues apart.
        warnings: one line each.
    """

    card: SiteCard
    source: SourceAnatomy
    translator: Translator
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class HarmonizeOptions:
    """How to harmonize files.

    Attributes:
        style: see :func:`prism_mri.harmonize.volume.harmonize_volume`.
        outside: what stands outside the brain of an image that was not stripped: "zero", or "keep"
            for the source in the target's intensity scale.
        brain_mask: mask file, or pattern with ``{dir}``, ``{stem}``, ``{sub}``, ``{ses}``.
        extraction: how heads without a mask are stripped, as for
            :func:`~prism_mri.preprocessing.brain_extraction.get_brain_mask`; such a mask is
            written beside the result.
        modality: of the images; None for the card's.
        any_modality: warn of images of another modality than the card's instead of refusing them.
        cleaning: what to take off each image before its anatomy is read.
        seed: of "sample".
        overwrite: replace outputs that exist.
    """

    style: StyleMode = "uniform"
    outside: Literal["zero", "keep"] = "zero"
    brain_mask: str | None = None
    extraction: Extraction = "none"
    modality: Modality | None = None
    any_modality: bool = False
    cleaning: SourceCleaning = CLEAN_ALL
    seed: int = 0
    overwrite: bool = False


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
    modality = options.modality or card.manifest.modality
    source = read_source_anatomy(model, translator)
    doubts = check_source(card, source, modality, any_modality=options.any_modality)
    networks = Networks(card, source, translator, doubts)
    _check_out(inputs, out)
    images = find_images(inputs, modality)
    if options.brain_mask is not None:
        resolve_mask_path(options.brain_mask, images[0])
    targets = _plan_outputs(images, out, options)
    linked = _is_one_dataset(inputs)
    for doubt in doubts:
        _LOGGER.warning(doubt)
    failures: list[str] = []
    written: list[Path] = []
    for done, (image, target) in enumerate(zip(images, targets, strict=True), start=1):
        try:
            warnings = _harmonize_file(image, target, networks, options, linked=linked)
            for warning in warnings:
                _LOGGER.warning("image %d of %d: %s", done, len(images), warning)
            written.append(target)
        except PrismError as error:
            named = _name_file(error, image)
            if len(images) == 1:
                raise type(error)(named) from error
            failures.append(named)
        progress(done, len(images))
    if failures and not written:
        raise InputError(f"all {len(failures)} inputs failed: {'; '.join(failures)}")
    if linked:
        _describe_output(inputs[0], out, card, overwrite=options.overwrite)
    if failures:
        raise PartialFailure(failures, len(written), [str(path) for path in written])
    return written


def _check_out(inputs: Sequence[Path], out: Path) -> None:
    """Refuse a file in the folder's place, and the dataset to harmonize as its own result."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder with --out")
    for path in inputs:
        if path.is_dir() and is_bids_dataset(path) and path.resolve() == out.resolve():
            raise InputError(f"{out} is the dataset to harmonize: choose another --out")


def _plan_outputs(images: Sequence[ImageRef], out: Path, options: HarmonizeOptions) -> list[Path]:
    targets = [out / image.relative.parent / harmonized_name(image.path) for image in images]
    doubled = sorted({str(path) for path in targets if targets.count(path) > 1})
    if doubled:
        raise InputError(
            f"several inputs would be written to {', '.join(doubled)}: harmonize them one at a time"
        )
    standing = [str(path) for path in targets if path.exists() or _sidecar_path(path).exists()]
    if standing and not options.overwrite:
        raise InputError(
            f"{', '.join(standing)} exists already: pass --overwrite or choose another --out"
        )
    return targets


def _harmonize_file(
    image: ImageRef,
    target: Path,
    networks: Networks,
    options: HarmonizeOptions,
    *,
    linked: bool,
) -> tuple[str, ...]:
    """Write one volume and its sidecar, and return this image's warnings."""
    card = networks.card
    named = _check_name(image, card, options)
    volume = read_volume(image.path)
    given = None
    if options.brain_mask is not None:
        given = read_mask(resolve_mask_path(options.brain_mask, image), volume)
    modality = options.modality or card.manifest.modality
    found = get_brain_mask(volume, given, extraction=options.extraction, modality=modality)
    mask = found.mask
    generator = torch.Generator().manual_seed(_draw_seed(options.seed, image))
    result = harmonize_volume(
        volume,
        mask,
        card,
        networks.source.encoder,
        tissue_encoder=networks.translator.networks.anatomy_encoder,
        style=options.style,
        generator=generator,
        cleaning=options.cleaning,
    )
    _check_image(result, card, options)
    warnings = (*named, *found.warnings, *result.warnings)
    keeps = options.outside == "keep" and found.source != STRIPPED
    data = _keep_outside(result, volume, mask, card) if keeps else result.data
    sidecar = {
        **_describe_source(image, linked=linked),
        "SkullStripped": not keeps,
        **_describe_harmonization(
            result, networks, options, found, (*networks.warnings, *warnings)
        ),
    }
    with _write_extracted(target, found, volume, sidecar["Sources"], options):
        _write_result(target, data, volume, sidecar, overwrite=options.overwrite)
    return warnings


def _check_name(image: ImageRef, card: SiteCard, options: HarmonizeOptions) -> tuple[str, ...]:
    """Refuse an image whose name or sidecar tells of another modality, or return what it tells.

    With ``any_modality`` the warning names no file: it goes into a sidecar that may be passed on.
    """
    modality = card.manifest.modality
    said = find_other_modality(image.path, modality)
    if said is None:
        return ()
    if not options.any_modality:
        raise BidsError(f"{said}, or pass --any-modality")
    return (f"name or sidecar say that it is no {modality} image",)


def _check_image(result: Harmonized, card: SiteCard, options: HarmonizeOptions) -> None:
    if result.other_modality is not None and not options.any_modality:
        raise CompatibilityError(
            f"{result.other_modality}: give {card.manifest.modality} images, or pass --any-modality"
        )


def _write_result(
    target: Path,
    data: VolumeArray,
    like: Volume,
    sidecar: dict[str, object],
    *,
    overwrite: bool,
) -> None:
    """Write volume and sidecar: both or none."""
    text = json.dumps(sidecar, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_volume(target, data, like, overwrite=overwrite)
    try:
        write_whole(_sidecar_path(target), text.encode(), overwrite=overwrite)
    except PrismError:
        target.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _write_extracted(
    target: Path, found: BrainMask, like: Volume, sources: object, options: HarmonizeOptions
) -> Iterator[None]:
    """Write a mask that was made here for somebody to look at; taken back if the result fails."""
    if not found.is_extracted:
        yield
        return
    path = target.with_name(brain_mask_name(target))
    text = {"Type": "Brain", "MaskSource": found.source, "Sources": sources}
    files = (path, _sidecar_path(path))
    replaced = any(file.exists() for file in files)
    write_volume(path, found.mask, like, overwrite=options.overwrite, dtype=np.uint8)
    try:
        write_json(files[1], text, overwrite=options.overwrite)
        yield
    except PrismError:
        for file in files if not replaced else ():
            file.unlink(missing_ok=True)
        raise


def _draw_seed(seed: int, image: ImageRef) -> int:
    """Return a seed of this image's own, the same whatever else is harmonized with it."""
    digest = hashlib.sha256(f"{seed}/{image.relative.as_posix()}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def _keep_outside(
    result: Harmonized, volume: Volume, mask: MaskArray, card: SiteCard
) -> VolumeArray:
    factor = np.float32(card.manifest.intensity_scale / result.scale)
    return np.where(mask, result.data, volume.data * factor).astype(np.float32)


def _describe_source(image: ImageRef, *, linked: bool) -> dict[str, object]:
    """Name the source and keep the protocol fields of its sidecar, and nothing else of it.

    Args:
        image: the source.
        linked: whether the output's dataset_description links the dataset as ``raw``.
    """
    kept = ("MagneticFieldStrength", "RepetitionTime", "EchoTime", "SliceThickness")
    fields = read_sidecar(image.path)
    name = f"bids:raw:{image.relative.as_posix()}" if linked else image.path.name
    return {
        **{f"Source{key}": fields[key] for key in kept if _is_number(fields.get(key))},
        "Sources": [name],
    }


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
    )


def _describe_harmonization(
    result: Harmonized,
    networks: Networks,
    options: HarmonizeOptions,
    found: BrainMask,
    warnings: tuple[str, ...],
) -> dict[str, object]:
    """Say with what and how an image was harmonized."""
    card = networks.card
    cleaned = card.manifest.recipe == "anchored"
    return {
        "GeneratedBy": [{"Name": "prism-mri", "Version": prism_mri.__version__}],
        "Prism": {
            "Site": card.manifest.site,
            "Modality": card.manifest.modality,
            "Recipe": card.manifest.recipe,
            "CardDigest": card.digest,
            "CardSigner": card.signer,
            "AnatomyDigest": networks.source.digest,
            "AnatomyEncoderDigest": networks.source.encoder_digest,
            "Style": options.style,
            "StyleVector": [round(float(value), 6) for value in result.style],
            "Seed": options.seed if options.style == "sample" else None,
            "Outside": options.outside,
            "BrainMask": found.source,
            "BrainExtraction": options.extraction,
            "AnyModality": options.any_modality,
            "BiasCorrection": "n4" if cleaned and options.cleaning.bias_field else "none",
            "Denoising": "nlm" if cleaned and options.cleaning.noise else "none",
            "SourceIntensityScale": result.scale,
            "TargetIntensityScale": card.manifest.intensity_scale,
            "TorchVersion": str(torch.__version__),
            "Warnings": list(warnings),
            "Notice": "For research, not for diagnosis.",
        },
    }


def _is_one_dataset(inputs: Sequence[Path]) -> bool:
    return len(inputs) == 1 and inputs[0].is_dir() and is_bids_dataset(inputs[0])


def _describe_output(dataset: Path, out: Path, card: SiteCard, *, overwrite: bool) -> None:
    """Make the output of one BIDS dataset a BIDS derivative."""
    if (out / "dataset_description.json").exists() and not overwrite:
        return
    write_dataset_description(
        out,
        f"Harmonized to {card.manifest.site}",
        derivative=True,
        raw=dataset,
        description="Harmonized with a PRISM site card; for research, not for diagnosis",
        overwrite=True,
    )


def _sidecar_path(image: Path) -> Path:
    return image.with_name(strip_nifti_suffix(image) + ".json")


def _name_file(error: PrismError, image: ImageRef) -> str:
    text = str(error)
    return text if str(image.path) in text else f"{image.path}: {text}"
