"""``prism-mri evaluate paper``: the paper's experiments on anyone's sites."""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.parsing import Subparsers, parse_count, parse_seed
from prism_mri.errors import ConfigError


def add_paper(kinds: Subparsers) -> None:
    """Add the kind to ``evaluate``."""
    parser = kinds.add_parser(
        "paper",
        help="the paper's experiments on your sites, with baselines and a verdict",
        description="Harmonize every site's held-out people to the site of the card, by PRISM and "
        "by five simple methods, and ask: did it work, and did it harm anything? Likeness (Table "
        "1), a classifier of site (Table 2), a segmentation network (Table 3), distances of "
        "intensity and style, looks for harm, volumes and their effects, and a verdict a site. "
        "Writes results.json with its schema, tables as TSV, table.md and pictures; prints the "
        "tables. What was computed stays in RESULTS/work: an interrupted run goes on. Needs "
        "pip install 'prism-mri[evaluate]'.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "prepared",
        metavar="PREPARED",
        type=Path,
        nargs="+",
        help="folders that 'prism-mri prepare' made, the target's among them",
    )
    parser.add_argument(
        "--card", metavar="SITE.prism", type=Path, required=True, help="card of the target"
    )
    parser.add_argument(
        "--out", metavar="RESULTS", type=Path, required=True, help="folder to write"
    )
    _add_tables(parser)
    _add_sizes(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--trust", metavar="FOLDER", type=Path, help="folder of public keys (*.pem)")
    group.add_argument("--allow-unsigned", action="store_true", help="accept a card nobody signed")
    parser.add_argument("--seed", metavar="S", type=parse_seed, default=0, help="default: 0")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results")
    parser.set_defaults(run=run_paper)


def run_paper(args: argparse.Namespace) -> int:
    """Evaluate the sites and print the tables to stdout."""
    from prism_mri.card import read_card
    from prism_mri.cli.progress import show_stages
    from prism_mri.evaluate.paper.results import build_settings
    from prism_mri.evaluate.paper.run import EXPERIMENTS, PaperInputs, evaluate_paper
    from prism_mri.evaluate.paper.table import format_paper
    from prism_mri.models.translator import read_translator

    inputs = PaperInputs(
        prepared=tuple(args.prepared),
        models=tuple(args.model),
        participants=_read_pairs(args.participants),
        travelling=args.travelling,
        experiments=tuple(one for one in EXPERIMENTS if one not in args.skip),
    )
    settings = build_settings(
        seed=args.seed,
        runs=args.runs,
        slices=args.slices,
        classifier_steps=args.classifier_steps,
        classifier_size=args.classifier_size,
        segmenter_steps=args.segmenter_steps,
        covariate=args.covariate,
    )
    card = read_card(args.card, trust=args.trust, allow_unsigned=args.allow_unsigned)
    with show_stages("evaluate") as progress:
        results = evaluate_paper(
            inputs,
            card,
            read_translator(),
            args.out,
            settings=settings,
            overwrite=args.overwrite,
            progress=progress,
        )
    sys.stdout.write(format_paper(results))
    return 0


def _add_tables(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="MODEL",
        type=Path,
        nargs="+",
        default=[],
        help="models of other sites, whose reconstruction of their own people goes into Table 1",
    )
    parser.add_argument(
        "--participants",
        metavar="SITE=FILE",
        nargs="+",
        default=[],
        help="participants.tsv of sites, for --covariate",
    )
    parser.add_argument(
        "--covariate",
        metavar="COLUMN",
        help="age, for instance, or a group of two: its effect on volumes, before and after",
    )
    parser.add_argument(
        "--travelling",
        metavar="TSV",
        type=Path,
        help="columns person, site, subject: people who were scanned at several sites",
    )
    parser.add_argument(
        "--skip",
        choices=["recall", "segmentation"],
        nargs="+",
        default=[],
        help="leave out Table 2, or Table 3 with volumes and effects",
    )


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    sizes = (
        ("--runs", 5, "networks of Tables 2 and 3 are trained so many times"),
        ("--slices", 8, "slices of an image that networks and distances look at"),
        ("--classifier-steps", 100, "training steps of a classifier, 16 slices each"),
        ("--classifier-size", 96, "slices are averaged to so many pixels a side for it"),
        ("--segmenter-steps", 300, "training steps of a segmentation network, 8 windows each"),
    )
    for name, default, text in sizes:
        parser.add_argument(
            name,
            metavar="N",
            type=parse_count,
            default=default,
            help=f"{text} (default: {default})",
        )


def _read_pairs(texts: list[str]) -> dict[str, Path]:
    pairs: dict[str, Path] = {}
    for text in texts:
        site, separator, path = text.partition("=")
        if not separator or not site or not path or site in pairs:
            raise ConfigError(f"--participants got {text!r}: give SITE=FILE, every site once")
        pairs[site] = Path(path)
    return pairs
