"""What the commands add their parsers to, and what several of them parse."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = argparse._SubParsersAction

MODALITIES = ("T1w", "T2w", "PDw", "FLAIR")
"""As in :mod:`prism_mri.config`, which loads pydantic: too heavy for ``--help``."""

_SEED_LIMIT = 2**63


def add_extraction_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--brain-extraction``."""
    parser.add_argument(
        "--brain-extraction",
        choices=["auto", "bet", "none"],
        default="auto",
        help="how a head without a brain mask is stripped. auto (default): SynthStrip, HD-BET or "
        "FSL BET, the first on PATH, else the package brainextractor (pip install "
        "'prism-mri[bet]'). bet: FSL BET or that package. none: such an image is refused",
    )


def parse_seed(text: str) -> int:
    """Return a seed from 0 to 2⁶³ − 1; argparse turns an error into exit code 2."""
    seed = int(text)
    if not 0 <= seed < _SEED_LIMIT:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {_SEED_LIMIT - 1}")
    return seed


def parse_count(text: str) -> int:
    """Return a whole number above 0, or refuse."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)
