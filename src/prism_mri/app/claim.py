"""One process at a time: a lock that the operating system takes back when its holder dies."""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from prism_mri.errors import InputError
from prism_mri.files import explain_os_error

_HELD_ELSEWHERE = {errno.EACCES, errno.EAGAIN}


@contextmanager
def claim(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a file's lock, over several machines where the file system has POSIX locks (NFS too).

    The file stays: to remove it would let two processes hold locks of the same name.

    Args:
        path: an empty file, made where it is missing.
        wait: until another process lets go; otherwise it is left to that one.

    Yields:
        Whether this process holds it.

    Raises:
        InputError: the file cannot be made, or its file system has no locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = open(path, "ab")  # noqa: SIM115 - closed below; the body is no part of this try
    except OSError as problem:
        raise _refuse(path, problem) from problem
    with stream:
        yield _take(stream, path, wait=wait)


def _take(stream: IO[bytes], path: Path, *, wait: bool) -> bool:
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as problem:
        if not wait and problem.errno in _HELD_ELSEWHERE:
            return False
        raise _refuse(path, problem) from problem
    return True


def _refuse(path: Path, problem: OSError) -> InputError:
    return InputError(
        f"cannot lock {path}: {explain_os_error(problem)}; give --work-dir on a file system that "
        "all processes of this run can write and lock"
    )
