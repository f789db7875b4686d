"""Turn a site's images into a prepared dataset: conformed, masked, scaled, split by person."""

import logging
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import prism_mri
from prism_mri.bids import (
    PREPARED_MANIFEST,
    BidsName,
    ImageRef,
    check_modality,
    find_images,
    is_bids_dataset,
    write_dataset_description,
    write_json,
)
from prism_mri.config import PreprocessingContract
from prism_mri.errors import ConfigError, InputError
from prism_mri.files import explain_os_error, write_whole
from prism_mri.preprocessing.brain_mask import find_brain_mask, resolve_mask_path
from prism_mri.preprocessing.conform import Conformed, conform
from prism_mri.preprocessing.manifest import SITE_PATTERN, PreparedImageEntry, PreparedManifest
from prism_mri.preprocessing.orient import orient_brain
from prism_mri.preprocessing.slices import select_slices
from prism_mri.types import Affine
from prism_mri.volume import Volume, read_mask, read_volume, write_volume

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
    """

    conformed: Conformed
    affine: Affine
    kept: tuple[int, ...]

    @property
    def grid(self) -> Volume:
        """The slices as a volume (H, W, K), RAS+."""
        return Volume(_as_volume(self.conformed.slices), self.affine)


def prepare_site(
    inputs: Sequence[Path],
    out: Path,
    *,
    site: str,
    contract: PreprocessingContract,
    brain_mask: str | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PreparedManifest:
    """Prepare all images of a site and write them as a BIDS derivative dataset.

    The dataset is built in a temporary folder beside ``out`` and renamed at the end: all or none.

    Args:
        inputs: NIfTI files, folders, BIDS datasets.
        out: folder to make.
        site: lower-case name of the site.
        contract: modality, grid, intensity, smallest slice.
        brain_mask: mask file, or pattern with ``{dir}``, ``{stem}``, ``{sub}``, ``{ses}``; None for
            images that are stripped already.
        validation_fraction: share of people held out, at least one of them.
        seed: draws who is held out.
        overwrite: replace a prepared dataset that exists.
        progress: called with (images done, images in all).

    Returns:
        What was written to ``prepared.json``.

    Raises:
        ConfigError: site name or fraction are out of range.
        InputError: one or more images cannot be used (all are named), ``out`` exists, or cannot be
            written.
    """
    _check_settings(site, validation_fraction)
    _check_out(out, overwrite)
    _check_inputs(inputs)
    images = find_images(inputs, contract.modality)
    _check_names_differ(images, contract)
    if brain_mask is not None:
        resolve_mask_path(brain_mask, images[0])
    if not all(image.is_bids for image in images):
        logger.warning(
            "files without BIDS names are counted as one person each: use sub-<label> names where"
            " a person has several scans"
        )
    held_out = _draw_held_out([image.subject for image in images], validation_fraction, seed)
    temporary = out.resolve().with_name(f".{out.resolve().name}.{secrets.token_hex(4)}.part")
    try:
        entries = _write_images(images, temporary, contract, brain_mask, held_out, progress)
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
        _write_tables(temporary, manifest, inputs)
        _move_into_place(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def prepare_image(
    image: ImageRef, contract: PreprocessingContract, brain_mask: str | None = None
) -> PreparedBrain:
    """Read one image and bring it to the conform grid.

    Args:
        image: where it is.
        contract: modality, grid, intensity, smallest slice.
        brain_mask: as for :func:`prepare_site`.

    Returns:
        Slices, mask, affine and the slices kept.

    Raises:
        InputError: image, mask or sidecar cannot be used.
    """
    check_modality(image.path, contract.modality)
    volume = read_volume(image.path)
    given = None
    if brain_mask is not None:
        given = read_mask(resolve_mask_path(brain_mask, image), volume)
    brain = orient_brain(volume, find_brain_mask(volume, given))
    conformed = conform(brain.volume.data, brain.mask, brain.volume.spacing_mm, contract)
    grid_affine = brain.volume.affine @ conformed.transform.native_from_grid()
    grid = Volume(_as_volume(conformed.slices), grid_affine)
    kept = select_slices(conformed.mask, grid.spacing_mm[:2], contract)
    return PreparedBrain(conformed, grid_affine, tuple(int(k) for k in np.flatnonzero(kept)))


def _check_settings(site: str, validation_fraction: float) -> None:
    if not re.fullmatch(SITE_PATTERN, site):
        raise ConfigError(
            f"site name {site!r} is not valid; use 1 to 32 lower-case letters, digits, - and _"
        )
    if not 0 < validation_fraction < 1:
        raise ConfigError(
            f"validation fraction {validation_fraction:g} is out of range; choose above 0, below 1"
        )


def _check_out(out: Path, overwrite: bool) -> None:
    """Refuse to replace anything but what this command made."""
    if not out.exists():
        return
    if not overwrite:
        raise InputError(f"{out} exists already; pass --overwrite or choose another folder")
    if not (out / PREPARED_MANIFEST).is_file():
        raise InputError(
            f"{out} is no prepared dataset (it has no {PREPARED_MANIFEST}) and is not replaced;"
            " choose another folder"
        )


def _check_inputs(inputs: Sequence[Path]) -> None:
    """Refuse what is prepared already: preparing it again would resample it twice."""
    prepared = [str(path) for path in inputs if (path / PREPARED_MANIFEST).is_file()]
    if prepared:
        raise InputError(f"{', '.join(prepared)} is prepared already; give the original images")


def _check_names_differ(images: Sequence[ImageRef], contract: PreprocessingContract) -> None:
    seen: dict[str, ImageRef] = {}
    clashes = []
    for image in images:
        other = seen.setdefault(_image_path(image, contract.modality), image)
        if other is not image:
            clashes.append(f"{other.path} and {image.path}")
    if clashes:
        raise InputError(
            f"inputs name the same subject and session: {'; '.join(clashes)};"
            " prepare each dataset by itself, or rename them"
        )


def _draw_held_out(subjects: Iterable[str], fraction: float, seed: int) -> frozenset[str]:
    """Return the people to validate on; nobody where there is one person only."""
    people = sorted(set(subjects))
    if len(people) == 1:
        logger.warning("one person only: validating on held-out slices, which says less")
        return frozenset()
    count = min(max(1, round(fraction * len(people))), len(people) - 1)
    drawn = np.random.default_rng(seed).permutation(len(people))[:count]
    return frozenset(people[index] for index in drawn)


def _write_images(
    images: Sequence[ImageRef],
    folder: Path,
    contract: PreprocessingContract,
    brain_mask: str | None,
    held_out: frozenset[str],
    progress: Progress | None,
) -> list[PreparedImageEntry]:
    """Write every image; bad ones are collected and raised together, in one error."""
    entries, problems = [], []
    for number, image in enumerate(images, start=1):
        try:
            brain = prepare_image(image, contract, brain_mask)
        except InputError as problem:
            text = str(problem)
            problems.append(text if str(image.path) in text else f"{image.path}: {text}")
        else:
            if not problems:
                entries.append(_write_image(image, brain, folder, contract.modality, held_out))
        finally:
            if progress is not None:
                progress(number, len(images))
    if problems:
        raise InputError("\n".join(problems))
    return entries


def _write_image(
    image: ImageRef, brain: PreparedBrain, folder: Path, modality: str, held_out: frozenset[str]
) -> PreparedImageEntry:
    image_path, mask_path = _image_path(image, modality), _mask_path(image)
    grid = brain.grid
    write_volume(folder / image_path, grid.data, grid)
    write_volume(folder / mask_path, _as_volume(brain.conformed.mask), grid, dtype=np.uint8)
    source = [f"bids:raw:{image.relative.as_posix()}"] if image.is_bids else []
    extra = {"Sources": source} if source else {}
    sidecar = {"SkullStripped": True, "IntensityScale": brain.conformed.scale}
    write_json(folder / image_path.replace(".nii.gz", ".json"), sidecar | extra)
    write_json(folder / mask_path.replace(".nii.gz", ".json"), {"Type": "Brain"} | extra)
    train, validation = _split_slices(image.subject, brain.kept, held_out)
    return PreparedImageEntry(
        subject=image.subject,
        session=image.session,
        image=image_path,
        mask=mask_path,
        scale=brain.conformed.scale,
        spacing_mm=grid.spacing_mm,
        train_slices=train,
        validation_slices=validation,
    )


def _split_slices(
    subject: str, kept: tuple[int, ...], held_out: frozenset[str]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if held_out:
        return ((), kept) if subject in held_out else (kept, ())
    first = min(HELD_OUT_SLICE_STEP, len(kept)) // 2
    validation = kept[first::HELD_OUT_SLICE_STEP]
    train = tuple(k for k in kept if k not in validation)
    return train or kept, validation


def _write_tables(folder: Path, manifest: PreparedManifest, inputs: Sequence[Path]) -> None:
    raw = inputs[0] if len(inputs) == 1 and is_bids_dataset(inputs[0]) else None
    write_dataset_description(
        folder, f"{manifest.site}, prepared by PRISM", derivative=True, raw=raw
    )
    people = {
        entry.subject: "validation" if not entry.train_slices else "train"
        for entry in manifest.images
    }
    rows = [f"sub-{subject}\t{split}" for subject, split in sorted(people.items())]
    table = "\n".join(["participant_id\tsplit", *rows]) + "\n"
    write_whole(folder / "participants.tsv", table.encode())
    write_whole(folder / ".bidsignore", f"{PREPARED_MANIFEST}\n".encode())
    write_json(folder / PREPARED_MANIFEST, manifest.model_dump(mode="json"))


def _move_into_place(temporary: Path, out: Path) -> None:
    """Rename the finished dataset; what it replaces is removed only once the new one stands."""
    old = out.resolve().with_name(f".{out.resolve().name}.{secrets.token_hex(4)}.old")
    try:
        if out.exists():
            out.rename(old)
        try:
            temporary.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    except OSError as problem:
        raise InputError(f"cannot write {out}: {explain_os_error(problem)}") from problem
    shutil.rmtree(old, ignore_errors=True)


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
