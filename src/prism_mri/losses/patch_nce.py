"""PatchNCE: a patch of the anatomy is to find its own place among others."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def compute_patch_nce(
    queries: Float[Tensor, "N D"],
    positives: Float[Tensor, "P N D"],
    negatives: Float[Tensor, "M D"],
    *,
    temperature: float = 0.07,
) -> torch.Tensor:
    """Return the cross-entropy of each query's own place among all candidates.

    Each set of positives is asked by itself. Query ``i`` has ``N + M`` candidates: its own place
    ``i`` in that set, which is right, and the set's other places, which may lie in other people,
    and the negatives, which are wrong.

    Args:
        queries: embeddings of length 1 of the places in the source images' anatomies.
        positives: the same places, in the same order, in the anatomies of the ``P`` altered copies.
        negatives: embeddings that no query is to resemble; ``M`` may be 0.
        temperature: above 0; divides the cosine similarities.

    Returns:
        Scalar in nats, mean over places and sets. The gradient flows to all three; detach what is
        to stay.

    Source:
        Galada et al. 2024, section 2.2; Park et al. 2020, equation 4.
    """
    logits = _similarities(queries, positives, negatives) / temperature
    return _cross_entropy(logits, torch.arange(len(queries), device=queries.device))


def compute_published_nce(
    queries: Float[Tensor, "N D"],
    positives: Float[Tensor, "P N D"],
    negatives: Float[Tensor, "M D"],
    *,
    temperature: float = 0.07,
) -> torch.Tensor:
    """Return the objective of the paper's published code; for comparison only.

    It takes the *first* place of the positives as the right answer of every query, so all but one
    are drawn to a place that is not theirs. Places that are told apart cost more than chance; for
    one query (``N`` = 1) it is :func:`compute_patch_nce`. Arguments and result are the same.
    """
    logits = _similarities(queries, positives, negatives) / temperature
    return _cross_entropy(logits, torch.zeros(len(queries), dtype=torch.long, device=logits.device))


def compute_chance(places: int, negatives: int) -> float:
    """Return both objectives' value for embeddings that tell nothing: ``ln(N + M)`` in nats."""
    return math.log(places + negatives)


def _similarities(queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Return cosines ``(P, N, N + M)`` of every query to all places of a set and all negatives."""
    to_places = torch.einsum("nd,pmd->pnm", queries, positives)
    to_negatives = (queries @ negatives.T).expand(len(positives), -1, -1)
    return torch.cat([to_places, to_negatives], dim=2)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy over ``(P, N)`` rows of candidates, the same target per set."""
    return functional.cross_entropy(logits.flatten(0, 1), target.repeat(len(logits)))
