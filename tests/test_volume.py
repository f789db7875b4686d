"""NIfTI in and out: geometry is kept exactly, and what cannot be used is refused by name."""

import errno
import gzip
import itertools
import os
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Extension
from scipy.spatial.transform import Rotation

from prism_mri.errors import ImageError
from prism_mri.volume import (
    Volume,
    read_mask,
    read_volume,
    reorient_to_ras,
    resample_to,
    strip_nifti_suffix,
    write_volume,
)

ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
OBLIQUE = Rotation.from_euler("xyz", (12, -7, 20), degrees=True).as_matrix()


def make_affine(
    order: tuple[int, ...] = (0, 1, 2),
    signs: tuple[int, ...] = (1, 1, 1),
    spacing: tuple[float, ...] = (1.0, 1.25, 3.0),
    rotation: np.ndarray | None = None,
) -> np.ndarray:
    """World from voxel: column axis of the voxels points along world axis ``order``."""
    matrix = np.zeros((3, 3))
    for column, (axis, sign, step) in enumerate(zip(order, signs, spacing, strict=True)):
        matrix[axis, column] = sign * step
    affine = np.eye(4)
    affine[:3, :3] = matrix if rotation is None else rotation @ matrix
    affine[:3, 3] = (-30.5, 17.25, 4.0)
    return affine


def random_data(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 100, shape).astype(dtype)


def save(
    path: Path, data: np.ndarray, affine: np.ndarray, *, qcode: int = 1, scode: int = 2
) -> Path:
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, code=qcode)
    image.set_sform(affine, code=scode)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def raw_header(path: Path) -> bytes:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.name.endswith(".gz") else content)[:352]


# --- geometry -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_all_48_orientations_go_to_ras_and_back_exactly(
    tmp_path: Path, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    data = random_data((5, 7, 3))
    affine = make_affine(order, signs)
    volume = read_volume(save(tmp_path / "image.nii", data, affine))
    ras, way = reorient_to_ras(volume)
    assert np.array_equal(volume.data, data)
    assert np.array_equal(way.invert(ras.data), data)
    assert np.array_equal(way.apply(data), ras.data)
    assert nib.aff2axcodes(ras.affine) == ("R", "A", "S")
    assert np.allclose(ras.affine[:3, :3], np.diag(np.diag(ras.affine)[:3]))
    # The same intensity stays at the same place in the world.
    voxel = (1, 5, 2)
    world = volume.affine @ (*voxel, 1)
    ras_voxel = np.rint(np.linalg.inv(ras.affine) @ world).astype(int)[:3]
    assert ras.data[tuple(ras_voxel)] == data[voxel]


@settings(max_examples=40, deadline=None)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    angles=st.tuples(*[st.floats(-40, 40)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
    shape=st.tuples(*[st.integers(1, 9)] * 3).filter(lambda shape: np.prod(shape) > 1),
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
    codes=st.sampled_from([(1, 1), (0, 2), (1, 0), (2, 4)]),
)
def test_any_volume_is_written_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    orientation: tuple[tuple[int, ...], tuple[int, ...]],
    angles: tuple[float, ...],
    spacing: tuple[float, ...],
    shape: tuple[int, ...],
    dtype: str,
    suffix: str,
    codes: tuple[int, int],
) -> None:
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine = make_affine(*orientation, spacing=spacing, rotation=rotation)
    folder = tmp_path_factory.mktemp("any")
    data = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    source = save(folder / f"in{suffix}", data, affine, qcode=codes[0], scode=codes[1])
    volume = read_volume(source)
    ras, way = reorient_to_ras(volume)
    write_volume(folder / f"out{suffix}", way.invert(ras.data), volume)

    before, after = nib.load(source), nib.load(folder / f"out{suffix}")
    assert after.shape == before.shape
    assert after.get_data_dtype() == np.float32
    assert np.array_equal(np.asarray(after.dataobj), data)
    assert np.array_equal(after.affine, before.affine)
    for field in ("sform_code", "qform_code", "pixdim", "xyzt_units", "quatern_b", "srow_x"):
        assert np.array_equal(after.header[field], before.header[field]), field


