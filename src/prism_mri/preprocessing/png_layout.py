"""Find slices stored as PNG: as ``prepare --png`` writes them, or as the published code does.

The published code writes ``{train,test}/{subject}/IXI-{site}-{subject}-T2_stripped.png`` by a
plotting library: grey pictures stored in colour, of unknown pixel size and intensity, without
masks. Only ``*_stripped.png`` are images there; γ copies and masks beside them are passed over.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType

import numpy as np
from pydantic import ValidationError
from scipy import ndimage

from prism_mri.bids import BidsName, ImageRef, find_named_modality
from prism_mri.config import PreprocessingContract, describe_validation_error
from prism_mri.errors import BidsError, ConfigError, ImageError, InputError
from prism_mri.files import explain_os_error
from prism_mri.preprocessing.png import from_pixels, read_grey_png
from prism_mri.preprocessing.png_manifest import (
    PNG_MANIFEST,
    PngManifest,
    PngSplit,
    is_png_form,
)
from prism_mri.types import MaskArray
from prism_mri.volume import Volume

SPLITS: tuple[PngSplit, ...] = ("train", "test")
DEFAULT_PIXEL_MM = 1.0
"""Pixel size where nothing says it, and the thickness of such a slice."""
_STRIPPED = "_stripped.png"


@dataclass(frozen=True)
class PngScan:
    """A slice stored as PNG, and what is known of it.

    Attributes:
        image: the file and whom it shows.
        split: which folder it lies in.
        mask: the brain as PNG, or None: what is not black, holes filled.
        spacing_mm: pixel size left-right and posterior-anterior, slice thickness.
        native_per_grey: native units per grey value; 1.0 where unknown.
        scale: native units per 1.0 of the prepared scale; None where the slice itself must say.
        site_word: the site as the file's name has it, or None.
    """

    image: ImageRef
    split: PngSplit
    mask: Path | None
    spacing_mm: tuple[float, float, float]
    native_per_grey: float = 1.0
    scale: float | None = None
    site_word: str | None = None


def is_png_layout(folder: Path) -> bool:
    """Tell whether a folder holds slices as PNG, in either form."""
    return is_png_form(folder) or any(True for _ in _stripped_files(folder))


def find_png_scans(
    folder: Path,
    contract: PreprocessingContract,
    pixel_mm: float | None = None,
    *,
    site: str | None = None,
) -> tuple[list[PngScan], list[str]]:
    """Find the images of a folder in either form.

    Args:
        folder: with ``dataset.json``, or with ``train`` and ``test``.
        contract: modality that is wanted, and intensities that it is to be brought to.
        pixel_mm: pixel size of the published form; None for 1 mm.
        site: what ``dataset.json`` must say; None for any site.

    Returns:
        The images in a stable order, and what is wrong with the folder, one line each.

    Raises:
        ConfigError: the pixel size is not positive, or given where the folder states its own.
        InputError: the folder has neither form, or ``dataset.json`` is not valid or says another
            modality or site.
    """
    if pixel_mm is not None and not 0 < pixel_mm <= 100:
        raise ConfigError(f"pixel size {pixel_mm:g} mm is out of range; choose above 0, up to 100")
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder that holds train/ and test/")
    if is_png_form(folder):
        if pixel_mm is not None:
            raise ConfigError(f"{folder / PNG_MANIFEST} states the pixel size; omit --pixel-mm")
        scans = list(_read_own_form(folder, contract, site))
    else:
        scans = list(_find_published(folder, contract.modality, pixel_mm or DEFAULT_PIXEL_MM))
    if not scans:
        raise InputError(
            f"{folder} holds no {contract.modality} slices as PNG: expected {PNG_MANIFEST} of"
            f" 'prism-mri prepare --png', or train/SUBJECT/*{_STRIPPED}"
        )
    return scans, _find_problems(folder, scans)


def read_png_brain(scan: PngScan) -> tuple[Volume, MaskArray]:
    """Read a slice as a volume of one slice, in native units as far as they are known.

    Returns:
        The volume (I, J, 1), RAS+, centred on the origin, since nothing says where it lay; and the
        brain (I, J, 1).

    Raises:
        ImageError: image or mask cannot be used, or do not fit each other.
    """
    pixels = read_grey_png(scan.image.path)
    if scan.mask is None:
        inside = np.asarray(ndimage.binary_fill_holes(pixels > 0))
    else:
        inside = read_grey_png(scan.mask) > 127
        if inside.shape != pixels.shape:
            raise ImageError(
                f"mask {scan.mask} has {inside.shape} pixels, its image {pixels.shape}; give its"
                " own mask"
            )
    plane = from_pixels(pixels).astype(np.float32) * np.float32(scan.native_per_grey)
    affine = np.diag([*scan.spacing_mm, 1.0])
    affine[:2, 3] = [-(n - 1) / 2 * mm for n, mm in zip(plane.shape, scan.spacing_mm, strict=False)]
    return Volume(plane[:, :, None], affine), from_pixels(inside)[:, :, None]


def _read_own_form(
    folder: Path, contract: PreprocessingContract, site: str | None
) -> Iterator[PngScan]:
    manifest = _read_png_manifest(folder)
    if manifest.contract.modality != contract.modality:
        raise InputError(
            f"{folder} holds {manifest.contract.modality}, expected {contract.modality}; pass"
            f" --modality {manifest.contract.modality}"
        )
    if site not in (None, manifest.site):
        raise InputError(
            f"{folder} holds slices of site {manifest.site}, expected {site}; pass"
            f" --site {manifest.site}, or give the folder of {site}"
        )
    # The volume's own scale holds only for the statistic that it was measured by.
    known = all(
        getattr(manifest.contract, field) == getattr(contract, field)
        for field in ("intensity_reference", "intensity_value")
    )
    for entry in manifest.images:
        yield PngScan(
            image=_own_reference(folder, entry.image),
            split=entry.split,
            mask=_inside(folder, entry.mask),
            spacing_mm=entry.spacing_mm,
            native_per_grey=entry.native_per_grey,
            scale=entry.scale if known else None,
        )


def _read_png_manifest(folder: Path) -> PngManifest:
    path = folder / PNG_MANIFEST
    try:
        return PngManifest.model_validate_json(path.read_bytes())
    except OSError as problem:
        raise InputError(f"cannot read {path}: {explain_os_error(problem)}") from problem
    except ValidationError as problem:
        raise InputError(
            f"{path} is not valid: {describe_validation_error(problem)}; write the folder again"
        ) from problem


def _own_reference(folder: Path, relative: str) -> ImageRef:
    path = _inside(folder, relative)
    try:
        entities = BidsName.parse(path.name).entities
    except BidsError as problem:
        raise InputError(f"{folder / PNG_MANIFEST}: {problem}") from problem
    return ImageRef(path, entities["sub"], entities.get("ses"), PurePath(relative), entities)


def _inside(folder: Path, relative: str) -> Path:
    path = folder / relative
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{folder / PNG_MANIFEST} names {relative}, which lies outside the folder; write the"
            " folder again"
        )
    return path


def _stripped_files(folder: Path) -> Iterator[Path]:
    for split in SPLITS:
        yield from sorted((folder / split).glob(f"*/*{_STRIPPED}"))


def _find_published(folder: Path, modality: str, pixel_mm: float) -> Iterator[PngScan]:
    """Yield the images of the modality; a file whose name states none is taken for one."""
    by_person: dict[Path, list[Path]] = defaultdict(list)
    for path in _stripped_files(folder):
        named = find_named_modality(path.name.removesuffix(_STRIPPED) + ".png")
        if named in (None, modality):
            by_person[path.parent].append(path)
    for person, paths in by_person.items():
        subject = re.sub(r"[^A-Za-z0-9]", "", person.name.removeprefix("sub-"))
        for run, path in enumerate(paths, start=1):
            entities = {"sub": subject} | ({"run": str(run)} if len(paths) > 1 else {})
            relative = PurePath(path.relative_to(folder))
            yield PngScan(
                image=ImageRef(path, subject, None, relative, MappingProxyType(entities)),
                split="test" if person.parent.name == "test" else "train",
                mask=None,
                spacing_mm=(pixel_mm, pixel_mm, DEFAULT_PIXEL_MM),
                site_word=_site_word(path.name),
            )


def _site_word(name: str) -> str | None:
    """Return ``Guys`` of ``IXI-Guys-012-T2_stripped.png``, and None of names of other forms."""
    words = name.removesuffix(_STRIPPED).split("-")
    return words[1] if len(words) == 4 and words[1].isalpha() else None


def _find_problems(folder: Path, scans: list[PngScan]) -> list[str]:
    problems = []
    splits: dict[str, set[str]] = defaultdict(set)
    folders: dict[str, set[str]] = defaultdict(set)
    for scan in scans:
        splits[scan.image.subject].add(scan.split)
        folders[scan.image.subject].add(scan.image.path.parent.name)
    for subject, names in splits.items():
        if len(names) > 1:
            problems.append(f"{folder}: sub-{subject} is in train and in test; keep one of them")
        if not subject or len(folders[subject]) > 1:
            listed = ", ".join(sorted(folders[subject]))
            problems.append(f"{folder}: folders {listed} differ in neither letters nor digits")
    if "train" not in {scan.split for scan in scans}:
        problems.append(f"{folder} has nobody in train; put the people to train on there")
    sites = sorted({scan.site_word for scan in scans if scan.site_word})
    if len(sites) > 1:
        problems.append(f"{folder} holds several sites, {', '.join(sites)}; give one site's folder")
    return problems
