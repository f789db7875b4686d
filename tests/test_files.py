"""A file is written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from prism_mri.errors import ImageError, InputError
from prism_mri.files import write_whole


def test_writes_the_bytes_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    write_whole(path, b"abc")
    assert path.read_bytes() == b"abc"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


def test_refuses_to_replace_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match=r"file\.bin exists already; pass --overwrite"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    write_whole(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("number", "call", "words"),
    [
        (errno.ENOSPC, "fsync", "the disk is full"),
        (errno.EDQUOT, "fsync", "quota"),
        (errno.EACCES, "replace", "no permission"),
        (errno.EROFS, "replace", "read-only"),
        (errno.EIO, "replace", "Input/output error"),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str, words: str
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(ImageError, match=f"cannot write {path}: .*{words}"):
        write_whole(path, b"new", overwrite=True, error=ImageError)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]
    assert path.read_bytes() == b"old"


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file.bin", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot write .*inside\.bin: ") as caught:
        write_whole(tmp_path / "file" / "inside.bin", b"x")
    assert "\n" not in str(caught.value)
