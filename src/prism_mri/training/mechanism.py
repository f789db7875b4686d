"""Gaussian mechanisms for people: how much noise a budget asks for, and what noise costs.

Every person counts once, however many images they have, and takes part in every release, so that
all releases together are one Gaussian mechanism whose ε is exact.

Source:
    Balle & Wang 2018, Improving the Gaussian mechanism; Dong, Roth & Su 2022, Gaussian differential
    privacy, for composition. The numbers are Opacus'.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from scipy import optimize

from prism_mri.config import FrozenModel, Positive
from prism_mri.errors import ConfigError
from prism_mri.models.guarantee import MAX_EPSILON, PrivacyGuarantee, compose_releases


class PrivacySettings(FrozenModel):
    """How much may be told of a person, and how what is told is bounded."""

    epsilon: Annotated[float, Field(ge=0.01, le=MAX_EPSILON)]
    delta: Annotated[float, Field(ge=1e-12, lt=0.5)] = 1e-5
    style_radius: Positive = 3.0
    """19 of 20 styles of randomly simulated scanners lie within 3.2 (T2w, T1w, FLAIR, PD)."""
    style_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of the budget, for the styles, where adapters are trained too."""
    gradient_norm: Positive = 0.1
    steps: Annotated[int, Field(ge=1, le=10_000)] = 30
    slices: Annotated[int, Field(ge=2, le=64)] = 4
    """Of a person, that a step's gradient is taken from."""
    learning_rate: Positive = 2e-3


@dataclass(frozen=True)
class Noise:
    """Standard deviations over sensitivities; ``gradient`` is None where nothing is trained."""

    style: float
    gradient: float | None


def plan_noise(settings: PrivacySettings, *, trains: bool) -> Noise:
    """Return the least noise that keeps to a budget.

    A release with noise σ is 1/σ-GDP, and μ² adds up over releases.

    Args:
        settings: the budget, and how many steps share it.
        trains: whether adapters are trained beside the styles.
    """
    mu = compute_mu(settings.epsilon, settings.delta)
    if not trains:
        return Noise(1 / mu, None)
    for_style = mu * math.sqrt(settings.style_share)
    for_steps = mu * math.sqrt((1 - settings.style_share) / settings.steps)
    return Noise(1 / for_style, 1 / for_steps)


def compute_mu(epsilon: float, delta: float) -> float:
    """Return the μ for which a μ-GDP mechanism is (ε, δ)-private."""
    gdp = _import_accounting()

    def miss(mu: float) -> float:
        return float(gdp.delta_eps_mu(eps=epsilon, mu=mu)) - delta

    return float(optimize.brentq(miss, 1e-6, 100.0, xtol=1e-14))


def count_epsilon(noise: Noise, *, steps: int, delta: float) -> float:
    """Return the ε that releases with this noise cost together."""
    mu = compose_releases(noise.style, noise.gradient, steps)
    return float(_import_accounting().eps_from_mu(mu=mu, delta=delta))


def release_style(
    styles: Float[torch.Tensor, "P Z"],
    *,
    radius: float,
    noise: float,
    numbers: np.random.Generator,
) -> Float[torch.Tensor, " Z"]:
    """Return the mean style of people, with noise.

    Args:
        styles: one row a person.
        radius: to which each is clipped.
        noise: standard deviation over the sensitivity, which is ``radius`` over the people.
        numbers: source of the noise.
    """
    length = styles.norm(dim=1, keepdim=True)
    clipped = styles * (radius / length.clamp(min=1e-12)).clamp(max=1.0)
    scale = noise * radius / len(styles)
    released: torch.Tensor = clipped.mean(0) + scale * draw_noise(styles.shape[1:], numbers)
    return released


def draw_noise(shape: Sequence[int], numbers: np.random.Generator) -> torch.Tensor:
    """Return standard normal numbers, float32.

    They are NumPy's: its generators take 128 bits from the operating system, Torch's 32, which can
    be tried out one by one.
    """
    return torch.from_numpy(numbers.standard_normal(tuple(shape)).astype(np.float32))


def state_guarantee(settings: PrivacySettings, noise: Noise, people: int) -> PrivacyGuarantee:
    """Return what a card says of a training with this noise; ε is counted, not taken over."""
    trains = noise.gradient is not None
    steps = settings.steps if trains else 0
    return PrivacyGuarantee(
        epsilon=round(count_epsilon(noise, steps=steps, delta=settings.delta), 9),
        delta=settings.delta,
        people=people,
        style_radius=settings.style_radius,
        style_noise=noise.style,
        gradient_norm=settings.gradient_norm if trains else None,
        gradient_noise=noise.gradient,
        steps=steps,
        accountant=f"opacus {version('opacus')}",
    )


def _import_accounting() -> ModuleType:
    try:
        from opacus.accountants.analysis import gdp
    except ImportError as problem:
        raise ConfigError(
            "differential privacy needs Opacus, which is not installed: pip install "
            "'prism-mri[privacy]'"
        ) from problem
    module: ModuleType = gdp
    return module
