"""Get an image's brain mask from the first that has one: given, stripped already, extracted."""

import logging
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from prism_mri.config import Modality
from prism_mri.errors import NotStrippedError
from prism_mri.preprocessing.bet import describe_bet, extract_by_bet
from prism_mri.preprocessing.brain_mask import find_brain_mask
from prism_mri.preprocessing.extraction_programs import (
    FSL_BET,
    PROGRAMS,
    ExtractionProgram,
    run_program,
)
from prism_mri.preprocessing.mask_checks import check_brain_mask
from prism_mri.types import MaskArray
from prism_mri.volume import Volume

logger = logging.getLogger(__name__)

Extraction = Literal["auto", "bet", "none"]
_PROGRAMS: Final[dict[Extraction, tuple[ExtractionProgram, ...]]] = {
    "auto": PROGRAMS,
    "bet": (FSL_BET,),
}
GIVEN, STRIPPED = "given", "nonzero voxels"


@dataclass(frozen=True, eq=False)
class BrainMask:
    """A mask and where it comes from.

    Attributes:
        mask: (I, J, K) brain in the image's voxel order.
        source: "given", "nonzero voxels", or name and version of what extracted it.
        warnings: what is doubtful about it, one line each.
    """

    mask: MaskArray
    source: str
    warnings: tuple[str, ...] = ()

    @property
    def is_extracted(self) -> bool:
        """Whether the mask was made here, so that somebody should look at it."""
        return self.source not in (GIVEN, STRIPPED)


def get_brain_mask(
    volume: Volume,
    given: MaskArray | None = None,
    *,
    extraction: Extraction = "none",
    modality: Modality = "T2w",
) -> BrainMask:
    """Return the brain mask of an image, with where it comes from.

    A given mask comes first, then what is not zero of a stripped image. A head is left to a
    program: "auto" takes SynthStrip, HD-BET or FSL BET, the first on PATH, else the package
    brainextractor; "bet" takes FSL BET or that package; "none" refuses it.

    Args:
        volume: the image, any voxel order.
        given: (I, J, K) mask in the same order, or None.
        extraction: what to do with a head.
        modality: of the image; the package looks for the brain's surface accordingly.

    Returns:
        Mask, source and warnings.

    Raises:
        NotStrippedError: a head, and ``extraction`` is "none".
        InputError: the mask does not fit, or extraction failed.
    """
    try:
        mask = find_brain_mask(volume, given)
    except NotStrippedError:
        if extraction == "none":
            raise
    else:
        if given is None:
            return BrainMask(mask, STRIPPED)
        return BrainMask(mask, GIVEN, check_brain_mask(volume, mask))
    mask, source = _extract(volume, extraction, modality)
    logger.debug("brain extracted by %s, %d voxels", source, int(np.count_nonzero(mask)))
    return BrainMask(mask, source, check_brain_mask(volume, mask))


def _extract(volume: Volume, extraction: Extraction, modality: Modality) -> tuple[MaskArray, str]:
    for program in _PROGRAMS[extraction]:
        executable = program.find()
        if executable is not None:
            return run_program(program, executable, volume), program.describe(executable)
    source = describe_bet()
    return extract_by_bet(volume, modality), source
