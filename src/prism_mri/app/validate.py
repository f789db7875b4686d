"""Ask the BIDS validator, where there is one, whether a dataset is valid."""

import json
import logging
import shutil
import subprocess
from pathlib import Path
from typing import Final

from prism_mri.app.choose import check_dataset
from prism_mri.errors import BidsError

_LOGGER = logging.getLogger(__name__)

VALIDATORS: Final = ("bids-validator-deno", "bids-validator")


def validate_dataset(dataset: Path) -> None:
    """Refuse a dataset that the BIDS validator on the PATH finds errors in; warn without one.

    Raises:
        BidsError: this is no dataset, or not a valid one.
    """
    check_dataset(dataset)
    found = next((path for path in map(shutil.which, VALIDATORS) if path), None)
    if found is None:
        _LOGGER.warning(
            "dataset not validated: no %s on the PATH; install one, or pass --skip-bids-validation",
            " or ".join(VALIDATORS),
        )
        return
    done = subprocess.run(  # noqa: S603
        [found, "--json", str(dataset)], capture_output=True, text=True, check=False
    )
    codes = _list_errors(done.stdout)
    if codes or done.returncode:
        what = ", ".join(codes) or f"exit code {done.returncode}"
        raise BidsError(
            f"{dataset} is not valid BIDS ({what}): see '{Path(found).name} {dataset}', or pass "
            "--skip-bids-validation"
        )


def _list_errors(report: str) -> list[str]:
    """Return the codes of a report's errors; none where it is no report."""
    try:
        issues = json.loads(report)["issues"]
        found = issues["issues"] if "issues" in issues else issues["errors"]
        codes = {one.get("key") or one.get("code") for one in found if _is_error(one)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    return sorted(str(code) for code in codes)


def _is_error(issue: dict[str, object]) -> bool:
    return issue.get("severity", "error") == "error"
