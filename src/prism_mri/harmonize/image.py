"""Harmonize one image file: read it and its mask, write the volume and its sidecar."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

import prism_mri
from prism_mri.bids import (
    ImageRef,
    brain_mask_name,
    find_other_modality,
    read_sidecar,
    write_json,
)
from prism_mri.card import SiteCard
from prism_mri.config import Modality
from prism_mri.errors import BidsError, CompatibilityError, PrismError
from prism_mri.files import digest_file, write_whole
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


def gather_networks(
    card: SiteCard, translator: Translator, model: Path | None, options: HarmonizeOptions
) -> Networks:
    """Return what images go through; see :func:`harmonize_inputs`.

    Raises:
        CompatibilityError: the card belongs to another anatomy space, recipe or modality.
        InputError: the model cannot be read.
    """
    modality = options.modality or card.manifest.modality
    source = read_source_anatomy(model, translator)
    doubts = check_source(card, source, modality, any_modality=options.any_modality)
    return Networks(card, source, translator, doubts)


def harmonize_image(
    image: ImageRef,
    target: Path,
    networks: Networks,
    options: HarmonizeOptions,
    *,
    linked: bool,
) -> tuple[str, ...]:
    """Write one volume and its sidecar.

    Args:
        image: the source.
        target: volume to write.
        networks: what it goes through.
        options: how.
        linked: whether the output's dataset_description links the source's dataset as ``raw``.

    Returns:
        This image's warnings, which the sidecar holds too.

    Raises:
        PrismError: the image cannot be harmonized, or the result not be written.
    """
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
            result,
            networks,
            {**describe_settings(image, networks, options), "BrainMask": found.source},
            warnings,
        ),
    }
    with _write_extracted(target, found, volume, sidecar["Sources"], options):
        _write_result(target, data, volume, sidecar, overwrite=options.overwrite)
    return warnings


def describe_settings(
    image: ImageRef, networks: Networks, options: HarmonizeOptions
) -> dict[str, object]:
    """Return what decides an image's result, as its sidecar holds it under ``Prism``.

    Raises:
        InputError: the image or its brain mask cannot be read.
    """
    cleaned = networks.card.manifest.recipe == "anchored"
    mask = resolve_mask_path(options.brain_mask, image) if options.brain_mask else None
    return {
        "CardDigest": networks.card.digest,
        "AnatomyDigest": networks.source.digest,
        "AnatomyEncoderDigest": networks.source.encoder_digest,
        "SourceDigest": digest_file(image.path),
        "Style": options.style,
        "Seed": options.seed if options.style == "sample" else None,
        "Outside": options.outside,
        "BrainExtraction": options.extraction,
        "BrainMaskDigest": digest_file(mask) if mask else None,
        "AnyModality": options.any_modality,
        "BiasCorrection": "n4" if cleaned and options.cleaning.bias_field else "none",
        "Denoising": "nlm" if cleaned and options.cleaning.noise else "none",
    }


def sidecar_path(image: Path) -> Path:
    """Return the JSON file beside an image."""
    return image.with_name(strip_nifti_suffix(image) + ".json")


def name_file(error: PrismError, image: ImageRef) -> str:
    """Return an error's line, headed by the image's file where it does not name it."""
    text = str(error)
    return text if str(image.path) in text else f"{image.path}: {text}"


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
    """Write sidecar and volume: both or none.

    The sidecar comes first, and never stands beside an older volume: where a run is killed, a
    volume with its sidecar is whole and what the sidecar says.
    """
    text = json.dumps(sidecar, indent=2, sort_keys=True, allow_nan=False) + "\n"
    if overwrite:
        target.unlink(missing_ok=True)
    write_whole(sidecar_path(target), text.encode(), overwrite=overwrite)
    try:
        write_volume(target, data, like, overwrite=overwrite)
    except PrismError:
        sidecar_path(target).unlink(missing_ok=True)
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
    files = (path, sidecar_path(path))
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
    result: Harmonized, networks: Networks, settings: dict[str, object], warnings: tuple[str, ...]
) -> dict[str, object]:
    """Say with what and how an image was harmonized."""
    card = networks.card
    return {
        "GeneratedBy": [{"Name": "prism-mri", "Version": prism_mri.__version__}],
        "Prism": {
            **settings,
            "Site": card.manifest.site,
            "Modality": card.manifest.modality,
            "Recipe": card.manifest.recipe,
            "CardSigner": card.signer,
            "StyleVector": [round(float(value), 6) for value in result.style],
            "SourceIntensityScale": result.scale,
            "TargetIntensityScale": card.manifest.intensity_scale,
            "TorchVersion": str(torch.__version__),
            "Warnings": [*networks.warnings, *warnings],
            "Notice": "For research, not for diagnosis.",
        },
    }
