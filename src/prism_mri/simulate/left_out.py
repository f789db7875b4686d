"""What the translator's random scanners leave out: a neighbourhood of every named scanner.

So that a scanner of a benchmark is one that the translator has never seen, not one of its draws.
"""

from typing import Final

from prism_mri.config import Modality
from prism_mri.simulate.protocols import SCANNERS, VISITED_SCANNERS
from prism_mri.simulate.sequences import Sequence

_FIELD_TESLA = 0.25
_RELATIVE: Final = {"repetition_ms": 0.2, "echo_ms": 0.1, "inversion_ms": 0.1}
"""How near a sequence's timings lie to be left out, all of them together with the field."""


def is_left_out(modality: Modality, field_tesla: float, sequence: Sequence) -> bool:
    """Return whether a field strength and a sequence lie next to those of a named scanner.

    Next to means within 0.25 T, and of the same kind of sequence with TR within 20 %, TE and TI
    within 10 %, whatever the scanner's blur, noise, bias field and intensity curve.

    Args:
        modality: what is scanned.
        field_tesla: field strength.
        sequence: as drawn.
    """
    return any(
        abs(field_tesla - scanner.field_tesla) <= _FIELD_TESLA
        and _is_near(sequence, scans[modality].sequence)
        for scanner, scans in (*SCANNERS.values(), *VISITED_SCANNERS.values())
    )


def _is_near(sequence: Sequence, other: Sequence) -> bool:
    if sequence.kind != other.kind:
        return False
    timings, others = sequence.model_dump(), other.model_dump()
    return all(
        abs(timings[name] / others[name] - 1) <= reach
        for name, reach in _RELATIVE.items()
        if name in others
    )
