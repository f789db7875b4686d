"""List the NIfTI images below a folder, and say what else is there where there are none."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from prism_mri.bids import is_derived_name
from prism_mri.errors import InputError
from prism_mri.volume import NIFTI_SUFFIXES

_SHOWN = 5


def list_images(folder: Path, expected: str) -> list[Path]:
    """Return the NIfTI files below a folder; masks, label maps and hidden files are left out.

    Args:
        folder: where to look, subfolders included.
        expected: what the folder should hold, for the error.

    Returns:
        The files in a stable order.

    Raises:
        InputError: there is no such folder, a part of it cannot be read, or it holds no image.
    """
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"input {folder} {state}; give the folder that holds {expected}")
    files = list(_walk(folder, _refuse))
    images = sorted(file for file in files if is_image_name(file.name))
    if not images:
        endings = Counter(file.suffix or file.name for file in files)
        raise InputError(
            f"{folder} holds no NIfTI image, expected {expected}; found {describe_counts(endings)};"
            " unpack archives, and convert DICOM to .nii.gz"
        )
    return images


def list_quietly(folder: Path) -> Iterator[Path]:
    """Yield the images below a folder; what cannot be read counts as empty."""
    return (file for file in _walk(folder, None) if is_image_name(file.name))


def is_image_name(name: str) -> bool:
    """Tell whether a file is NIfTI by its name, and no mask or label map."""
    return name.endswith(NIFTI_SUFFIXES) and not is_derived_name(name)


def describe_counts(counts: Counter[str]) -> str:
    """Return ``Guys (12), HH (3)``, the most frequent first, or ``nothing``."""
    shown = [f"{name} ({count})" for name, count in counts.most_common(_SHOWN)]
    rest = len(counts) - len(shown)
    return ", ".join([*shown, *([f"{rest} others"] if rest else [])]) or "nothing"


def join_some(lines: list[str]) -> str:
    """Return the first few of many, and how many more there are."""
    rest = len(lines) - _SHOWN
    return "; ".join([*lines[:_SHOWN], *([f"and {rest} more"] if rest > 0 else [])])


def _walk(folder: Path, onerror: Callable[[OSError], None] | None) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, onerror=onerror):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _refuse(problem: OSError) -> None:
    raise InputError(
        f"cannot read {problem.filename}: {problem.strerror or problem}; change its permissions"
    ) from problem
