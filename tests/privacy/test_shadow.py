"""Likelihood ratios from shadow models: the statistics, who is inside, and going on."""

import dataclasses
import json

import numpy as np
import pytest

from prism_mri.cli.main import main
from prism_mri.data.prepared import read_prepared
from prism_mri.errors import ConfigError, InputError
from prism_mri.models.site_model import read_model
from prism_mri.privacy.audit import audit_model
from prism_mri.privacy.membership import compute_auc
from prism_mri.privacy.people import group_people
from prism_mri.privacy.shadow import (
    ATTACK_NAME,
    FOLDER_NAME,
    Shadows,
    compute_likelihood_ratios,
    read_shadow_settings,
    score_shadows,
    split_people,
)


def test_everybody_is_inside_half_of_the_models():
    inside = split_people(11, 8, seed=0)
    assert inside.shape == (8, 11)
    assert inside.sum(axis=0).tolist() == [4] * 11
    assert sorted(set(inside.sum(axis=1).tolist())) == [5, 6]
    assert (split_people(11, 8, seed=0) == inside).all()
    assert (split_people(11, 8, seed=1) != inside).any()


def test_ratios_are_those_of_two_normal_distributions():
    """By hand: means 1 and 0, one variance, residuals of ±0.5 (standard deviation 0.5)."""
    scores = np.array([[1.5], [0.5], [0.5], [-0.5]])
    inside = np.array([[True], [True], [False], [False]])
    for value in (1.0, 0.0, 0.5):
        expected = (-((value - 1) ** 2) + value**2) / (2 * 0.5**2)
        ratio = compute_likelihood_ratios(np.array([value]), scores, inside)
        assert ratio == pytest.approx([expected])


def test_ratios_find_members_where_people_differ_more_than_membership_does():
    """How hard people are to draw hides who was trained on; each one's own models do not."""
    numbers = np.random.default_rng(0)
    hardness = numbers.normal(0, 3, 60)
    inside = split_people(60, 16, seed=0)
    scores = hardness + inside + numbers.normal(0, 0.3, inside.shape)
    member = np.arange(60) < 20
    target = hardness + member + numbers.normal(0, 0.3, 60)
    ratios = compute_likelihood_ratios(target, scores, inside)
    assert compute_auc(ratios[member], ratios[~member]) > 0.95
    assert compute_auc(target[member], target[~member]) < 0.75


def test_ratios_find_nobody_where_training_leaves_no_trace():
    numbers = np.random.default_rng(1)
    hardness = numbers.normal(0, 3, 200)
    inside = split_people(200, 16, seed=0)
    scores = hardness + numbers.normal(0, 0.3, inside.shape)
    target = hardness + numbers.normal(0, 0.3, 200)
    ratios = compute_likelihood_ratios(target, scores, inside)
    assert 0.4 < compute_auc(ratios[:100], ratios[100:]) < 0.6


@pytest.fixture
def shadows(make_model, prepared, strangers, translator):
    """Of a model of kind adapter, with people of two datasets."""
    model = make_model(kind="adapter")
    people = group_people(read_prepared(prepared).items) + group_people(
        read_prepared(strangers).items
    )
    settings = read_shadow_settings(model)
    return model, Shadows(read_prepared(prepared), people, *settings, translator)


def test_a_shadow_is_trained_on_whom_it_should_be(shadows, tmp_path):
    model, plan = shadows
    inside = np.zeros(len(plan.people), bool)
    inside[[0, 2, 7]] = True
    plan.train(inside, tmp_path / "shadow", seed=3)
    description, _ = read_model(tmp_path / "shadow")
    assert (description.kind, description.people, description.images) == ("adapter", 4, 4)
    data = json.loads((tmp_path / "shadow" / "config.json").read_text())["data"]
    trained = {entry["subject"] for entry in data["images"] if entry["train_slices"]}
    assert trained == {"0", "2", "7"}
    own = json.loads((model / "config.json").read_text())
    shadow = json.loads((tmp_path / "shadow" / "config.json").read_text())
    assert own["anchored"] == shadow["anchored"]


def test_an_interrupted_audit_goes_on(shadows):
    model, plan = shadows
    calls = []

    def statistic(folder):
        calls.append(folder)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return np.arange(len(plan.people), dtype=np.float64) + len(calls)

    def score():
        return score_shadows(model, plan, 3, statistic, seed=0, progress=lambda _done: None)

    with pytest.raises(KeyboardInterrupt):
        score()
    assert len(list((model / FOLDER_NAME).iterdir())) == 1
    scores, inside = score()
    assert len(calls) == 4  # one that held, one cut short, two more
    assert scores[:, 0].tolist() == [1, 3, 4]
    assert inside.shape == (3, len(plan.people))
    again, _ = score()
    assert len(calls) == 4
    assert (again == scores).all()
    # A damaged file is computed again, and so is what was kept of other people or settings.
    next(iter(sorted((model / FOLDER_NAME).iterdir()))).write_text('{"x')
    score()
    assert len(calls) == 5
    plan = dataclasses.replace(plan, anchored=plan.anchored.model_copy(update={"batch": 3}))
    score()
    assert len(calls) == 8


def test_audit_adds_the_attack_to_what_was_trained(make_model, prepared, strangers, translator):
    model = make_model(kind="adapter")
    results = audit_model(model, prepared, [strangers], translator=translator, shadow_models=8)
    names = [[leak.attack for leak in audit.leaks] for audit in results.kinds]
    assert names[0][-1] == ATTACK_NAME
    assert ATTACK_NAME not in names[1]
    assert len(list((model / FOLDER_NAME).iterdir())) == 8
    assert "secret" not in "".join(p.read_text() for p in (model / FOLDER_NAME).iterdir())


def test_too_few_shadow_models_are_refused(make_model, prepared, strangers, translator, capsys):
    model = make_model(kind="style")
    with pytest.raises(ConfigError, match="3 shadow models say nothing"):
        audit_model(model, prepared, [strangers], translator=translator, shadow_models=3)
    arguments = ["audit", str(model), "--data", str(prepared), "--shadow-models", "-1"]
    assert main(arguments) == 1
    assert "-1 shadow models say nothing" in capsys.readouterr().err


def test_a_model_that_does_not_say_how_it_was_trained(make_model):
    model = make_model(kind="style")
    (model / "config.json").write_text("{}")
    with pytest.raises(InputError, match="does not say how the model was trained"):
        read_shadow_settings(model)
