"""Who does the work: this process, or several beside it; the results are the same bytes."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import SimpleITK
import torch

from prism_mri.app.person import Outcome, Person, Places, harmonize_person
from prism_mri.card import read_card
from prism_mri.harmonize import HarmonizeOptions, Networks, gather_networks
from prism_mri.models.translator import read_translator

Labour = Callable[[Sequence[Person], bool], Iterator[tuple[Person, Outcome | None]]]
"""People, and whether to wait for those whom others have → what became of each, as it comes."""

AS_USUAL = HarmonizeOptions()


@dataclass(frozen=True)
class Recipe:
    """What a process needs to read the networks for itself.

    Attributes:
        card: the target's site card.
        trust: folder of public keys.
        allow_unsigned: accept a card that nobody vouches for.
        model: this site's own.
        options: how to harmonize.
    """

    card: Path
    trust: Path | None = None
    allow_unsigned: bool = False
    model: Path | None = None
    options: HarmonizeOptions = AS_USUAL


def read_networks(recipe: Recipe) -> Networks:
    """Return what images go through.

    Raises:
        CardError: the card is refused, or does not fit.
        InputError: card or model cannot be read.
    """
    card = read_card(recipe.card, trust=recipe.trust, allow_unsigned=recipe.allow_unsigned)
    return gather_networks(card, read_translator(), recipe.model, recipe.options)


@contextmanager
def hire(n_procs: int, recipe: Recipe, networks: Networks, places: Places) -> Iterator[Labour]:
    """Yield what puts people through the networks, in one process or several.

    Each uses one thread: sums in the same order give the same bytes however many there are.

    Args:
        n_procs: processes; 1 for this one.
        recipe: what others read the networks by.
        networks: this process's own.
        places: where from and where to.
    """
    if n_procs == 1:
        with _one_thread():
            yield lambda people, wait: (
                (one, harmonize_person(one, places, networks, recipe.options, wait=wait))
                for one in people
            )
        return
    executor = ProcessPoolExecutor(
        n_procs, multiprocessing.get_context("spawn"), _start, (recipe, places)
    )
    try:
        yield lambda people, wait: _share_out(executor, people, wait)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        executor.shutdown()


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads(), SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    _set_threads(1, 1)
    try:
        yield
    finally:
        _set_threads(*before)


def _set_threads(torch_threads: int, itk_threads: int) -> None:
    torch.set_num_threads(torch_threads)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(itk_threads)


def _share_out(
    executor: ProcessPoolExecutor, people: Sequence[Person], wait: bool
) -> Iterator[tuple[Person, Outcome | None]]:
    futures: dict[Future[Outcome | None], Person] = {}
    for number, person in enumerate(people):
        try:
            futures[executor.submit(_work, person, wait)] = person
        except BrokenProcessPool:
            yield from ((one, _tell_death(one)) for one in people[number:])
            break
    for future in as_completed(futures):
        try:
            yield futures[future], future.result()
        except BrokenProcessPool:
            yield futures[future], _tell_death(futures[future])


def _tell_death(person: Person) -> Outcome:
    line = "not harmonized, since a process ended early (memory?): run again with fewer --n-procs"
    return Outcome(failures=tuple(f"{image}: {line}" for image in person.images))


# --- in the other processes -----------------------------------------------------------------------

_HELD: dict[str, tuple[Recipe, Places, Networks]] = {}
_AT_WORK = threading.Event()
_ENDED = 128 + signal.SIGTERM


def _start(recipe: Recipe, places: Places) -> None:
    """Read the networks; end with the process that started this one, or when it says so."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    logging.getLogger().addHandler(logging.NullHandler())
    _set_threads(1, 1)
    _HELD["run"] = (recipe, places, read_networks(recipe))


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _stop(_number: int, _frame: FrameType | None) -> None:
    """Unwind from a person, so that temporary files are removed; else there is nothing to tidy."""
    if _AT_WORK.is_set():
        raise SystemExit(_ENDED)
    os._exit(_ENDED)


def _work(person: Person, wait: bool) -> Outcome | None:
    recipe, places, networks = _HELD["run"]
    try:
        try:
            _AT_WORK.set()
            return harmonize_person(person, places, networks, recipe.options, wait=wait)
        finally:
            _AT_WORK.clear()
    except SystemExit:
        # The pool would take it for this person's result, and wait for more work for ever.
        os._exit(_ENDED)
