"""Grey PNG files of 8 bits, and which way up an axial slice stands in one.

A slice (H, W) runs from left to right along H and from posterior to anterior along W. In a PNG the
front of the head is up and the person's left is at the left: pixel (row, column) is slice
(column, W − 1 − row).
"""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, UnidentifiedImageError

from prism_mri.errors import ImageError
from prism_mri.files import explain_os_error, write_whole

PixelArray = UInt8[np.ndarray, "R C"]
"""Grey values (rows, columns), row 0 at the top."""

MAX_SIDE = 4096
"""More pixels than this along a side are taken for a damaged header or another kind of picture."""
_DAMAGED = (OSError, SyntaxError, ValueError, struct.error, zlib.error)
"""What Pillow raises on files that are cut short or damaged."""


def to_pixels(plane: Shaped[np.ndarray, "H W"]) -> Shaped[np.ndarray, "W H"]:
    """Return a slice as the rows of a picture, front of the head up, left at the left."""
    return np.ascontiguousarray(np.rot90(plane))


def from_pixels(pixels: Shaped[np.ndarray, "R C"]) -> Shaped[np.ndarray, "C R"]:
    """Return the slice that `to_pixels` made a picture of."""
    return np.ascontiguousarray(np.rot90(pixels, -1))


def write_grey_png(path: Path, pixels: PixelArray) -> None:
    """Write an 8-bit grey PNG without any metadata, atomically.

    Raises:
        InputError: the file exists or cannot be written.
    """
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=False)
    write_whole(path, stream.getvalue())


def read_grey_png(path: Path) -> PixelArray:
    """Read a PNG of 8 bits that is grey.

    A grey picture stored in colour is accepted, since plotting libraries write such files: red,
    green and blue must be equal in every pixel, and nothing transparent.

    Returns:
        Grey values (rows, columns), 0 to 255.

    Raises:
        ImageError: the file is missing, damaged or no PNG, has colours, transparency, a palette, 1
            or 16 bits a pixel, is too large, or is black throughout.
    """
    picture = _open(path)
    if picture.mode.startswith("I"):
        raise ImageError(f"{path} has 16 bits a pixel; give 8-bit grey PNG files")
    if picture.mode not in ("L", "LA", "RGB", "RGBA"):
        kind = {"P": "a palette", "1": "1 bit a pixel"}.get(picture.mode, picture.mode)
        raise ImageError(f"{path} has {kind}; give 8-bit grey PNG files")
    channels = np.asarray(picture)
    if picture.mode in ("LA", "RGBA"):
        if (channels[..., -1] < 255).any():
            raise ImageError(f"{path} is transparent somewhere; give 8-bit grey PNG files")
        channels = channels[..., :-1]
    grey = channels if channels.ndim == 2 else channels[..., 0]
    if channels.ndim == 3 and (channels != grey[..., None]).any():
        raise ImageError(f"{path} has colours; give 8-bit grey PNG files")
    if not grey.any():
        raise ImageError(f"{path} is black throughout: there is no image in it; export it again")
    return np.ascontiguousarray(grey, dtype=np.uint8)


def _open(path: Path) -> Image.Image:
    """Return the decoded picture; nothing is decoded before its size is known."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise ImageError(f"cannot read {path}: {explain_os_error(problem)}") from problem
    if not content:
        raise ImageError(f"{path} is an empty file of 0 bytes; copy or export it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=("PNG",))
        if max(picture.size) <= MAX_SIDE:
            picture.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as problem:
        raise ImageError(f"{path} says it is far too large for a slice; check it") from problem
    except UnidentifiedImageError as problem:
        raise ImageError(f"{path} is no PNG file; export it again") from problem
    except _DAMAGED as problem:
        raise ImageError(f"{path} is cut short or damaged; copy or export it again") from problem
    if max(picture.size) > MAX_SIDE:
        width, height = picture.size
        raise ImageError(
            f"{path} is {width} × {height} pixels, expected at most {MAX_SIDE} a side; give one"
            " slice a file"
        )
    return picture
