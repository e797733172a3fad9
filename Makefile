# make plan   set up and plan the paper's case      make test   set up and pass every test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SPEC ?= examples/paper.yaml
# per cent of lines that tests run, at least
COVERED ?= 85

.PHONY: plan run test lint accuracy engines bench clean clean-compiled

plan: $(VENV)/installed
	$(BIN)/moewright plan $(SPEC)

run: $(VENV)/installed-run
	$(BIN)/moewright run examples/paper-128-ranks.yaml

test: $(VENV)/installed-test
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check --quiet src tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --cov --cov-report= --cov-fail-under=$(COVERED)

lint: $(VENV)/installed-test
	$(BIN)/ruff format src tests benchmarks docs
	$(BIN)/ruff check --fix src tests benchmarks docs
	$(BIN)/mypy

accuracy: $(VENV)/installed
	$(BIN)/python -m benchmarks.accuracy

engines: $(VENV)/installed  # exported commands through the engines' own parsers, from their wheels
	$(BIN)/python -m benchmarks.engines $(ENGINES)

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks

clean-compiled:  # what Numba has kept of placement/compiled
	find src -name '*.nb[ci]' -delete

clean: clean-compiled
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable . --constraint constraints.txt
	@touch $@

$(VENV)/installed-run: $(VENV)/created pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[run]' --constraint constraints.txt
	@touch $@ $(VENV)/installed

$(VENV)/installed-test: $(VENV)/created pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,run]' --constraint constraints.txt
	@touch $@ $(VENV)/installed
