"""JSON written by strangers: one object, no key twice, no NaN, no depth that exhausts the stack."""

import json
from typing import NoReturn

from prism_mri.card.limits import MAX_JSON_TEXT_IN_MESSAGE
from prism_mri.errors import FormatError


def parse_strict_object(raw: bytes, what: str, source: str) -> dict[str, object]:
    """Parse one JSON object and refuse what two parsers could read differently.

    Args:
        raw: UTF-8 bytes; the caller has limited their number.
        what: what they are, for the message.
        source: file that they come from, for the message.

    Returns:
        The object.

    Raises:
        FormatError: no UTF-8, no JSON, no object, a key that stands twice, NaN or infinity, too
            deep.
    """
    try:
        parsed = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
    except RecursionError as error:
        raise FormatError(
            f"{source}: the {what} is nested too deeply: do not use this file"
        ) from error
    except ValueError as error:
        raise FormatError(
            f"{source}: the {what} is not valid JSON ({shorten(str(error))}): do not use this file"
        ) from error
    if not isinstance(parsed, dict):
        raise FormatError(
            f"{source}: the {what} is a JSON {type(parsed).__name__}, not an object: do not use "
            "this file"
        )
    return parsed


def shorten(text: str) -> str:
    """Return untrusted text as one printable line of limited length."""
    if len(text) > MAX_JSON_TEXT_IN_MESSAGE:
        text = text[: MAX_JSON_TEXT_IN_MESSAGE - 1] + "…"
    return text if text.isprintable() else ascii(text)


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique: dict[str, object] = {}
    for key, value in pairs:
        if key in unique:
            raise ValueError(f"key {key!r} stands twice")
        unique[key] = value
    return unique


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
