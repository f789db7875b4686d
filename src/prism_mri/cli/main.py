"""``prism-mri``: argument parsing, logging, exit codes.

Nothing heavy is imported before a command runs.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence

from prism_mri import __version__
from prism_mri.cli import (
    audit,
    bids,
    demo,
    evaluate,
    harmonize,
    inspect,
    keygen,
    prepare,
    publish,
    report,
    reproduce,
    simulate,
    train,
)
from prism_mri.errors import PartialFailure, PrismError
from prism_mri.files import explain_os_error

_COMMANDS = (
    demo,
    simulate,
    prepare,
    train,
    audit,
    keygen,
    publish,
    inspect,
    harmonize,
    bids,
    evaluate,
    report,
    reproduce,
)

EXIT_INPUT, EXIT_PARTIAL, EXIT_INTERRUPTED = 1, 3, 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="prism-mri",
        description="Harmonize structural brain MRI across hospitals without sharing images.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument("--version", action="version", version=f"prism-mri {__version__}")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say more, and show tracebacks"
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 1 the input is wrong; 3 some inputs failed and the others are written; 130
        interrupted. argparse itself exits with 2 on wrong usage.
    """
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(levelname)s: %(message)s" if arguments.verbose else "%(message)s",
        stream=sys.stderr,
        force=True,
    )
    for name in ("matplotlib", "PIL"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A scheduler's time limit ends a run as cleanly as the keyboard does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status: int = arguments.run(arguments)
    except PartialFailure as outcome:
        sys.stdout.writelines(f"{path}\n" for path in outcome.written)
        for failure in outcome.failures:
            sys.stderr.write(f"failed: {failure}\n")
        sys.stderr.write(f"prism-mri: {outcome}\n")
        return EXIT_PARTIAL
    except PrismError as error:
        if arguments.verbose:
            logging.getLogger(__name__).exception("traceback")
        sys.stderr.write(f"prism-mri: error: {error}\n")
        return EXIT_INPUT
    except OSError as error:
        # What a library call met outside our own readers and writers.
        name = f"cannot use {error.filename}: " if error.filename else ""
        sys.stderr.write(f"prism-mri: error: {name}{explain_os_error(error)}\n")
        return EXIT_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("prism-mri: interrupted\n")
        return EXIT_INTERRUPTED
    return status


if __name__ == "__main__":
    sys.exit(main())
