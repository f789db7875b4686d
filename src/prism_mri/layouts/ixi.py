"""Find scans of IXI: files named ``IXI012-HH-1211-T2.nii.gz``, in one folder or in several.

Source:
    https://brain-development.org/ixi-dataset: subject, hospital (Guys, HH, IOP), number of the
    scan, kind of image (T1, T2, PD, MRA, DTI).
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType

from prism_mri.bids import ImageRef
from prism_mri.errors import BidsError, ConfigError, InputError
from prism_mri.layouts.walk import describe_counts, is_image_name, join_some, list_images

logger = logging.getLogger(__name__)

IXI_EXAMPLE = "IXI012-HH-1211-T2.nii.gz"
_NAME = re.compile(
    r"(IXI[0-9]{3,4})-([A-Za-z]+)-([0-9]+)-(T1|T2|PD|MRA|DTI(?:-[0-9]+)?)(\.nii(?:\.gz)?)",
    re.IGNORECASE,
)
_BEGINNING = re.compile(r"IXI[0-9]{3,4}(?![0-9])", re.IGNORECASE)
_KINDS = {"T1w": "T1", "T2w": "T2", "PDw": "PD"}


@dataclass(frozen=True)
class IxiName:
    """A file name of IXI taken apart: ``IXI012-HH-1211-T2.nii.gz``.

    Attributes:
        subject: ``IXI012``.
        site: ``Guys``, ``HH`` or ``IOP``.
        scan: number of the scan, ``1211``.
        kind: ``T1``, ``T2``, ``PD``, ``MRA``, or ``DTI-00`` and on.
        extension: ``.nii.gz`` or ``.nii``.
    """

    subject: str
    site: str
    scan: str
    kind: str
    extension: str = ".nii.gz"

    @classmethod
    def parse(cls, name: str) -> "IxiName":
        """Take a file name (no folder) apart.

        Raises:
            BidsError: the name is not of this form.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise BidsError(f"{name} is not a name of IXI; expected the form {IXI_EXAMPLE}")
        return cls(*match.groups())

    def filename(self) -> str:
        """Return the file name."""
        return f"{self.subject}-{self.site}-{self.scan}-{self.kind}{self.extension}"


@dataclass(frozen=True)
class _Scan:
    path: Path
    name: IxiName


def find_ixi(folder: Path, site: str | None, modality: str) -> tuple[ImageRef, ...]:
    """Find the scans of one hospital and modality.

    Masks, label maps, hidden files, other hospitals and other kinds of image are passed over; files
    of other names are too, and a warning says how many.

    Args:
        folder: holds the files, in subfolders or not.
        site: ``guys``, ``hh`` or ``iop`` in any case; None for all.
        modality: BIDS suffix: ``T1w``, ``T2w`` or ``PDw``.

    Returns:
        One image a person, by subject; a subject is labelled ``IXI012`` and has no session.

    Raises:
        ConfigError: IXI has no images of the modality.
        InputError: the folder cannot be read, nothing is found, or a person has two such images.
    """
    if modality not in _KINDS:
        raise ConfigError(
            f"IXI has no {modality} images in {folder}; choose --modality {', '.join(_KINDS)}"
        )
    files = list_images(folder, f"files such as {IXI_EXAMPLE}")
    scans = _parse_all(files, folder)
    of_site = _choose_site(scans, folder, site)
    chosen = [scan for scan in of_site if scan.name.kind.upper() == _KINDS[modality]]
    if not chosen:
        kinds = describe_counts(Counter(scan.name.kind.upper().split("-")[0] for scan in of_site))
        where = f" of site {site}" if site else ""
        raise InputError(
            f"no {modality} image (-{_KINDS[modality]}){where} in {folder}, but {kinds}; choose"
            " another --modality, or give the folder that holds them"
        )
    _check_one_each(chosen, folder)
    return tuple(_reference(scan, folder) for scan in chosen)


def looks_like_ixi(files: Iterable[Path]) -> bool:
    """Tell whether images are those of IXI: all names begin as IXI's do, and one is whole."""
    names = [file.name for file in files if is_image_name(file.name)]
    return all(_BEGINNING.match(name) for name in names) and any(
        _NAME.fullmatch(name) for name in names
    )


def _parse_all(files: list[Path], folder: Path) -> list[_Scan]:
    scans, strange = [], []
    for file in files:
        try:
            scans.append(_Scan(file, IxiName.parse(file.name)))
        except BidsError:
            strange.append(file)
            logger.debug("not a name of IXI, passed over: %s", file)
    if not scans:
        raise InputError(
            f"none of {len(files)} NIfTI files in {folder} is named as IXI's are, such as"
            f" {strange[0].name}; expected {IXI_EXAMPLE}: rename them, or pass --layout files"
        )
    if strange:
        logger.warning(
            "NIfTI files passed over, since they are not named as IXI's: %d of %d (-v lists them)",
            *(len(strange), len(files)),
        )
    return sorted(scans, key=lambda scan: (scan.name.subject.upper(), str(scan.path)))


def _choose_site(scans: list[_Scan], folder: Path, site: str | None) -> list[_Scan]:
    chosen = [scan for scan in scans if site is None or scan.name.site.lower() == site.lower()]
    if not chosen:
        sites = Counter(scan.name.site.lower() for scan in scans)
        raise InputError(
            f"no image of site {site} in {folder}, but of {describe_counts(sites)}; pass one of"
            " them as --site, or --layout files to take all files as one site"
        )
    return chosen


def _check_one_each(scans: list[_Scan], folder: Path) -> None:
    by_person: dict[str, list[str]] = defaultdict(list)
    for scan in scans:
        by_person[scan.name.subject.upper()].append(str(scan.path.relative_to(folder)))
    clashes = [" and ".join(paths) for paths in by_person.values() if len(paths) > 1]
    if clashes:
        raise InputError(
            f"people with several images of one modality in {folder}: {len(clashes)},"
            f" {join_some(clashes)}; keep one of each"
        )


def _reference(scan: _Scan, folder: Path) -> ImageRef:
    subject = scan.name.subject.upper()
    relative = PurePath(scan.path.relative_to(folder))
    return ImageRef(scan.path, subject, None, relative, MappingProxyType({"sub": subject}))
