"""evaluate and report on the command line: what they pass on, print and refuse."""

import argparse
import subprocess
import sys
from types import SimpleNamespace

import pytest

from prism_mri.cli import evaluate, report
from prism_mri.errors import InputError


@pytest.fixture
def parse():
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(required=True)
    for command in (evaluate, report):
        command.add_parser(subparsers)
    return lambda *words: parser.parse_args([str(word) for word in words])


@pytest.fixture
def calls(monkeypatch):
    """Replace everything that computes; return what it was called with."""
    seen = {}

    def read_card(path, *, trust, allow_unsigned):
        seen.setdefault("cards", []).append((path.name, trust, allow_unsigned))
        return SimpleNamespace(manifest=SimpleNamespace(site=path.stem.partition("-")[0]))

    def read_prepared(folder):
        return SimpleNamespace(manifest=SimpleNamespace(site=folder.name.partition("-")[0]))

    def evaluate_travelling(dataset, *, progress, **options):
        progress(1, 2)
        progress(2, 2)
        seen["dataset"], seen["options"] = dataset, options
        return "results"

    monkeypatch.setattr("prism_mri.card.read_card", read_card)
    monkeypatch.setattr("prism_mri.data.prepared.read_prepared", read_prepared)
    translator = SimpleNamespace(networks=SimpleNamespace(anatomy_encoder="encoder"))
    monkeypatch.setattr("prism_mri.models.translator.read_translator", lambda: translator)
    monkeypatch.setattr("prism_mri.evaluate.travelling.evaluate_travelling", evaluate_travelling)
    monkeypatch.setattr("prism_mri.evaluate.table.format_table", lambda found: f"{found}: table\n")
    return seen


def words(tmp_path, *more):
    cards = [tmp_path / "guys.prism", tmp_path / "hh.prism"]
    prepared = [tmp_path / "hh-prepared", tmp_path / "guys-prepared"]
    return [
        *("evaluate", "travelling", tmp_path / "people", "--card", *cards),
        *("--prepared", *prepared, "--out", tmp_path / "results", *more),
    ]


def test_evaluate_passes_everything_on_and_prints_the_table(parse, calls, capsys, tmp_path):
    args = parse(*words(tmp_path, "--trust", tmp_path / "keys", "--seed", 5, "--overwrite"))
    assert args.run(args) == 0
    captured = capsys.readouterr()
    assert captured.out == "results: table\n"
    assert "evaluate: 2 of 2 pairs" in captured.err
    assert calls["dataset"] == tmp_path / "people"
    options = calls["options"]
    assert options["prepared"] == {
        "hh": tmp_path / "hh-prepared",
        "guys": tmp_path / "guys-prepared",
    }
    assert list(options["cards"]) == ["guys", "hh"]
    assert options["anatomy_encoder"] == "encoder"
    assert (options["out"], options["seed"], options["overwrite"]) == (
        tmp_path / "results",
        5,
        True,
    )
    assert calls["cards"][0] == ("guys.prism", tmp_path / "keys", False)


def test_unsigned_cards_are_accepted_only_when_asked(parse, calls, tmp_path):
    for more, allowed in (((), False), (("--allow-unsigned",), True)):
        calls.clear()
        args = parse(*words(tmp_path, *more))
        args.run(args)
        assert calls["cards"][0] == ("guys.prism", None, allowed)
        assert calls["options"]["overwrite"] is False


def test_two_cards_of_one_site_are_refused(parse, calls, tmp_path):
    command = words(tmp_path)
    command[4] = tmp_path / "hh-old.prism"
    args = parse(*command)
    with pytest.raises(InputError, match="second card of hh"):
        args.run(args)


def test_two_prepared_datasets_of_one_site_are_refused(parse, calls, tmp_path):
    command = words(tmp_path)
    command[command.index("--prepared") + 1] = tmp_path / "guys-other"
    args = parse(*command)
    with pytest.raises(InputError, match="are both of guys"):
        args.run(args)


@pytest.mark.parametrize(
    "line",
    [
        "evaluate",
        "evaluate travelling people --prepared a --out r",
        "evaluate travelling people --card c --out r",
        "evaluate travelling people --card c --prepared p --out r --trust t --allow-unsigned",
        "report results",
    ],
)
def test_incomplete_commands_are_usage_errors(parse, line, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*line.split())
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_report_writes_and_prints_its_path(parse, monkeypatch, capsys, tmp_path):
    seen = []
    monkeypatch.setattr(
        "prism_mri.report.write_report",
        lambda results, out, *, overwrite: seen.append((results, out, overwrite)),
    )
    args = parse("report", tmp_path / "results", "--out", tmp_path / "r.html", "--overwrite")
    assert args.run(args) == 0
    assert seen == [(tmp_path / "results", tmp_path / "r.html", True)]
    assert capsys.readouterr().out == f"{tmp_path / 'r.html'}\n"


def test_help_needs_no_heavy_import():
    code = (
        "import sys; import prism_mri.cli.evaluate, prism_mri.cli.report; "
        "print(sorted({'torch', 'nibabel', 'matplotlib', 'skimage'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.strip() == "[]"


def test_reconstruction_passes_everything_on_and_prints_the_table(
    parse, monkeypatch, capsys, tmp_path
):
    seen = {}

    def evaluate_reconstruction(prepared, model, *, progress, **options):
        progress(1, 1)
        seen.update(options, prepared=prepared, model=model)
        return "results"

    reconstruction = "prism_mri.evaluate.reconstruction"
    monkeypatch.setattr(f"{reconstruction}.evaluate_reconstruction", evaluate_reconstruction)
    monkeypatch.setattr(
        f"{reconstruction}_results.format_reconstruction", lambda found: f"{found}: table\n"
    )
    monkeypatch.setattr("prism_mri.models.translator.read_translator", lambda: "translator")
    args = parse("evaluate", "reconstruction", tmp_path / "site", "--model", tmp_path / "model")
    assert args.run(args) == 0
    assert capsys.readouterr().out == "results: table\n"
    assert seen == {
        "prepared": tmp_path / "site",
        "model": tmp_path / "model",
        "translator": "translator",
        "split": "auto",
        "out": None,
        "overwrite": False,
    }
    more = ("--split", "test", "--out", tmp_path / "results", "--overwrite")
    args = parse("evaluate", "reconstruction", tmp_path, "--model", tmp_path, *more)
    args.run(args)
    assert (seen["split"], seen["out"], seen["overwrite"]) == ("test", tmp_path / "results", True)
    with pytest.raises(SystemExit):
        parse("evaluate", "reconstruction", tmp_path)
