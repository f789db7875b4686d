"""What a differentially private training promises, as models and cards state it."""

from typing import Annotated, Literal

from pydantic import Field

from prism_mri.config import FrozenModel, Positive

MAX_EPSILON = 50.0


class PrivacyGuarantee(FrozenModel):
    """Differential privacy of all that a card says, for every person of the site.

    Two datasets are neighbours where one person's contribution is left out and the number of people
    stays known.
    """

    unit: Literal["person"] = "person"
    epsilon: Annotated[float, Field(gt=0, le=MAX_EPSILON)]
    delta: Annotated[float, Field(gt=0, lt=0.5)]
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

    def describe(self) -> str:
        """Return one line."""
        return f"ε = {self.epsilon:g}, δ = {self.delta:g}, for every person ({self.accountant})"
