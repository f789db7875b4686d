"""Write a file whole or not at all, and say in one line why it could not be written."""

import errno
import hashlib
import os
import secrets
from pathlib import Path

from prism_mri.errors import InputError

_REASONS = {
    errno.EACCES: "no permission; choose another output folder or change its permissions",
    errno.EPERM: "no permission; choose another output folder or change its permissions",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.ENOSPC: "the disk is full; free some space or choose another disk",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another disk",
}


def write_whole(
    path: Path, content: bytes, *, overwrite: bool = False, error: type[InputError] = InputError
) -> None:
    """Write bytes through a temporary file in the same folder, then rename it.

    Missing parent folders are made. Whatever goes wrong, ``path`` holds what it held before, and
    the temporary file is removed.

    Args:
        path: file to write.
        content: everything that the file is to hold.
        overwrite: replace a file that exists.
        error: the class to raise, for callers with a narrower one.

    Raises:
        InputError: the file exists and ``overwrite`` is false, or it cannot be written (no
            permission, disk full); nothing half written is left behind.
    """
    if path.exists() and not overwrite:
        raise error(
            f"{path} exists already; pass --overwrite to replace it, or choose another name"
        )
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as problem:
        raise error(f"cannot write {path}: {explain_os_error(problem)}") from problem


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise InputError(f"cannot read {path}: {explain_os_error(problem)}") from problem


def explain_os_error(problem: OSError) -> str:
    """Return what the operating system refused and what to do, without the file's name."""
    return _REASONS.get(problem.errno or 0, problem.strerror or str(problem))
