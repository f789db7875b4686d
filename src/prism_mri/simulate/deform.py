"""Random diffeomorphic deformation of anatomies."""

from dataclasses import dataclass

import torch
from torch.nn import functional

_SQUARINGS = 7
_COARSE_VOXELS = 4


@dataclass(frozen=True)
class Deformation:
    """A smooth invertible map, given by where each output voxel is sampled from.

    Attributes:
        displacement: ``(3, i, j, k)`` in input voxels on a grid coarser than the volume by a
            constant factor; output voxel ``x`` takes the input's value at ``x + displacement(x)``.
        shape: ``(I, J, K)`` of the volumes that it applies to.
    """

    displacement: torch.Tensor
    shape: tuple[int, int, int]

    def apply(self, volume: torch.Tensor, *, mode: str = "bilinear") -> torch.Tensor:
        """Warp volumes.

        Args:
            volume: ``(C, I, J, K)`` floating point; zero is what lies outside.
            mode: "bilinear" for intensities and fractions, "nearest" for labels.

        Returns:
            ``(C, I, J, K)``.
        """
        fine = functional.interpolate(
            self.displacement[None], size=self.shape, mode="trilinear", align_corners=True
        )[0]
        return _sample(volume, fine, mode)

    def compute_jacobian(self) -> torch.Tensor:
        """Return the Jacobian determinant of the map on the coarse grid, ``(i, j, k)``.

        It is positive everywhere for a diffeomorphism.
        """
        steps = [
            (size - 1) / (n - 1)
            for size, n in zip(self.shape, self.displacement.shape[1:], strict=True)
        ]
        gradient = torch.stack(
            [
                torch.stack(torch.gradient(component, spacing=steps))
                for component in self.displacement.double()
            ]
        )
        determinant: torch.Tensor = torch.linalg.det(
            (gradient + torch.eye(3)[..., None, None, None]).permute(2, 3, 4, 0, 1)
        )
        return determinant


def draw_deformation(
    shape: tuple[int, int, int],
    generator: torch.Generator,
    *,
    amplitude: float,
    smoothness: float = 14.0,
    drift: torch.Tensor | None = None,
) -> Deformation:
    """Integrate a random stationary velocity field by scaling and squaring.

    Args:
        shape: ``(I, J, K)`` of the volumes to deform.
        generator: source of randomness.
        amplitude: standard deviation of each velocity component, in voxels.
        smoothness: standard deviation of the Gaussian that smooths the velocity, in voxels.
        drift: optional velocity to add, ``(3, I', J', K')`` in voxels, resized to the coarse grid.

    Source:
        Arsigny et al. 2006, A log-Euclidean framework for statistics on diffeomorphisms.
    """
    coarse = tuple(max(4, -(-size // _COARSE_VOXELS)) for size in shape)
    noise = torch.randn(3, *coarse, generator=generator)
    velocity = smooth(noise, smoothness / _COARSE_VOXELS)
    velocity = velocity / velocity.std() * amplitude
    if drift is not None:
        velocity = (
            velocity
            + functional.interpolate(
                drift[None], size=coarse, mode="trilinear", align_corners=True
            )[0]
        )
    scale = torch.tensor([(n - 1) / (size - 1) for size, n in zip(shape, coarse, strict=True)])
    displacement = velocity * scale[:, None, None, None] / 2**_SQUARINGS
    for _ in range(_SQUARINGS):
        displacement = displacement + _sample(
            displacement, displacement, "bilinear", padding="border"
        )
    return Deformation(displacement / scale[:, None, None, None], shape)


def smooth(volumes: torch.Tensor, sigma: float | tuple[float, float, float]) -> torch.Tensor:
    """Blur ``(C, I, J, K)`` volumes with a Gaussian of ``sigma`` voxels, edges replicated."""
    sigmas = (sigma,) * 3 if isinstance(sigma, float | int) else sigma
    for axis, width in enumerate(sigmas, start=1):
        if width > 0:
            volumes = convolve_axis(volumes, gaussian_kernel(width), axis)
    return volumes


def gaussian_kernel(sigma: float) -> torch.Tensor:
    """Return a normalized Gaussian of ``sigma`` samples, cut at three sigmas."""
    radius = max(1, round(3 * sigma))
    positions = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (positions / sigma).square())
    return kernel / kernel.sum()


def convolve_axis(volumes: torch.Tensor, kernel: torch.Tensor, axis: int) -> torch.Tensor:
    """Convolve along one axis with a symmetric kernel of odd length, edges replicated."""
    radius = len(kernel) // 2
    size = volumes.shape[axis]
    index = torch.arange(-radius, size + radius).clamp(0, size - 1)
    padded = volumes.index_select(axis, index)
    result = torch.zeros_like(volumes)
    for offset, weight in enumerate(kernel.tolist()):
        result.add_(padded.narrow(axis, offset, size), alpha=weight)
    return result


def _sample(
    volume: torch.Tensor, displacement: torch.Tensor, mode: str, padding: str = "zeros"
) -> torch.Tensor:
    shape = displacement.shape[1:]
    axes = [torch.arange(size, dtype=torch.float32) for size in shape]
    positions = torch.stack(torch.meshgrid(*axes, indexing="ij")) + displacement
    sizes = torch.tensor(volume.shape[1:], dtype=torch.float32)[:, None, None, None]
    normalized = positions * (2 / (sizes - 1)) - 1
    grid = normalized.flip(0).permute(1, 2, 3, 0)[None]
    return functional.grid_sample(
        volume[None], grid, mode=mode, padding_mode=padding, align_corners=True
    )[0]
