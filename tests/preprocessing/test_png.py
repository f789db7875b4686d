"""Grey PNG files: which way up, what is read, what is refused."""

import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from prism_mri.errors import ImageError, InputError
from prism_mri.preprocessing.png import (
    from_pixels,
    read_grey_png,
    to_pixels,
    write_grey_png,
)

GREY = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7


def save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    picture = Image.fromarray(array)
    (picture if mode is None else picture.convert(mode)).save(path)
    return path


def test_front_is_up_and_left_is_left() -> None:
    plane = np.zeros((6, 9))  # left to right, posterior to anterior
    plane[4, 8] = 1  # right, in front
    plane[0, 1] = 2  # left, behind
    pixels = to_pixels(plane)
    assert pixels.shape == (9, 6)
    assert pixels[0, 4] == 1
    assert pixels[7, 0] == 2
    assert pixels.sum() == 3


@given(st.integers(1, 9), st.integers(1, 9))
def test_reader_and_writer_turn_pictures_back(height: int, width: int) -> None:
    plane = np.arange(height * width).reshape(height, width)
    assert np.array_equal(from_pixels(to_pixels(plane)), plane)
    assert np.array_equal(to_pixels(from_pixels(plane)), plane)


def test_what_is_written_is_read_and_holds_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.png"
    write_grey_png(path, GREY)
    assert np.array_equal(read_grey_png(path), GREY)
    with Image.open(path) as picture:
        assert (picture.mode, picture.size, picture.info) == ("L", (7, 5), {})
    chunks, content, position = [], path.read_bytes(), 8
    while position < len(content):
        length, kind = struct.unpack(">I4s", content[position : position + 8])
        chunks.append(kind)
        position += 12 + length
    assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}
    with pytest.raises(InputError, match="exists already"):
        write_grey_png(path, GREY)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_stored_in_colour_is_grey(tmp_path: Path, mode: str) -> None:
    # The published code writes its slices by a plotting library, which makes RGBA of grey.
    assert np.array_equal(read_grey_png(save(tmp_path / "a.png", GREY, mode)), GREY)


def test_text_in_a_file_is_passed_over(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("PatientName", "somebody")
    Image.fromarray(GREY).save(tmp_path / "a.png", pnginfo=text)
    assert np.array_equal(read_grey_png(tmp_path / "a.png"), GREY)


# --- what must fail -------------------------------------------------------------------------------


def with_colour(row: int, column: int, channel: int, value: int) -> np.ndarray:
    """Grey as RGBA with one channel of one pixel changed."""
    colour = np.stack([GREY] * 4, axis=-1)
    colour[..., 3] = 255
    colour[row, column, channel] = value
    return colour


def write_cut(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path.write_bytes(save(path, noise).read_bytes()[:2000])


def write_bomb(path: Path) -> None:
    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))


MAKE_BAD = {
    "colours": lambda path: save(path, with_colour(2, 3, 1, 0)),
    "transparent": lambda path: save(path, with_colour(2, 3, 3, 254)),
    "palette": lambda path: save(path, GREY, "P"),
    "bits": lambda path: save(path, GREY.astype(np.uint16) * 200),
    "bilevel": lambda path: save(path, GREY > 20),
    "black": lambda path: save(path, np.zeros_like(GREY)),
    "empty": lambda path: path.write_bytes(b""),
    "cut": write_cut,
    "other": lambda path: Image.fromarray(GREY).save(path, format="JPEG"),
    "long": lambda path: save(path, np.ones((3, 4097), np.uint8)),
    "bomb": write_bomb,
}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + zlib.crc32(kind + content).to_bytes(4)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("colours", "has colours; give 8-bit grey"),
        ("transparent", "is transparent somewhere"),
        ("palette", "has a palette"),
        ("bits", "has 16 bits a pixel; give 8-bit grey"),
        ("bilevel", "has 1 bit a pixel"),
        ("black", "is black throughout: there is no image in it"),
        ("empty", "is an empty file of 0 bytes"),
        ("cut", "is cut short or damaged"),
        ("other", "is no PNG file"),
        ("long", "is 4097 × 3 pixels, expected at most 4096"),
        ("bomb", "says it is far too large"),
        ("missing", "cannot read .*No such file"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, kind: str, words: str) -> None:
    if kind != "missing":
        MAKE_BAD[kind](tmp_path / "a.png")
    with pytest.raises(ImageError, match=words) as caught:
        read_grey_png(tmp_path / "a.png")
    assert str(tmp_path / "a.png") in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 120), value=st.integers(0, 255), place=st.integers(0, 119))
def test_damaged_bytes_give_an_image_or_an_image_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, value: int, place: int
) -> None:
    path = tmp_path_factory.mktemp("png") / "a.png"
    write_grey_png(path, GREY)
    content = bytearray(path.read_bytes())
    if place < len(content):
        content[place] = value
    path.write_bytes(bytes(content[: len(content) - cut]))
    with suppress(ImageError):
        assert read_grey_png(path).dtype == np.uint8
