"""Turn a site's images into a prepared dataset: conformed, masked, scaled, split by person."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import prism_mri
from prism_mri.bids import (
    PREPARED_MANIFEST,
    BidsName,
    ImageRef,
    check_modality,
    is_bids_dataset,
    write_dataset_description,
    write_json,
)
from prism_mri.config import PreprocessingContract
from prism_mri.errors import InputError
from prism_mri.files import write_whole
from prism_mri.layouts import Layout, find_layout_images
from prism_mri.preprocessing.brain_extraction import Extraction, get_brain_mask
from prism_mri.preprocessing.brain_mask import resolve_mask_path
from prism_mri.preprocessing.conform import Conformed, conform
from prism_mri.preprocessing.dataset_folder import (
    build_folder,
    check_out,
    check_settings,
    draw_held_out,
    list_problems,
)
from prism_mri.preprocessing.manifest import PreparedImageEntry, PreparedManifest, Split
from prism_mri.preprocessing.mask_checks import check_brain_volume, compute_mask_ml
from prism_mri.preprocessing.orient import orient_brain
from prism_mri.preprocessing.slices import select_slices
from prism_mri.types import Affine, LabelStack, MaskArray, VolumeArray
from prism_mri.volume import (
    NIFTI_SUFFIXES,
    TISSUE_LABELS,
    Volume,
    read_labels,
    read_mask,
    read_volume,
    reorient_to_ras,
    write_volume,
)

logger = logging.getLogger(__name__)

HELD_OUT_SLICE_STEP = 10
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class PreparedBrain:
    """One image, ready to be written.

    Attributes:
        conformed: slices, mask and scale.
        affine: world_from_voxel of the conform grid, voxel order (H, W, K).
        kept: indices of slices with enough brain.
        labels: (K, H, W) tissues, where they are known.
        mask_source: where the mask comes from, as
            :class:`~prism_mri.preprocessing.brain_extraction.BrainMask` has it, where it is known.
        warnings: what is doubtful about the mask, one line each.
    """

    conformed: Conformed
    affine: Affine
    kept: tuple[int, ...]
    labels: LabelStack | None = None
    mask_source: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def grid(self) -> Volume:
        """The slices as a volume (H, W, K), RAS+."""
        return Volume(_as_volume(self.conformed.slices), self.affine)


def prepare_site(  # noqa: PLR0913 - a site's whole story, each option by name
    inputs: Sequence[Path],
    out: Path,
    *,
    site: str,
    contract: PreprocessingContract,
    layout: Layout = "files",
    brain_mask: str | None = None,
    extraction: Extraction = "none",
    labels: str | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    overwrite: bool = False,
    skip: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> PreparedManifest:
    """Prepare all images of a site and write them as a BIDS derivative dataset.

    The dataset is built in a temporary folder beside ``out`` and renamed at the end: all or none.

    Args:
        inputs: NIfTI files, folders, BIDS datasets; one folder of IXI or ADNI.
        out: folder to make.
        site: lower-case name of the site; of IXI, which is taken.
        contract: modality, grid, intensity, smallest slice.
        layout: how the inputs lie.
        brain_mask: mask file, or pattern with ``{dir}``, ``{stem}``, ``{sub}``, ``{ses}``; None for
            images that are stripped already, or heads to extract.
        extraction: how heads without a mask are stripped, as for
            :func:`~prism_mri.preprocessing.brain_extraction.get_brain_mask`.
        labels: pattern of tissue labels on each image's grid, 1 CSF, 2 GM, 3 WM; they serve
            evaluation alone.
        validation_fraction: share of people held out, at least one of them.
        seed: draws who is held out.
        overwrite: replace a prepared dataset that exists.
        skip: gets a line for every image that cannot be used, and the others are prepared without
            it; None refuses them all.
        progress: called with (images done, images in all).

    Returns:
        What was written to ``prepared.json``.

    Raises:
        ConfigError: site name or fraction are out of range.
        InputError: one or more images cannot be used (all are named), or none where ``skip`` is
            given, ``out`` exists, or cannot be written.
    """
    check_settings(site, validation_fraction)
    check_prepared_out(out, overwrite=overwrite)
    images = find_raw_images(inputs, contract.modality, layout=layout, site=site)
    for pattern in (brain_mask, labels):
        if pattern is not None:
            resolve_mask_path(pattern, images[0])
    with build_folder(out) as folder:
        written = _write_images(
            images, _Plan(folder, contract, (brain_mask, labels), extraction), skip, progress
        )
        held_out = draw_held_out([entry.subject for entry in written], validation_fraction, seed)
        entries = [_assign(entry, held_out) for entry in written]
        manifest = PreparedManifest(
            site=site,
            contract=contract,
            seed=seed,
            validation_fraction=validation_fraction,
            people=len({entry.subject for entry in entries}),
            held_out="people" if held_out else "slices",
            software=prism_mri.__version__,
            images=tuple(entries),
        )
        warn_of_one_person(manifest)
        raw = inputs[0] if len(inputs) == 1 and is_bids_dataset(inputs[0]) else None
        write_prepared_tables(folder, manifest, raw)
    return manifest


def check_prepared_out(out: Path, *, overwrite: bool) -> None:
    """Refuse to replace anything but a prepared dataset.

    Raises:
        InputError: the folder exists and may not be replaced.
    """
    kind = f"prepared dataset (it has no {PREPARED_MANIFEST})"
    ours = (out / PREPARED_MANIFEST).is_file()
    check_out(out, kind=kind, ours=ours, overwrite=overwrite)


def find_raw_images(
    inputs: Sequence[Path], modality: str, *, layout: Layout, site: str
) -> list[ImageRef]:
    """Find images that are not prepared yet, and check that their names tell them apart.

    Args:
        inputs: files and folders.
        modality: BIDS suffix.
        layout: how they lie.
        site: which site of IXI is wanted.

    Returns:
        The images in a stable order.

    Raises:
        InputError: an input is missing, prepared already or not of the layout, nothing is found, or
            two images name the same subject and session.
    """
    prepared = [str(path) for path in inputs if (path / PREPARED_MANIFEST).is_file()]
    if prepared:
        # Preparing it again would resample it twice.
        raise InputError(f"{', '.join(prepared)} is prepared already; give the original images")
    images = find_layout_images(inputs, modality, layout=layout, site=site)
    _check_names_differ(images, modality)
    if layout == "files" and not all(image.is_bids for image in images):
        logger.warning(
            "files without BIDS names are counted as one person each: use sub-<label> names where"
            " a person has several scans"
        )
    return images


def prepare_image(
    image: ImageRef,
    contract: PreprocessingContract,
    brain_mask: str | None = None,
    labels: str | None = None,
    *,
    extraction: Extraction = "none",
) -> PreparedBrain:
    """Read one image and bring it to the conform grid.

    Args:
        image: where it is.
        contract: modality, grid, intensity, smallest slice.
        brain_mask: as for :func:`prepare_site`.
        labels: as for :func:`prepare_site`.
        extraction: as for :func:`prepare_site`.

    Returns:
        Slices, mask, affine, the slices kept, and labels where a pattern was given.

    Raises:
        InputError: image, mask or sidecar cannot be used.
    """
    check_modality(image.path, contract.modality)
    volume = read_volume(image.path)
    given = None
    if brain_mask is not None:
        given = read_mask(resolve_mask_path(brain_mask, image), volume)
    found = get_brain_mask(volume, given, extraction=extraction, modality=contract.modality)
    brain = replace(
        conform_brain(volume, found.mask, contract),
        mask_source=found.source,
        warnings=(*check_brain_volume(compute_mask_ml(volume, found.mask)), *found.warnings),
    )
    if labels is None:
        return brain
    tissues = read_labels(resolve_mask_path(labels, image), volume)
    oriented, _ = reorient_to_ras(replace(volume, data=tissues.astype(np.float32)))
    return replace(brain, labels=conform_labels(oriented.data, brain.conformed))


def conform_brain(
    volume: Volume, mask: MaskArray, contract: PreprocessingContract, *, scale: float | None = None
) -> PreparedBrain:
    """Bring an image in memory to the conform grid.

    Args:
        volume: the image, any voxel order.
        mask: (I, J, K) brain, in the same order.
        contract: modality, grid, intensity, smallest slice.
        scale: native units per 1.0 where they are known; else the contract's statistic says.

    Returns:
        Slices, mask, affine and the slices kept.

    Raises:
        ImageError: the brain does not fit, cannot be scaled, or has no slice that is large enough.
    """
    brain = orient_brain(volume, mask)
    conformed = conform(
        brain.volume.data, brain.mask, brain.volume.spacing_mm, contract, scale=scale
    )
    grid_affine = brain.volume.affine @ conformed.transform.native_from_grid()
    grid = Volume(_as_volume(conformed.slices), grid_affine)
    kept = select_slices(conformed.mask, grid.spacing_mm[:2], contract)
    return PreparedBrain(conformed, grid_affine, tuple(int(k) for k in np.flatnonzero(kept)))


def conform_labels(labels: VolumeArray, conformed: Conformed) -> LabelStack:
    """Bring tissue labels to the grid of a conformed image: every pixel the label that fills most.

    Args:
        labels: (I, J, K) in RAS+ order, 0 to 3.
        conformed: the image, whose mask ends the labels.
    """
    shares = [
        conformed.transform.apply((labels == tissue).astype(np.float32)) for tissue in TISSUE_LABELS
    ]
    most = np.argmax(shares, axis=0).astype(np.uint8) + np.uint8(TISSUE_LABELS[0])
    covered = np.max(shares, axis=0) > 0
    return np.where(covered & conformed.mask, most, 0).astype(np.uint8)


def _check_names_differ(images: Sequence[ImageRef], modality: str) -> None:
    seen: dict[str, ImageRef] = {}
    clashes = []
    for image in images:
        other = seen.setdefault(_image_path(image, modality), image)
        if other is not image:
            clashes.append(f"{other.path} and {image.path}")
    if clashes:
        raise InputError(
            f"inputs name the same subject and session: {'; '.join(clashes)};"
            " prepare each dataset by itself, or rename them"
        )


def warn_of_one_person(manifest: PreparedManifest) -> None:
    """Say so where nobody is held out, and where not even a slice is."""
    shared = manifest.validated_on_training
    if shared:
        slices = "the slice that it trains on" if shared == 1 else f"{shared} slices it trains on"
        logger.warning(
            "one person only: validated on %s, which says nothing of any other slice", slices
        )
    elif manifest.held_out == "slices":
        logger.warning("one person only: validating on held-out slices, which says less")


@dataclass(frozen=True)
class _Plan:
    """Where prepared images go, and how they get there."""

    folder: Path
    contract: PreprocessingContract
    patterns: tuple[str | None, str | None]
    """Of masks and labels."""
    extraction: Extraction


def _write_images(
    images: Sequence[ImageRef],
    plan: _Plan,
    skip: Callable[[str], None] | None,
    progress: Progress | None,
) -> list[PreparedImageEntry]:
    """Write every image; bad ones are skipped, or collected and raised together, in one error."""
    entries, problems = [], []
    modality = plan.contract.modality
    for number, image in enumerate(images, start=1):
        try:
            brain = prepare_image(image, plan.contract, *plan.patterns, extraction=plan.extraction)
            for warning in brain.warnings:
                logger.warning("image %d of %d: %s", number, len(images), warning)
        except InputError as problem:
            text = str(problem)
            problems.append(text if str(image.path) in text else f"{image.path}: {text}")
        else:
            if not problems or skip is not None:
                kept: dict[Split, tuple[int, ...]] = {"train": brain.kept}
                entries.append(write_prepared_image(image, brain, plan.folder, modality, kept))
        finally:
            if progress is not None:
                progress(number, len(images))
    if problems and (skip is None or not entries):
        raise InputError(list_problems(problems, len(images)))
    for text in problems:
        if skip is not None:
            skip(text)
    return entries


def _assign(entry: PreparedImageEntry, held_out: frozenset[str]) -> PreparedImageEntry:
    """Return an entry, all of whose slices are to train on, with those slices in their splits."""
    slices = split_slices(entry.subject, entry.train_slices, held_out)
    return entry.model_copy(
        update={
            "train_slices": slices.get("train", ()),
            "validation_slices": slices.get("validation", ()),
        }
    )


def write_prepared_image(
    image: ImageRef,
    brain: PreparedBrain,
    folder: Path,
    modality: str,
    slices: Mapping[Split, tuple[int, ...]],
) -> PreparedImageEntry:
    """Write an image, its mask and their sidecars.

    Args:
        image: whom it shows; a NIfTI file with a BIDS name is named as the source.
        brain: what to write.
        folder: the prepared dataset.
        modality: BIDS suffix.
        slices: which of the brain's slices belong to which split.

    Returns:
        What the manifest is to say.

    Raises:
        InputError: a file cannot be written.
    """
    image_path, mask_path = _image_path(image, modality), _mask_path(image)
    grid = brain.grid
    write_volume(folder / image_path, grid.data, grid)
    write_volume(folder / mask_path, _as_volume(brain.conformed.mask), grid, dtype=np.uint8)
    from_bids = image.is_bids and image.path.name.endswith(NIFTI_SUFFIXES)
    extra = {"Sources": [f"bids:raw:{image.relative.as_posix()}"]} if from_bids else {}
    sidecar = {"SkullStripped": True, "IntensityScale": brain.conformed.scale}
    write_json(folder / image_path.replace(".nii.gz", ".json"), sidecar | extra)
    source = {} if brain.mask_source is None else {"MaskSource": brain.mask_source}
    write_json(folder / mask_path.replace(".nii.gz", ".json"), {"Type": "Brain"} | source | extra)
    labels_path = None
    if brain.labels is not None:
        labels_path = _derived_path(image, desc="prepared", suffix="dseg")
        write_volume(folder / labels_path, _as_volume(brain.labels), grid, dtype=np.uint8)
    return PreparedImageEntry(
        subject=image.subject,
        session=image.session,
        image=image_path,
        mask=mask_path,
        mask_source=brain.mask_source,
        labels=labels_path,
        scale=brain.conformed.scale,
        spacing_mm=grid.spacing_mm,
        train_slices=slices.get("train", ()),
        validation_slices=slices.get("validation", ()),
        test_slices=slices.get("test", ()),
    )


def split_slices(
    subject: str, kept: tuple[int, ...], held_out: frozenset[str]
) -> dict[Split, tuple[int, ...]]:
    """Return which slices of an image to train and to validate on.

    Args:
        subject: whom it shows.
        kept: slices with enough brain.
        held_out: people to validate on; where there are none, every tenth slice is held out.
    """
    if held_out:
        return {"validation": kept} if subject in held_out else {"train": kept}
    first = min(HELD_OUT_SLICE_STEP, len(kept)) // 2
    validation = kept[first::HELD_OUT_SLICE_STEP]
    train = tuple(k for k in kept if k not in validation)
    return {"train": train or kept, "validation": validation}


def write_prepared_tables(folder: Path, manifest: PreparedManifest, raw: Path | None) -> None:
    """Write the manifest, the list of people and what makes the folder a BIDS derivative.

    Args:
        folder: the prepared dataset.
        manifest: what it holds.
        raw: the BIDS dataset that it was made from, if it was.

    Raises:
        InputError: a file cannot be written.
    """
    write_dataset_description(
        folder, f"{manifest.site}, prepared by PRISM", derivative=True, raw=raw
    )
    people = {entry.subject: _split_of(entry) for entry in manifest.images}
    rows = [f"sub-{subject}\t{split}" for subject, split in sorted(people.items())]
    table = "\n".join(["participant_id\tsplit", *rows]) + "\n"
    write_whole(folder / "participants.tsv", table.encode())
    write_whole(folder / ".bidsignore", f"{PREPARED_MANIFEST}\n".encode())
    write_json(folder / PREPARED_MANIFEST, manifest.model_dump(mode="json"))


def _split_of(entry: PreparedImageEntry) -> Split:
    if entry.test_slices:
        return "test"
    return "train" if entry.train_slices else "validation"


def _image_path(image: ImageRef, modality: str) -> str:
    return _derived_path(image, desc="prepared", suffix=modality)


def _mask_path(image: ImageRef) -> str:
    return _derived_path(image, desc="brain", suffix="mask")


def _derived_path(image: ImageRef, *, desc: str, suffix: str) -> str:
    name = BidsName(image.entities, suffix, ".nii.gz").with_entities(desc=desc).filename()
    folders = [f"sub-{image.subject}", *([f"ses-{image.session}"] if image.session else []), "anat"]
    return "/".join([*folders, name])


def _as_volume(slices: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(slices.transpose(1, 2, 0))
