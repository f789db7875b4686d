"""``prism-mri train``: train a site's networks on its prepared images."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prism_mri.cli.parsing import Subparsers, parse_seed

if TYPE_CHECKING:
    from prism_mri.models.translator import Translator
    from prism_mri.training.mechanism import PrivacySettings

_MAX_EPOCHS = 10_000


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train on a prepared site",
        description="Train on a prepared site. Recipe anchored fine-tunes style encoder and "
        "decoder; the anatomy encoder stays the shipped one, so that every site speaks of the same "
        "anatomy. Recipe paper trains all three from nothing, as the paper does, to be compared "
        "with. Interrupted runs go on with --resume.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "prepared", metavar="PREPARED", type=Path, help="folder that 'prism-mri prepare' made"
    )
    parser.add_argument(
        "--out", metavar="MODEL", type=Path, required=True, help="model folder to make"
    )
    parser.add_argument(
        "--recipe", choices=["anchored", "paper"], default="anchored", help="default: anchored"
    )
    parser.add_argument(
        "--kind",
        choices=["full", "adapter", "style"],
        help="what to train, and so what the card will hold (recipe anchored): style encoder and "
        "decoder (default), adapters of the shipped decoder, or no weights at all",
    )
    parser.add_argument(
        "--epsilon",
        metavar="E",
        type=float,
        help="train with differential privacy for every person (kinds style and adapter): the "
        "smaller, the less the card tells of anybody, and the more noise it holds; 1 is strict, 8 "
        "is usual; such a card says nothing that depends on the site's images in any other way",
    )
    parser.add_argument(
        "--delta", metavar="D", type=float, help="of differential privacy (default: 1e-5)"
    )
    parser.add_argument(
        "--config", metavar="FILE.toml", type=Path, help="settings of the recipe, as TOML"
    )
    parser.add_argument(
        "--epochs",
        metavar="N",
        type=int,
        help="default: the recipe's; anchored: 0 keeps the shipped networks and takes the site's "
        "style statistics alone",
    )
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto"
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    parser.add_argument(
        "--any-modality",
        action="store_true",
        help="train also where the images look like another modality than they were prepared as",
    )
    parser.add_argument("--seed", metavar="S", type=parse_seed, default=0, help="default: 0")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, and write the model's path to stdout."""
    if args.recipe == "paper":
        _train_paper(args)
    else:
        _train_anchored(args)
    sys.stdout.write(f"{args.out}\n")
    return 0


def _train_anchored(args: argparse.Namespace) -> None:
    from prism_mri.config import read_config
    from prism_mri.models.translator import read_translator
    from prism_mri.training.anchored import AnchoredSettings, train_anchored

    settings = read_config(args.config, AnchoredSettings) if args.config else AnchoredSettings()
    settings = settings.model_copy(update=_collect_options(args))
    translator = read_translator()
    _check_modality(args, translator)
    if (privacy := _collect_privacy(args)) is not None:
        from prism_mri.training.private import train_private

        train_private(
            args.prepared,
            args.out,
            settings,
            privacy,
            translator=translator,
            device=args.device,
            report=_say,
        )
        return
    train_anchored(
        args.prepared,
        args.out,
        settings,
        translator=translator,
        seed=args.seed,
        device=args.device,
        resume=args.resume,
        report=_say,
    )


def _train_paper(args: argparse.Namespace) -> None:
    from prism_mri.config import read_config
    from prism_mri.models.translator import read_translator
    from prism_mri.training.paper import PaperSettings, train_paper

    settings = read_config(args.config, PaperSettings) if args.config else PaperSettings()
    settings = settings.model_copy(update=_collect_options(args))
    _check_modality(args, read_translator())
    train_paper(
        args.prepared,
        args.out,
        settings,
        seed=args.seed,
        device=args.device,
        resume=args.resume,
        report=_say,
    )


def _check_modality(args: argparse.Namespace, translator: "Translator") -> None:
    from prism_mri.data.prepared import read_prepared
    from prism_mri.training.modality import check_training_modality

    check_training_modality(
        read_prepared(args.prepared), translator, any_modality=args.any_modality
    )


def _collect_privacy(args: argparse.Namespace) -> "PrivacySettings | None":
    """Return the budget that options give; the noise must not follow from a seed."""
    from pydantic import ValidationError

    from prism_mri.config import describe_validation_error
    from prism_mri.errors import ConfigError
    from prism_mri.training.mechanism import PrivacySettings

    if args.epsilon is None:
        if args.delta is not None:
            raise ConfigError("--delta is of differential privacy: give --epsilon as well")
        return None
    if args.epochs is not None:
        raise ConfigError(
            f"--epochs {args.epochs} does not go with --epsilon: its steps are fixed, leave it out"
        )
    if args.resume:
        raise ConfigError("--resume does not go with --epsilon: train into another folder")
    given = {"epsilon": args.epsilon, "delta": args.delta}
    try:
        return PrivacySettings.model_validate({k: v for k, v in given.items() if v is not None})
    except ValidationError as problem:
        raise ConfigError(f"--{describe_validation_error(problem)}") from problem


def _collect_options(args: argparse.Namespace) -> dict[str, int | str]:
    """Return the settings that options give; they go over the file's."""
    from prism_mri.errors import ConfigError

    if args.recipe != "anchored":
        for option, value in (("--kind", args.kind), ("--epsilon", args.epsilon)):
            if value is not None:
                raise ConfigError(f"{option} {value} is for recipe anchored, got {args.recipe}")
    kind: dict[str, int | str] = {} if args.kind is None else {"kind": args.kind}
    if args.epochs is None:
        return kind
    least = 0 if args.recipe == "anchored" else 1
    if not least <= args.epochs <= _MAX_EPOCHS:
        raise ConfigError(
            f"--epochs must be {least} to {_MAX_EPOCHS} with recipe {args.recipe}, "
            f"got {args.epochs}"
        )
    return {**kind, "epochs": args.epochs}


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
