"""The loop: it learns, keeps the best, stops, and goes on as if nothing had interrupted it."""

import json
import math
import runpy
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from prism_mri.errors import ConfigError, InputError
from prism_mri.training import loop
from prism_mri.training.loop import (
    LoopSettings,
    Recipe,
    gains_from_bfloat16,
    one_cycle,
    run_loop,
    select_device,
)

SCRIPT = Path(__file__).with_name("tiny_run.py")
TARGET = torch.tensor([[1.0, -2.0, 0.5]])


class LinearRecipe(Recipe):
    """Finds three numbers; scores are scripted where given."""

    def __init__(self, scores=None, losses=None):
        torch.manual_seed(0)
        self.module = nn.Linear(3, 1, bias=False)
        self._scores = None if scores is None else iter(scores)
        self._losses = None if losses is None else iter(losses)

    def compute_losses(self, generator):
        x = torch.randn(8, 3, generator=generator)
        factor = 1.0 if self._losses is None else next(self._losses)
        return {"fit": factor * functional.mse_loss(self.module(x), x @ TARGET.T)}

    @torch.no_grad()
    def validate(self, module):
        if self._scores is not None:
            return next(self._scores)
        return -float((module.weight - TARGET).square().mean())


def settings(**changes):
    values = {"epochs": 4, "steps_per_epoch": 25, "learning_rate": 0.1, "patience": 100}
    return LoopSettings(**(values | {"weight_averaging": 0.8, "bfloat16": "off"} | changes))


def read_log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def train(tmp_path):
    """Train a linear model; return outcome, saved (epoch, score, weight), and reported lines."""

    def run(recipe, **changes):
        saved, lines = [], []
        outcome = run_loop(
            recipe,
            settings(**changes),
            tmp_path / "run",
            save_best=lambda module, epoch, score: saved.append(
                (epoch, score, module.weight.detach().clone())
            ),
            report=lines.append,
        )
        return SimpleNamespace(outcome=outcome, saved=saved, lines=lines, folder=tmp_path / "run")

    return run


# --- learning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bfloat16", ["off", "on"])
def test_the_loss_falls_and_the_numbers_are_found(train, bfloat16):
    run = train(LinearRecipe(), bfloat16=bfloat16)
    losses = [entry["fit"] for entry in read_log(run.folder)]
    assert losses[-1] < 0.02 * losses[0]
    epoch, score, weight = run.saved[-1]
    torch.testing.assert_close(weight, TARGET, atol=0.05, rtol=0)
    assert (run.outcome.best_epoch, run.outcome.best_score) == (epoch, score)
    assert (run.outcome.epochs, run.outcome.steps) == (4, 100)


def test_what_is_kept_is_a_moving_average_whose_decay_grows_to_its_limit(tmp_path):
    recipe, weights, kept = LinearRecipe(), [], []
    recipe.compute_losses = lambda _: (
        weights.append(recipe.module.weight.detach().clone())
        or {"fit": (recipe.module.weight - TARGET).square().sum()}
    )
    run_loop(
        recipe,
        settings(epochs=1, steps_per_epoch=3, weight_averaging=0.2),
        tmp_path,
        save_best=lambda module, *_: kept.append(module.weight.detach().clone()),
        report=lambda _: None,
    )
    after = [*weights[1:], recipe.module.weight.detach()]
    expected = after[0]
    for decay, weight in zip((2 / 11, 0.2), after[1:], strict=True):
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(kept[0], weights[0])
    torch.testing.assert_close(kept[-1], expected)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(train):
    first = train(LinearRecipe(), seed=1).saved[-1][2]
    assert torch.equal(first, train(LinearRecipe(), seed=1).saved[-1][2])
    assert not torch.equal(first, train(LinearRecipe(), seed=2).saved[-1][2])


# --- best, early stopping, what is left -----------------------------------------------------------


def test_every_better_score_is_kept_and_the_start_is_a_candidate(train):
    run = train(LinearRecipe(scores=[0.5, 0.4, 0.7, 0.6, 0.7]))
    assert [epoch for epoch, _, _ in run.saved] == [0, 2]
    assert (run.outcome.best_epoch, run.outcome.best_score, run.outcome.epochs) == (2, 0.7, 4)


