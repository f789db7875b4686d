"""The exception tree: everything that PRISM raises on purpose.

A message is one line: what is wrong, the value, the file, and what to do.
"""

from collections.abc import Sequence


class PrismError(Exception):
    """Base of every error that PRISM raises on purpose; exit code 1 of the command line."""


class InputError(PrismError):
    """Something that the user gave cannot be used."""


class ImageError(InputError):
    """An image file or its contents cannot be used."""


class NotStrippedError(ImageError):
    """An image shows more than a brain, and nobody says where in it the brain is."""


class BidsError(InputError):
    """A BIDS name, sidecar or dataset is not what it says it is."""


class ConfigError(InputError):
    """A configuration value is missing, unknown or out of range."""


class CardError(PrismError):
    """A site card cannot be used."""


class FormatError(CardError):
    """A site card breaks the format: names, shapes, sizes, digest or schema version."""


class SignatureError(CardError):
    """A site card is unsigned, badly signed, or signed by a key that is not trusted."""


class CompatibilityError(CardError):
    """A sound site card does not fit the anatomy encoder, modality or version in use."""


class PrivacyError(PrismError):
    """An operation would let something leave the site that must stay."""


class FederationError(PrismError):
    """A federated job could not be carried out."""


class PartialFailure(PrismError):  # noqa: N818 - an outcome (exit code 3), not a fault of its own
    """Some inputs failed and the others were written; the command line exits with code 3."""

    def __init__(self, failures: Sequence[str], done: int, written: Sequence[str] = ()) -> None:
        """Keep the one-line failures, the number of inputs that were written, and their results."""
        self.failures = tuple(failures)
        self.done = done
        self.written = tuple(written)
        super().__init__(f"{len(self.failures)} of {len(self.failures) + done} inputs failed")
