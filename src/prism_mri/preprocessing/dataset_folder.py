"""What every dataset that ``prepare`` makes shares: whole or not at all, and people held out."""

import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from prism_mri.errors import ConfigError, InputError
from prism_mri.files import explain_os_error
from prism_mri.preprocessing.manifest import SITE_PATTERN


def check_settings(site: str, fraction: float) -> None:
    """Refuse a site name or a held-out fraction that is out of range.

    Raises:
        ConfigError: one of them is.
    """
    if not re.fullmatch(SITE_PATTERN, site):
        raise ConfigError(
            f"site name {site!r} is not valid; use 1 to 32 lower-case letters, digits, - and _"
        )
    if not 0 < fraction < 1:
        raise ConfigError(
            f"validation fraction {fraction:g} is out of range; choose above 0, below 1"
        )


def check_out(out: Path, *, kind: str, ours: bool, overwrite: bool) -> None:
    """Refuse to replace anything but what this command made.

    Args:
        out: folder to make.
        kind: what such a folder is called.
        ours: whether what stands there is of this kind.
        overwrite: replace one that exists.

    Raises:
        InputError: the folder exists and may not be replaced.
    """
    if not out.exists():
        return
    if not overwrite:
        raise InputError(f"{out} exists already; pass --overwrite or choose another folder")
    if not ours:
        raise InputError(f"{out} is no {kind} and is not replaced; choose another folder")


def draw_held_out(people: Iterable[str], fraction: float, seed: int) -> frozenset[str]:
    """Return who is held out: at least one person, never everybody; nobody of one alone."""
    names = sorted(set(people))
    if len(names) < 2:
        return frozenset()
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    drawn = np.random.default_rng(seed).permutation(len(names))[:count]
    return frozenset(names[index] for index in drawn)


def list_problems(problems: Sequence[str], images: int) -> str:
    """Return what is wrong with images, one line each, and how many where there are several."""
    several = [f"{len(problems)} of {images} images cannot be used"] if len(problems) > 1 else []
    return "\n".join([*problems, *several])


@contextmanager
def build_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``out`` that takes its place at the end: all or none.

    What it replaces is removed only once the new one stands; after an error nothing has changed.

    Raises:
        InputError: the folder cannot be put in place.
    """
    temporary = out.resolve().with_name(f".{out.resolve().name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        _move_into_place(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_into_place(temporary: Path, out: Path) -> None:
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
