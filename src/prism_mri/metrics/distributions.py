"""Distances between distributions: of intensities, and of styles."""

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from prism_mri.errors import ImageError

Points = Float[np.ndarray, "_N _Z"]
Values = Float[np.ndarray, " _N"]


def compute_wasserstein(first: Values, second: Values) -> float:
    """Return how far intensities must move, on the mean, to turn one distribution into the other.

    Args:
        first: intensities (N,).
        second: intensities (M,), same units.

    Returns:
        At least 0, in the intensities' units.

    Raises:
        ImageError: one holds no value.

    Source:
        scipy.stats.wasserstein_distance.
    """
    if not len(first) or not len(second):
        raise ImageError(
            f"cannot compare distributions of {len(first)} and {len(second)} intensities; give"
            " images with brain"
        )
    return float(wasserstein_distance(first, second))


def compute_energy_distance(first: Points, second: Points) -> float:
    """Return the energy distance between two samples of points.

    Args:
        first: points (N, Z).
        second: points (M, Z).

    Returns:
        ``sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|)``, 0 for equal samples.

    Raises:
        ImageError: one holds no point.

    Source:
        Székely and Rizzo 2013, J. Statistical Planning and Inference 143(8), equation 5 (its
        square); the root, as scipy's one-dimensional ``energy_distance`` takes it.
    """
    if not len(first) or not len(second):
        raise ImageError(
            f"cannot compare distributions of {len(first)} and {len(second)} points; give at least"
            " one image of each site"
        )
    between = cdist(first, second).mean()
    within = cdist(first, first).mean() + cdist(second, second).mean()
    return float(np.sqrt(max(2 * between - within, 0.0)))
