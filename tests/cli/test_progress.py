"""Progress: a bar on a terminal, a few plain lines elsewhere."""

import io
import sys

import pytest

from prism_mri.cli.progress import show_progress


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves."""
    now = [100.0]
    monkeypatch.setattr("prism_mri.cli.progress.time.monotonic", lambda: now[0])
    return now


def test_plain_lines_with_the_time_left(clock, capsys):
    with show_progress("prepare", "image") as show:
        clock[0] += 30
        show(1, 3)
        clock[0] += 30
        show(2, 3)
        show(3, 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "prepare: 1 of 3 images, 60 s left",
        "prepare: 2 of 3 images, 30 s left",
        "prepare: 3 of 3 images, 0 s left",
    ]


def test_about_ten_lines_however_many_steps_and_always_the_last(capsys):
    with show_progress("score", "pair") as show:
        for done in range(1, 998):
            show(done, 997)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("score: 997 of 997 pairs")


def test_a_bar_on_a_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with show_progress("prepare", "image") as show:
        show(2, 4)
        show(4, 4)
    assert "prepare: 100%" in screen.getvalue()
    assert "4/4" in screen.getvalue()
