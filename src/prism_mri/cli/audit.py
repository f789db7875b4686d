"""``prism-mri audit``: what a model's cards would give away of the people trained on."""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.parsing import Subparsers, parse_seed


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "audit",
        help="measure what a model's cards give away",
        description="Attack the cards that a model can give: can somebody who holds a person's "
        "scan tell whether the model was trained on it? Compares people trained on with people "
        "held out, by every attack and kind of card; leaves audit.json in the model's folder, "
        "which 'publish --max-leakage' reads, and prints a table and plain sentences.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "model", metavar="MODEL", type=Path, help="folder that 'prism-mri train' left"
    )
    parser.add_argument(
        "--data",
        metavar="PREPARED",
        type=Path,
        required=True,
        help="what it was trained on; the people held out there are compared with",
    )
    parser.add_argument(
        "--held-out",
        metavar="PREPARED",
        type=Path,
        nargs="+",
        default=[],
        help="prepared scans of more people of the site who were not trained on",
    )
    parser.add_argument(
        "--shadow-models",
        metavar="N",
        type=int,
        default=0,
        help="also train N models on halves of all these people and compare (8 or more; each takes "
        "as long as the model did; an interrupted audit goes on)",
    )
    parser.add_argument(
        "--seed",
        metavar="S",
        type=parse_seed,
        default=0,
        help="of the bootstrap and the shadow models (default: 0)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Audit, and write the table to stdout."""
    from prism_mri.cli.progress import show_progress
    from prism_mri.models.translator import read_translator
    from prism_mri.privacy.audit import audit_model
    from prism_mri.privacy.table import format_audit

    with show_progress("audit", "attack") as progress:
        results = audit_model(
            args.model,
            args.data,
            args.held_out,
            translator=read_translator(),
            shadow_models=args.shadow_models,
            seed=args.seed,
            progress=progress,
        )
    sys.stdout.write(format_audit(results))
    return 0
