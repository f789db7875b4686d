"""Programs that extract brains, where the user has one on PATH: found, run, their mask read."""

import importlib.metadata
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prism_mri.errors import ImageError, InputError
from prism_mri.types import MaskArray
from prism_mri.volume import Volume, read_mask, write_volume

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 3600
"""A head takes HD-BET some minutes on a processor."""
_REMEDY = "give a mask with --brain-mask, or take another way with --brain-extraction"


@dataclass(frozen=True)
class ExtractionProgram:
    """One program.

    Attributes:
        name: as errors and sidecars call it.
        executables: what it may be called on PATH, the first that is there is taken.
        arguments: what follows the executable, from the image's path and the folder to write into.
        masks: names that the mask may have in that folder.
        find_version: its version from the executable's path, or None.
    """

    name: str
    executables: tuple[str, ...]
    arguments: Callable[[Path, Path], list[str]]
    masks: tuple[str, ...]
    find_version: Callable[[Path], str | None]

    def find(self) -> Path | None:
        """Return the executable, or None where it is not on PATH."""
        for executable in self.executables:
            found = shutil.which(executable)
            if found is not None:
                return Path(found)
        return None

    def describe(self, executable: Path) -> str:
        """Return name and version."""
        return f"{self.name} {self.find_version(executable) or '(version unknown)'}"


def _read_first_line(*candidates: Path | None) -> str | None:
    for path in candidates:
        if path is not None and path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            return lines[0].strip() or None
    return None


def _below(variable: str, *parts: str) -> Path | None:
    root = os.environ.get(variable)
    return Path(root, *parts) if root else None


def _find_freesurfer_version(executable: Path) -> str | None:
    beside = executable.resolve().parent.parent / "build-stamp.txt"
    return _read_first_line(beside, _below("FREESURFER_HOME", "build-stamp.txt"))


def _find_hd_bet_version(_executable: Path) -> str | None:
    try:
        return importlib.metadata.version("hd-bet")
    except importlib.metadata.PackageNotFoundError:
        return None


def _find_fsl_version(executable: Path) -> str | None:
    beside = executable.resolve().parent.parent / "etc" / "fslversion"
    return _read_first_line(beside, _below("FSLDIR", "etc", "fslversion"))


SYNTHSTRIP = ExtractionProgram(
    "SynthStrip",
    ("mri_synthstrip", "synthstrip"),
    lambda image, folder: ["-i", str(image), "-m", str(folder / "brain_mask.nii.gz")],
    ("brain_mask.nii.gz",),
    _find_freesurfer_version,
)
HD_BET = ExtractionProgram(
    "HD-BET",
    ("hd-bet",),
    lambda image, folder: [
        *("-i", str(image), "-o", str(folder / "brain.nii.gz")),
        *("-device", "cpu", "--disable_tta", "--save_bet_mask", "--no_bet_image"),
    ],
    ("brain_bet.nii.gz", "brain_mask.nii.gz"),
    _find_hd_bet_version,
)
FSL_BET = ExtractionProgram(
    "FSL BET",
    ("bet",),
    lambda image, folder: [str(image), str(folder / "brain"), "-R", "-m", "-n"],
    ("brain_mask.nii.gz",),
    _find_fsl_version,
)
PROGRAMS = (SYNTHSTRIP, HD_BET, FSL_BET)
"""In the order of preference."""


def run_program(program: ExtractionProgram, executable: Path, volume: Volume) -> MaskArray:
    """Run a program on a copy of the image without free text, in a folder that is removed.

    Args:
        program: which.
        executable: where it is.
        volume: head.

    Returns:
        Mask (I, J, K) in the voxel order of ``volume``.

    Raises:
        InputError: the program cannot be started, fails, takes too long or leaves no usable mask.
    """
    with tempfile.TemporaryDirectory(prefix="prism-mri-") as temporary:
        folder = Path(temporary)
        image = folder / "head.nii.gz"
        write_volume(image, volume.data, volume)
        _run([str(executable), *program.arguments(image, folder)], program, folder)
        for name in program.masks:
            if (folder / name).is_file():
                try:
                    return read_mask(folder / name, volume)
                except ImageError as problem:
                    text = str(problem).replace(f"{folder}{os.sep}", "")
                    raise InputError(
                        f"{program.name} ({executable}) left a mask that cannot be used: {text};"
                        f" {_REMEDY}"
                    ) from problem
    raise InputError(f"{program.name} ({executable}) ended without a mask; {_REMEDY}")


def _run(command: Sequence[str], program: ExtractionProgram, folder: Path) -> None:
    called = f"{program.name} ({command[0]})"
    environment = {**os.environ, "FSLOUTPUTTYPE": "NIFTI_GZ", "TMPDIR": str(folder)}
    try:
        done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        raise InputError(
            f"{called} was stopped after {TIMEOUT_SECONDS} seconds; {_REMEDY}"
        ) from problem
    except OSError as problem:
        raise InputError(
            f"{called} cannot be started: {problem.strerror or problem}; {_REMEDY}"
        ) from problem
    logger.debug("%s ended with exit code %d", program.name, done.returncode)
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        raise InputError(f"{called} failed with exit code {done.returncode}: {last}; {_REMEDY}")
