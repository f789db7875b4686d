"""Progress on stderr, with an estimate of the time left: a bar on a terminal, else plain lines."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tqdm import tqdm

Progress = Callable[[int, int], None]

_PLAIN_LINES = 10


@contextmanager
def show_progress(title: str, unit: str) -> Iterator[Progress]:
    """Yield a function that takes (done, total) and shows it."""
    if not sys.stderr.isatty():
        yield _plain(title, unit)
        return
    with tqdm(desc=title, unit=unit, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


@contextmanager
def show_stages(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that takes (stage, done, total) and shows each stage as it comes."""
    with ExitStack() as stack:
        shown: dict[str, Progress] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in shown:
                shown[stage] = stack.enter_context(show_progress(f"{title}: {stage}", "step"))
            if total and done:
                shown[stage](done, total)

        yield show


def _plain(title: str, unit: str) -> Progress:
    started = time.monotonic()

    def show(done: int, total: int) -> None:
        if done == total or done * _PLAIN_LINES // total != (done - 1) * _PLAIN_LINES // total:
            left = (time.monotonic() - started) / done * (total - done)
            sys.stderr.write(f"{title}: {done} of {total} {unit}s, {left:.0f} s left\n")

    return show
