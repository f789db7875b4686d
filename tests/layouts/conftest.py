"""Trees of empty files: what lies where is all that finding looks at."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., Path]:
    """Make empty files below the test's folder and return that."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make