def test_a_reoriented_volume_is_written_where_it_lies(tmp_path: Path) -> None:
    affine = make_affine((2, 0, 1), (-1, 1, -1), rotation=OBLIQUE)
    volume = read_volume(save(tmp_path / "in.nii.gz", random_data((5, 7, 3)), affine))
    ras, _ = reorient_to_ras(volume)
    write_volume(tmp_path / "ras.nii.gz", ras.data, ras)
    written = nib.load(tmp_path / "ras.nii.gz")
    assert np.allclose(written.affine, ras.affine, atol=1e-5)
    assert np.allclose(written.header.get_qform(), ras.affine, atol=1e-4)
    assert np.allclose(written.header.get_zooms(), ras.spacing_mm)
    assert int(written.header["sform_code"]) == 2
    assert int(written.header["qform_code"]) == 1


def test_a_volume_without_header_gets_a_scanner_sform_in_mm(tmp_path: Path) -> None:
    volume = Volume(random_data((3, 4, 5)), make_affine())
    write_volume(tmp_path / "new.nii.gz", volume.data, volume)
    written = nib.load(tmp_path / "new.nii.gz")
    assert np.allclose(written.affine, volume.affine)
    assert int(written.header["sform_code"]) == 1
    assert written.header.get_xyzt_units()[0] == "mm"


def test_spacing_is_the_length_of_the_voxel_axes() -> None:
    volume = Volume(random_data((2, 2, 2)), make_affine((1, 2, 0), rotation=OBLIQUE))
    assert volume.spacing_mm == pytest.approx((1.0, 1.25, 3.0))


def test_intensity_slope_is_applied_on_reading(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.array([0, 1, 2, 3], dtype=np.int16).reshape(2, 2, 1), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "scaled.nii")
    assert read_volume(tmp_path / "scaled.nii").data.ravel() == pytest.approx([10, 10.5, 11, 11.5])


def test_trailing_axes_of_one_are_dropped_and_put_back(tmp_path: Path) -> None:
    data = random_data((4, 3, 2, 1))
    volume = read_volume(save(tmp_path / "in.nii.gz", data, make_affine()))
    assert volume.data.shape == (4, 3, 2)
    write_volume(tmp_path / "out.nii.gz", volume.data, volume)
    assert nib.load(tmp_path / "out.nii.gz").shape == (4, 3, 2, 1)


def test_nifti_2_stays_nifti_2(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(random_data((3, 4, 5)), make_affine()), tmp_path / "in.nii")
    volume = read_volume(tmp_path / "in.nii")
    write_volume(tmp_path / "out.nii", volume.data, volume)
    assert isinstance(nib.load(tmp_path / "out.nii"), nib.Nifti2Image)


def test_no_orientation_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_volume(save(tmp_path / "secret.nii", random_data((3, 4, 5)), np.eye(4), qcode=0, scode=0))
    assert "states no orientation" in caplog.text
    assert "secret" not in caplog.text


# --- bytes ----------------------------------------------------------------------------------------


def test_free_text_and_extensions_are_scrubbed(tmp_path: Path) -> None:
    image = nib.Nifti1Image(random_data((3, 4, 5)), make_affine())
    for field in ("descrip", "db_name", "aux_file", "intent_name", "data_type"):
        image.header[field] = b"Jane Doe"
    image.header.extensions.append(Nifti1Extension("comment", b"Jane Doe again"))
    nib.save(image, tmp_path / "in.nii")
    assert b"Jane" in (tmp_path / "in.nii").read_bytes()
    volume = read_volume(tmp_path / "in.nii")
    write_volume(tmp_path / "out.nii", volume.data, volume)
    content = (tmp_path / "out.nii").read_bytes()
    assert b"Jane" not in content
    assert len(content) == 352 + 4 * 60
    # The caller's header is as it was.
    assert bytes(volume.header["descrip"].item()) == b"Jane Doe"


