"""The shipped files hold what they say."""

import hashlib

import numpy as np
import pytest
import torch

from prism_mri import assets
from prism_mri.errors import PrismError


@pytest.fixture(scope="module")
def tissue_map() -> assets.TissueMap:
    return assets.read_tissue_map()


def fractions_at(tissue_map: assets.TissueMap, world_mm: tuple[float, float, float]) -> np.ndarray:
    voxel_from_world = np.linalg.inv(tissue_map.affine)
    i, j, k = np.rint(voxel_from_world[:3, :3] @ world_mm + voxel_from_world[:3, 3]).astype(int)
    return tissue_map.fractions[:, i, j, k]


def test_tissue_map_keeps_the_template_grid(tissue_map: assets.TissueMap) -> None:
    assert tissue_map.fractions.shape == (3, 169, 205, 179)
    assert tissue_map.fractions.dtype == np.float32
    # nilearn's file: voxel 0 at (-98, -134, -72); the brain box starts at (26, 27, 0); margin 12.
    expected = np.eye(4)
    expected[:3, 3] = (-98 + 26 - 12, -134 + 27 - 12, -72 + 0 - 12)
    np.testing.assert_array_equal(tissue_map.affine, expected)


def test_tissue_map_fractions_fill_the_brain_and_nothing_else(tissue_map: assets.TissueMap) -> None:
    total = tissue_map.fractions.sum(axis=0)
    brain = total > 0
    np.testing.assert_allclose(total[brain], 1.0, atol=1e-6)
    assert tissue_map.fractions.min() == 0.0
    # 1 mm voxels: 1,886,539 voxels of the template's T1 are not zero.
    assert brain.sum() == 1_886_539
    occupied = np.argwhere(brain)
    np.testing.assert_array_equal(occupied.min(axis=0), [12, 12, 12])
    np.testing.assert_array_equal(np.array(brain.shape) - 1 - occupied.max(axis=0), [12, 12, 12])


def test_tissue_volumes_are_the_template_ones(tissue_map: assets.TissueMap) -> None:
    litres = tissue_map.fractions.reshape(3, -1).sum(axis=1, dtype=np.float64) / 1e6
    # The template inside the T1's support, before the quantization: 0.2202, 0.9962, 0.6701.
    np.testing.assert_allclose(litres, [0.2206, 0.9963, 0.6697], atol=1e-4)


@pytest.mark.parametrize(
    ("place", "world_mm", "tissue"),
    [
        ("fourth ventricle", (0, -46, -32), 0),
        ("left lateral ventricle", (-8, -20, 20), 0),
        ("caudate head", (12, 14, 8), 1),
        ("splenium", (0, -38, 10), 2),
        ("centrum semiovale", (26, -20, 34), 2),
    ],
)
def test_tissue_map_is_ras(
    tissue_map: assets.TissueMap, place: str, world_mm: tuple[float, float, float], tissue: int
) -> None:
    fractions = fractions_at(tissue_map, world_mm)
    assert fractions.argmax() == tissue, f"{place}: {fractions}"
    assert fractions[tissue] > 0.7


def test_vgg16_layers_are_the_known_weights() -> None:
    layers = assets.read_vgg16_layers()
    assert sum(tensor.numel() for tensor in layers.values()) == 1_145_408
    assert all(tensor.dtype == torch.float32 for tensor in layers.values())
    assert layers["conv3_2.weight"].shape == (256, 256, 3, 3)
    # The ImageNet weights as distributed: first row of the first filter, first channel.
    expected = torch.tensor([-0.5537, 0.1427, 0.5290])
    torch.testing.assert_close(layers["conv1_1.weight"][0, 0, 0], expected, atol=3e-4, rtol=0)


def test_probe_shows_the_template_in_every_modality() -> None:
    probe = assets.read_probe()
    assert probe.images.shape == (16, 160, 192)
    assert probe.modalities == tuple(
        name for name in ("T1w", "T2w", "PDw", "FLAIR") for _ in range(4)
    )
    inside = probe.images > 0
    assert 0.3 < inside.mean() < 0.7
    # White matter comes to the contract's value where nothing but it decides: T1w, T2w, PD, FLAIR.
    medians = [float(np.median(image[image > 0])) for image in probe.images[::4]]
    np.testing.assert_allclose(medians, [0.53, 0.29, 0.53, 0.4], atol=0.06)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("tissue_map.npz", "155287323c0858d1cbc1d3daa82be621d154b88d4aaa51bba27eff0fd55e3769"),
        (
            "vgg16_conv3_2.safetensors",
            "7706efa8608ca876d3c40549b71228a698be54a804f88aaf9cf43255b4559833",
        ),
        ("probe.npz", "fa0d645deb92192d82ca6f281f027e00daf8fe15548b1f892fa7b36109f15520"),
    ],
)
def test_shipped_files_are_the_built_ones(name: str, digest: str) -> None:
    """The digests that tools/build_assets.py printed; who changes the files changes this."""
    assert hashlib.sha256(assets.asset_path(name).read_bytes()).hexdigest() == digest


def test_missing_asset_says_what_to_do() -> None:
    with pytest.raises(PrismError, match=r"absent\.npz is missing .* reinstall prism-mri"):
        assets.asset_path("absent.npz")
