"""Site cards: what travels between sites, how it is signed, and what is refused."""

from prism_mri.card.manifest import CardManifest
from prism_mri.card.publish import publish_card
from prism_mri.card.read import SiteCard, check_compatible, decode_card, read_card
from prism_mri.card.sign import generate_key_pair
from prism_mri.card.summary import CardSummary, inspect_card

__all__ = [
    "CardManifest",
    "CardSummary",
    "SiteCard",
    "check_compatible",
    "decode_card",
    "generate_key_pair",
    "inspect_card",
    "publish_card",
    "read_card",
]
