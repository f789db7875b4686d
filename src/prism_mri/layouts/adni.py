"""Find scans of ADNI in the folders that the LONI archive unpacks.

A file lies at ``002_S_0295/Axial_PD_T2_FSE/2012-05-10_08_51_45.0/I303066/NAME.nii``: subject,
description of the series, date, number of the image. The description says the modality, by these
rules:

* Words say it: ``T2``, ``PD``, ``FLAIR``, ``MPRAGE``, ``SPGR``. ``PD`` and ``T2`` together, or
  ``Double_TSE`` and the like, are one acquisition with two echoes.
* T2-FLAIR is FLAIR. T2 star, gradient echo, diffusion, angiography, parameter maps, localizers and
  slabs of the hippocampus are no images of any modality here.
* Of two echoes the file that ends in ``_e1`` is PDw and the one in ``_e2`` T2w, as dcm2niix names
  them; a file without such an ending is taken for T2w.
* Of a person with several scans the earliest date counts, and of equal dates the lowest number.

Source:
    https://adni.loni.usc.edu. The paper (arXiv 2411.06513, section 2.1) says neither which series
    nor which visit it took, so the choice is ours.
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType

from prism_mri.bids import ImageRef, find_described_modalities
from prism_mri.config import MODALITIES
from prism_mri.errors import BidsError, InputError
from prism_mri.layouts.walk import describe_counts, join_some, list_images
from prism_mri.volume import strip_nifti_suffix

logger = logging.getLogger(__name__)

ADNI_EXAMPLE = "002_S_0295/Axial_PD_T2_FSE/2012-05-10_08_51_45.0/I303066/NAME.nii"
_SUBJECT = re.compile(r"[0-9]{3}_S_[0-9]{4,5}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{2}_[0-9]{2}_[0-9]{2}\.[0-9]+")
_IMAGE = re.compile(r"[IS][0-9]+")
_ECHO = re.compile(r"_e([0-9]+)$")
_NO_IMAGE = re.compile(
    r"hippo|relax|localizer|scout|survey|calibration|(?<![a-z])(epi|ep2d|asl|maps?|mapping)(?![a-z])"
)
_TWO_ECHOES = re.compile(r"(double|dual)[^a-z]*(tse|fse|se|echo)(?![a-z])")
_MPRAGE = re.compile(r"mp[^a-z0-9]?rage|(?<![a-z])mpr(?![a-z])")
_DUAL = frozenset({"PDw", "T2w"})
_ECHO_OF = {"PDw": 1, "T2w": 2}


@dataclass(frozen=True)
class AdniPlace:
    """The folders around a file of ADNI, which say what it is.

    Attributes:
        subject: ``002_S_0295``.
        description: of the series, ``Axial_PD_T2_FSE``.
        date: ``2012-05-10_08_51_45.0``.
        image: number of the image, ``I303066``, or of the series in older downloads, ``S13408``.
    """

    subject: str
    description: str
    date: str
    image: str

    @classmethod
    def parse(cls, path: PurePath) -> "AdniPlace":
        """Take the last four folders above a file apart.

        Raises:
            BidsError: they are not of this form.
        """
        folders = path.parts[-5:-1]
        patterns = (_SUBJECT, re.compile(r".+"), _DATE, _IMAGE)
        if len(folders) < 4 or not all(map(re.Pattern.fullmatch, patterns, folders)):
            raise BidsError(f"{path} does not lie as ADNI's files do; expected {ADNI_EXAMPLE}")
        return cls(*folders)

    def folder(self) -> PurePath:
        """Return the folder below the dataset's."""
        return PurePath(self.subject, self.description, self.date, self.image)

    @property
    def label(self) -> str:
        """The subject as BIDS label, ``002S0295``."""
        return self.subject.replace("_", "")

    @property
    def session(self) -> str:
        """The day as BIDS label, ``20120510``."""
        return self.date[:10].replace("-", "")

    @property
    def order(self) -> tuple[str, int, str]:
        """What tells the scans of a person apart, the earliest first."""
        return self.date, int(self.image[1:]), self.image


@dataclass(frozen=True)
class _Scan:
    path: Path
    place: AdniPlace


