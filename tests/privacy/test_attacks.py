"""Attacks find what is there to be found, and nothing where nothing is."""

import numpy as np
import pytest
import torch
from torch import nn

from prism_mri.networks.style_encoder import GaussianStyle, StyleEncoder
from prism_mri.privacy.attacks import (
    Knowledge,
    Person,
    attack_calibrated,
    attack_error,
    attack_style,
)
from prism_mri.privacy.membership import compute_auc

SHAPE = (3, 8, 10)


class MeanStyle(StyleEncoder):
    """Reads two numbers off two anatomy channels."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, image, anatomy, mask):
        del image, mask
        mean = anatomy[:, 1:3].mean(dim=(2, 3))
        return GaussianStyle(mean, torch.zeros_like(mean))


class Copier(nn.Module):
    """Draws the first anatomy channel, and those it has memorized exactly as they were."""

    def __init__(self, memorized=()) -> None:
        super().__init__()
        self.memorized = {
            person.anatomy[:, 0].numpy().tobytes(): torch.from_numpy(person.slices)
            for person in memorized
        }

    def forward(self, anatomy, style):
        del style
        known = self.memorized.get(anatomy[:, 0].numpy().tobytes())
        return (anatomy[:, 0] if known is None else known)[:, None]


def make_people(seed: int, count: int, *, spread: float = 1.0) -> list[Person]:
    """People whose images are their anatomy and something of their own, some harder to draw."""
    numbers = np.random.default_rng(seed)
    people = []
    for _ in range(count):
        anatomy = numbers.uniform(0.2, 1, (3, 3, *SHAPE[1:])).astype(np.float32)
        anatomy[:, 1:] = numbers.normal(0, spread, (1, 2, 1, 1))
        hardness = numbers.uniform(0.02, 0.2)
        slices = anatomy[:, 0] + hardness * numbers.normal(0, 1, SHAPE).astype(np.float32)
        people.append(
            Person(slices.astype(np.float32), np.ones(SHAPE, bool), torch.from_numpy(anatomy))
        )
    return people


def know(decoder: nn.Module, *, mean=(0.0, 0.0)) -> Knowledge:
    return Knowledge(nn.Identity(), MeanStyle(), decoder, torch.tensor(mean), MeanStyle(), Copier())


def auc_of(attack, knowledge, members, others) -> float:
    scores = attack(knowledge, members, others)
    assert scores.shape == (len(members) + len(others),)
    return compute_auc(scores[: len(members)], scores[len(members) :])


@pytest.mark.parametrize("attack", [attack_error, attack_calibrated])
def test_a_decoder_that_memorized_five_people_is_caught(attack) -> None:
    members, others = make_people(0, 5), make_people(1, 20)
    assert auc_of(attack, know(Copier(members)), members, others) == 1.0


@pytest.mark.parametrize("attack", [attack_error, attack_calibrated])
def test_a_decoder_trained_without_them_is_not(attack) -> None:
    members, others = make_people(0, 25), make_people(1, 25)
    assert 0.3 < auc_of(attack, know(Copier()), members, others) < 0.7


def test_calibration_forgives_people_who_are_hard_to_draw() -> None:
    """Drawn a tenth better than by the shipped networks: small beside how people differ."""
    members, others = make_people(0, 20), make_people(1, 20)
    halfway = [
        Person(0.1 * p.slices + 0.9 * p.anatomy[:, 0].numpy(), p.mask, p.anatomy) for p in members
    ]
    knowledge = know(Copier(halfway))
    assert auc_of(attack_calibrated, knowledge, members, others) == 1.0
    assert auc_of(attack_error, knowledge, members, others) < 0.8


def test_style_mean_of_one_member_tells_of_them() -> None:
    members, others = make_people(2, 1), make_people(3, 60)
    mean = np.mean([p.anatomy[0, 1:3, 0, 0].numpy() for p in members], axis=0)
    leaking = know(Copier(), mean=tuple(mean.tolist()))
    scores = attack_style(leaking, members, others)
    # The released deviation is the member's own: nobody lies farther along it but those beyond.
    own = members[0].anatomy[0, 1:3, 0, 0].numpy()
    farther = sum(float(p.anatomy[0, 1:3, 0, 0].numpy() @ own) > float(own @ own) for p in others)
    assert abs((scores[1:] > scores[0]).sum() - farther) <= 4


def test_style_mean_of_other_people_tells_nothing() -> None:
    members, others = make_people(2, 60), make_people(3, 60)
    mean = np.mean([p.anatomy[0, 1:3, 0, 0].numpy() for p in make_people(4, 60)], axis=0)
    found = auc_of(attack_style, know(Copier(), mean=tuple(mean.tolist())), members, others)
    assert 0.4 < found < 0.6
