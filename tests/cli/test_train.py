"""``prism-mri train`` on the command line: a model, its path, and going on."""

import json

import pytest

from prism_mri.models.site_model import read_model

RECIPE = "batch = 2\ncrop = 32\nmax_steps_per_epoch = 1\nperceptual_images = 1\n"


@pytest.fixture
def prepared(command, write, tmp_path):
    for person in range(2):
        write(tmp_path / "raw" / f"p{person}.nii.gz", seed=person)
    assert command("prepare", tmp_path / "raw", tmp_path / "site", "--site", "hh").code == 0
    return tmp_path / "site"


def test_a_model_is_trained_and_its_path_stands_alone_on_stdout(command, prepared, tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    options = ("--config", tmp_path / "recipe.toml", "--epochs", 1, "--seed", 5)
    model = tmp_path / "model"
    result = command("train", prepared, "--out", model, *options)
    assert (result.code, result.out) == (0, f"{model}\n")
    lines = result.err.splitlines()
    assert lines[0].startswith("before training: score ")
    assert lines[1].startswith("epoch 1/1: l1 ")
    description, _ = read_model(model)
    assert (description.site, description.people, description.training.seed) == ("hh", 2, 5)
    config = json.loads((model / "config.json").read_text())
    assert config["anchored"]["crop"] == 32
    assert (config["loop"]["epochs"], config["loop"]["steps_per_epoch"]) == (1, 1)

    again = command("train", prepared, "--out", model, *options)
    assert again.code == 1
    assert f"{model} holds a model already" in again.err
    assert command("train", prepared, "--out", model, *options, "--resume").code == 0
    other = command("train", prepared, "--out", model, *options[:2], "--epochs", 2, "--resume")
    assert other.code == 1
    assert "written under other settings or data" in other.err


def test_recipe_paper_takes_its_own_settings(command, prepared, tmp_path):
    (tmp_path / "recipe.toml").write_text(
        "batch = 2\ncrop = 32\nmax_steps_per_epoch = 1\npatches = 4\ngammas = [0.7]\n"
    )
    options = ("--recipe", "paper", "--config", tmp_path / "recipe.toml", "--epochs", 1)
    model = tmp_path / "model"
    result = command("train", prepared, "--out", model, *options, "--seed", 5)
    assert (result.code, result.out) == (0, f"{model}\n")
    assert " nce " in result.err.splitlines()[1]
    description, _ = read_model(model)
    assert (description.recipe, description.site, description.training.seed) == ("paper", "hh", 5)
    config = json.loads((model / "config.json").read_text())
    assert (config["paper"]["gammas"], config["loop"]["epochs"]) == ([0.7], 1)

    card = tmp_path / "hh.prism"
    assert command("publish", model, "--out", card, "--local-only").code == 0
    inspected = command("inspect", card)
    assert inspected.code == 0
    assert "recipe           paper\n" in inspected.out

    anchored = command("train", prepared, "--out", tmp_path / "other", *options[2:])
    assert anchored.code == 1
    assert "patches: Extra inputs are not permitted" in anchored.err


def test_epsilon_is_written_into_the_card(command, prepared, tmp_path):
    model, card = tmp_path / "model", tmp_path / "hh.prism"
    options = ("--kind", "style", "--epsilon", 8, "--any-modality")
    result = command("train", prepared, "--out", model, *options)
    assert (result.code, result.out) == (0, f"{model}\n")
    assert "released with ε = 8, δ = 1e-05, for every person of 1" in result.err
    assert command("publish", model, "--out", card, "--local-only").code == 0
    shown = command("inspect", card).out
    assert "ε = 8, δ = 1e-05, for every person of 1 (opacus " in shown
    assert "not stated" in shown
    assert "1.0 = 1000 units" in shown


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--epsilon", 0), "--epsilon: Input should be greater than or equal to 0.01"),
        (("--epsilon", 8, "--delta", 1), "--delta: Input should be less than 0.5"),
        (("--delta", 1e-5), "--delta is of differential privacy: give --epsilon"),
        (("--epsilon", 8), "is for --kind style and --kind adapter"),
        (("--epsilon", 8, "--kind", "style", "--resume"), "--resume does not go with --epsilon"),
        (("--epsilon", 8, "--recipe", "paper"), "--epsilon 8.0 is for recipe anchored"),
    ],
)
def test_impossible_budgets_are_refused(command, prepared, tmp_path, options, complaint):
    result = command("train", prepared, "--out", tmp_path / "model", "--any-modality", *options)
    assert result.code == 1
    assert complaint in result.err
    assert not (tmp_path / "model").exists()
