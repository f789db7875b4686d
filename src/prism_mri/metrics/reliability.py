"""How well measurements of the same people on several scanners agree."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from prism_mri.errors import ImageError

Measurements = Float[np.ndarray, "people scanners"]


@dataclass(frozen=True)
class Reliability:
    """Agreement of repeated measurements.

    Attributes:
        icc: ICC(2,1), absolute agreement of single measurements; 1 is perfect. None where people
            do not differ at all.
        within_cv: within-person coefficient of variation, a fraction.
    """

    icc: float | None
    within_cv: float


def compute_reliability(values: Measurements) -> Reliability:
    """Return agreement of people's measurements between scanners.

    Args:
        values: (people, scanners), at least two of each, nothing missing.

    Raises:
        ImageError: fewer than two people or scanners, or a value is missing or not finite.

    Source:
        Shrout and Fleiss 1979, Psychological Bulletin 86(2), ICC(2,1); within-person variation as
        the root mean square over people of standard deviation over mean.
    """
    people, scanners = values.shape
    if people < 2 or scanners < 2 or not np.isfinite(values).all():
        raise ImageError(
            f"agreement needs at least two people on two scanners, all measured; got {people} on"
            f" {scanners}"
        )
    mean = values.mean()
    rows = scanners * ((values.mean(axis=1) - mean) ** 2).sum() / (people - 1)
    columns = people * ((values.mean(axis=0) - mean) ** 2).sum() / (scanners - 1)
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + mean
    error = (rest**2).sum() / ((people - 1) * (scanners - 1))
    below = rows + (scanners - 1) * error + scanners * (columns - error) / people
    relative = values.std(axis=1, ddof=1) / values.mean(axis=1)
    return Reliability(
        icc=float((rows - error) / below) if below > 0 else None,
        within_cv=float(np.sqrt((relative**2).mean())),
    )
