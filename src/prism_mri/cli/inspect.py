"""``prism-mri inspect``: check a site card and print what it says."""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.parsing import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "inspect",
        help="check a site card and print what it says",
        description="Check a site card as harmonizing does and print what it says. With --trust, "
        "exit code 0 means that its signer is trusted; without, unsigned cards and unknown signers "
        "are shown as what they are.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument("card", metavar="SITE.prism", type=Path, help="the card to check")
    parser.add_argument(
        "--trust", metavar="FOLDER", type=Path, help="folder of public keys (*.pem)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the summary to stdout."""
    from prism_mri.card.summary import inspect_card

    sys.stdout.write(f"{inspect_card(args.card, args.trust)}\n")
    return 0
