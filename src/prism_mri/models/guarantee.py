"""What a differentially private training promises, as models and cards state it."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator
from scipy.special import ndtr

from prism_mri.config import FrozenModel, Positive

MAX_EPSILON = 50.0
INTENSITY_SCALE = 1000.0
"""Stands in a private card for the site's own intensity units, which are its people's."""
_ROUNDING = 1e-6


def compute_delta(epsilon: float, mu: float) -> float:
    """Return the δ of a μ-GDP mechanism (noise 1/μ) at an ε.

    Source:
        Balle & Wang 2018, theorem 8.
    """
    return float(ndtr(mu / 2 - epsilon / mu) - math.exp(epsilon) * ndtr(-mu / 2 - epsilon / mu))


def compose_releases(style_noise: float, gradient_noise: float | None, steps: int) -> float:
    """Return the μ of a release of styles and of steps on gradients together.

    A release with noise σ over its sensitivity is 1/σ-GDP, and μ² adds up.

    Source:
        Dong, Roth & Su 2022, Gaussian differential privacy, corollary 3.3.
    """
    of_steps = 0.0 if gradient_noise is None else steps / gradient_noise**2
    return math.sqrt(1 / style_noise**2 + of_steps)


class PrivacyGuarantee(FrozenModel):
    """Differential privacy of all that a card says, for every person of the site.

    Two datasets are neighbours where one person's contribution is left out and the number of people
    stays known.
    """

    unit: Literal["person"] = "person"
    epsilon: Annotated[float, Field(gt=0, le=MAX_EPSILON)]
    delta: Annotated[float, Field(gt=0, lt=0.5)]
    people: Annotated[int, Field(ge=1, le=10_000_000)]
    """Whose contributions were summed; people held out are none of them."""
    style_radius: Positive
    """Styles are clipped to this distance from the origin."""
    style_noise: Positive
    """Standard deviation of the noise on the styles' sum over ``style_radius``."""
    gradient_norm: Positive | None = None
    """A person's gradient is clipped to this length; None where nothing is trained."""
    gradient_noise: Positive | None = None
    """Standard deviation of the noise on the gradients' sum over ``gradient_norm``."""
    steps: Annotated[int, Field(ge=0, le=100_000)] = 0
    accountant: Annotated[str, Field(pattern=r"^opacus [0-9][0-9A-Za-z.+_-]{0,39}$")]

    @model_validator(mode="after")
    def _budget_fits_noise(self) -> "PrivacyGuarantee":
        if (self.gradient_noise is None) != (self.steps == 0):
            raise ValueError("gradient noise and steps belong together")
        mu = compose_releases(self.style_noise, self.gradient_noise, self.steps)
        spent = compute_delta(self.epsilon + _ROUNDING, mu)
        if spent > self.delta * (1 + _ROUNDING):
            raise ValueError(f"the noise does not give ε = {self.epsilon:g}, δ = {self.delta:g}")
        return self

    def describe(self) -> str:
        """Return one line."""
        return (
            f"ε = {self.epsilon:g}, δ = {self.delta:g}, for every person of {self.people} "
            f"({self.accountant})"
        )
