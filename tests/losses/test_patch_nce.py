"""PatchNCE against closed forms: agreement near 0, wrong places high, chance a logarithm."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from prism_mri.losses.patch_nce import compute_chance, compute_patch_nce, compute_published_nce

Objective = Callable[..., torch.Tensor]
AXES = torch.eye(16)
OBJECTIVES: list[Objective] = [compute_patch_nce, compute_published_nce]


def draw(*shape: int, seed: int) -> torch.Tensor:
    """Random unit vectors."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(drawn, dim=-1)


def orthogonal(places: int, negatives: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings at right angles to each other, of places and of negatives."""
    return AXES[:places], AXES[places : places + negatives]


@pytest.mark.parametrize(("places", "sets", "negatives"), [(4, 2, 6), (1, 1, 1), (10, 3, 0)])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_perfect_agreement(places: int, sets: int, negatives: int, temperature: float) -> None:
    """Own place at 1 / T, the N + M - 1 others at 0: ln(1 + (N + M - 1) e^(-1 / T))."""
    own, others = orthogonal(places, negatives)
    loss = compute_patch_nce(own, own.expand(sets, -1, -1), others, temperature=temperature)
    expected = math.log1p((places + negatives - 1) * math.exp(-1 / temperature))
    assert float(loss) == pytest.approx(expected, abs=2e-6)
    if temperature == 0.07:
        assert float(loss) < 1e-4


def test_a_wrong_assignment_costs_more_than_chance() -> None:
    """Another's place at 1 / T, the own at 0: ln(e^(1 / T) + N + M - 1), 14.3 for T = 0.07."""
    own, others = orthogonal(4, 6)
    loss = float(compute_patch_nce(own, own.roll(1, 0)[None], others))
    assert loss == pytest.approx(math.log(math.exp(1 / 0.07) + 9), rel=1e-6)
    assert loss == pytest.approx(14.2857, abs=1e-3)
    assert loss > 6 * compute_chance(4, 6)


def test_queries_that_resemble_a_negative_cost_as_much() -> None:
    own, others = orthogonal(4, 6)
    loss = float(compute_patch_nce(others[:4], own[None], others))
    assert loss == pytest.approx(math.log(math.exp(1 / 0.07) + 9), rel=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("places", "negatives"), [(5, 7), (1, 1), (128, 576), (6, 0)])
def test_equal_embeddings_cost_exactly_chance(
    objective: Objective, places: int, negatives: int
) -> None:
    one = draw(1, 8, seed=0)
    loss = objective(one.expand(places, -1), one.expand(2, places, -1), one.expand(negatives, -1))
    assert float(loss) == pytest.approx(math.log(places + negatives), abs=2e-6)


def test_chance_is_the_logarithm_of_the_number_of_candidates() -> None:
    assert compute_chance(128, 576) == math.log(704) == pytest.approx(6.5568, abs=1e-4)
    assert compute_chance(1, 0) == 0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_random_embeddings_cost_about_chance(objective: Objective) -> None:
    """Cosines of D numbers vary by 1 / D, so ln(N + M) + 1 / (2 D T²) at first order: + 0.05."""
    places, negatives, dim = 60, 100, 2048
    loss = objective(
        draw(places, dim, seed=1), draw(2, places, dim, seed=2), draw(negatives, dim, seed=3)
    )
    expected = compute_chance(places, negatives) + 1 / (2 * dim * 0.07**2)
    assert float(loss) == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize(("objective", "own"), [(OBJECTIVES[0], True), (OBJECTIVES[1], False)])
def test_by_hand_for_random_embeddings(objective: Objective, *, own: bool) -> None:
    """Written out in float64, one query and one set at a time."""
    queries, positives, negatives = draw(3, 4, seed=4), draw(2, 3, 4, seed=5), draw(5, 4, seed=6)
    losses = []
    for places in positives.double():
        for index, query in enumerate(queries.double()):
            candidates = [*places, *negatives.double()]
            exponents = [math.exp(float(query @ candidate) / 0.2) for candidate in candidates]
            right = exponents[index if own else 0]
            losses.append(-math.log(right / sum(exponents)))
    loss = objective(queries, positives, negatives, temperature=0.2)
    assert loss.shape == ()
    assert float(loss) == pytest.approx(sum(losses) / 6, rel=1e-5)


def test_each_set_of_positives_is_asked_by_itself() -> None:
    """One set in agreement and one exchanged: the mean of both, not a choice among all."""
    own, others = orthogonal(4, 6)
    right, wrong = own[None], own.roll(1, 0)[None]
    both = compute_patch_nce(own, torch.cat([right, wrong]), others)
    alone = [float(compute_patch_nce(own, positives, others)) for positives in (right, wrong)]
    assert float(both) == pytest.approx(sum(alone) / 2, rel=1e-6)


def test_order_of_places_does_not_matter_as_long_as_it_is_the_same() -> None:
    queries, positives, negatives = draw(7, 8, seed=7), draw(2, 7, 8, seed=8), draw(5, 8, seed=9)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    loss = float(compute_patch_nce(queries, positives, negatives))
    moved = float(compute_patch_nce(queries[order], positives[:, order], negatives.flip(0)))
    assert moved == pytest.approx(loss, rel=1e-5)
    assert float(compute_patch_nce(queries[order], positives, negatives)) != pytest.approx(
        loss, rel=1e-2
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradient_of_one_query_by_hand(objective: Objective) -> None:
    """-ln σ((q·p - q·n) / T) has the gradient -(1 - σ)(p - n) / T; for N = 1 both are the same."""
    query = draw(1, 4, seed=10).requires_grad_()
    positive, negative = draw(1, 1, 4, seed=11), draw(1, 4, seed=12)
    objective(query, positive, negative, temperature=0.5).backward()
    difference = positive[0] - negative
    sigma = torch.sigmoid((query.detach() * difference).sum() / 0.5)
    assert query.grad is not None
    assert torch.allclose(query.grad, -(1 - sigma) * difference / 0.5, atol=1e-6)


def test_gradient_reaches_all_and_descends() -> None:
    """Forty random queries and their places, trained: from above chance to next to nothing."""
    queries = draw(40, 16, seed=13).requires_grad_()
    positives = draw(2, 40, 16, seed=14).requires_grad_()
    negatives = draw(30, 16, seed=15).requires_grad_()
    optimizer = torch.optim.Adam([queries, positives], lr=0.05)
    before = compute_patch_nce(queries, positives, negatives)
    for _ in range(60):
        optimizer.zero_grad()
        directions = (functional.normalize(tensor, dim=-1) for tensor in (queries, positives))
        loss = compute_patch_nce(*directions, negatives)
        loss.backward()
        optimizer.step()
    assert negatives.grad is not None
    assert float(negatives.grad.abs().max()) > 0
    assert float(before.detach()) > compute_chance(40, 30)
    assert float(loss.detach()) < 0.1


# The published code's objective


def test_published_objective_punishes_perfect_agreement() -> None:
    """One query is right, N - 1 have 0 where another has 1 / T: ln(e^(1/T) + N+M-1) - 1 / (N T)."""
    own, others = orthogonal(4, 6)
    loss = float(compute_published_nce(own, own.expand(2, -1, -1), others))
    expected = math.log(math.exp(1 / 0.07) + 9) - 1 / (4 * 0.07)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert loss == pytest.approx(10.7143, abs=1e-3)
    assert loss > 4 * compute_chance(4, 6)
    assert float(compute_patch_nce(own, own.expand(2, -1, -1), others)) < 1e-4


def test_published_objective_is_content_when_all_queries_are_the_first_place() -> None:
    own, others = orthogonal(4, 6)
    loss = float(compute_published_nce(own[:1].expand(4, -1), own[None], others))
    assert loss == pytest.approx(math.log1p(9 * math.exp(-1 / 0.07)), abs=2e-6)


def test_published_objective_equals_ours_for_one_place() -> None:
    arguments = draw(1, 8, seed=16), draw(3, 1, 8, seed=17), draw(9, 8, seed=18)
    published, ours = (float(objective(*arguments)) for objective in OBJECTIVES)
    assert published == ours
    assert published > 0.1
