"""A classifier of site finds what scanners leave, and nothing where they leave nothing."""

import numpy as np
import pytest

from prism_mri.errors import InputError
from prism_mri.evaluate.site_classifier import LabelledSlices, compute_site_accuracy

STEPS = 40


def volumes(people: range, *, gains: dict[str, float], channels: int = 1) -> list[LabelledSlices]:
    """Blobs of people at sites; people are the same at every site, gains are the site's."""
    made = []
    for person in people:
        generator = np.random.default_rng(person)
        texture = generator.normal(0.5, 0.1, (3, channels, 40, 104)).astype(np.float32)
        mask = np.zeros((3, 40, 104), bool)
        mask[:, 4:36, 6 : 80 + person] = True
        made += [
            LabelledSlices(texture * np.float32(gain) * mask[:, None], mask, site)
            for site, gain in gains.items()
        ]
    return made


def test_finds_a_gain() -> None:
    gains = {"a": 1.0, "b": 1.3}
    found = compute_site_accuracy(
        volumes(range(4), gains=gains), volumes(range(4, 7), gains=gains), seed=0, steps=STEPS
    )
    assert found > 0.95


def test_finds_nothing_where_sites_are_alike() -> None:
    gains = {"a": 1.0, "b": 1.0}
    train, test = volumes(range(4), gains=gains), volumes(range(4, 7), gains=gains)
    # The same image under both names: right for one is wrong for the other.
    assert compute_site_accuracy(train, test, seed=0, steps=STEPS) == pytest.approx(0.5)


def test_balances_sites() -> None:
    """A site with many volumes does not count for more."""
    gains = {"a": 1.0, "b": 1.0}
    test = volumes(range(4, 7), gains=gains)
    many = test + [volume for volume in test if volume.site == "a"] * 5
    train = volumes(range(4), gains=gains)
    assert compute_site_accuracy(train, many, seed=0, steps=STEPS) == pytest.approx(0.5)


def test_same_seed_same_accuracy() -> None:
    gains = {"a": 1.0, "b": 1.04}
    train = volumes(range(3), gains=gains, channels=2)
    test = volumes(range(3, 5), gains=gains, channels=2)
    first, again = (compute_site_accuracy(train, test, seed=3, steps=STEPS) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("gains", [{}, {"a": 1.0}])
def test_refuses_fewer_than_two_sites(gains: dict[str, float]) -> None:
    with pytest.raises(InputError, match="two sites or more"):
        compute_site_accuracy(volumes(range(2), gains=gains), [], seed=0, steps=STEPS)


def test_refuses_a_site_it_was_not_trained_on() -> None:
    train = volumes(range(2), gains={"a": 1.0, "b": 2.0})
    with pytest.raises(InputError, match="all that it is tested on"):
        compute_site_accuracy(train, volumes(range(2), gains={"c": 1.0}), seed=0, steps=STEPS)
