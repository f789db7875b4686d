"""What the documentation shows works: links, make targets, commands and options, Python blocks."""

import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
PRISM_MRI = Path(sys.executable).with_name("prism-mri")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
PLACEHOLDER = re.compile(r"^[A-Z.…]+$|^[<\[]")


def read_blocks(page: Path, *languages: str) -> list[str]:
    """Return the fenced blocks of a page that are written in one of the languages."""
    return [
        body for language, body in FENCE.findall(page.read_text("utf-8")) if language in languages
    ]


def read_commands(page: Path) -> list[list[str]]:
    """Return the commands of a page's shell blocks as words, continuation lines joined."""
    lines = "\n".join(read_blocks(page, "bash", "sh", "shell", "console")).replace("\\\n", " ")
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in lines.splitlines()]


@cache
def read_help(*command: str) -> str:
    """Return what ``prism-mri COMMAND --help`` prints; fails where there is no such command."""
    result = subprocess.run(
        [PRISM_MRI, *command, "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    return result.stdout


def page_id(value: object) -> str | None:
    return str(value.relative_to(REPOSITORY)) if isinstance(value, Path) else None


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text("utf-8"))
    targets = [target for target, _ in LINK.findall(text) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_make_targets_exist(page: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    defined = set(re.search(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)[1].split())
    commands = [words for words in read_commands(page) if words[:1] == ["make"]]
    shown = {word for words in commands for word in words[1:] if "=" not in word}
    assert shown <= defined


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (page, words)
        for page in PAGES
        for words in read_commands(page)
        if words and Path(words[0]).name == "prism-mri"
    ],
    ids=lambda value: page_id(value) or " ".join(value[1:3]),
)
def test_commands_and_options_exist(page: Path, words: list[str]) -> None:
    names = [word for word in words[1:2] if not word.startswith("-")]
    options = {word.split("=")[0] for word in words if word.startswith("--")} - {
        "--help",
        "--version",
    }
    shown = set(re.findall(r"--[a-z][a-z-]*", read_help(*names)))
    if not options <= shown and len(words) > 2 and not PLACEHOLDER.match(words[2]):
        shown = set(re.findall(r"--[a-z][a-z-]*", read_help(*names, words[2])))
    assert options <= shown


@pytest.mark.parametrize(
    ("page", "code"),
    [(page, code) for page in PAGES for code in read_blocks(page, "python")],
    ids=lambda value: page_id(value) or "block",
)
def test_python_blocks_run(
    page: Path, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {"__name__": "__main__"})  # noqa: S102 - our own pages


def test_pages_are_found() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= names
    assert ["make", "demo"] in read_commands(REPOSITORY / "README.md")


# --- the tables say what the results say ----------------------------------------------------------


def read_recipes_table() -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = json.loads(
        (REPOSITORY / "docs/results/recipes.json").read_text()
    )["table"]
    return found


def test_the_readmes_table_is_that_of_the_results() -> None:
    table, text = read_recipes_table(), (REPOSITORY / "README.md").read_text()
    columns = ("not harmonized", "quantile matching", "anchored", "oracle")
    names = {pair: pair for pair in table["oracle"] if "→" in pair} | {"all pairs": "mean of pairs"}
    for key, name in names.items():
        cells = [
            f"{table[row][key]['ssim']:.3f} / {table[row][key]['psnr_db']:.1f}" for row in columns
        ]
        assert f"| {name} | {' | '.join(cells)} |" in text


def test_the_recipes_page_has_the_results_rows() -> None:
    table, text = read_recipes_table(), (REPOSITORY / "docs/paper-recipe.md").read_text()
    pairs = sorted(pair for pair in table["oracle"] if "→" in pair)
    for row, groups in table.items():
        cells = " | ".join(f"{groups[pair]['ssim']:.3f}" for pair in pairs)
        assert f"| {row} | {cells} | {groups['all pairs']['ssim']:.3f}" in text, row


def test_the_reconstruction_table_is_that_of_the_results() -> None:
    results = json.loads((REPOSITORY / "docs/results/reconstruction.json").read_text())["table"]
    text = (REPOSITORY / "docs/paper-recipe.md").read_text()
    for row, sites in results.items():
        cells = [
            f"{sites[site]['whole']['ssim']:.4f} / {sites[site]['whole']['psnr_db']:.1f}"
            if site in sites
            else "–"
            for site in ("guys", "hh", "adni")
        ]
        lines = [line for line in text.splitlines() if line.startswith(f"| {row}")]
        assert any(" | ".join(cells) in line for line in lines), (row, cells)


@pytest.mark.parametrize(("modality", "part"), [("T2w", 0), ("T1w", 1)])
def test_the_benchmarks_page_has_the_results_rows(modality: str, part: int) -> None:
    path = REPOSITORY / f"docs/results/travelling-{modality}.json"
    results = json.loads(path.read_text())["summary"]
    lines = (REPOSITORY / "docs/benchmark.md").read_text().split("\n## T1w\n")[part].splitlines()
    for name, row in results.items():
        first, second = (line for line in lines if line.startswith(f"| {name} |"))
        cells = f"{row['ssim']:.3f} ± {row['ssim_sd']:.3f} | {row['psnr_db']:.1f}"
        assert first.startswith(f"| {name} | {cells}"), name
        assert second.endswith(f"| {row['volume_error']:.0%} |"), name


def test_the_privacy_page_has_the_results_rows() -> None:
    text = (REPOSITORY / "docs/privacy.md").read_text()
    results = json.loads((REPOSITORY / "docs/results/audits.json").read_text())["audits"]
    for name, audit in results.items():
        leaks = audit["kinds"][0]["leaks"]
        cells = " | ".join(
            f"{leak['auc']:.2f} ({leak['auc_low']:.2f} to {leak['auc_high']:.2f})" for leak in leaks
        )
        row = f"| {name} | {audit['kinds'][0]['card_bytes']:,} | "
        (line,) = (line for line in text.splitlines() if line.startswith(row))
        assert cells in line, name
    population = json.loads((REPOSITORY / "docs/results/population.json").read_text())
    for name, row in population.items():
        assert f"| {name} | {' | '.join(f'{auc:.2f}' for auc in row.values())} |" in text, name


def test_the_real_sites_tables_are_those_of_the_results() -> None:
    text = (REPOSITORY / "docs/results/README.md").read_text()
    results = json.loads((REPOSITORY / "docs/results/real-sites-T2w.json").read_text())
    for home in results["home"]:
        cells = f"{home['ssim']:.3f} | {home['ssim_held_out']:.3f}"
        assert f"| study {home['study']} | {home['kind']} | {cells} |" in text
    for passage in results["passages"]:
        where = f"| study {passage['source']} → {3 - passage['source']} | {passage['kind']} |"
        (line,) = (line for line in text.splitlines() if line.startswith(where))
        for moved in passage["moved"].values():
            assert f"({moved:.0%})" in line, where
