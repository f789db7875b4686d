"""The command line as a whole: help, versions, exit codes, and where words go."""

import logging
import os
import re
import signal
import subprocess
import sys

import pytest

import prism_mri
from prism_mri import config
from prism_mri.cli import inspect, main, parsing
from prism_mri.errors import ImageError, PartialFailure

COMMANDS = (
    *("demo", "simulate", "prepare", "train", "keygen", "publish"),
    *("inspect", "harmonize", "evaluate", "report"),
)


@pytest.fixture
def inspect_by(command, monkeypatch):
    """Run ``inspect`` with other insides."""

    def run(function, *options):
        monkeypatch.setattr(inspect, "run", function)
        return command(*options, "inspect", "x.prism")

    return run


def raising(error):
    def run(args):
        raise error

    return run


# --- help and usage -------------------------------------------------------------------------------


def test_version(command):
    result = command("--version")
    assert (result.code, result.out) == (0, f"prism-mri {prism_mri.__version__}\n")


def test_help_lists_every_command_and_says_what_it_is_for(command):
    result = command("--help")
    assert result.code == 0
    assert all(re.search(rf"^    {name} +\w", result.out, re.MULTILINE) for name in COMMANDS)
    assert "For research, not for diagnosis." in result.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_help_says_what_it_is_for(command, name):
    result = command(name, "--help")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"usage: prism-mri {name}")
    assert "For research, not for diagnosis." in result.out


def test_the_module_runs_and_help_loads_nothing_heavy():
    code = (
        "import sys, runpy; sys.argv = ['prism-mri', '--help']\n"
        "try: runpy.run_module('prism_mri', run_name='__main__')\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'nibabel', 'numpy', 'scipy', 'matplotlib', 'skimage', 'pydantic'}\n"
        "sys.stderr.write(f'{code} {sorted(heavy & set(sys.modules))}')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stderr == "0 []"
    assert shown.stdout.startswith("usage: prism-mri ")


def test_the_modalities_to_choose_from_are_those_of_the_configuration():
    assert parsing.MODALITIES == config.MODALITIES


def test_python_m_prism_mri():
    shown = subprocess.run(
        [sys.executable, "-m", "prism_mri", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert shown.stdout.startswith("usage: prism-mri ")
    assert shown.stderr == ""


@pytest.mark.parametrize(
    "words",
    [
        "",
        "unknown",
        "harmonize",
        "harmonize a.nii.gz --out o",
        "harmonize a.nii.gz --card c",
        "harmonize a.nii.gz --card c --out o --style best",
        "harmonize a.nii.gz --card c --out o --trust t --allow-unsigned",
        "harmonize a.nii.gz --card c --out o --modality T3w",
        "prepare in out",
        "train in",
        "train in --out o --epochs many",
        "publish model",
        "keygen",
        "inspect",
        "simulate",
        "report in",
        "demo --out",
    ],
)
def test_wrong_usage_exits_with_2(command, words):
    result = command(*words.split())
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("usage: prism-mri")


# --- exit codes -----------------------------------------------------------------------------------


def test_what_is_done_exits_with_0_and_its_path_stands_alone_on_stdout(
    command, card_folder, scan, tmp_path
):
    out = tmp_path / "out"
    result = command(
        *("harmonize", scan, "--card", card_folder / "guys.prism"),
        *("--trust", card_folder / "trust", "--out", out),
    )
    assert (result.code, result.out) == (0, f"{out / 'scan_desc-harmonized.nii.gz'}\n")
    assert (out / "scan_desc-harmonized.json").is_file()
    assert "harmonize: 1 of 1 images, 0 s left" in result.err


def test_a_prism_error_exits_with_1_and_one_line(inspect_by):
    result = inspect_by(raising(ImageError("a.nii is cut short; copy it again")))
    assert (result.code, result.out) == (1, "")
    assert result.err == "prism-mri: error: a.nii is cut short; copy it again\n"


def test_what_the_operating_system_refuses_exits_with_1_and_one_line(inspect_by):
    result = inspect_by(raising(PermissionError(13, "Permission denied", "/closed/x")))
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("prism-mri: error: ")
    assert result.err.count("\n") == 1
    assert "/closed/x" in result.err
    assert "no permission; choose another output folder" in result.err


def test_partial_failure_exits_with_3_and_lists_the_failures(inspect_by):
    result = inspect_by(
        raising(PartialFailure(["a.nii: bad", "b.nii: worse"], done=4, written=["c.nii"]))
    )
    assert (result.code, result.out) == (3, "c.nii\n")
    assert result.err.splitlines() == [
        "failed: a.nii: bad",
        "failed: b.nii: worse",
        "prism-mri: 2 of 6 inputs failed",
    ]


def test_interruption_exits_with_130(inspect_by):
    result = inspect_by(raising(KeyboardInterrupt()))
    assert (result.code, result.out, result.err) == (130, "", "prism-mri: interrupted\n")


def test_a_defect_is_not_disguised_as_bad_input(inspect_by):
    with pytest.raises(ZeroDivisionError):
        inspect_by(raising(ZeroDivisionError("defect")))


def test_the_traceback_is_shown_on_demand_alone(inspect_by):
    error = ImageError("a.nii is bad")
    result = inspect_by(raising(error), "--verbose")
    assert result.code == 1
    assert "Traceback (most recent call last)" in result.err
    assert result.err.splitlines()[-1] == "prism-mri: error: a.nii is bad"
    assert "Traceback" not in inspect_by(raising(error)).err


def test_logging_goes_to_stderr_and_debugging_on_demand_alone(inspect_by):
    def run(args):
        logging.getLogger("prism_mri.x").info("told")
        logging.getLogger("prism_mri.x").debug("whispered")
        return 0

    quiet, loud = inspect_by(run), inspect_by(run, "-v")
    assert (quiet.out, quiet.err) == ("", "told\n")
    assert (loud.out, loud.err) == ("", "INFO: told\nDEBUG: whispered\n")


def test_the_installed_command_is_this_one():
    script = os.path.join(os.path.dirname(sys.executable), "prism-mri")  # noqa: PTH118, PTH120
    if not os.path.exists(script):  # noqa: PTH110
        pytest.skip("the package is not installed beside this Python")
    shown = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"prism-mri {prism_mri.__version__}\n"
    assert main.EXIT_PARTIAL == 3


@pytest.mark.parametrize("seed", ["-1", "99999999999999999999", "one"])
def test_seeds_out_of_range_are_wrong_usage(command, seed):
    with pytest.raises(SystemExit) as caught:
        main.main(["simulate", "out", "--seed", seed])
    assert caught.value.code == 2


def test_a_terminated_command_ends_like_an_interrupted_one(inspect_by):
    def run(args):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal was not acted on")

    result = inspect_by(run)
    assert (result.code, result.err) == (130, "prism-mri: interrupted\n")
