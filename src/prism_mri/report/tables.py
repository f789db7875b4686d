"""Tables of a page: cells know how they are written and what they sort by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prism_mri.evaluate.paper.results import PaperResults, Spread
from prism_mri.evaluate.results import Interval

PRISM: Final = "prism"
BEFORE: Final = "none"
_MORE_LABELS: Final = {"combat": "ComBat, on the volumes"}


@dataclass(frozen=True)
class Cell:
    """One entry of a table.

    Attributes:
        text: what is written.
        value: what a number sorts by; None for words.
        below: smaller lines under it, an interval or a published number.
        mark: class of the style sheet.
    """

    text: str
    value: float | None = None
    below: tuple[str, ...] = ()
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a table; emphasized ones are PRISM's own."""

    cells: tuple[Cell, ...]
    emphasized: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its caption.

    Attributes:
        key: identifier within the page.
        title: short.
        caption: what it shows and how it was computed.
        head: names of the columns.
        rows: at least one.
        folded: hidden until the reader opens it.
    """

    key: str
    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    folded: bool = False

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers."""
        columns = zip(*(row.cells for row in self.rows), strict=True)
        return tuple(any(cell.value is not None for cell in column) for column in columns)

    @property
    def lines(self) -> list[tuple[Row, list[tuple[Cell, bool]]]]:
        """Rows, each with its cells and whether they stand in a column of numbers."""
        return [(row, list(zip(row.cells, self.numeric, strict=True))) for row in self.rows]


MISSING: Final = Cell("–")


def label_methods(results: PaperResults) -> dict[str, str]:
    """Return what a reader should see for every method's name."""
    return {method.name: method.label for method in results.methods} | _MORE_LABELS


def list_sources(results: PaperResults) -> tuple[str, ...]:
    """Return the sites that were harmonized to the target."""
    return tuple(record.site for record in results.sites if record.site != results.target)


def name_method(method: str, labels: Mapping[str, str]) -> Cell:
    """Return a method's name as a cell."""
    return Cell(labels.get(method, method))


def write_number(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """Return a number with a true minus sign."""
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def write_bounds(interval: Interval, digits: int = 3, *, signed: bool = False) -> str:
    """Return ``0.1 to 0.2``, or that there is no interval."""
    if interval.low is None or interval.high is None:
        return "no interval"
    low, high = (
        write_number(bound, digits, signed=signed) for bound in (interval.low, interval.high)
    )
    return f"{low} to {high}"


def show_number(value: float | None, digits: int = 3, below: Iterable[str] = ()) -> Cell:
    """Return a number as a cell."""
    if value is None:
        return MISSING
    return Cell(write_number(value, digits), value, tuple(below))


def show_count(value: int) -> Cell:
    """Return a count as a cell."""
    return Cell(str(value), value)


def show_interval(
    interval: Interval | None,
    digits: int = 3,
    *,
    signed: bool = False,
    below: Iterable[str] = (),
    mark: str = "",
) -> Cell:
    """Return an estimate with its bounds on a line below."""
    if interval is None:
        return MISSING
    return Cell(
        write_number(interval.estimate, digits, signed=signed),
        interval.estimate,
        (write_bounds(interval, digits, signed=signed), *below),
        mark,
    )


def show_spread(spread: Spread | None, below: Iterable[str] = ()) -> Cell:
    """Return the mean over runs, the standard deviation on a line below."""
    if spread is None:
        return MISSING
    deviation = () if spread.sd is None else (f"± {write_number(spread.sd)}",)
    return Cell(write_number(spread.mean), spread.mean, (*deviation, *below))
