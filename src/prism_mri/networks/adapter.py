"""What a site changes of the shipped decoder when it trains adapters only."""

_LAYERS = ("film", "head")


def is_adapter(name: str) -> bool:
    """Return whether a tensor of :class:`.decoder.Decoder` belongs to the adapters.

    These are the affine maps from style to modulation (FiLM) of every block, and the last layer:
    what turns features into intensities. Every convolution stays as shipped.

    Args:
        name: of the tensor in the decoder's state, such as ``bottom.film.weight``.
    """
    return any(layer in name.split(".") for layer in _LAYERS)
