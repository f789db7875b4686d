"""Texture within tissue: smooth random patterns that belong to a person, not to a scan."""

import torch

from prism_mri.simulate.deform import smooth

FIELDS = 2
"""Independent patterns per person; a protocol weights each differently in each tissue."""


def draw_texture(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Draw the patterns of one person.

    Args:
        shape: ``(I, J, K)`` in voxels of about 1 mm.
        generator: source of randomness.

    Returns:
        ``(2, I, J, K)``, each with mean 0 and standard deviation 1: fine grain (1 voxel) over
        patches (4 voxels).
    """
    fine = smooth(torch.randn(FIELDS, *shape, generator=generator), 0.8)
    coarse_shape = tuple(max(2, size // 3) for size in shape)
    coarse = smooth(torch.randn(FIELDS, *coarse_shape, generator=generator), 1.3)
    coarse = torch.nn.functional.interpolate(coarse[None], size=shape, mode="trilinear")[0]
    texture = fine / fine.std() * 0.6 + coarse / coarse.std() * 0.8
    return (texture - texture.mean(dim=(1, 2, 3), keepdim=True)) / texture.std(
        dim=(1, 2, 3), keepdim=True
    )