def test_training_that_only_harms_leaves_the_start(train):
    start = LinearRecipe().module.weight.detach().clone()
    run = train(LinearRecipe(scores=[0.9, 0.8, 0.7, 0.6, 0.5]))
    assert [epoch for epoch, _, _ in run.saved] == [0]
    assert torch.equal(run.saved[0][2], start)
    assert (run.outcome.best_epoch, run.outcome.best_score) == (0, 0.9)


def test_stops_after_as_many_epochs_without_gain_as_patience_allows(train):
    run = train(LinearRecipe(scores=[0.5, 0.6, 0.6, 0.3]), epochs=50, patience=2)
    assert (run.outcome.epochs, run.outcome.steps, run.outcome.best_epoch) == (3, 75, 1)
    assert [entry["epoch"] for entry in read_log(run.folder)] == [1, 2, 3]


def test_stops_with_the_epoch_whose_score_is_good_enough(train):
    run = train(LinearRecipe(scores=[0.5, 0.6, 0.75, 0.9]), stop_at_score=0.75)
    assert (run.outcome.epochs, run.outcome.best_epoch, run.outcome.best_score) == (2, 2, 0.75)
    assert [epoch for epoch, _, _ in run.saved] == [0, 1, 2]


def test_a_start_that_is_good_enough_is_not_trained(train):
    run = train(LinearRecipe(scores=[0.8]), stop_at_score=0.75)
    assert (run.outcome.epochs, run.outcome.steps, run.outcome.best_score) == (0, 0, 0.8)


def test_configuration_and_log_are_left_and_every_epoch_is_reported(train):
    run = train(LinearRecipe(scores=[0.25, 0.5, 0.125]), epochs=2)
    config = json.loads((run.folder / "config.json").read_text())
    assert config["loop"] == settings(epochs=2).model_dump()
    assert [entry["score"] for entry in read_log(run.folder)] == [0.5, 0.125]
    assert run.lines[0] == "before training: score 0.2500"
    fit = read_log(run.folder)[0]["fit"]
    assert run.lines[1].startswith(f"epoch 1/2: fit {fit:.4f} | score 0.5000 * | ")
    assert run.lines[2].startswith("epoch 2/2: fit ")
    assert run.lines[2].endswith(" | score 0.1250 | 0 s left")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run_and_spares_the_checkpoint(train, tmp_path, bad):
    losses = [1.0] * 30 + [bad] * 30
    with pytest.raises(InputError, match=r"no longer finite in epoch 2: lower the learning rate"):
        train(LinearRecipe(losses=losses))
    assert [entry["epoch"] for entry in read_log(tmp_path / "run")] == [1]
    stored = safetensors.torch.load_file(tmp_path / "run" / "last.safetensors")
    assert stored["module/weight"].isfinite().all()


# --- learning rate and device ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "total", "factor"),
    [(0, 21, 0.04), (3, 21, 1.0), (20, 21, 1e-3), (3, 41, 0.52), (23, 41, 0.5005), (0, 1, 0.04)],
)
def test_one_cycle_rises_for_15_percent_and_falls_to_a_thousandth(step, total, factor):
    assert one_cycle(step, total) == pytest.approx(factor, rel=1e-9)


def test_one_cycle_never_leaves_its_range():
    factors = [one_cycle(step, 77) for step in range(77)]
    assert max(factors) <= 1.0
    assert min(factors) == pytest.approx(1e-3)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_the_rate_follows_the_cycle_over_all_epochs(train, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step

    def note(self, *args):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", note)
    train(LinearRecipe(), epochs=2, steps_per_epoch=3, learning_rate=0.5)
    assert rates == pytest.approx([0.5 * one_cycle(index, 6) for index in range(6)])


def test_devices_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("auto") == select_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"no GPU is usable: use --device auto or cpu"):
        select_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert select_device("auto") == select_device("cuda") == torch.device("cuda")


