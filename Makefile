# Every target does its own set-up: all it needs is Python 3.11 (or later) and a package registry.
#
#   make demo      the whole chain on generated data: figures and a table of scores in demo/
#   make test      the default tests             make test-all   every test, with coverage
#   make lint      ruff and mypy                 make docs       the documentation, warnings are errors
#   make bench     ours against the peers, side by side
#   make clean     remove the virtual environment and everything built

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

EXTRAS_run := fast
EXTRAS_test := fast,grib,test
EXTRAS_lint := fast,test,lint
EXTRAS_docs := fast,docs

.PHONY: demo test test-all lint docs bench clean
.DELETE_ON_ERROR:

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed, and none was found" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$$($(PYTHON) --version) was found; xatmo needs Python 3.11 or later: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras: installed once, and again when the requirements change.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing xatmo[$(EXTRAS_$*)] into $(VENV) (about a minute the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS_$*)]"
	@touch $@

demo: $(VENV)/.installed-run
	$(BIN)/xatmo demo --output demo/

# Each worker keeps to one thread: two of them fill two cores, and more threads would only wait for each other.
test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup -m "not slow and not gpu and not network" $(ARGS)

test-all: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup -m "not network" --cov \
	  --cov-report=term:skip-covered $(ARGS)

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

bench: $(VENV)/.installed-test
	$(BIN)/python tests/benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist demo docs/_build docs/auto_gallery .pytest_cache .mypy_cache .ruff_cache
