"""Gaussian mechanisms: the noise that a budget asks for, and what is said of it."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp
from opacus.accountants import PRVAccountant, RDPAccountant
from pydantic import ValidationError

from prism_mri.models.guarantee import PrivacyGuarantee
from prism_mri.training.mechanism import (
    Noise,
    PrivacySettings,
    compute_mu,
    count_epsilon,
    draw_noise,
    plan_noise,
    release_style,
    state_guarantee,
)


def exact_delta(epsilon: float, sigma: float) -> float:
    """Balle & Wang 2018, theorem 8, at sensitivity 1, to fifty digits."""
    with mp.workdps(50):
        e, s = mp.mpf(epsilon), mp.mpf(sigma)
        return float(mp.ncdf(1 / (2 * s) - e * s) - mp.exp(e) * mp.ncdf(-1 / (2 * s) - e * s))


@given(
    epsilon=st.floats(0.1, 20),
    delta=st.sampled_from([1e-8, 1e-6, 1e-5, 1e-3, 0.01]),
)
def test_noise_for_a_budget_meets_the_closed_form(epsilon, delta):
    sigma = 1 / compute_mu(epsilon, delta)
    assert exact_delta(epsilon, sigma) == pytest.approx(delta, rel=1e-6)
    assert count_epsilon(Noise(sigma, None), steps=0, delta=delta) == pytest.approx(
        epsilon, abs=1e-9
    )


@pytest.mark.parametrize(("epsilon", "delta"), [(1.0, 1e-5), (4.0, 1e-5), (8.0, 1e-5), (1.0, 1e-3)])
def test_epsilon_equals_its_closed_form_to_1e_9(epsilon, delta):
    """The other way round: the root of the closed form in ε, found with fifty digits."""
    sigma = 1 / compute_mu(epsilon, delta)
    with mp.workdps(50):
        s = mp.mpf(sigma)

        def miss(e):
            left = mp.ncdf(1 / (2 * s) - e * s)
            return left - mp.exp(e) * mp.ncdf(-1 / (2 * s) - e * s) - mp.mpf(delta)

        root = float(mp.findroot(miss, epsilon))
    assert count_epsilon(Noise(sigma, None), steps=0, delta=delta) == pytest.approx(root, abs=1e-9)


def test_noise_of_the_literature():
    """(1, 1e-5): σ = 3.730632 at sensitivity 1, where the classical formula asks for 4.84."""
    sigma = 1 / compute_mu(1.0, 1e-5)
    assert sigma == pytest.approx(3.730632, abs=1e-6)
    assert sigma < math.sqrt(2 * math.log(1.25e5))


@pytest.mark.parametrize("epsilon", [1.0, 4.0, 8.0])
def test_all_steps_and_the_styles_cost_the_budget_together(epsilon):
    settings = PrivacySettings(epsilon=epsilon, steps=30)
    noise = plan_noise(settings, trains=True)
    counted = count_epsilon(noise, steps=30, delta=settings.delta)
    assert counted == pytest.approx(epsilon, abs=1e-9)
    # Opacus' accountants compose the same releases: Rényi from above, numerically from both sides.
    releases = [(noise.style, 1.0, 1), (noise.gradient, 1.0, 30)]
    renyi, prv = RDPAccountant(), PRVAccountant()
    renyi.history, prv.history = list(releases), list(releases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own numerics
        assert epsilon <= renyi.get_epsilon(settings.delta) < 1.5 * epsilon
        assert prv.get_epsilon(settings.delta) == pytest.approx(epsilon, rel=0.02)
    # One step more would cost more.
    assert count_epsilon(noise, steps=31, delta=settings.delta) > epsilon


def test_half_of_the_budget_goes_to_the_styles():
    both = plan_noise(PrivacySettings(epsilon=4.0), trains=True)
    alone = plan_noise(PrivacySettings(epsilon=4.0), trains=False)
    assert alone.gradient is None
    assert both.style == pytest.approx(math.sqrt(2) * alone.style)


def test_a_person_moves_the_release_by_no_more_than_the_sensitivity():
    """The noise is that of the seed alone: two releases differ by the person's contribution."""
    styles = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    for outlier in (torch.full((8,), 1e6), torch.full((8,), -3.0), torch.zeros(8)):
        changed = styles.clone()
        changed[0] = outlier
        nobody = styles.clone()
        nobody[0] = 0
        with_person, without = (
            release_style(rows, radius=4.0, noise=2.0, numbers=np.random.default_rng(7))
            for rows in (changed, nobody)
        )
        assert float((with_person - without).norm()) <= 4.0 / 20 + 1e-6


def test_released_style_is_the_mean_with_noise_of_the_stated_size():
    styles = 0.5 * torch.ones(10, 8)
    numbers = np.random.default_rng(3)
    draws = torch.stack(
        [release_style(styles, radius=4.0, noise=2.0, numbers=numbers) for _ in range(4000)]
    )
    assert draws.mean(0).numpy() == pytest.approx(np.full(8, 0.5), abs=0.06)
    assert draws.std(0).numpy() == pytest.approx(np.full(8, 2.0 * 4.0 / 10), rel=0.05)


def test_what_is_stated_is_counted():
    settings = PrivacySettings(epsilon=4.0, delta=1e-6, steps=12)
    noise = plan_noise(settings, trains=True)
    stated = state_guarantee(settings, noise, 20)
    assert stated.epsilon == pytest.approx(4.0, abs=1e-9)
    assert (stated.delta, stated.steps, stated.gradient_norm) == (1e-6, 12, settings.gradient_norm)
    assert stated.people == 20
    assert state_guarantee(settings, Noise(0.5, None), 20).epsilon > 8


@pytest.mark.parametrize(
    "change", [{"epsilon": 3.0}, {"style_noise": 0.1}, {"steps": 0}, {"delta": 1e-8}]
)
def test_a_guarantee_that_the_noise_does_not_give_is_no_guarantee(change):
    settings = PrivacySettings(epsilon=4.0, delta=1e-6)
    stated = state_guarantee(settings, plan_noise(settings, trains=True), 20)
    with pytest.raises(ValidationError):
        PrivacyGuarantee.model_validate(stated.model_dump() | change)


def test_seeds_that_differ_in_their_upper_half_give_other_noise():
    """Torch's generator drops the upper 32 bits of a seed; noise must not come from it."""
    low, high = (draw_noise((8,), np.random.default_rng(s)) for s in (5, 5 + 2**40))
    assert not torch.equal(low, high)