def test_values_are_stored_with_slope_one(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "in.nii", random_data((3, 4, 5)), make_affine()))
    write_volume(tmp_path / "out.nii.gz", volume.data, volume)
    assert struct.unpack("<ff", raw_header(tmp_path / "out.nii.gz")[112:120]) == (1.0, 0.0)


def test_the_same_call_writes_the_same_bytes_under_any_name(tmp_path: Path) -> None:
    volume = Volume(random_data((9, 8, 7)), make_affine())
    write_volume(tmp_path / "first.nii.gz", volume.data, volume)
    write_volume(tmp_path / "second.nii.gz", volume.data, volume)
    content = (tmp_path / "first.nii.gz").read_bytes()
    assert content == (tmp_path / "second.nii.gz").read_bytes()
    assert content[3] == 0, "no name in the gzip header"
    assert content[4:8] == b"\0\0\0\0", "no time in the gzip header"


# --- writing that must fail -----------------------------------------------------------------------


def test_nothing_is_overwritten_unless_told(tmp_path: Path) -> None:
    volume = Volume(random_data((3, 4, 5)), make_affine())
    write_volume(tmp_path / "out.nii.gz", volume.data, volume)
    with pytest.raises(ImageError, match="exists already; pass --overwrite"):
        write_volume(tmp_path / "out.nii.gz", volume.data * 2, volume)
    write_volume(tmp_path / "out.nii.gz", volume.data * 2, volume, overwrite=True)
    assert np.array_equal(read_volume(tmp_path / "out.nii.gz").data, volume.data * 2)


@pytest.mark.parametrize(
    ("number", "call", "words"),
    [(errno.ENOSPC, "fsync", "disk is full"), (errno.EACCES, "replace", "no permission")],
)
def test_disk_full_or_no_permission_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str, words: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    volume = Volume(random_data((3, 4, 5)), make_affine())
    with pytest.raises(ImageError, match=words):
        write_volume(tmp_path / "out.nii.gz", volume.data, volume)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "dtype", "words"),
    [
        (random_data((3, 4, 6)), np.float32, r"array of shape \(3, 4, 6\), image of shape"),
        (np.full((3, 4, 5), np.nan, dtype=np.float32), np.float32, "NaN or infinite"),
        (np.full((3, 4, 5), 256, dtype=np.float32), np.uint8, "do not fit uint8"),
        (np.full((3, 4, 5), -1, dtype=np.int16), np.uint8, "do not fit uint8"),
    ],
)
def test_values_that_cannot_be_stored_are_refused(
    tmp_path: Path, data: np.ndarray, dtype: type, words: str
) -> None:
    like = Volume(random_data((3, 4, 5)), make_affine())
    with pytest.raises(ImageError, match=words):
        write_volume(tmp_path / "out.nii.gz", data, like, dtype=dtype)
    assert list(tmp_path.iterdir()) == []


# --- reading that must fail -----------------------------------------------------------------------


def assert_refused(path: Path, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read_volume(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.nii.gz", "does not exist")


def test_folder(tmp_path: Path) -> None:
    assert_refused(tmp_path, "is a folder")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.nii.gz").touch()
    assert_refused(tmp_path / "empty.nii.gz", "empty file of 0 bytes")


def test_name_is_not_nifti(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    assert_refused(tmp_path / "image.png", "not named as NIfTI")


@pytest.mark.parametrize("name", ["text.nii", "text.nii.gz"])
@pytest.mark.parametrize("length", [10, 1000])
def test_contents_are_not_nifti(tmp_path: Path, name: str, length: int) -> None:
    (tmp_path / name).write_bytes(b"no image" * length)
    assert_refused(tmp_path / name, "is not a NIfTI image")


def test_gzip_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"no image" * 100))
    assert_refused(tmp_path / "text.nii.gz", "is not a NIfTI image")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.99])
def test_truncated_file(tmp_path: Path, suffix: str, share: float) -> None:
    path = save(tmp_path / f"cut{suffix}", random_data((20, 20, 20)), make_affine())
    content = path.read_bytes()
    path.write_bytes(content[: max(12, int(share * len(content)))])
    assert_refused(path, "is cut short or damaged|is not a NIfTI image")
    if share >= 0.5:
        assert_refused(path, "is cut short or damaged")


