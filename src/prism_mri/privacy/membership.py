"""How well an attacker tells members from others: AUC, and hits at few false alarms."""

from typing import Annotated

import numpy as np
from jaxtyping import Float64
from pydantic import Field
from scipy.stats import rankdata

from prism_mri.config import FrozenModel

Scores = Float64[np.ndarray, " _P"]

FALSE_POSITIVE_RATE = 0.01
DRAWS = 2000

Share = Annotated[float, Field(ge=0, le=1)]


class Leak(FrozenModel):
    """What one attack achieves; bounds are a 95 % bootstrap over people."""

    attack: str
    auc: Share
    """Chance that a member scores above another person; 0.5 is guessing."""
    auc_low: Share
    auc_high: Share
    hits: Share
    """Share of members found where at most 1 % of others are taken for members."""
    hits_low: Share
    hits_high: Share


def measure_leak(
    attack: str, members: Scores, others: Scores, generator: np.random.Generator
) -> Leak:
    """Measure an attack by its scores; higher means "was trained on".

    Args:
        attack: its name.
        members: one score a person trained on.
        others: one score a person not trained on.
        generator: of the bootstrap.

    Source:
        Carlini et al. 2022, Membership inference attacks from first principles: the rate of hits
        at few false alarms tells more than the average.
    """
    draws = [
        (members[generator.integers(0, len(members), len(members))],
         others[generator.integers(0, len(others), len(others))])
        for _ in range(DRAWS)
    ]  # fmt: skip
    auc_low, auc_high = np.percentile([compute_auc(*draw) for draw in draws], (2.5, 97.5))
    hits_low, hits_high = np.percentile([compute_hits(*draw) for draw in draws], (2.5, 97.5))
    return Leak(
        attack=attack,
        auc=compute_auc(members, others),
        auc_low=float(auc_low),
        auc_high=float(auc_high),
        hits=compute_hits(members, others),
        hits_low=float(hits_low),
        hits_high=float(hits_high),
    )


def compute_auc(members: Scores, others: Scores) -> float:
    """Return the area under the ROC curve, ties counted as half (Mann–Whitney U)."""
    ranks = rankdata(np.concatenate([members, others]))[: len(members)]
    above = ranks.sum() - len(members) * (len(members) + 1) / 2
    return float(above / (len(members) * len(others)))


def compute_hits(members: Scores, others: Scores) -> float:
    """Return the share of members above a threshold that at most 1 % of others are above.

    With fewer than a hundred others none of them may be.
    """
    allowed = int(FALSE_POSITIVE_RATE * len(others))
    threshold = np.sort(others)[len(others) - 1 - allowed]
    return float((members > threshold).mean())
