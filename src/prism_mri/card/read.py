"""Reading a card: limits, signature, manifest, tensors, each refusal named by what failed."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from prism_mri.card.container import (
    PUBLIC_KEY_KEY,
    SIGNATURE_KEY,
    Container,
    TensorEntry,
    encode_header,
    parse_container,
)
from prism_mri.card.limits import MAX_CARD_BYTES
from prism_mri.card.manifest import CardManifest, check_people, parse_manifest
from prism_mri.card.sign import (
    compute_fingerprint,
    describe_keys,
    read_trust_folder,
    verify_signature,
)
from prism_mri.card.tensors import (
    DECODER,
    STYLE_ENCODER,
    STYLE_MEAN,
    STYLE_STD,
    check_digest,
    check_table,
    check_values,
    decode_tensors,
    expect_card_tensors,
)
from prism_mri.errors import CompatibilityError, FormatError, InputError, SignatureError
from prism_mri.models.translator import Translator, read_translator
from prism_mri.networks.registry import (
    AnyDecoder,
    AnyStyleEncoder,
    build_decoder,
    build_style_encoder,
    freeze,
)


@dataclass(frozen=True)
class Signer:
    """Who signed a card."""

    fingerprint: str
    """SHA-256 of the public key, hexadecimal, as :func:`.sign.compute_fingerprint` gives it."""
    trusted_as: str | None
    """File name of the key in the trust folder; None where no trust folder was given."""


@dataclass(frozen=True, eq=False)
class SiteCard:
    """A card that passed every check, its networks in evaluation mode and frozen."""

    manifest: CardManifest
    style_encoder: AnyStyleEncoder
    decoder: AnyDecoder
    style_mean: torch.Tensor
    style_std: torch.Tensor
    """Mean and spread of the site's styles, ``(Z,)`` each."""
    digest: str
    """SHA-256 of the file, hexadecimal: what ``sha256sum SITE.prism`` prints."""
    signed_by: Signer | None

    @property
    def signer(self) -> str | None:
        """Fingerprint of the key that signed the card, or None for an unsigned one."""
        return self.signed_by.fingerprint if self.signed_by else None


def read_card(
    path: Path,
    *,
    trust: Path | None = None,
    allow_unsigned: bool = False,
    translator: Translator | None = None,
) -> SiteCard:
    """Read a site card and refuse whatever is not exactly one.

    Who is accepted:

    - with ``trust``: cards signed by a key of that folder; with ``allow_unsigned`` as well,
      unsigned cards too. A signer who is not in the folder is refused in both cases;
    - with ``allow_unsigned`` alone: unsigned cards, and cards whose signature fits the key that
      they carry, which proves that they are whole but not whose they are;
    - with neither: none.

    A signed card whose signature does not fit is refused always.

    Args:
        path: the card's file.
        trust: folder of public keys (``*.pem``).
        allow_unsigned: accept cards that nobody vouches for.
        translator: whose networks a card of kind ``adapter`` or ``style`` builds on; by default the
            shipped one.

    Returns:
        The card, with its networks built and filled.

    Raises:
        InputError: the file, or the trust folder, cannot be read.
        FormatError: limits, header, manifest, tensors or digest.
        SignatureError: unsigned, badly signed or signed by an unknown key.
        PrivacyError: from fewer than ten people and not marked local-only.
        CompatibilityError: the card builds on networks of another version.
    """
    return decode_card(
        read_card_bytes(path),
        source=str(path),
        trust=trust,
        allow_unsigned=allow_unsigned,
        translator=translator,
    )


def read_card_bytes(path: Path) -> bytes:
    """Read a card's bytes once, up to the limit; all checks run on these bytes.

    Raises:
        InputError: missing, a folder or a device, or not readable.
        FormatError: larger than a card may be.
    """
    if not path.is_file():
        raise InputError(
            f"card {path} does not exist or is no file: give a file that 'prism-mri publish' wrote"
        )
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CARD_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read card {path}: {error.strerror}") from error
    if len(content) > MAX_CARD_BYTES:
        raise FormatError(
            f"{path}: larger than the {MAX_CARD_BYTES} bytes a site card may have: "
            "give a file that 'prism-mri publish' wrote"
        )
    return content


def decode_card(
    content: bytes,
    *,
    source: str,
    trust: Path | None = None,
    allow_unsigned: bool = False,
    translator: Translator | None = None,
) -> SiteCard:
    """Check a card's bytes and build it; see :func:`read_card`.

    Args:
        content: the whole file.
        source: its name, for messages.
        trust: folder of public keys.
        allow_unsigned: accept cards that nobody vouches for.
        translator: whose networks a card of kind ``adapter`` or ``style`` builds on; by default the
            shipped one.
    """
    container = parse_container(content, source)
    signed_by = _check_signature(
        container, trust=trust, allow_unsigned=allow_unsigned, source=source
    )
    manifest = parse_manifest(container.manifest, source)
    check_people(people=manifest.people, local_only=manifest.local_only, source=source)
    table = expect_card_tensors(manifest.style_encoder, manifest.decoder, manifest.kind)
    check_table(container.tensors, table, source)
    check_digest(container.data, manifest, source)
    _check_canonical(container, table, source)
    tensors = decode_tensors(container.data, table)
    check_values(tensors, source)
    style_encoder, decoder = _build_networks(manifest, tensors, translator, source)
    digest = hashlib.sha256(content).hexdigest()
    return SiteCard(
        manifest, style_encoder, decoder, tensors[STYLE_MEAN], tensors[STYLE_STD], digest, signed_by
    )


