"""``prism-mri train``: fine-tune style encoder and decoder on a prepared site."""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.parsing import Subparsers, parse_seed


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train on a prepared site",
        description="Fine-tune style encoder and decoder on a prepared site. The anatomy encoder "
        "stays the shipped one, so that every site speaks of the same anatomy. Interrupted runs go "
        "on with --resume.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "prepared", metavar="PREPARED", type=Path, help="folder that 'prism-mri prepare' made"
    )
    parser.add_argument(
        "--out", metavar="MODEL", type=Path, required=True, help="model folder to make"
    )
    parser.add_argument(
        "--recipe", choices=["anchored"], default="anchored", help="default: anchored"
    )
    parser.add_argument(
        "--config", metavar="FILE.toml", type=Path, help="settings of the recipe, as TOML"
    )
    parser.add_argument("--epochs", metavar="N", type=int, help="default: the recipe's")
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto"
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    parser.add_argument("--seed", metavar="S", type=parse_seed, default=0, help="default: 0")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, and write the model's path to stdout."""
    from prism_mri.config import read_config
    from prism_mri.errors import ConfigError
    from prism_mri.training.anchored import AnchoredSettings, train_anchored
    from prism_mri.training.translator import read_translator

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    settings = read_config(args.config, AnchoredSettings) if args.config else AnchoredSettings()
    if args.epochs is not None:
        if args.epochs < 1:
            raise ConfigError(f"--epochs must be at least 1, got {args.epochs}")
        settings = settings.model_copy(update={"epochs": args.epochs})
    train_anchored(
        args.prepared,
        args.out,
        settings,
        translator=read_translator(),
        seed=args.seed,
        device=args.device,
        resume=args.resume,
        report=say,
    )
    sys.stdout.write(f"{args.out}\n")
    return 0
