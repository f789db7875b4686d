"""``prism-mri evaluate``: score harmonization."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from prism_mri.cli.evaluate_paper import add_paper
from prism_mri.cli.parsing import Subparsers, parse_seed
from prism_mri.errors import InputError

if TYPE_CHECKING:
    from prism_mri.card import SiteCard


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score harmonization and write tables",
        description="Score harmonization: 'travelling' needs people who were scanned everywhere, "
        "'reconstruction' a prepared site and its model, 'paper' prepared sites and the target's "
        "card.",
        epilog="For research, not for diagnosis.",
    )
    kinds = parser.add_subparsers(metavar="KIND", dest="kind", required=True)
    _add_travelling(kinds)
    _add_reconstruction(kinds)
    add_paper(kinds)


def run_travelling(args: argparse.Namespace) -> int:
    """Score travelling people, write the results and print the table to stdout."""
    from prism_mri.cli.progress import show_progress
    from prism_mri.evaluate.table import format_table
    from prism_mri.evaluate.travelling import evaluate_travelling
    from prism_mri.models.translator import read_translator

    cards = _read_cards(args)
    with show_progress("evaluate", "pair") as progress:
        results = evaluate_travelling(
            args.dataset,
            cards=cards,
            prepared=_find_prepared(args.prepared),
            anatomy_encoder=read_translator().networks.anatomy_encoder,
            out=args.out,
            seed=args.seed,
            overwrite=args.overwrite,
            progress=progress,
        )
    sys.stdout.write(format_table(results))
    return 0


def run_reconstruction(args: argparse.Namespace) -> int:
    """Score a model on its site's held-out people and print the table to stdout."""
    from prism_mri.cli.progress import show_progress
    from prism_mri.evaluate.reconstruction import evaluate_reconstruction
    from prism_mri.evaluate.reconstruction_results import format_reconstruction
    from prism_mri.models.translator import read_translator

    with show_progress("evaluate", "image") as progress:
        results = evaluate_reconstruction(
            args.prepared,
            args.model,
            translator=read_translator(),
            split=args.split,
            out=args.out,
            overwrite=args.overwrite,
            progress=progress,
        )
    sys.stdout.write(format_reconstruction(results))
    return 0


def _add_reconstruction(kinds: Subparsers) -> None:
    parser = kinds.add_parser(
        "reconstruction",
        help="a model's own site, drawn again",
        description="Encode and decode held-out slices with a model's own networks and compare "
        "them with themselves: SSIM, PSNR and MSE with data range 1, over whole slices with and "
        "without the decoder's own background, and inside the brain; mean and standard deviation "
        "over people. Prints the table; with --out also writes results.json, scores.tsv, "
        "summary.tsv and table.md.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "prepared", metavar="PREPARED", type=Path, help="folder that 'prism-mri prepare' made"
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        type=Path,
        required=True,
        help="folder that 'prism-mri train' made, of either recipe",
    )
    parser.add_argument(
        "--split",
        choices=["auto", "test", "validation"],
        default="auto",
        help="whom to score; auto: test people where there are some, else validation",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder to write results to")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results")
    parser.set_defaults(run=run_reconstruction)


def _add_travelling(kinds: Subparsers) -> None:
    parser = kinds.add_parser(
        "travelling",
        help="people who were scanned on every scanner",
        description="Harmonize every travelling person from every scanner to every site with a "
        "card and compare with the same person under the site's own protocol: not harmonized, "
        "quantile matching, PRISM and the oracle. Writes results.json, scores.tsv, summary.tsv, "
        "table.md and pictures to RESULTS, and the table to stdout.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "dataset", metavar="DATASET", type=Path, help="folder that 'simulate --travelling' wrote"
    )
    parser.add_argument(
        "--card", metavar="SITE.prism", type=Path, nargs="+", required=True, help="site cards"
    )
    parser.add_argument(
        "--prepared",
        metavar="DIR",
        type=Path,
        nargs="+",
        required=True,
        help="the prepared dataset of every card's site, in any order",
    )
    parser.add_argument(
        "--out", metavar="RESULTS", type=Path, required=True, help="folder to write"
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--trust", metavar="FOLDER", type=Path, help="folder of public keys (*.pem)")
    group.add_argument("--allow-unsigned", action="store_true", help="accept cards nobody signed")
    parser.add_argument(
        "--seed", metavar="S", type=parse_seed, default=0, help="of the bootstrap (default: 0)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results")
    parser.set_defaults(run=run_travelling)


def _read_cards(args: argparse.Namespace) -> "Mapping[str, SiteCard]":
    from prism_mri.card import read_card

    cards: dict[str, SiteCard] = {}
    for path in args.card:
        card = read_card(path, trust=args.trust, allow_unsigned=args.allow_unsigned)
        if card.manifest.site in cards:
            raise InputError(
                f"{path} is a second card of {card.manifest.site}; give one card a site"
            )
        cards[card.manifest.site] = card
    return cards


def _find_prepared(folders: list[Path]) -> dict[str, Path]:
    from prism_mri.data.prepared import read_prepared

    found: dict[str, Path] = {}
    for folder in folders:
        site = read_prepared(folder).manifest.site
        if site in found:
            raise InputError(f"{folder} and {found[site]} are both of {site}; give one of them")
        found[site] = folder
    return found