def test_flipped_bits_inside_gzip(tmp_path: Path) -> None:
    path = save(tmp_path / "damaged.nii.gz", random_data((20, 20, 20)), make_affine())
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(bytes(content))
    assert_refused(path, "is cut short or damaged")


def test_no_permission_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "closed.nii", random_data((3, 4, 5)), make_affine())

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(nib, "load", refuse)
    assert_refused(path, "cannot read .*no permission")


@pytest.mark.parametrize(
    ("shape", "words"),
    [((4, 4, 4, 2), "is 4-D, shape"), ((4, 4), "is 2-D, shape"), ((4, 4, 4, 1, 3), "is 5-D")],
)
def test_wrong_number_of_axes(tmp_path: Path, shape: tuple[int, ...], words: str) -> None:
    assert_refused(save(tmp_path / "image.nii.gz", random_data(shape), make_affine()), words)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "1 voxels that are NaN or infinite"),
        (np.inf, "1 voxels that are NaN or infinite"),
        (1e300, "1 voxels that are NaN or infinite"),
    ],
)
def test_not_finite(tmp_path: Path, value: float, words: str) -> None:
    data = random_data((4, 4, 4), "float64")
    data[1, 2, 3] = value
    assert_refused(save(tmp_path / "image.nii.gz", data, make_affine()), words)


def test_all_zero(tmp_path: Path) -> None:
    path = save(tmp_path / "zero.nii.gz", np.zeros((4, 4, 4), np.int16), make_affine())
    assert_refused(path, "is all zero")


def test_constant(tmp_path: Path) -> None:
    path = save(tmp_path / "seven.nii.gz", np.full((4, 4, 4), 7, np.int16), make_affine())
    assert_refused(path, "is constant, 7 everywhere")


def test_colours(tmp_path: Path) -> None:
    rgb = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, np.eye(4)), tmp_path / "rgb.nii")
    assert_refused(tmp_path / "rgb.nii", "colours or complex numbers")


def test_header_that_claims_too_much(tmp_path: Path) -> None:
    path = save(tmp_path / "huge.nii", random_data((4, 4, 4)), make_affine())
    content = bytearray(path.read_bytes())
    content[40:56] = struct.pack("<8h", 3, 32000, 32000, 32000, 1, 1, 1, 1)
    path.write_bytes(bytes(content))
    assert_refused(path, "its header is damaged")


def test_singular_affine(tmp_path: Path) -> None:
    path = save(tmp_path / "flat.nii", random_data((4, 4, 4)), make_affine())
    content = bytearray(path.read_bytes())
    content[280:328] = struct.pack("<12f", *[1.0] * 12)
    path.write_bytes(bytes(content))
    assert_refused(path, "affine is singular")


# --- masks and labels -----------------------------------------------------------------------------


def test_mask_is_what_lies_above_one_half(tmp_path: Path) -> None:
    like = Volume(random_data((2, 2, 1)), make_affine())
    values = np.array([[[0.0], [0.5]], [[0.51], [1.0]]], dtype=np.float32)
    path = save(tmp_path / "mask.nii.gz", values, like.affine)
    assert read_mask(path, like).ravel().tolist() == [False, False, True, True]


def test_mask_that_does_not_fit(tmp_path: Path) -> None:
    like = Volume(random_data((6, 5, 4)), make_affine())
    ones = np.ones((6, 5, 4), np.uint8)
    with pytest.raises(ImageError, match=r"shape \(6, 5, 3\), its image \(6, 5, 4\)"):
        read_mask(save(tmp_path / "a.nii", ones[..., :3], like.affine), like)
    moved = like.affine.copy()
    moved[0, 3] += 0.02
    with pytest.raises(ImageError, match=r"lies 0\.02 mm off"):
        read_mask(save(tmp_path / "b.nii", ones, moved), like)
    with pytest.raises(ImageError, match="is empty"):
        read_mask(save(tmp_path / "c.nii", ones * 0, like.affine), like)
    with pytest.raises(ImageError, match="NaN"):
        read_mask(save(tmp_path / "d.nii", np.full((6, 5, 4), np.nan), like.affine), like)


