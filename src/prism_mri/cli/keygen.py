"""``prism-mri keygen``: make the key pair that signs a site's cards."""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.parsing import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "keygen",
        help="make a key pair for signing site cards",
        description="Make an Ed25519 key pair: OUT-private.pem stays with you (mode 0600), "
        "OUT-public.pem goes into the trust folder of everybody who is to accept your cards. "
        "Nothing is overwritten.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder and name, such as keys/guys")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the keys and write both paths to stdout, the private one first."""
    from prism_mri.card.sign import generate_key_pair

    private_path, public_path = generate_key_pair(args.out)
    sys.stdout.write(f"{private_path}\n{public_path}\n")
    return 0
