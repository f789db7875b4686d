"""Parse and build BIDS names, find images, read and write sidecars and dataset descriptions."""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

import prism_mri
from prism_mri.config import MODALITIES
from prism_mri.errors import BidsError, ImageError, InputError
from prism_mri.files import explain_os_error, write_whole
from prism_mri.volume import NIFTI_SUFFIXES, strip_nifti_suffix

logger = logging.getLogger(__name__)

BIDS_VERSION = "1.9.0"
PREPARED_MANIFEST = "prepared.json"
"""Marks a dataset that ``prism-mri prepare`` made."""
ENTITY_ORDER = (
    *("sub", "ses", "sample", "task", "tracksys", "acq", "ce", "trc", "stain", "rec", "dir", "run"),
    *("mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording"),
    *("chunk", "seg", "res", "den", "label", "desc"),
)
"""Order of entities in a file name, after the BIDS specification's schema."""

_ENTITY = re.compile(r"([a-z]+)-([A-Za-z0-9+]+)")
_SUFFIX = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_NOT_RAW_FOLDERS = {"derivatives", "sourcedata", "code", "stimuli"}
_NOT_IMAGES = {"mask", "brainmask", "dseg", "probseg", "seg", "labels", "label", "aseg"}
_MODALITY_WORDS = {
    "T1w": {"t1w", "t1", "mprage", "mp2rage", "spgr", "fspgr", "bravo", "unit1"},
    "T2w": {"t2w", "t2"},
    "FLAIR": {"flair"},
    "PDw": {"pdw", "pd", "proton"},
    "T2star": {"t2star", "t2starw", "swi", "gre"},
    "dwi": {"dwi", "dti", "adc"},
    "bold": {"bold", "fmri"},
    "angio": {"tof", "angio", "mra"},
}
_FLAIR = re.compile(r"flair|dark[^a-z0-9]*fluid")
_T2_STAR = re.compile(r"t2[^a-z0-9]*star(?![a-z])|t2\*")
_SIDECAR_FIELDS = ("SeriesDescription", "ProtocolName")


@dataclass(frozen=True)
class BidsName:
    """A BIDS file name taken apart: ``sub-01_ses-a_T2w.nii.gz``.

    Attributes:
        entities: key to label, in the order of the specification.
        suffix: what the file holds, ``T2w``.
        extension: from the first dot on, ``.nii.gz``.
    """

    entities: Mapping[str, str]
    suffix: str
    extension: str

    @classmethod
    def parse(cls, name: str) -> "BidsName":
        """Take a file name (no folder) apart.

        Raises:
            BidsError: the name is not BIDS.
        """
        stem, dot, extension = name.partition(".")
        *pairs, suffix = stem.split("_")
        matches = [_ENTITY.fullmatch(pair) for pair in pairs]
        entities = {match[1]: match[2] for match in matches if match}
        well_formed = pairs and all(matches) and len(entities) == len(pairs) and "sub" in entities
        if not (well_formed and dot and _SUFFIX.fullmatch(suffix)):
            raise BidsError(
                f"{name} is not a BIDS name; expected the form"
                " sub-<label>[_<key>-<label>]_<suffix>.nii.gz"
            )
        return cls(MappingProxyType(entities), suffix, dot + extension)

    def with_entities(self, **entities: str | None) -> "BidsName":
        """Return the name with entities set, or dropped where the value is None."""
        merged = {**self.entities, **entities}
        kept = {key: label for key, label in merged.items() if label is not None}
        return BidsName(MappingProxyType(kept), self.suffix, self.extension)

    def filename(self) -> str:
        """Return the file name, entities in the order of the specification, unknown ones last."""
        rank = {key: position for position, key in enumerate(ENTITY_ORDER)}
        keys = sorted(self.entities, key=lambda key: rank.get(key, len(rank)))
        return (
            "_".join([*(f"{key}-{self.entities[key]}" for key in keys), self.suffix])
            + self.extension
        )


@dataclass(frozen=True)
class ImageRef:
    """An input image and whom it shows.

    Attributes:
        path: the NIfTI file.
        subject: BIDS label without ``sub-``; for a plain file its name, letters and digits only.
        session: BIDS label without ``ses-``, or None.
        relative: path below the input that it was found in.
        entities: BIDS entities of the name; only ``sub`` for a plain file.
    """

    path: Path
    subject: str
    session: str | None
    relative: PurePath
    entities: Mapping[str, str]

    @property
    def is_bids(self) -> bool:
        """True where the file's name is BIDS."""
        return _is_bids_name(self.path.name)


