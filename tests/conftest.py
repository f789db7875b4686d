"""What all tests share: shapes and types checked at run time, one thread, where real data is."""

import os
from pathlib import Path

import jaxtyping
import pytest

# Before anything imports the package: shapes and types of every annotated call are checked.
# The numeric tower lets an int stand for a float, as type checkers do.
jaxtyping.install_import_hook(
    "prism_mri", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

import torch  # noqa: E402

# Sums in the same order on any machine: values asserted here do not depend on the number of cores.
torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shared-data",
        type=Path,
        default=Path(os.environ.get("PRISM_SHARED_DATA", REPOSITORY.parent / "shared" / "data")),
        help="folder with the real data that some tests read (default: $PRISM_SHARED_DATA or "
        "../shared/data); they are skipped where it is absent",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the fixture, so that ``-m 'not shared_data'`` always leaves it out."""
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared_data)


@pytest.fixture(scope="session")
def shared_data(pytestconfig: pytest.Config) -> Path:
    """Folder with label maps and real scans; the test is skipped where there is none."""
    folder: Path = pytestconfig.getoption("--shared-data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: give --shared-data or PRISM_SHARED_DATA")
    return folder.resolve()
