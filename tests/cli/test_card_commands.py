"""keygen, publish and inspect on the command line."""

import argparse
import shutil
import stat
import subprocess
import sys

import pytest
import torch

from prism_mri.cli import inspect, keygen, publish
from prism_mri.config import PreprocessingContract
from prism_mri.errors import InputError, PrivacyError, SignatureError
from prism_mri.models.site_model import ModelDescription, TrainingSummary, write_model
from prism_mri.networks.registry import (
    AnatomyEncoderSpec,
    DecoderSpec,
    StyleEncoderSpec,
    build_decoder,
    build_style_encoder,
)


@pytest.fixture
def run_command(capsys):
    """Parse and run one command; return what it wrote to stdout."""
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(required=True)
    for command in (keygen, publish, inspect):
        command.add_parser(subparsers)

    def run(*words) -> str:
        args = parser.parse_args([str(word) for word in words])
        assert args.run(args) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def model(tmp_path):
    return write_small_model(tmp_path / "model", people=12)


def write_small_model(folder, *, people):
    style_encoder = StyleEncoderSpec(width=4, style_dim=2)
    decoder = DecoderSpec(width=4, style_dim=2)
    tensors = {"style_prior.mean": torch.zeros(2), "style_prior.std": torch.ones(2)}
    for prefix, network in (
        ("style_encoder.", build_style_encoder(style_encoder)),
        ("decoder.", build_decoder(decoder)),
    ):
        tensors |= {prefix + name: value for name, value in network.state_dict().items()}
    description = ModelDescription(
        site="hh",
        contract=PreprocessingContract(),
        anatomy_encoder=AnatomyEncoderSpec(),
        style_encoder=style_encoder,
        decoder=decoder,
        anatomy_digest="ab" * 32,
        people=people,
        images=people,
        slices=40,
        intensity_scale=100.0,
        training=TrainingSummary(
            seed=0, epochs=1, steps=1, best_epoch=0, validation_ssim=0.5, versions={}
        ),
    )
    write_model(folder, description, tensors)
    return folder


def test_keys_card_and_inspection_in_a_row(run_command, model, tmp_path):
    private_path, public_path = run_command("keygen", tmp_path / "keys" / "hh").split()
    assert private_path == str(tmp_path / "keys" / "hh-private.pem")
    assert stat.S_IMODE((tmp_path / "keys" / "hh-private.pem").stat().st_mode) == 0o600
    card = tmp_path / "cards" / "hh.prism"
    assert run_command("publish", model, "--out", card, "--key", private_path) == f"{card}\n"
    (tmp_path / "trust").mkdir()
    shutil.copy(public_path, tmp_path / "trust")
    text = run_command("inspect", card, "--trust", tmp_path / "trust")
    assert "(trusted: hh-public.pem)" in text
    assert text.splitlines()[0].split() == ["site", "hh"]
    assert text.endswith("For research, not for diagnosis.\n")


def test_inspection_with_another_key_fails(run_command, model, tmp_path):
    run_command("keygen", tmp_path / "hh")
    run_command("keygen", tmp_path / "trust" / "guys")
    (tmp_path / "trust" / "guys-private.pem").unlink()
    run_command(
        "publish", model, "--out", tmp_path / "c.prism", "--key", tmp_path / "hh-private.pem"
    )
    with pytest.raises(SignatureError, match="not in the trust folder"):
        run_command("inspect", tmp_path / "c.prism", "--trust", tmp_path / "trust")
    assert "not compared with any trusted key" in run_command("inspect", tmp_path / "c.prism")


def test_few_people_need_the_option(run_command, tmp_path):
    model, card = write_small_model(tmp_path / "few", people=3), tmp_path / "c.prism"
    with pytest.raises(PrivacyError, match="fewer than 10"):
        run_command("publish", model, "--out", card)
    run_command("publish", model, "--out", card, "--local-only")
    assert "must not leave the site" in run_command("inspect", card)


def test_card_is_overwritten_on_demand_alone(run_command, model, tmp_path):
    card = tmp_path / "c.prism"
    run_command("publish", model, "--out", card)
    with pytest.raises(InputError, match="--overwrite"):
        run_command("publish", model, "--out", card)
    run_command("publish", model, "--out", card, "--overwrite")


def test_commands_are_described_without_loading_torch():
    code = (
        "import sys; from prism_mri.cli import inspect, keygen, publish; "
        "print(sorted({'torch', 'nibabel', 'cryptography'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


@pytest.mark.parametrize("name", [".", "keys"])
def test_keygen_wants_a_name_and_not_a_folder(run_command, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        run_command("keygen", name)
    assert [path.name for path in tmp_path.rglob("*")] == ["keys"]
