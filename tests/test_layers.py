"""The one-way order of modules holds, and the contracts that say so would notice a breach."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def lint_imports(source: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of pyproject.toml on the package inside ``source``."""
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache", "--config", REPOSITORY / "pyproject.toml"],
        env={**os.environ, "PYTHONPATH": str(source)},
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )


def test_contracts_hold() -> None:
    result = lint_imports(REPOSITORY / "src")
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("volume.py", "import prism_mri.networks", "Modules import one way"),
        ("losses/perceptual.py", "from prism_mri import training", "Modules import one way"),
        ("bids.py", "import nibabel", "Only volume touches nibabel"),
        ("assets/__init__.py", "import pickle", "Nothing unpickles or opens a connection"),
        ("room.py", "", "Modules import one way"),  # a module that has no place in the order
    ],
)
def test_breach_is_noticed(tmp_path: Path, module: str, statement: str, contract: str) -> None:
    copy = tmp_path / "prism_mri"
    shutil.copytree(REPOSITORY / "src" / "prism_mri", copy, ignore=shutil.ignore_patterns("*.npz"))
    with open(copy / module, "a", encoding="utf-8") as stream:
        stream.write(f"\n{statement}\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    assert f"{contract} BROKEN" in " ".join(result.stdout.split())


HEAVY = ("torch", "nibabel", "scipy", "skimage", "matplotlib", "pydantic", "cryptography")
RUN_AND_LIST_MODULES = """
import sys
from prism_mri.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    print("MODULES", stop.code, *{name.partition(".")[0] for name in sys.modules})
"""


@pytest.mark.parametrize("command", [(), ("bids",), ("harmonize",), ("train",), ("evaluate",)])
def test_help_loads_nothing_heavy(command: tuple[str, ...]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", RUN_AND_LIST_MODULES, *command, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    text, _, modules = result.stdout.rpartition("MODULES ")
    code, *loaded = modules.split()
    assert text.startswith("usage: prism-mri")
    assert code == "0"
    assert "argparse" in loaded
    assert sorted(set(HEAVY) & set(loaded)) == []