@pytest.mark.parametrize(
    ("capabilities", "gains"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512": True}, False)],
)
def test_bfloat16_is_used_where_the_processor_multiplies_it(monkeypatch, capabilities, gains):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert gains_from_bfloat16(torch.device("cpu")) is gains


# --- going on after an interruption ---------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


@pytest.fixture(scope="module")
def at_once(tiny, tmp_path_factory):
    """Files of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("once")
    tiny.run(folder)
    return read_files(folder)


def read_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def raise_at(number):
    """Return a hook that interrupts at its n-th call."""
    calls = count(1)

    def hook(*_):
        if next(calls) == number:
            raise KeyboardInterrupt

    return hook


@pytest.mark.parametrize(
    ("hook", "number"),
    [
        *(("on_step", number) for number in (1, 5, 12)),
        *(("on_validate", number) for number in (1, 3)),
        *(("report", number) for number in (1, 2, 3, 5)),
    ],
)
def test_an_interrupted_run_goes_on_bit_for_bit(tiny, at_once, tmp_path, hook, number):
    with pytest.raises(KeyboardInterrupt):
        tiny.run(tmp_path, **{hook: raise_at(number)})
    outcome = tiny.run(tmp_path, resume=True)
    assert read_files(tmp_path) == at_once
    assert (outcome.epochs, outcome.steps) == (4, 12)


@pytest.mark.parametrize(
    ("name", "number"),
    [("write_checkpoint", 1), ("write_checkpoint", 3), ("write_whole", 1), ("write_whole", 3)],
)
def test_an_interruption_between_two_writes_is_made_good(
    tiny, at_once, tmp_path, monkeypatch, name, number
):
    with monkeypatch.context() as patch:
        patch.setattr(loop, name, make_failing(getattr(loop, name), number))
        with pytest.raises(KeyboardInterrupt):
            tiny.run(tmp_path)
    tiny.run(tmp_path, resume=True)
    assert read_files(tmp_path) == at_once


def make_failing(function, number):
    hook = raise_at(number)

    def call(*args, **options):
        hook()
        return function(*args, **options)

    return call


def test_a_line_that_was_cut_short_is_not_left_in_the_log(tiny, at_once, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tiny.run(tmp_path, report=raise_at(3))
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"epoch": 3, "sc')
    tiny.run(tmp_path, resume=True)
    assert read_files(tmp_path) == at_once


def test_resuming_what_is_finished_changes_nothing(tiny, at_once, tmp_path):
    tiny.run(tmp_path)
    outcome = tiny.run(tmp_path, resume=True, on_step=pytest.fail)
    assert read_files(tmp_path) == at_once
    assert outcome.epochs == 4


def test_resuming_what_has_stopped_early_stays_stopped(tmp_path):
    def run(scores, **more):
        recipe = LinearRecipe(scores=scores)
        options = {"save_best": lambda *_: None, "report": lambda _: None}
        return run_loop(recipe, settings(epochs=9, patience=2), tmp_path, **options, **more)

    first = run([0.5, 0.4, 0.3])
    assert first.epochs == 2
    assert run([], resume=True) == first


def test_a_run_under_other_settings_is_not_resumed(tiny, tmp_path):
    tiny.run(tmp_path, epochs=2)
    before = read_files(tmp_path)
    for change in ({"learning_rate": 0.02}, {"seed": 5}, {"epochs": 3}):
        with pytest.raises(InputError, match="under other settings or data: use the same, or"):
            tiny.run(tmp_path, resume=True, **({"epochs": 2} | change))
    assert read_files(tmp_path) == before


def test_a_new_run_does_not_leave_an_old_checkpoint_to_be_resumed(tiny, at_once, tmp_path):
    tiny.run(tmp_path, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        tiny.run(tmp_path, on_step=raise_at(2))
    tiny.run(tmp_path, resume=True)
    assert read_files(tmp_path) == at_once


def test_a_run_that_is_killed_goes_on_bit_for_bit(tiny, tmp_path):
    epochs = 30
    tiny.run(tmp_path / "once", epochs=epochs)
    moments = np.random.default_rng(11)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "killed"), str(epochs)]
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(moments.integers(2, 8)):
                process.stdout.readline()
            time.sleep(moments.uniform(0, 0.03))
            process.kill()
        assert process.returncode == -signal.SIGKILL, "it must not end before it is killed"
    tiny.run(tmp_path / "killed", resume=True, epochs=epochs)
    for rest in (tmp_path / "killed").glob(".*.part"):
        rest.unlink()  # a killed write leaves its temporary file, which nobody reads
    assert read_files(tmp_path / "killed") == read_files(tmp_path / "once")