def find_adni(folder: Path, modality: str) -> tuple[ImageRef, ...]:
    """Find the earliest scan of one modality of every person, by the rules above.

    Masks, label maps and hidden files are passed over; files that lie elsewhere are too, and a
    warning says how many.

    Args:
        folder: what the archive unpacked, or any folder above or below it.
        modality: BIDS suffix: ``T1w``, ``T2w``, ``PDw`` or ``FLAIR``.

    Returns:
        One image a person, by subject; a subject is labelled ``002S0295``, a session ``20120510``.

    Raises:
        InputError: the folder cannot be read, nothing is found, or the rules leave two files.
    """
    files = list_images(folder, f"files such as {ADNI_EXAMPLE}")
    scans = _parse_all(files, folder)
    chosen = [scan for scan in scans if _is_wanted(scan, modality)]
    if not chosen:
        descriptions = Counter(scan.place.description for scan in scans)
        raise InputError(
            f"no {modality} image in {folder} by the descriptions of its series, but"
            f" {describe_counts(descriptions)}; choose another --modality, or download {modality}"
        )
    by_person: dict[str, list[_Scan]] = defaultdict(list)
    for scan in chosen:
        by_person[scan.place.label].append(scan)
    earliest = [_keep_earliest(by_person[label]) for label in sorted(by_person)]
    _check_one_each(earliest, folder)
    left_out = len(chosen) - len(earliest)
    if left_out:
        logger.info("further scans of the same people, left out: %d", left_out)
    return tuple(_reference(kept[0], folder) for kept in earliest)


def find_adni_modalities(description: str) -> frozenset[str]:
    """Return what the description of a series says it is: nothing, one modality, or two echoes."""
    text = _MPRAGE.sub(" mprage ", description.lower())
    if _NO_IMAGE.search(text):
        return frozenset()
    if _TWO_ECHOES.search(text):
        return _DUAL
    found = frozenset(find_described_modalities(text))
    clear = found == _DUAL or len(found) == 1
    return found & frozenset(MODALITIES) if clear else frozenset()


def looks_like_adni(files: Iterable[Path]) -> bool:
    """Tell whether any image lies as ADNI's do."""
    return any(_find_place(file) is not None for file in files)


def _find_place(file: Path) -> AdniPlace | None:
    try:
        return AdniPlace.parse(PurePath(file.absolute()))
    except BidsError:
        return None


def _parse_all(files: list[Path], folder: Path) -> list[_Scan]:
    places = [(file, _find_place(file)) for file in files]
    scans = [_Scan(file, place) for file, place in places if place is not None]
    strange = [file for file, place in places if place is None]
    for file in strange:
        logger.debug("does not lie as ADNI's files do, passed over: %s", file)
    if not scans:
        raise InputError(
            f"none of {len(files)} NIfTI files in {folder} lies as ADNI's do, such as"
            f" {strange[0].relative_to(folder)}; expected {ADNI_EXAMPLE}: unpack the archive as it"
            " is, or pass --layout files"
        )
    if strange:
        logger.warning(
            "NIfTI files passed over, since they do not lie as ADNI's do: %d of %d (-v lists them)",
            *(len(strange), len(files)),
        )
    return scans


def _is_wanted(scan: _Scan, modality: str) -> bool:
    found = find_adni_modalities(scan.place.description)
    if found != _DUAL:
        return modality in found
    echo = _ECHO.search(strip_nifti_suffix(scan.path))
    if echo is None:
        return modality == "T2w"
    return _ECHO_OF.get(modality) == int(echo[1])


def _keep_earliest(scans: list[_Scan]) -> list[_Scan]:
    """Return the files of a person's earliest image: one, or all that the rules leave."""
    first = min(scan.place.order for scan in scans)
    return [scan for scan in scans if scan.place.order == first]


def _check_one_each(earliest: list[list[_Scan]], folder: Path) -> None:
    clashes = [
        " and ".join(str(scan.path.relative_to(folder)) for scan in kept)
        for kept in earliest
        if len(kept) > 1
    ]
    if clashes:
        raise InputError(
            f"people with several files of one image in {folder}: {len(clashes)},"
            f" {join_some(clashes)}; keep the one that is meant"
        )


def _reference(scan: _Scan, folder: Path) -> ImageRef:
    entities = {"sub": scan.place.label, "ses": scan.place.session}
    relative = PurePath(scan.path.relative_to(folder))
    return ImageRef(
        scan.path, scan.place.label, scan.place.session, relative, MappingProxyType(entities)
    )
