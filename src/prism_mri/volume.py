"""Read and write NIfTI volumes with their geometry; the only file that touches nibabel.

In memory a volume keeps its on-disk voxel order until :func:`reorient_to_ras` flips and permutes
its axes, which is exact and can be undone exactly.
"""

import gzip
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Shaped
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from scipy import ndimage

from prism_mri.errors import ImageError
from prism_mri.files import explain_os_error, write_whole
from prism_mri.types import Affine, MaskArray, TissueLabels, VolumeArray

logger = logging.getLogger(__name__)

NIFTI_SUFFIXES = (".nii.gz", ".nii")
TISSUE_LABELS = (1, 2, 3)
"""CSF, GM, WM, as FSL FAST numbers them on T1w and the simulator always does."""
MAX_VOXELS = 2**30
"""More voxels than this are taken for a damaged header."""
GEOMETRY_TOLERANCE_MM = 1e-2
"""How far a corner of a mask may lie from the same corner of its image."""
_FREE_TEXT = ("descrip", "db_name", "aux_file", "intent_name", "data_type")
_GZIP_LEVEL = 5


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image with its place in the world.

    Attributes:
        data: intensities (I, J, K), float32, in on-disk voxel order unless reoriented.
        affine: world_from_voxel, float64, RAS mm.
        header: the NIfTI header that was read, opaque outside this file; None for a volume made in
            memory.
    """

    data: VolumeArray
    affine: Affine
    header: Any = None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along I, J, K in mm, from the affine."""
        spacing = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(spacing[0]), float(spacing[1]), float(spacing[2])


@dataclass(frozen=True, eq=False)
class Reorientation:
    """The flips and permutation that led from a volume's own voxel order to RAS+.

    Attributes:
        ras_from_native: (3, 2) axis and sign for every native axis, as nibabel writes orientations.
    """

    ras_from_native: Float[np.ndarray, "3 2"]

    def apply(self, array: Shaped[np.ndarray, "I J K"]) -> Shaped[np.ndarray, "I2 J2 K2"]:
        """Return an array in native voxel order, for instance a mask, in RAS+ order."""
        return np.ascontiguousarray(apply_orientation(array, self.ras_from_native))

    def invert(self, array: Shaped[np.ndarray, "I J K"]) -> Shaped[np.ndarray, "I2 J2 K2"]:
        """Return an array in RAS+ order in the native voxel order, values untouched."""
        ras = axcodes2ornt(("R", "A", "S"))
        native_from_ras = ornt_transform(ras, self.ras_from_native)
        return np.ascontiguousarray(apply_orientation(array, native_from_ras))


def read_volume(path: Path) -> Volume:
    """Read a NIfTI image of one 3-D volume.

    Args:
        path: ``.nii`` or ``.nii.gz`` file; trailing axes of length one are dropped.

    Returns:
        The volume in on-disk voxel order, float32, intensity slope applied.

    Raises:
        ImageError: the file is missing, a folder, empty, not NIfTI or cut short; the image is not
            3-D, has no place in the world, or is NaN or infinite somewhere, all zero, or constant.
    """
    volume = _read_geometry_and_data(path)
    data = volume.data
    if not np.isfinite(data).all():
        count = int(data.size - np.isfinite(data).sum())
        raise ImageError(
            f"{path} has {count} voxels that are NaN or infinite; replace them (by 0 outside the"
            " brain)"
        )
    if not data.any():
        raise ImageError(f"{path} is all zero: there is no image in it; export it again")
    if data.min() == data.max():
        raise ImageError(
            f"{path} is constant, {data.flat[0]:g} everywhere: there is no image in it; export it"
            " again"
        )
    return volume


def read_mask(path: Path, like: Volume) -> MaskArray:
    """Read a brain mask that belongs to an image.

    Args:
        path: NIfTI file; voxels above 0.5 are inside.
        like: the image, as read by :func:`read_volume`.

    Returns:
        Mask (I, J, K) in the image's voxel order.

    Raises:
        ImageError: as :func:`read_volume`, or another shape or place than the image, or nothing
            inside.
    """
    mask = _read_same_grid(path, like) > 0.5
    if not mask.any():
        raise ImageError(f"mask {path} is empty: no voxel is above 0.5; give a mask of the brain")
    return np.asarray(mask)


def read_labels(path: Path, like: Volume) -> TissueLabels:
    """Read tissue labels that belong to an image.

    Args:
        path: NIfTI file of whole numbers: 0 none, 1 CSF, 2 GM, 3 WM.
        like: the image, as read by :func:`read_volume`.

    Returns:
        Labels (I, J, K) in the image's voxel order.

    Raises:
        ImageError: as :func:`read_volume`, another shape or place than the image, another label, or
            a tissue that is missing.
    """
    labels = _read_same_grid(path, like)
    found = sorted({float(value) for value in np.unique(labels)} - {0.0})
    if found != [float(tissue) for tissue in TISSUE_LABELS]:
        named = ", ".join(f"{value:g}" for value in found[:6]) or "nothing"
        raise ImageError(
            f"labels {path} hold {named}, expected 1 (CSF), 2 (GM) and 3 (WM), 0 elsewhere; give"
            " hard tissue labels"
        )
    return labels.astype(np.uint8)


