"""What harmonizing one volume costs from file to file: seconds and memory, as a table.

    make bench
    python tools/bench_volume.py --slices 130

A person of the embedded template is scanned at the first of the demo's sites, and the scan padded
to 256 x 256; the card is the shipped networks with this scan's style (``train --epochs 0``). All
commands run as a user runs them, in processes of their own; the last row is what a process takes
that only imports the package. This one imports nothing, since a child's largest memory is never
below what its parent had when it was made.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_SITE = "guys"
_IMPORT = "import prism_mri.cli.main, prism_mri.harmonize, prism_mri.cli.harmonize"
_PAD = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from prism_mri.volume import read_volume, write_volume
volume = read_volume(Path(sys.argv[1]))
shape = np.maximum([256, 256, int(sys.argv[3])], volume.data.shape)
before = (shape - volume.data.shape) // 2
width = list(zip(before, shape - volume.data.shape - before))
affine = volume.affine.copy()
affine[:3, 3] -= affine[:3, :3] @ before
padded = replace(volume, data=np.pad(volume.data, width), affine=affine)
write_volume(Path(sys.argv[2]), padded.data, padded)
print(*shape, sep=" x ")
"""


@dataclass(frozen=True)
class Usage:
    """Of a process: wall and CPU seconds, largest memory in GiB, what it wrote to stdout."""

    wall: float
    cpu: float
    memory: float
    text: str


def run(command: list[str]) -> Usage:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)  # noqa: S603 - our own
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {err.read().decode()}")
        text = out.read().decode().strip()
    return Usage(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20, text)


def run_prism(*arguments: str | Path) -> Usage:
    """Run ``prism-mri`` with this Python."""
    return run([sys.executable, "-m", "prism_mri.cli.main", *map(str, arguments)])


def make_scan(folder: Path, slices: int) -> tuple[Path, Path, str]:
    """Return a simulated scan, a card, and the scan's shape."""
    data, prepared, model = (folder / name for name in ("data", "prepared", "model"))
    card, scan = folder / f"{_SITE}.prism", folder / "scan.nii.gz"
    run_prism("simulate", data, "--sites", _SITE, "--subjects", "1", "--travelling", "0")
    run_prism("prepare", data / _SITE, prepared, "--site", _SITE)
    run_prism("train", prepared, "--out", model, "--epochs", "0")
    run_prism("publish", model, "--out", card, "--local-only")
    source = next((data / _SITE).rglob("*_T2w.nii.gz"))
    padded = run([sys.executable, "-c", _PAD, str(source), str(scan), str(slices)])
    return scan, card, padded.text


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=130, help="at least; empty ones are added")
    parser.add_argument("--repeats", type=int, default=2, help="the fastest counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan, card, shape = make_scan(folder, arguments.slices)
        options = ("--card", card, "--allow-unsigned", "--overwrite", "--out", folder / "out")
        runs = [run_prism("harmonize", scan, *options) for _ in range(max(1, arguments.repeats))]
        bare = run([sys.executable, "-c", _IMPORT])
    best = min(runs, key=lambda usage: usage.wall)
    out = sys.stdout
    out.write(f"\n| {shape}, file to file | s | CPU s | GiB |\n|---|---|---|---|\n")
    for title, usage in (("prism-mri harmonize", best), ("importing alone", bare)):
        out.write(f"| {title} | {usage.wall:.1f} | {usage.cpu:.1f} | {usage.memory:.2f} |\n")


if __name__ == "__main__":
    main()
