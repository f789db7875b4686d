"""``prism-mri publish``: write a trained model's site card."""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.parsing import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "publish",
        help="write a trained model's site card",
        description="Write the site card: style encoder, decoder, style statistics and manifest, "
        "or, of a smaller kind, less; and nothing else of the model.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "model", metavar="MODEL", type=Path, help="folder that 'prism-mri train' left"
    )
    parser.add_argument(
        "--out", metavar="SITE.prism", type=Path, required=True, help="the card to write"
    )
    parser.add_argument(
        "--key",
        metavar="PRIVATE",
        type=Path,
        help="private key of 'prism-mri keygen'; others refuse a card without signature",
    )
    parser.add_argument(
        "--local-only",
        action="store_true",
        help="mark the card as one that must not leave the site (required below ten people)",
    )
    parser.add_argument(
        "--kind",
        choices=["full", "adapter", "style"],
        help="what leaves: style encoder and decoder (full), a few thousand numbers that adapt the "
        "shipped decoder (adapter), or 16 numbers of style statistics (style); default: what the "
        "model was trained as",
    )
    parser.add_argument(
        "--max-leakage",
        metavar="AUC",
        type=float,
        help="publish only if 'prism-mri audit' found no attack whose upper bound exceeds this AUC "
        "(0.5: nothing can be told, 1: everything)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing card")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the card and its path to stdout."""
    from prism_mri.card.publish import publish_card
    from prism_mri.errors import ConfigError
    from prism_mri.privacy.results import check_leakage

    if args.max_leakage is not None:
        if not 0.5 <= args.max_leakage <= 1:
            raise ConfigError(f"--max-leakage must be 0.5 to 1, got {args.max_leakage:g}")
        check_leakage(args.model, args.kind, args.max_leakage)
    publish_card(
        args.model,
        args.out,
        private_key=args.key,
        kind=args.kind,
        local_only=args.local_only,
        overwrite=args.overwrite,
    )
    sys.stdout.write(f"{args.out}\n")
    return 0