def write_volume(
    path: Path,
    data: Shaped[np.ndarray, "I J K"],
    like: Volume,
    *,
    overwrite: bool = False,
    dtype: npt.DTypeLike = np.float32,
) -> None:
    """Write an array as NIfTI in the geometry of another volume.

    Shape, affine, sform and qform codes, zooms and units are those of ``like``; values are stored
    as they are, without slope. Free text and extensions are dropped, since they can hold names. The
    bytes depend on nothing but the arguments.

    Args:
        path: ``.nii`` or ``.nii.gz`` file to write.
        data: array (I, J, K) in the voxel order of ``like``.
        like: the volume whose geometry to keep.
        overwrite: replace a file that exists.
        dtype: number type on disk.

    Raises:
        ImageError: the shape is not that of ``like``, values do not fit ``dtype``, the file exists
            and ``overwrite`` is false, or it cannot be written (no permission, disk full).
    """
    if data.shape != like.data.shape:
        raise ImageError(
            f"cannot write {path}: array of shape {data.shape}, image of shape {like.data.shape}"
        )
    strip_nifti_suffix(path)
    header = _scrubbed_header(like, np.dtype(dtype))
    stored = _cast(data, np.dtype(dtype), path).reshape(header.get_data_shape())
    image_type = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    content: bytes = image_type(stored, header.get_best_affine(), header).to_bytes()  # type: ignore[no-untyped-call]
    if path.name.endswith(".gz"):
        content = gzip.compress(content, compresslevel=_GZIP_LEVEL, mtime=0)
    write_whole(path, content, overwrite=overwrite, error=ImageError)


def reorient_to_ras(volume: Volume) -> tuple[Volume, Reorientation]:
    """Flip and permute axes so that they point closest to right, anterior, superior.

    Nothing is resampled, and the affine says so.

    Args:
        volume: any voxel order; an oblique volume stays oblique.

    Returns:
        The RAS+ volume and the way back.
    """
    reorientation = Reorientation(np.asarray(io_orientation(volume.affine), dtype=np.float64))
    ras_affine = volume.affine @ inv_ornt_aff(reorientation.ras_from_native, volume.data.shape)
    return Volume(reorientation.apply(volume.data), ras_affine, volume.header), reorientation


def resample_to(volume: Volume, like: Volume, order: int = 1) -> VolumeArray:
    """Interpolate a volume at the voxel centres of another one.

    Args:
        volume: source.
        like: the grid to sample on.
        order: spline order, 0 (nearest) to 5.

    Returns:
        Array of the shape of ``like``; zero outside the source's field of view.
    """
    source_from_target = np.linalg.inv(volume.affine) @ like.affine
    sampled: VolumeArray = ndimage.affine_transform(
        volume.data,
        source_from_target[:3, :3],
        source_from_target[:3, 3],
        output_shape=like.data.shape,
        output=np.float32,
        order=order,
        mode="grid-constant",
        cval=0.0,
    )
    return sampled


def as_nibabel(volume: Volume) -> Any:
    """Return a volume as the image object that packages built on nibabel ask for."""
    return nib.Nifti1Image(volume.data, volume.affine)


def strip_nifti_suffix(path: Path) -> str:
    """Return the file's name without its ending: ``sub-01_T2w`` from ``sub-01_T2w.nii.gz``.

    Raises:
        ImageError: the name has neither suffix.
    """
    for suffix in NIFTI_SUFFIXES:
        if path.name.endswith(suffix) and path.name != suffix:
            return path.name.removesuffix(suffix)
    raise ImageError(f"{path} is not named as NIfTI; give a file that ends in .nii or .nii.gz")


def _read_geometry_and_data(path: Path) -> Volume:
    image = _open_nifti(path)
    shape = _spatial_shape(image.shape, path)
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError(
            f"{path} has no valid orientation: its affine is singular; convert it again from DICOM"
        )
    unit = image.header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise ImageError(f"{path} states its voxel size in {unit}; convert it to mm")
    if int(image.header["sform_code"]) == 0 and int(image.header["qform_code"]) == 0:
        logger.warning(
            "an image states no orientation (sform and qform codes are 0); left and right are a"
            " guess"
        )
    return Volume(_read_data(image, path).reshape(shape), affine, image.header.copy())