def find_images(
    inputs: Sequence[Path], modality: str, *, choosable: bool = False
) -> list[ImageRef]:
    """Find the images of one modality in files, folders, BIDS datasets and prepared datasets.

    A file is taken as it is. In folders, masks, label maps and other modalities are passed over; in
    BIDS names also everything derived (a ``desc``), except what ``prism-mri prepare`` made.

    Args:
        inputs: files and folders.
        modality: BIDS suffix, ``T2w``.
        choosable: the user may choose the modality; the error then says how.

    Returns:
        The images, each once, in a stable order.

    Raises:
        InputError: an input does not exist, or nothing was found.
    """
    missing = [str(path) for path in inputs if not path.exists()]
    if missing:
        raise InputError(f"input does not exist: {', '.join(missing)}; check the path")
    found: dict[Path, ImageRef] = {}
    for path in inputs:
        for reference in _find_in(path, modality):
            found.setdefault(reference.path.resolve(), reference)
    if not found:
        names = ", ".join(str(path) for path in inputs)
        others = _list_other_modalities(inputs, modality) if choosable else []
        if others:
            raise InputError(
                f"no {modality} image in {names}, but {', '.join(others)};"
                f" {_advise(modality, others[0], choosable=True)}"
            )
        raise InputError(
            f"no {modality} image in {names}; give NIfTI files, a folder of them or a BIDS dataset"
        )
    return _tell_plain_subjects_apart(list(found.values()))


def check_modality(image: Path, modality: str) -> None:
    """Refuse an image whose name or sidecar says that it is not of the modality chosen.

    Raises:
        BidsError: another modality is named, or the sidecar cannot be read.
    """
    said = find_other_modality(image, modality, choosable=True)
    if said is not None:
        raise BidsError(said)


def find_other_modality(image: Path, modality: str, *, choosable: bool = False) -> str | None:
    """Return what in an image's name or sidecar says that it is of another modality, or None.

    The BIDS suffix or last word of the name counts, and in the sidecar ``Modality`` (MR) and the
    words of ``SeriesDescription`` and ``ProtocolName``. An image that says nothing may be of any.

    Args:
        image: NIfTI file.
        modality: BIDS suffix that is wanted.
        choosable: the user may choose the modality; the line then says how.

    Returns:
        One line with what was found, the file and what to do.

    Raises:
        BidsError: the sidecar cannot be read.
    """
    named = find_named_modality(image.name)
    if named not in (None, modality):
        advice = _advise(modality, str(named), choosable=choosable)
        return f"{image} is named as {named}, expected {modality}; {advice}"
    sidecar = read_sidecar(image)
    kind = sidecar.get("Modality", "MR")
    if kind != "MR":
        return f"sidecar of {image} says Modality {kind!r}, expected 'MR'; give MR images"
    for key in _SIDECAR_FIELDS:
        described = find_described_modalities(str(sidecar.get(key, "")))
        if described and modality not in described:
            return (
                f"sidecar of {image} says {key} {sidecar[key]!r}, which is {described[0]},"
                f" expected {modality};"
                f" give {modality} images or correct the sidecar"
            )
    return None


def find_named_modality(name: str) -> str | None:
    """Return the modality that the last word of a file name states, if it does."""
    last = _words(_plain_stem(Path(name)))[-1:]
    for modality, known in _MODALITY_WORDS.items():
        if last and last[0] in known:
            return modality
    return None


def find_described_modalities(text: str) -> list[str]:
    """Return the modalities that a free description may mean.

    Where it says FLAIR (some scanners: dark fluid), a T2 beside it says how, not what; a T1 beside
    it may be a T1w image with fluid attenuated, so both are possible. T2 star is not T2.
    """
    words = set(_words(_T2_STAR.sub(" t2star ", text.lower())))
    named = [modality for modality, known in _MODALITY_WORDS.items() if words & known]
    if _FLAIR.search(text.lower()):
        return ["FLAIR", *(["T1w"] if "T1w" in named else [])]
    return named


def is_derived_name(name: str) -> bool:
    """Tell whether a plain file name is that of a mask, a label map or a harmonized image."""
    words = _words(strip_nifti_suffix(Path(name)))
    return words[-1:] == ["harmonized"] or bool(_NOT_IMAGES & set(words))


def _advise(modality: str, found: str, *, choosable: bool) -> str:
    """Return what to do about images that are of another modality than the one wanted."""
    advice = f"give {modality} images"
    known = choosable and found in MODALITIES
    return f"{advice}, or --modality {found} for these" if known else advice


def _list_other_modalities(inputs: Sequence[Path], modality: str) -> list[str]:
    """Return the other modalities, of those that can be chosen, that inputs hold images of."""
    return [
        other
        for other in MODALITIES
        if other != modality and any(True for path in inputs for _ in _find_in(path, other))
    ]


def read_sidecar(image: Path) -> dict[str, Any]:
    """Return the JSON sidecar beside an image, or an empty dict where there is none.

    Raises:
        BidsError: the sidecar is not a JSON object.
    """
    sidecar = image.with_name(strip_nifti_suffix(image) + ".json")
    if not sidecar.exists():
        return {}
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except OSError as problem:
        raise BidsError(f"cannot read {sidecar}: {explain_os_error(problem)}") from problem
    except ValueError as problem:
        raise BidsError(
            f"{sidecar} is not valid JSON: {problem}; correct or remove it"
        ) from problem
    if not isinstance(content, dict):
        raise BidsError(
            f"{sidecar} is a JSON {type(content).__name__}, not an object; correct or remove it"
        )
    return content


