"""Patch projector: unit vectors of 16×16 patches every 8 pixels, each of its own pixels alone."""

import pytest
import torch

from prism_mri.networks import PatchProjector


@pytest.fixture
def projector() -> PatchProjector:
    torch.manual_seed(0)
    return PatchProjector(dim=8).eval()


@pytest.mark.parametrize(
    ("size", "places"),
    [((16, 16), (1, 1)), ((23, 24), (1, 2)), ((37, 50), (3, 5)), ((181, 217), (21, 26))],
)
def test_unit_vectors_for_all_whole_patches(
    projector: PatchProjector, size: tuple[int, int], places: tuple[int, int]
) -> None:
    embeddings = projector(torch.rand(2, 1, *size))
    assert embeddings.shape == (2, 8, *places)
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(2, *places), atol=1e-5)
    assert PatchProjector()(torch.rand(1, 1, 16, 16)).shape == (1, 64, 1, 1)


def test_a_place_is_the_patch_cut_out(projector: PatchProjector) -> None:
    images = torch.rand(2, 1, 37, 50)
    with torch.no_grad():
        embeddings = projector(images)
        for row, column in ((0, 0), (1, 3), (2, 4)):
            patch = images[..., 8 * row : 8 * row + 16, 8 * column : 8 * column + 16]
            alone = projector(patch)[..., 0, 0]
            assert torch.allclose(embeddings[..., row, column], alone, atol=1e-5)
    assert float(embeddings.std(dim=(2, 3)).max()) > 0.01


@pytest.mark.parametrize(
    ("pixel", "places"),
    [
        ((0, 0), [(0, 0)]),
        ((7, 20), [(0, 1), (0, 2)]),
        ((8, 15), [(0, 0), (0, 1), (1, 0), (1, 1)]),
        ((31, 39), [(2, 3)]),
    ],
)
def test_a_pixel_changes_the_patches_that_hold_it_and_no_other(
    projector: PatchProjector, pixel: tuple[int, int], places: list[tuple[int, int]]
) -> None:
    image = torch.rand(1, 1, 32, 40)
    changed = image.clone()
    changed[0, 0, *pixel] += 3
    with torch.no_grad():
        moved = (projector(changed) - projector(image)).abs().amax(dim=1)[0] > 1e-6
    assert [tuple(place) for place in moved.nonzero().tolist()] == places


def test_batch_equals_one_by_one(projector: PatchProjector) -> None:
    images = torch.rand(3, 1, 37, 50)
    with torch.no_grad():
        together = projector.train()(images)
        alone = torch.cat([projector(images[index : index + 1]) for index in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_background_alone_has_a_finite_embedding_and_gradient(projector: PatchProjector) -> None:
    image = torch.zeros(1, 1, 32, 32, requires_grad=True)
    projector(image)[:, 0].sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()


@pytest.mark.parametrize("size", [(15, 40), (16, 3)])
def test_an_image_smaller_than_a_patch_is_refused(
    projector: PatchProjector, size: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match=f"{size[0]}×{size[1]} pixels: patches take 16×16"):
        projector(torch.rand(1, 1, *size))