def _open_nifti(path: Path) -> nib.Nifti1Image:
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give a NIfTI file")
    if not path.exists():
        raise ImageError(f"{path} does not exist; check the path")
    strip_nifti_suffix(path)
    try:
        if path.stat().st_size == 0:
            raise ImageError(f"{path} is an empty file of 0 bytes; copy or export it again")
        image = nib.load(path, mmap=False)
    except (EOFError, zlib.error) as problem:
        raise ImageError(f"{path} is cut short or damaged; copy or export it again") from problem
    except (
        ImageFileError,
        HeaderDataError,
        WrapStructError,
        gzip.BadGzipFile,
        ValueError,
    ) as problem:
        raise ImageError(f"{path} is not a NIfTI image; convert it to .nii.gz first") from problem
    except OSError as problem:
        raise ImageError(f"cannot read {path}: {explain_os_error(problem)}") from problem
    if not isinstance(image, nib.Nifti1Image):
        raise ImageError(f"{path} is not a NIfTI image; convert it to .nii.gz first")
    return image


def _spatial_shape(stored: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    shape = tuple(int(length) for length in stored)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise ImageError(
            f"{path} is {len(shape)}-D, shape {shape}; give one 3-D volume (split series first)"
        )
    if min(shape) < 1:
        raise ImageError(f"{path} holds no voxels, shape {shape}; export it again")
    if np.prod(shape, dtype=np.int64) > MAX_VOXELS:
        raise ImageError(
            f"{path} says it has shape {shape}, more than {MAX_VOXELS} voxels; its header is"
            " damaged"
        )
    return shape[0], shape[1], shape[2]


def _read_data(image: nib.Nifti1Image, path: Path) -> Shaped[np.ndarray, "..."]:
    stored = image.header.get_data_dtype()
    if stored.kind not in "iuf":
        raise ImageError(
            f"{path} holds colours or complex numbers ({stored}); give plain intensities"
        )
    try:
        if path.name.endswith(".gz"):
            _verify_checksum(path)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.ascontiguousarray(np.asarray(image.dataobj, dtype=np.float32))
    except (EOFError, zlib.error, OSError, ValueError) as problem:
        raise ImageError(f"{path} is cut short or damaged; copy or export it again") from problem


def _verify_checksum(path: Path) -> None:
    """Read a gzip file to its end, where its checksum stands; nibabel stops before it."""
    with gzip.open(path) as stream:
        while stream.read(2**20):
            pass


def _read_same_grid(path: Path, like: Volume) -> VolumeArray:
    volume = _read_geometry_and_data(path)
    if volume.data.shape != like.data.shape:
        raise ImageError(
            f"{path} has shape {volume.data.shape}, its image {like.data.shape}; resample it onto"
            " the image"
        )
    offset_mm = _corner_offset_mm(volume, like)
    if offset_mm > GEOMETRY_TOLERANCE_MM:
        raise ImageError(
            f"{path} lies {offset_mm:.3g} mm off its image; resample it onto the image"
        )
    if not np.isfinite(volume.data).all():
        raise ImageError(f"{path} has voxels that are NaN or infinite; replace them by 0")
    return volume.data


def _corner_offset_mm(first: Volume, second: Volume) -> float:
    ends = [(0, length - 1) for length in first.data.shape]
    corners = np.array(np.meshgrid(*ends, [1])).reshape(4, -1)
    return float(np.linalg.norm((first.affine - second.affine) @ corners, axis=0).max())


def _scrubbed_header(like: Volume, dtype: np.dtype[Any]) -> nib.Nifti1Header:
    if like.header is None:
        header = nib.Nifti1Header()
        header.set_xyzt_units("mm")
    else:
        header = like.header.copy()
    header.extensions.clear()
    header.set_data_dtype(dtype)
    header.set_slope_inter(1.0, 0.0)
    header["vox_offset"] = 0
    header["cal_min"] = header["cal_max"] = 0
    header.set_intent("none")
    for field in _FREE_TEXT:
        if field in header:
            header[field] = b""
    _set_geometry(header, like)
    return header


def _set_geometry(header: nib.Nifti1Header, like: Volume) -> None:
    """Leave a header alone that already says where ``like`` lies; else make it say so."""
    stored = header.get_data_shape()
    same_shape = stored[:3] == like.data.shape and all(length == 1 for length in stored[3:])
    if same_shape and np.allclose(header.get_best_affine(), like.affine, rtol=0, atol=1e-6):
        return
    header.set_data_shape(like.data.shape)
    header.set_dim_info(None, None, None)
    qform_code, sform_code = int(header["qform_code"]), int(header["sform_code"])
    header.set_qform(like.affine, code=qform_code, strip_shears=True)
    header.set_sform(like.affine, code=sform_code if sform_code or qform_code else 1)
    header.set_zooms(like.spacing_mm)


def _cast(
    data: Shaped[np.ndarray, "I J K"], dtype: np.dtype[Any], path: Path
) -> Shaped[np.ndarray, "I J K"]:
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise ImageError(
            f"cannot write {path}: the result has NaN or infinite voxels; report this as a defect"
        )
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        rounded = np.rint(data) if data.dtype.kind == "f" else data
        if rounded.min() < limits.min or rounded.max() > limits.max:
            raise ImageError(
                f"cannot write {path}: values do not fit {dtype}; choose a wider number type"
            )
        return np.asarray(rounded.astype(dtype))
    return np.asarray(data.astype(dtype))