def write_json(path: Path, content: Any, *, overwrite: bool = False) -> None:
    """Write JSON, keys sorted, atomically.

    Raises:
        InputError: the file exists and ``overwrite`` is false, or it cannot be written.
    """
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode("utf-8"), overwrite=overwrite)


def write_dataset_description(
    folder: Path,
    name: str,
    *,
    derivative: bool,
    raw: Path | None = None,
    description: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write ``dataset_description.json``.

    Args:
        folder: the dataset's root.
        name: the dataset's name.
        derivative: True for ``DatasetType`` derivative, False for raw.
        raw: the dataset that this one was made from; ``bids:raw:…`` in ``Sources`` means it.
        description: what ``GeneratedBy`` says was done.
        overwrite: replace a file that exists.

    Raises:
        InputError: as :func:`write_json`.
    """
    generated = {"Name": "prism-mri", "Version": prism_mri.__version__}
    content: dict[str, Any] = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative" if derivative else "raw",
        "GeneratedBy": [generated | ({"Description": description} if description else {})],
    }
    if raw is not None:
        content["DatasetLinks"] = {"raw": raw.resolve().as_uri()}
    write_json(folder / "dataset_description.json", content, overwrite=overwrite)


def harmonized_name(path: Path) -> str:
    """Return the name of the harmonized image.

    ``sub-01_T2w.nii.gz`` becomes ``sub-01_desc-harmonized_T2w.nii.gz``; any other ``scan.nii.gz``
    becomes ``scan_desc-harmonized.nii.gz``.
    """
    stem = strip_nifti_suffix(path)
    try:
        return BidsName.parse(path.name).with_entities(desc="harmonized").filename()
    except BidsError:
        return f"{stem}_desc-harmonized{path.name.removeprefix(stem)}"


def brain_mask_name(path: Path) -> str:
    """Return the name of the brain mask that belongs to an image or what was made of it.

    ``sub-01_desc-harmonized_T2w.nii.gz`` has ``sub-01_desc-brain_mask.nii.gz``, and
    ``scan_desc-harmonized.nii.gz`` has ``scan_desc-brain_mask.nii.gz``.
    """
    stem = strip_nifti_suffix(path)
    ending = path.name.removeprefix(stem)
    try:
        name = BidsName.parse(path.name)
    except BidsError:
        return f"{stem.removesuffix('_desc-harmonized')}_desc-brain_mask{ending}"
    return BidsName(name.entities, "mask", name.extension).with_entities(desc="brain").filename()


def is_bids_dataset(folder: Path) -> bool:
    """Tell whether a folder is the root of a BIDS dataset."""
    return (folder / "dataset_description.json").is_file() or any(
        child.is_dir() for child in folder.glob("sub-*")
    )


def _find_in(path: Path, modality: str) -> Iterator[ImageRef]:
    if path.is_file():
        yield reference_image(path, PurePath(path.name))
        return
    prepared = (path / PREPARED_MANIFEST).is_file()
    for file in sorted(path.rglob("*.nii*")):
        relative = file.relative_to(path)
        skipped = any(part in _NOT_RAW_FOLDERS or part.startswith(".") for part in relative.parts)
        if (
            not skipped
            and file.name.endswith(NIFTI_SUFFIXES)
            and file.is_file()
            and _is_wanted(file.name, modality, prepared=prepared)
        ):
            yield reference_image(file, PurePath(relative))


def _is_wanted(name: str, modality: str, *, prepared: bool) -> bool:
    try:
        parsed = BidsName.parse(name)
    except BidsError:
        return not is_derived_name(name) and find_named_modality(name) in (None, modality)
    wanted_desc = "prepared" if prepared else None
    return parsed.suffix == modality and parsed.entities.get("desc") == wanted_desc


def reference_image(path: Path, relative: PurePath) -> ImageRef:
    """Return an image and whom its name says that it shows.

    Args:
        path: the NIfTI file.
        relative: path below the input that it was found in.
    """
    try:
        entities = BidsName.parse(path.name).entities
    except BidsError:
        subject = _label(_plain_stem(path))
        return ImageRef(path, subject, None, relative, MappingProxyType({"sub": subject}))
    return ImageRef(path, entities["sub"], entities.get("ses"), relative, entities)


def _tell_plain_subjects_apart(images: list[ImageRef]) -> list[ImageRef]:
    """Name plain files of the same name by their folders too, since each is a person of its own."""
    people = Counter(image.subject for image in images)
    return [
        _named_by_folder(image) if people[image.subject] > 1 and not image.is_bids else image
        for image in images
    ]


def _named_by_folder(image: ImageRef) -> ImageRef:
    folders = image.path.resolve().parts[-3:-1]
    subject = _label("".join(folders) + _plain_stem(image.path))
    return replace(image, subject=subject, entities=MappingProxyType({"sub": subject}))


def _is_bids_name(name: str) -> bool:
    try:
        BidsName.parse(name)
    except BidsError:
        return False
    return True


def _plain_stem(path: Path) -> str:
    try:
        return strip_nifti_suffix(path)
    except ImageError:
        return path.stem


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text) or "unnamed"


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]