def test_mask_may_lie_off_by_rounding(tmp_path: Path) -> None:
    like = Volume(random_data((6, 5, 4)), make_affine(rotation=OBLIQUE))
    moved = like.affine + 1e-4
    moved[3] = (0, 0, 0, 1)
    path = save(tmp_path / "mask.nii", np.ones((6, 5, 4), np.uint8), moved)
    assert read_mask(path, like).all()


# --- resampling and names -------------------------------------------------------------------------


def test_resampling_onto_its_own_flipped_grid_is_exact() -> None:
    volume = Volume(random_data((6, 5, 4)), make_affine((1, 0, 2), (-1, 1, -1), rotation=OBLIQUE))
    ras, way = reorient_to_ras(volume)
    assert np.allclose(resample_to(ras, volume), volume.data, atol=1e-3)
    assert way.invert(ras.data) == pytest.approx(volume.data)


def test_resampling_follows_a_ramp_in_the_world() -> None:
    source = Volume(
        np.broadcast_to(np.arange(10, dtype=np.float32)[:, None, None], (10, 6, 6)).copy(),
        make_affine(spacing=(2.0, 1.0, 1.0)),
    )
    shifted = make_affine(spacing=(1.0, 1.0, 1.0))
    shifted[0, 3] += 3.0
    like = Volume(np.zeros((5, 4, 4), np.float32), shifted)
    expected = [1.5, 2.0, 2.5, 3.0, 3.5]
    assert resample_to(source, like)[:, 2, 2] == pytest.approx(expected, abs=1e-5)


def test_outside_the_field_of_view_is_zero() -> None:
    source = Volume(np.ones((4, 4, 4), np.float32), np.eye(4))
    far = np.eye(4)
    far[0, 3] = 100
    assert not resample_to(source, Volume(source.data, far)).any()


@pytest.mark.parametrize(
    ("name", "stem"),
    [("sub-01_T2w.nii.gz", "sub-01_T2w"), ("a.b.nii", "a.b"), ("x.nii.nii.gz", "x.nii")],
)
def test_suffix_is_stripped(name: str, stem: str) -> None:
    assert strip_nifti_suffix(Path("folder") / name) == stem


@pytest.mark.parametrize("name", ["image.mgz", "nii", ".nii.gz", "image.gz"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ImageError, match="not named as NIfTI"):
        strip_nifti_suffix(Path(name))


@pytest.mark.shared_data
@pytest.mark.parametrize("study", ["study1", "study2"])
def test_a_real_scan_survives_the_round_trip(shared_data: Path, tmp_path: Path, study: str) -> None:
    source = shared_data / "t2w_real" / "patient01" / f"{study}_T2W.nii.gz"
    volume = read_volume(source)
    ras, way = reorient_to_ras(volume)
    assert np.array_equal(way.invert(ras.data), volume.data)
    mask = read_mask(source.with_name(f"{study}_T2W_brainmask.nii.gz"), volume)
    millilitres = mask.sum() * np.prod(volume.spacing_mm) / 1000
    assert 1400 < millilitres < 1700
    write_volume(tmp_path / "out.nii", volume.data, volume)
    before, after = nib.load(source), nib.load(tmp_path / "out.nii")
    assert np.array_equal(before.affine, after.affine)
    for field in ("sform_code", "qform_code", "pixdim", "xyzt_units"):
        assert np.array_equal(before.header[field], after.header[field])


def test_voxel_sizes_that_are_not_in_mm_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "metres.nii.gz"
    image = nib.Nifti1Image(np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.eye(4))
    image.header.set_xyzt_units("meter")
    nib.save(image, path)
    with pytest.raises(ImageError, match=r"metres\.nii\.gz states its voxel size in meter"):
        read_volume(path)
