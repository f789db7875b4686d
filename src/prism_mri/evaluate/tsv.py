"""Rows of a result as tab-separated text."""

import csv
import io
from collections.abc import Sequence

from prism_mri.config import FrozenModel


def format_tsv(model: type[FrozenModel], rows: Sequence[FrozenModel]) -> bytes:
    """Return a header and one line a row, floats with six decimals, None as n/a.

    Args:
        model: the rows' class, whose fields are the columns.
        rows: what to write.
    """
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(model.model_fields), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _format_value(value) for key, value in row})
    return stream.getvalue().encode()


def _format_value(value: object) -> object:
    if value is None:
        return "n/a"
    return f"{value:.6f}" if isinstance(value, float) else value
