"""Claims: one holder at a time, and none after the holder's death."""

import signal
import subprocess
import sys

import pytest

from prism_mri.app.claim import claim
from prism_mri.errors import InputError

HOLD = """
import sys
from pathlib import Path
from prism_mri.app.claim import claim
with claim(Path(sys.argv[1])) as held:
    print(held, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a claim."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "a.lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_a_claim_of_another_process_is_left_to_it_until_it_is_killed(holder, tmp_path):
    with claim(tmp_path / "a.lock", wait=False) as held:
        assert held is False
    with claim(tmp_path / "b.lock", wait=False) as held:
        assert held is True
    holder.send_signal(signal.SIGKILL)
    with claim(tmp_path / "a.lock") as held:
        assert held is True


def test_a_claim_ends_with_its_block(tmp_path):
    for _ in range(2):
        with claim(tmp_path / "deep" / "a.lock", wait=False) as held:
            assert held is True


def test_an_error_inside_goes_through(tmp_path):
    with pytest.raises(OSError, match="mine"), claim(tmp_path / "a.lock"):
        raise OSError("mine")


def test_a_place_without_locks_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"cannot lock .*a\.lock: .*; give --work-dir"),
        claim(tmp_path / "file" / "a.lock"),
    ):
        pass
