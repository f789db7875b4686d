"""Random scanners leave out a neighbourhood of every named one."""

import pytest
import torch

from prism_mri.config import MODALITIES, Modality
from prism_mri.simulate.left_out import is_left_out
from prism_mri.simulate.protocols import (
    SCANNERS,
    VISITED_SCANNERS,
    Protocol,
    get_protocol,
    get_visited_protocol,
)
from prism_mri.simulate.sequences import SpinEcho, draw_sequence

NAMED = [
    *((get_protocol(name, modality)) for name in SCANNERS for modality in MODALITIES),
    *(
        (get_visited_protocol(name, modality))
        for name in VISITED_SCANNERS
        for modality in MODALITIES
    ),
]


@pytest.mark.parametrize("protocol", NAMED, ids=lambda p: f"{p.name}-{p.modality}")
def test_every_named_scanner_is_left_out(protocol: Protocol) -> None:
    assert is_left_out(protocol.modality, protocol.field_tesla, protocol.sequence)
    assert is_left_out(protocol.modality, protocol.field_tesla + 0.2, protocol.sequence)


@pytest.mark.parametrize(
    ("field", "repetition", "echo", "near"),
    [
        (1.5, 8178, 100, True),
        (1.5, 9700, 109, True),
        (1.5, 8178, 115, False),
        (1.5, 9900, 112, False),
        (2.0, 8178, 100, False),
    ],
)
def test_left_out_takes_field_and_timings_together(
    field: float, repetition: float, echo: float, near: bool
) -> None:
    assert is_left_out("T2w", field, SpinEcho(repetition_ms=repetition, echo_ms=echo)) == near


def test_another_kind_of_sequence_is_not_near() -> None:
    assert not is_left_out("T1w", 1.5, SpinEcho(repetition_ms=1950, echo_ms=40))


@pytest.mark.parametrize("modality", MODALITIES)
def test_most_scanners_remain(modality: Modality) -> None:
    generator = torch.Generator().manual_seed(0)
    fields = (1 + 2.2 * torch.rand(400, generator=generator)).tolist()
    share = sum(
        is_left_out(modality, field, draw_sequence(modality, field, generator)) for field in fields
    ) / len(fields)
    assert 0.01 < share < 0.2
