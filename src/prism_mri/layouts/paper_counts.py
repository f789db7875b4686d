"""How many people the paper had at each site, beside how many are here."""

from collections.abc import Mapping
from types import MappingProxyType

PAPER_COUNTS: Mapping[str, int] = MappingProxyType({"guys": 319, "hh": 185, "adni": 77})
"""People, one T2w slice each.

Source: arXiv 2411.06513, section 2.1.
"""


def compare_counts(found: Mapping[str, int]) -> tuple[str, ...]:
    """Return a line a site: ``guys: 12 people (paper: 319)``.

    Args:
        found: people by site, lower case; give 0 for a site that should be named though it is
            empty.

    Returns:
        The lines, in the order given.
    """
    return tuple(_compare(site, people) for site, people in found.items())


def _compare(site: str, people: int) -> str:
    published = PAPER_COUNTS.get(site)
    beside = "not in the paper" if published is None else f"paper: {published}"
    return f"{site}: {people} {'person' if people == 1 else 'people'} ({beside})"
