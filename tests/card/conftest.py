"""A small published card, its keys, and a forge that writes cards without the code under test."""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from prism_mri.card.publish import publish_card
from prism_mri.card.read import read_card
from prism_mri.card.sign import generate_key_pair
from prism_mri.config import PreprocessingContract
from prism_mri.models.site_model import ModelDescription, TrainingSummary, write_model
from prism_mri.networks.registry import (
    AnatomyEncoderSpec,
    ConditionalDecoderSpec,
    ConvStyleEncoderSpec,
    DecoderSpec,
    LevelAnatomyEncoderSpec,
    StyleEncoderSpec,
    build_anatomy_encoder,
    build_decoder,
    build_style_encoder,
)

TRANSLATOR = "ab" * 32


def describe_model(**changes) -> ModelDescription:
    """Return the description of a tiny model of site guys, twelve people."""
    values = {
        "site": "guys",
        "contract": PreprocessingContract(),
        "anatomy_encoder": AnatomyEncoderSpec(width=4, free_channels=1),
        "style_encoder": StyleEncoderSpec(width=4, style_dim=2),
        "decoder": DecoderSpec(width=4, free_channels=1, style_dim=2),
        "anatomy_digest": TRANSLATOR,
        "people": 12,
        "images": 12,
        "slices": 480,
        "intensity_scale": 812.5,
        "training": TrainingSummary(
            seed=7,
            epochs=4,
            steps=100,
            best_epoch=3,
            validation_ssim=0.9375,
            versions={"prism-mri": "0.1.0", "torch": "2.13.0+cpu"},
        ),
    }
    return ModelDescription(**(values | changes))


def make_tensors(description: ModelDescription) -> dict[str, torch.Tensor]:
    """Return the tensors of a model with weights from a fixed seed."""
    networks = {
        "style_encoder.": build_style_encoder(description.style_encoder),
        "decoder.": build_decoder(description.decoder),
    }
    if description.recipe == "paper":
        networks["anatomy_encoder."] = build_anatomy_encoder(description.anatomy_encoder)
    numbers = np.random.default_rng(3)
    tensors = {
        prefix + name: torch.from_numpy(
            numbers.uniform(0.1, 0.5, tuple(value.shape)).astype(np.float32)
        )
        for prefix, network in networks.items()
        for name, value in network.state_dict().items()
    }
    if description.recipe == "anchored":
        tensors |= {
            "base_style.mean": torch.tensor([0.75, -0.5]),
            "base_style.std": torch.tensor([0.25, 1.0]),
        }
    return tensors | {
        "style_prior.mean": torch.tensor([0.25, -1.5]),
        "style_prior.std": torch.tensor([0.5, 2.0]),
    }


@pytest.fixture(scope="session")
def make_model(tmp_path_factory):
    """Write a model folder; ``tensors`` changes tensors (None drops), others the description."""

    def make(tensors=None, **changes) -> Path:
        folder = tmp_path_factory.mktemp("model")
        description = describe_model(**changes)
        changed = make_tensors(description) | (tensors or {})
        kept = {name: value for name, value in changed.items() if value is not None}
        write_model(folder, description, kept)
        return folder

    return make


@pytest.fixture(scope="session")
def paper_parts() -> dict[str, object]:
    """What makes a model one of recipe paper, for :func:`make_model`."""
    return {
        "recipe": "paper",
        "anatomy_encoder": LevelAnatomyEncoderSpec(width=4),
        "style_encoder": ConvStyleEncoderSpec(width=4),
        "decoder": ConditionalDecoderSpec(width=4),
    }


@pytest.fixture(scope="session")
def keys(tmp_path_factory) -> Path:
    """Folder with key pairs of guys and of mallory, who nobody trusts."""
    folder = tmp_path_factory.mktemp("keys")
    generate_key_pair(folder / "guys")
    generate_key_pair(folder / "mallory")
    return folder


@pytest.fixture(scope="session")
def trust(keys, tmp_path_factory) -> Path:
    """Trust folder that holds the public key of guys alone."""
    folder = tmp_path_factory.mktemp("trust")
    shutil.copy(keys / "guys-public.pem", folder)
    return folder


@pytest.fixture(scope="session")
def card_path(make_model, keys, tmp_path_factory) -> Path:
    """A signed card of guys."""
    path = tmp_path_factory.mktemp("card") / "guys.prism"
    publish_card(make_model(), path, private_key=keys / "guys-private.pem")
    return path


class Forge:
    """Takes a card apart with nothing but json, and puts a changed one together again."""

    def __init__(self, content: bytes, keys: Path) -> None:
        length = int.from_bytes(content[:8], "little")
        self.content = content
        self.header = json.loads(content[8 : 8 + length])
        self.metadata = self.header.pop("__metadata__")
        self.manifest = json.loads(self.metadata["prism_manifest"])
        self.data = content[8 + length :]
        self._keys = keys

    def sign(self, manifest: str, signer: str) -> dict[str, str]:
        """Return metadata with a fresh signature of the named key."""
        key = load_pem_private_key((self._keys / f"{signer}-private.pem").read_bytes(), None)
        return {
            "prism_manifest": manifest,
            "prism_signature": base64.b64encode(key.sign(manifest.encode())).decode(),
            "prism_public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        }

    def with_manifest(self, manifest: dict | str, signer: str | None = "guys") -> bytes:
        """Return the card with another manifest, properly signed (None: unsigned)."""
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        return self.build(self.sign(text, signer) if signer else {"prism_manifest": text})

    def change(self, **fields) -> bytes:
        """Return the card with some manifest fields replaced, properly signed by its site."""
        return self.with_manifest(self.manifest | fields)

    def build(self, metadata=None, tensors=None, data=None) -> bytes:
        """Return card bytes from its parts; what is not given stays as it was."""
        table = {
            "__metadata__": dict(sorted((self.metadata if metadata is None else metadata).items()))
        }
        return self.wrap(
            json.dumps(
                table | (self.header if tensors is None else tensors), separators=(",", ":")
            ),
            self.data if data is None else data,
        )

    @staticmethod
    def wrap(header: str, data: bytes) -> bytes:
        """Return length, padded header and data."""
        raw = header.encode()
        raw += b" " * (-len(raw) % 8)
        return len(raw).to_bytes(8, "little") + raw + data


@pytest.fixture
def forge(card_path, keys) -> Forge:
    """A forge over the signed card of guys."""
    return Forge(card_path.read_bytes(), keys)


@pytest.fixture
def read(trust, tmp_path):
    """Write bytes to a file and read them as a card that must be signed by a trusted key."""

    def read_bytes(content: bytes, **options):
        path = tmp_path / "card.prism"
        path.write_bytes(content)
        return read_card(path, **({"trust": trust} | options))

    return read_bytes
