"""The command line as a script sees it, and a signed card that fits the shipped translator."""

import base64
import json
import logging
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from prism_mri.card import generate_key_pair, publish_card
from prism_mri.cli.main import main
from prism_mri.config import PreprocessingContract
from prism_mri.models.site_model import ModelDescription, TrainingSummary, write_model
from prism_mri.models.translator import read_translator
from prism_mri.networks.registry import (
    DecoderSpec,
    StyleEncoderSpec,
    build_decoder,
    build_style_encoder,
)
from prism_mri.volume import Volume, write_volume


@pytest.fixture
def command(capsys):
    """Run a command line; return its exit code, and what went to stdout and stderr."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*words):
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)


def write_scan(path, *, seed=0, spoil=None, levels=(900, 400, 250)):
    """Write a stripped brain, 3 mm voxels, CSF, GM and WM in ``levels``.

    ``spoil`` changes its intensities.
    """
    numbers = np.random.default_rng(seed)
    i, j, k = np.indices((40, 44, 10))
    radius = np.sqrt(((i - 20) / 17) ** 2 + ((j - 22) / 19) ** 2 + ((k - 5) / 6) ** 2)
    labels = np.array([3, 2, 1, 0])[np.digitize(radius, [0.7, 0.88, 1.0])]
    data = np.array([0.0, *levels])[labels] * numbers.normal(1, 0.03, labels.shape)
    data = (data if spoil is None else spoil(data)).astype(np.float32)
    write_volume(path, data, Volume(data, np.diag([3.0, 3.0, 6.0, 1.0])))
    return path


@pytest.fixture
def scan(tmp_path):
    return write_scan(tmp_path / "in" / "scan.nii.gz")


@pytest.fixture
def write():
    """Write a brain to a path."""
    return write_scan


@pytest.fixture(scope="session")
def card_folder(tmp_path_factory):
    """A published card, ``guys.prism``, with keys of guys and of a stranger, and a trust folder."""
    folder = tmp_path_factory.mktemp("card")
    for name in ("guys", "stranger"):
        generate_key_pair(folder / "keys" / name)
    (folder / "trust").mkdir()
    shutil.copy(folder / "keys" / "guys-public.pem", folder / "trust")
    shipped = read_translator()
    write_model(folder / "model", *make_model(shipped))
    publish_card(
        folder / "model", folder / "guys.prism", private_key=folder / "keys" / "guys-private.pem"
    )
    return folder


def make_model(shipped):
    """Return description and tensors of a model with small random networks on the translator."""
    anatomy = shipped.description.anatomy_encoder
    style_encoder = StyleEncoderSpec(width=4, style_dim=2)
    decoder = DecoderSpec(width=4, style_dim=2, free_channels=anatomy.free_channels)
    torch.manual_seed(0)
    tensors = {"style_prior.mean": torch.zeros(2), "style_prior.std": torch.ones(2)}
    for prefix, network in (
        ("style_encoder.", build_style_encoder(style_encoder)),
        ("decoder.", build_decoder(decoder)),
    ):
        tensors |= {prefix + name: value for name, value in network.state_dict().items()}
    description = ModelDescription(
        site="guys",
        contract=PreprocessingContract.for_modality("T2w"),
        anatomy_encoder=anatomy,
        style_encoder=style_encoder,
        decoder=decoder,
        anatomy_digest=shipped.digest,
        people=12,
        images=12,
        slices=400,
        intensity_scale=320.0,
        training=TrainingSummary(
            seed=0, epochs=1, steps=1, best_epoch=1, validation_ssim=0.5, versions={}
        ),
    )
    return description, tensors


class Forger:
    """Rewrites a card with nothing but json and the keys."""

    def __init__(self, folder):
        self.content = (folder / "guys.prism").read_bytes()
        length = int.from_bytes(self.content[:8], "little")
        self._header = json.loads(self.content[8 : 8 + length])
        self._data = self.content[8 + length :]
        self._keys = folder / "keys"

    def rewrite(self, *, manifest=None, signer="guys", tensors=None, more=b""):
        """Return a card with changed manifest fields, signer (None: nobody), tensors or data."""
        header = dict(self._header) | (tensors or {})
        stored = header["__metadata__"]["prism_manifest"]
        text = json.dumps(json.loads(stored) | manifest) if manifest else stored
        metadata = {"prism_manifest": text} | self._sign(text, signer)
        header["__metadata__"] = dict(sorted(metadata.items()))
        raw = json.dumps(header, separators=(",", ":")).encode()
        raw += b" " * (-len(raw) % 8)
        return len(raw).to_bytes(8, "little") + raw + self._data + more

    def _sign(self, text, signer):
        if signer is None:
            return {}
        key = load_pem_private_key((self._keys / f"{signer}-private.pem").read_bytes(), None)
        parts = {
            "prism_signature": key.sign(text.encode()),
            "prism_public_key": key.public_key().public_bytes_raw(),
        }
        return {name: base64.b64encode(value).decode() for name, value in parts.items()}

    @property
    def data_bytes(self):
        """Length of the tensors' part."""
        return len(self._data)


@pytest.fixture(scope="session")
def forger(card_folder):
    return Forger(card_folder)


def take_stock(folder):
    """Return every file and folder below a folder, and the files' bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def refused(command, tmp_path):
    """Run a command that must fail and leave everything as it was; return its one line."""

    def run(*words):
        before = take_stock(tmp_path)
        result = command(*words)
        assert result.code == 1
        assert result.out == ""
        lines = [line for line in result.err.splitlines() if "error" in line]
        assert len(lines) == 1, result.err
        assert lines[0].startswith("prism-mri: error: ")
        assert "Traceback" not in result.err
        assert take_stock(tmp_path) == before
        return lines[0].removeprefix("prism-mri: error: ")

    return run


@pytest.fixture
def out(tmp_path):
    """A folder with somebody's file in it."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    return folder
