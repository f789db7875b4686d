"""Limits of a site card, each with its reason."""

MAX_CARD_BYTES = 64 * 1024**2
"""A default card takes 0.4 MB, one of recipe ``paper`` at the published sizes 35 MB, the widest
registered one 58 MB; it is read whole into memory.
"""

MAX_HEADER_BYTES = 1024**2
"""The only part parsed before the signature is verified; a default card's takes 8 kB."""

MAX_MANIFEST_BYTES = 64 * 1024
"""A manifest takes 1.5 kB; more could only be something that does not belong there."""

MAX_TENSORS = 4096
"""The registered networks hold at most 143 tensors."""

MAX_TENSOR_NAME = 200
"""Longest name of a registered tensor, with room; names are shown in messages."""

MAX_RANK = 4
"""Convolution kernels have four dimensions, and nothing registered has more."""

MAX_JSON_TEXT_IN_MESSAGE = 120
"""What a message shows of text that came from a card, so that it stays one line."""

MAX_KEY_FILE_BYTES = 16 * 1024
"""An Ed25519 key in PEM takes about 120 bytes."""

MAX_TRUSTED_KEYS = 1000
"""More keys than any consortium has sites: a larger folder is not a trust folder."""

MIN_PEOPLE = 10
"""Below this a card could tell of one person: it is local-only and never leaves."""
