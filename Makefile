# Every target works from a bare clone: it makes .venv with $(PYTHON) and installs what is needed, once.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The travelling benchmark: label maps of ANATOMIES, everything cached under bench/.
ANATOMIES ?= ../shared/data/anatomies
MODALITY ?= T2w

.PHONY: demo demo-quick test lint docs bench bench-travelling bench-paper

demo: $(INSTALLED)
	$(BIN)/prism-mri demo --out demo

demo-quick: $(INSTALLED)
	$(BIN)/prism-mri demo --quick --out demo-quick

test: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation is Markdown; building it means running its code blocks.
docs: $(INSTALLED)
	$(BIN)/python -m pytest tests/test_docs.py

bench: $(INSTALLED)
	$(BIN)/python tools/bench.py
	$(BIN)/python tools/bench_volume.py

bench-travelling: $(INSTALLED)
	$(BIN)/python tools/bench_travelling.py --anatomies $(ANATOMIES) --modality $(MODALITY) --out bench

# The paper's experiments on simulated sites like its own, everything cached under bench-paper/.
bench-paper: $(INSTALLED)
	$(BIN)/python tools/bench_paper.py --out bench-paper
	$(BIN)/prism-mri report bench-paper/results --out bench-paper/report.html --overwrite

# torch first: a build that the environment offers for this machine is kept, and nothing replaces it.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e '.[test]'
	touch $@