def check_compatible(card: SiteCard, anatomy_digest: str, modality: str) -> None:
    """Check that a card belongs to the anatomy encoder and the modality in use.

    A card of recipe ``anchored`` belongs to one anatomy encoder. The decoder of recipe ``paper``
    was trained with its own site's, which no other site has: any digest passes, and what comes of
    it is for whoever harmonizes to warn about.

    Args:
        card: a card that was read.
        anatomy_digest: digest of the anatomy encoder that is to be used, hexadecimal.
        modality: BIDS suffix of the images, such as ``T2w``.

    Raises:
        CompatibilityError: another anatomy space, or another modality.
    """
    manifest = card.manifest
    if manifest.recipe == "anchored" and manifest.anatomy_digest != anatomy_digest:
        raise CompatibilityError(
            f"card of {manifest.site} is for anatomy encoder {manifest.anatomy_digest[:12]}…, in "
            f"use is {anatomy_digest[:12]}…: take the prism-mri version that the card was made "
            f"with ({manifest.created_by}), or ask the site for a new card"
        )
    if manifest.modality != modality:
        raise CompatibilityError(
            f"card of {manifest.site} is for {manifest.modality}, the images are {modality}: "
            "take a card of that modality"
        )


def _check_signature(
    container: Container, *, trust: Path | None, allow_unsigned: bool, source: str
) -> Signer | None:
    trusted = None if trust is None else read_trust_folder(trust)
    stored = (container.metadata.get(SIGNATURE_KEY), container.metadata.get(PUBLIC_KEY_KEY))
    if stored == (None, None):
        if not allow_unsigned:
            raise SignatureError(
                f"{source}: the card is not signed: ask the site for a signed one, or accept it "
                "with --allow-unsigned"
            )
        return None
    signature, public_key = (_decode_base64(text, source) for text in stored)
    verify_signature(container.manifest, signature=signature, public_key=public_key, source=source)
    fingerprint = compute_fingerprint(public_key)
    if trusted is not None and public_key not in trusted:
        raise SignatureError(
            f"{source}: signed by key {fingerprint[:16]}…, which is not in the trust folder "
            f"({describe_keys(trusted)}): compare the fingerprint with the site, then add its "
            "public key"
        )
    if trusted is None and not allow_unsigned:
        raise SignatureError(
            f"{source}: signed by key {fingerprint[:16]}…, but no key is trusted: give --trust "
            "FOLDER with the "
            "site's public key, or accept the card with --allow-unsigned"
        )
    return Signer(fingerprint, trusted_as=trusted[public_key] if trusted else None)


def _decode_base64(text: str | None, source: str) -> bytes:
    if text is None:
        raise SignatureError(
            f"{source}: signature without key, or key without signature: get the card again"
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError(
            f"{source}: signature or key is not base64: get the card again"
        ) from error


def _check_canonical(container: Container, table: Mapping[str, TensorEntry], source: str) -> None:
    """Refuse a header with other bytes than publishing gives: one content, one file, one digest."""
    metadata = dict(container.metadata)
    for key in metadata.keys() & {SIGNATURE_KEY, PUBLIC_KEY_KEY}:
        metadata[key] = base64.b64encode(base64.b64decode(metadata[key])).decode("ascii")
    if encode_header(metadata, table) != container.header:
        raise FormatError(
            f"{source}: the header is not written as a card's is (reordered or padded): get the "
            "card again"
        )


def _build_networks(
    manifest: CardManifest,
    tensors: Mapping[str, torch.Tensor],
    translator: Translator | None,
    source: str,
) -> tuple[AnyStyleEncoder, AnyDecoder]:
    """Return style encoder and decoder: the card's own, or shipped ones with what it holds."""
    # Fresh weights are drawn before they are replaced: the caller's random state must not move.
    with torch.random.fork_rng(devices=[]):
        style_encoder, decoder = (
            build_style_encoder(manifest.style_encoder),
            build_decoder(manifest.decoder),
        )
    state = dict(tensors)
    if manifest.kind != "full":
        base = translator or read_translator()
        if manifest.base_digest != base.base_digest:
            raise CompatibilityError(
                f"{source}: a card of kind {manifest.kind} builds on networks "
                f"{str(manifest.base_digest)[:12]}…, this version ships {base.base_digest[:12]}…: "
                f"take the prism-mri version that the card was made with ({manifest.created_by}), "
                "or ask the site for a new card"
            )
        described = base.description
        if (manifest.style_encoder, manifest.decoder) != (
            described.style_encoder,
            described.decoder,
        ):
            raise FormatError(
                f"{source}: a card of kind {manifest.kind} names other networks than those that it "
                "builds on: get the card again from its site"
            )
        state = base.networks.state_dict() | state
    _fill(style_encoder, STYLE_ENCODER, state)
    _fill(decoder, DECODER, state)
    return style_encoder, decoder


def _fill(network: nn.Module, prefix: str, tensors: Mapping[str, torch.Tensor]) -> None:
    state = {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    network.load_state_dict(state, strict=True)
    freeze(network)
