"""``prism-mri harmonize``: make images look as if the card's site had scanned them."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prism_mri.cli.parsing import MODALITIES, Subparsers, add_extraction_option, parse_seed

if TYPE_CHECKING:
    from prism_mri.harmonize import HarmonizeOptions


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "harmonize",
        help="harmonize images to a card's site",
        description="Run whole volumes through the shipped anatomy encoder and the card's decoder. "
        "The output has the input's grid and the target's intensity scale. No training is needed "
        "at the source, unless the card is of recipe paper: then --model gives the encoder.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        type=Path,
        nargs="+",
        help="NIfTI files, folders, a BIDS or prepared dataset",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder for the results"
    )
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser, *, card_required: bool = True) -> None:
    """Add what says to which card images are harmonized, and how."""
    parser.add_argument(
        "--card",
        metavar="SITE.prism",
        type=Path,
        required=card_required,
        help="the target's site card",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        type=Path,
        help="this site's model: checked against the card; an anatomy encoder that it brings reads "
        "the images, which a card of recipe paper needs and others allow where it has not drifted",
    )
    parser.add_argument(
        "--style",
        choices=["uniform", "image", "sample"],
        default="uniform",
        help="the target's mean style (default), what its encoder reads from each image, or a draw",
    )
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument(
        "--trust", metavar="FOLDER", type=Path, help="public keys of the sites that you trust"
    )
    trust.add_argument(
        "--allow-unsigned", action="store_true", help="accept a card that nobody vouches for"
    )
    parser.add_argument(
        "--modality", choices=MODALITIES, help="of the images (default: the card's)"
    )
    parser.add_argument(
        "--any-modality",
        action="store_true",
        help="warn of images whose name, sidecar or tissues tell of another modality than the "
        "card's, instead of refusing them",
    )
    parser.add_argument(
        "--brain-mask",
        metavar="FILE|PATTERN",
        help="brain mask: a file, or a pattern with {dir}, {stem}, {sub}, {ses}; not needed for "
        "stripped images",
    )
    add_extraction_option(parser)
    parser.add_argument(
        "--bias-correction",
        choices=["n4", "none"],
        default="n4",
        help="take the bias field off each image first (default), or leave it in",
    )
    parser.add_argument(
        "--denoising",
        choices=["nlm", "none"],
        default="nlm",
        help="take the noise off each image first by non-local means (default), or leave it in",
    )
    parser.add_argument(
        "--outside",
        choices=["zero", "keep"],
        default="zero",
        help="outside the brain of an image with scalp: zero (default), or the source, rescaled",
    )
    parser.add_argument(
        "--seed", metavar="S", type=parse_seed, default=0, help="of --style sample (default: 0)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist")


def read_options(args: argparse.Namespace) -> "HarmonizeOptions":
    """Return how to harmonize, from what :func:`add_options` parsed."""
    from prism_mri.harmonize import HarmonizeOptions, SourceCleaning

    return HarmonizeOptions(
        style=args.style,
        outside=args.outside,
        brain_mask=args.brain_mask,
        extraction=args.brain_extraction,
        modality=args.modality,
        any_modality=args.any_modality,
        cleaning=SourceCleaning(
            bias_field=args.bias_correction == "n4", noise=args.denoising == "nlm"
        ),
        seed=args.seed,
        overwrite=args.overwrite,
    )


def run(args: argparse.Namespace) -> int:
    """Harmonize, and write the paths of the results to stdout."""
    from prism_mri.card import read_card
    from prism_mri.cli.progress import show_progress
    from prism_mri.harmonize import harmonize_inputs
    from prism_mri.models.translator import read_translator

    card = read_card(args.card, trust=args.trust, allow_unsigned=args.allow_unsigned)
    with show_progress("harmonize", "image") as progress:
        written = harmonize_inputs(
            args.inputs,
            args.out,
            card=card,
            translator=read_translator(),
            model=args.model,
            options=read_options(args),
            progress=progress,
        )
    for path in written:
        sys.stdout.write(f"{path}\n")
    return 0
