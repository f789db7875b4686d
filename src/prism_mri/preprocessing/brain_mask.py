"""Find the brain: take a given mask, or recognize an image that is stripped already."""

import logging
import string
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from prism_mri.bids import ImageRef
from prism_mri.errors import ImageError, InputError, NotStrippedError
from prism_mri.types import MaskArray
from prism_mri.volume import Volume, reorient_to_ras, strip_nifti_suffix

logger = logging.getLogger(__name__)

MIN_ZERO_FRACTION = 0.02
"""A stripped brain leaves at least this much of its box exactly zero (an ellipsoid leaves half)."""
MAX_BRAIN_ML = 2700.0
"""More than any brain with its fluid; a head in the field of view of a scanner is larger."""
DARK, BRIGHT = 0.4, 0.55
"""Bone is below, scalp and brain above these fractions of the typical intensity deep inside."""
SKULL_DEPTH_MM = 35.0
"""A line from the air has passed scalp and skull after this depth."""
MAX_SKULL_LINES = 0.6
"""Share of lines that may meet bright, dark, bright: stripped brains have 0.1, heads 0.8."""
_SKULL_SLICES = 24

_ADVICE = (
    "pass a brain mask with --brain-mask, have one made with --brain-extraction auto, or strip the"
    " skull first"
)


def find_brain_mask(volume: Volume, given: MaskArray | None = None) -> MaskArray:
    """Return the brain mask of an image.

    A given mask is taken as it is. Without one, an image whose background is exactly zero and that
    shows no scalp counts as stripped: the mask is what is not zero, holes filled.

    Args:
        volume: the image.
        given: (I, J, K) mask in the voxel order of ``volume``, or None.

    Returns:
        Mask (I, J, K).

    Raises:
        NotStrippedError: no mask is given, and the background is not zero, or scalp shows.
        ImageError: the given mask has another shape or is empty, or the brain is not positive.
    """
    if given is not None:
        return _checked(given, volume)
    if float(np.mean(volume.data == 0)) < MIN_ZERO_FRACTION:
        raise NotStrippedError(f"the image is not stripped: its background is not zero; {_ADVICE}")
    support = np.asarray(ndimage.binary_fill_holes(volume.data != 0))
    millilitres = float(support.sum() * np.prod(volume.spacing_mm) / 1000)
    if millilitres > MAX_BRAIN_ML:
        raise NotStrippedError(
            f"the image is not stripped: {millilitres:.0f} ml are not zero; {_ADVICE}"
        )
    share = compute_skull_share(volume, support)
    if share > MAX_SKULL_LINES:
        raise NotStrippedError(
            f"the image shows scalp: {share:.0%} of lines cross a skull; {_ADVICE}"
        )
    return support


def compute_skull_share(volume: Volume, support: MaskArray) -> float:
    """Return how many lines from the air into an axial slice cross a dark layer under a bright one.

    Scalp is bright, bone dark and brain bright, all around a head; a stripped brain begins with
    fluid or cortex and has nothing of the kind beneath. Lines run along both in-plane axes from
    either side, through the middle half of the larger slices, of 24 of them at most.

    Args:
        volume: the image, any voxel order.
        support: (I, J, K) what is not background.

    Returns:
        Share of lines, 0 to 1.
    """
    ras, reorientation = reorient_to_ras(volume)
    inside = reorientation.apply(support)
    typical = _typical_intensity(ras.data, inside)
    areas = inside.sum(axis=(0, 1))
    crossings: list[np.ndarray] = []
    large = np.flatnonzero(areas >= 0.5 * areas.max())
    spread = np.linspace(0, len(large) - 1, min(_SKULL_SLICES, len(large)))
    for k in large[spread.round().astype(int)]:
        image = ndimage.median_filter(ras.data[:, :, k], size=3) / typical
        for plane, spacing_mm in ((image, ras.spacing_mm[0]), (image.T, ras.spacing_mm[1])):
            crossings.append(_skull_crossings(plane, spacing_mm))
            crossings.append(_skull_crossings(plane[::-1], spacing_mm))
    return float(np.concatenate(crossings).mean())


def resolve_mask_path(pattern: str, image: ImageRef) -> Path:
    """Return the mask file that belongs to an image.

    Args:
        pattern: a file, or a pattern with ``{dir}`` (the image's folder), ``{stem}`` (its name
            without ``.nii.gz``), ``{sub}`` and ``{ses}`` (BIDS labels without ``sub-`` and
            ``ses-``).
        image: the image.

    Returns:
        The path; whether it exists is for :func:`prism_mri.volume.read_mask` to find.

    Raises:
        InputError: the pattern has another placeholder, or asks for a session where there is none.
    """
    values = {
        "dir": str(image.path.parent),
        "stem": strip_nifti_suffix(image.path),
        "sub": image.subject,
    }
    if image.session is not None:
        values["ses"] = image.session
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
    except ValueError as problem:
        raise InputError(f"--brain-mask {pattern!r} is not a valid pattern: {problem}") from problem
    unknown = names - {"dir", "stem", "sub", "ses"}
    if unknown:
        raise InputError(
            f"--brain-mask {pattern!r} has unknown placeholders {sorted(unknown)};"
            " use {dir}, {stem}, {sub} and {ses}"
        )
    if names - values.keys():
        raise InputError(f"--brain-mask {pattern!r} asks for a session, but {image.path} has none")
    return Path(pattern.format(**values))


def _checked(given: MaskArray, volume: Volume) -> MaskArray:
    if given.shape != volume.data.shape:
        raise ImageError(
            f"the brain mask has shape {given.shape}, the image {volume.data.shape}; give its own"
            " mask"
        )
    if not given.any():
        raise ImageError("the brain mask is empty; give a mask of the brain with --brain-mask")
    return given


def _typical_intensity(data: Float32[np.ndarray, "I J K"], inside: MaskArray) -> float:
    """Return the median of the deeper half of every slice: brain, whether in a head or stripped."""
    step = max(1, max(data.shape[:2]) // 64)
    coarse, core = data[::step, ::step], inside[::step, ::step]
    depth = np.stack([ndimage.distance_transform_edt(plane) for plane in core.transpose(2, 0, 1)])
    deep = (depth >= 0.5 * depth.max(axis=(1, 2), keepdims=True)) & (depth > 0)
    typical = float(np.median(coarse[deep.transpose(1, 2, 0)]))
    if typical <= 0:
        raise ImageError(f"the image is not positive deep inside ({typical:g}); {_ADVICE}")
    return typical


def _skull_crossings(
    plane: Float32[np.ndarray, "depth lines"], spacing_mm: float
) -> Bool[np.ndarray, " middle"]:
    """Follow the middle half of a plane's columns downward; True where they met a skull."""
    occupied = np.flatnonzero((plane != 0).any(axis=0))
    if occupied.size < 4:
        return np.zeros(0, dtype=bool)
    quarter = (occupied[-1] - occupied[0]) // 4
    lines = plane[:, occupied[0] + quarter : occupied[-1] - quarter + 1]
    depth = np.arange(len(lines))[:, None] - np.argmax(lines != 0, axis=0)
    near = (depth >= 0) & (depth * spacing_mm <= SKULL_DEPTH_MM)
    scalp = np.logical_or.accumulate((lines > BRIGHT) & near, axis=0)
    bone = np.logical_or.accumulate((lines < DARK) & near & scalp, axis=0)
    return np.asarray(((lines > BRIGHT) & near & bone).any(axis=0))
