"""Publishing: a trained model becomes a card, or nothing leaves."""

import base64
import hashlib
import logging
from pathlib import Path

import torch

from prism_mri import __version__
from prism_mri.card.container import (
    MANIFEST_KEY,
    PUBLIC_KEY_KEY,
    SIGNATURE_KEY,
    encode_container,
    parse_container,
)
from prism_mri.card.manifest import build_manifest, check_people, encode_manifest
from prism_mri.card.read import decode_card, read_card_bytes
from prism_mri.card.sign import export_public_key, read_private_key
from prism_mri.card.tensors import (
    check_table,
    check_values,
    describe_tensors,
    encode_tensors,
    expect_card_tensors,
)
from prism_mri.errors import CardError, InputError, PrivacyError
from prism_mri.files import write_whole
from prism_mri.models.site_model import ANATOMY_PREFIX, ModelDescription, read_model

_logger = logging.getLogger(__name__)


def publish_card(
    model: Path,
    out: Path,
    *,
    private_key: Path | None,
    local_only: bool = False,
    overwrite: bool = False,
) -> str:
    """Write a model's site card; the same model and key give the same bytes.

    Only tensors that the registered networks of a card have, and only the manifest's fields, are
    taken over. The bytes are read back through every check before they are written.

    Args:
        model: folder that ``prism-mri train`` left.
        out: the card's file, such as ``guys.prism``.
        private_key: Ed25519 private key (PEM); None leaves the card unsigned.
        local_only: mark the card as one that stays at its site; needed for fewer than ten people.
        overwrite: replace an existing file.

    Returns:
        Digest of the card, hexadecimal: the SHA-256 of the file.

    Raises:
        InputError: the model or key cannot be read, or the card exists or cannot be written.
        FormatError: the model's tensors are not those of its networks, or hold NaN.
        PrivacyError: fewer than ten people without ``local_only``, or something that must not
            leave.
    """
    _check_out(out, overwrite=overwrite)
    key = None if private_key is None else read_private_key(private_key)
    description, tensors = read_model(model)
    if not description.complete:
        raise InputError(
            f"the training in {model} was cut short after epoch {description.training.epochs} or "
            "later: finish it with 'prism-mri train --resume'"
        )
    check_people(people=description.people, local_only=local_only, source=str(model))
    data = _encode_model_tensors(description, tensors, source=str(model))
    manifest = encode_manifest(
        build_manifest(
            description,
            tensors_sha256=hashlib.sha256(data).hexdigest(),
            local_only=local_only,
            version=__version__,
            source=str(model),
        )
    )
    metadata = {MANIFEST_KEY: manifest.decode("ascii")}
    if key is None:
        _logger.warning("the card is not signed: others accept it only with --allow-unsigned")
    else:
        metadata[SIGNATURE_KEY] = _encode_base64(key.sign(manifest))
        metadata[PUBLIC_KEY_KEY] = _encode_base64(export_public_key(key.public_key()))
    content = encode_container(
        metadata, expect_card_tensors(description.style_encoder, description.decoder), data
    )
    digest = decode_card(content, source=str(out), allow_unsigned=True).digest
    write_whole(out, content, overwrite=overwrite)
    return digest


def _check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse to replace anything but a card."""
    if not out.exists():
        return
    if not overwrite:
        raise InputError(f"{out} exists: choose another name, or replace it with --overwrite")
    try:
        parse_container(read_card_bytes(out), str(out))
    except CardError as error:
        raise InputError(
            f"{out} is not a site card and is not replaced: choose another name"
        ) from error


def _encode_model_tensors(
    description: ModelDescription, tensors: dict[str, torch.Tensor], source: str
) -> bytes:
    """Return the bytes of what a card holds; the anatomy encoder of recipe ``paper`` stays."""
    table = expect_card_tensors(description.style_encoder, description.decoder)
    if description.recipe == "paper":
        tensors = {
            name: tensor for name, tensor in tensors.items() if not name.startswith(ANATOMY_PREFIX)
        }
    if foreign := sorted(tensors.keys() - table.keys()):
        raise PrivacyError(
            f"{source}: tensor {foreign[0]} ({len(foreign)} such) must not leave the site, a card "
            "holds style encoder, "
            "decoder and style statistics only: train again"
        )
    check_table(describe_tensors(tensors, source), table, source)
    check_values(tensors, source)
    return encode_tensors(tensors, table)


def _encode_base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
