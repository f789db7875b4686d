"""A checkpoint gives everything back, is never a pickle, and is whole or not there."""

import os
import pickle
from types import SimpleNamespace

import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

from prism_mri.errors import InputError
from prism_mri.training.checkpoint import read_checkpoint, write_checkpoint


def make_run(*, width=3, seed=0):
    """Return a network, its optimizer and its source of randomness."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    return SimpleNamespace(
        modules={"module": network},
        optimizer=optimizer,
        generator=torch.Generator().manual_seed(seed),
    )


def take_steps(run, steps):
    """Train, and return the loss of the last step."""
    for _ in range(steps):
        x = torch.randn(4, 2, generator=run.generator)
        loss = (run.modules["module"](x) - x.sum(1, keepdim=True)).square().mean()
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
    return loss.item()


def save(path, run, **progress):
    write_checkpoint(path, **vars(run), progress=progress)


@pytest.fixture
def path(tmp_path):
    """A checkpoint after three steps."""
    run = make_run()
    take_steps(run, 3)
    save(tmp_path / "last.safetensors", run, epoch=3)
    return tmp_path / "last.safetensors"


def test_the_next_steps_are_those_that_would_have_come(tmp_path):
    first = make_run()
    take_steps(first, 3)
    score = 0.1 + 0.2
    save(tmp_path / "c", first, epoch=3, best_score=score, configuration="ab")
    second = make_run(seed=9)
    progress = read_checkpoint(tmp_path / "c", **vars(second))
    assert progress == {"epoch": 3, "best_score": score, "configuration": "ab"}
    assert take_steps(second, 4) == take_steps(first, 4)
    ours, theirs = (run.modules["module"].state_dict() for run in (first, second))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for before, after in zip(
        first.optimizer.state.values(), second.optimizer.state.values(), strict=True
    ):
        assert before["step"].item() == after["step"].item() == 7
        assert torch.equal(before["exp_avg_sq"], after["exp_avg_sq"])


def test_writing_changes_nothing_and_gives_the_same_bytes(path, tmp_path):
    run = make_run()
    take_steps(run, 3)
    save(tmp_path / "again", run, epoch=3)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    uninterrupted = make_run()
    assert take_steps(run, 2) == take_steps(uninterrupted, 5)


def test_the_state_before_the_first_step_comes_back(tmp_path):
    save(tmp_path / "c", make_run(seed=4), epoch=0)
    run = make_run(seed=5)
    assert read_checkpoint(tmp_path / "c", **vars(run)) == {"epoch": 0}
    assert take_steps(run, 1) == take_steps(make_run(seed=4), 1)


def test_it_is_safetensors_and_holds_tensors_by_name(path):
    with safetensors.safe_open(str(path), framework="pt") as stored:
        names = set(stored.keys())
    assert {"module/0.weight", "module/1.running_mean", "generator"} <= names
    assert {"optimizer/0/exp_avg", "optimizer/0/exp_avg_sq", "optimizer/0/step"} <= names


class Payload:
    """Tells when it is unpickled."""

    ran = False

    def __reduce__(self):
        return (setattr, (Payload, "ran", True))


def save_pickle(what, path):
    path.write_bytes(pickle.dumps(what))


@pytest.mark.parametrize("write", [torch.save, save_pickle])
def test_a_pickle_is_refused_and_not_run(tmp_path, write):
    write({"state": Payload()}, tmp_path / "c")
    with pytest.raises(InputError, match=r"cannot resume from .*/c: .*: train anew"):
        read_checkpoint(tmp_path / "c", **vars(make_run()))
    assert not Payload.ran


def drop(content, *names):
    """Return the checkpoint without some tensors, its metadata kept."""
    tensors = safetensors.torch.load(content)
    kept = {name: value for name, value in tensors.items() if name not in names}
    return safetensors.torch.save(kept, {"state": "{}"})


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[:5],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content[:8] + b"x" + content[9:],
        lambda content: safetensors.torch.save(safetensors.torch.load(content)),
        lambda content: safetensors.torch.save(safetensors.torch.load(content), {"state": "{"}),
        lambda content: drop(content, "generator"),
        lambda content: drop(content, "module/0.weight"),
        lambda content: safetensors.torch.save(
            safetensors.torch.load(content) | {"generator": torch.zeros(3)}, {"state": "{}"}
        ),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_name(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"cannot resume from .*last\.safetensors") as caught:
        read_checkpoint(path, **vars(make_run()))
    assert str(caught.value).endswith(": train anew without --resume")
    assert "\n" not in str(caught.value)


def test_other_networks_and_missing_files_are_refused(path, tmp_path):
    with pytest.raises(InputError, match=r"cannot resume from .*last\.safetensors.*train anew"):
        read_checkpoint(path, **vars(make_run(width=4)))
    with pytest.raises(InputError, match=r"cannot resume from .*none.*train anew"):
        read_checkpoint(tmp_path / "none", **vars(make_run()))


def test_a_write_that_fails_leaves_the_checkpoint_before(path, monkeypatch):
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="the disk is full"):
        save(path, make_run(), epoch=4)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
