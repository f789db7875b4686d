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
    DECODER,
    STYLE_ENCODER,
    check_table,
    check_values,
    describe_tensors,
    encode_tensors,
    expect_card_tensors,
)
from prism_mri.errors import CardError, InputError, PrivacyError
from prism_mri.files import write_whole
from prism_mri.models.site_model import (
    ANATOMY_PREFIX,
    BASE_STYLE_PREFIX,
    STYLE_PRIOR_PREFIX,
    CardKind,
    ModelDescription,
    find_anatomy_encoder,
    has_own_anatomy,
    read_model,
)
from prism_mri.models.translator import Translator, read_translator
from prism_mri.networks.adapter import is_adapter

_logger = logging.getLogger(__name__)


def publish_card(
    model: Path,
    out: Path,
    *,
    private_key: Path | None,
    kind: CardKind | None = None,
    local_only: bool = False,
    overwrite: bool = False,
    translator: Translator | None = None,
) -> str:
    """Write a model's site card; the same model and key give the same bytes.

    Only tensors that the registered networks of a card have, and only the manifest's fields, are
    taken over. The bytes are read back through every check before they are written.

    Args:
        model: folder that ``prism-mri train`` left.
        out: the card's file, such as ``guys.prism``.
        private_key: Ed25519 private key (PEM); None leaves the card unsigned.
        kind: ``full`` holds style encoder, decoder and style statistics, ``adapter`` the decoder's
            adapters and style statistics, ``style`` the statistics alone. By default what the model
            was trained as; of recipe ``anchored`` the kind ``style`` can be had of every model.
        local_only: mark the card as one that stays at its site; needed for fewer than ten people.
        overwrite: replace an existing file.
        translator: whose networks a card of kind ``adapter`` or ``style`` builds on, and whose
            anatomy an encoder of the site's own must speak of; by default the shipped one.

    Returns:
        Digest of the card, hexadecimal: the SHA-256 of the file.

    Raises:
        InputError: the model or key cannot be read, the model was not trained for that kind, or the
            card exists or cannot be written.
        FormatError: the model's tensors are not those of its networks, or hold NaN.
        PrivacyError: fewer than ten people without ``local_only``, or something that must not
            leave.
        CompatibilityError: the site's own anatomy encoder has left the shipped anatomy, so that
            nobody else's anatomy would suit the card.
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
    if description.recipe == "anchored" and has_own_anatomy(tensors):
        find_anatomy_encoder(description, tensors, translator or read_translator(), model)
    kind = kind or description.kind
    selected = _select_tensors(description, tensors, kind, source=str(model))
    table = expect_card_tensors(description.style_encoder, description.decoder, kind)
    check_table(describe_tensors(selected, str(model)), table, str(model))
    check_values(selected, str(model))
    data = encode_tensors(selected, table)
    manifest = encode_manifest(
        build_manifest(
            description,
            kind=kind,
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
    content = encode_container(metadata, table, data)
    card = decode_card(content, source=str(out), allow_unsigned=True, translator=translator)
    write_whole(out, content, overwrite=overwrite)
    return card.digest


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


def _select_tensors(
    description: ModelDescription, tensors: dict[str, torch.Tensor], kind: CardKind, source: str
) -> dict[str, torch.Tensor]:
    """Return what a card of a kind takes of a model; nothing else of it leaves."""
    if kind not in (description.kind, "style"):
        raise InputError(
            f"{source} was trained for cards of kind {description.kind}, not {kind}: train with "
            f"--kind {kind}"
        )
    own = (STYLE_ENCODER, DECODER, STYLE_PRIOR_PREFIX)
    stays = (ANATOMY_PREFIX, *(() if description.recipe == "paper" else (BASE_STYLE_PREFIX,)))
    if foreign := sorted(name for name in tensors if not name.startswith((*own, *stays))):
        raise PrivacyError(
            f"{source}: tensor {foreign[0]} ({len(foreign)} such) must not leave the site, a card "
            "holds style encoder, decoder and style statistics only: train again"
        )
    if kind == "style":
        if not any(name.startswith(BASE_STYLE_PREFIX) for name in tensors):
            raise InputError(
                f"{source} does not hold the site's styles as the shipped networks read them: "
                "train again with recipe anchored for a card of kind style"
            )
        return {
            STYLE_PRIOR_PREFIX + name.removeprefix(BASE_STYLE_PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(BASE_STYLE_PREFIX)
        }
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name.startswith(STYLE_PRIOR_PREFIX)
        or (kind == "full" and not name.startswith(stays))
        or (name.startswith(DECODER) and is_adapter(name))
    }


def _encode_base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
