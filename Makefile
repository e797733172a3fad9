# make plan   set up and plan the paper's case      make test   set up and pass every test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SPEC ?= examples/paper.yaml
# per cent of lines that tests run, at least
COVERED ?= 85

.PHONY: plan run test coverage lint accuracy engines bench docs links dist clean clean-compiled

plan: $(VENV)/installed
	$(BIN)/moewright plan $(SPEC)

run: $(VENV)/installed-run
	$(BIN)/moewright run examples/paper-128-ranks.yaml

test: export PYTHONDONTWRITEBYTECODE :=  # a start of the command reads what the one before compiled
test: $(VENV)/installed-test
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check --quiet src tests benchmarks docs
	$(BIN)/python tests/kernels.py & $(BIN)/mypy && wait
	$(BIN)/pytest -n 2

coverage: $(VENV)/installed-test  # the same tests with every line traced, which takes them twice as long
	$(BIN)/pytest -n 2 --cov --cov-fail-under=$(COVERED)

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

docs: $(VENV)/installed-docs  # every warning is an error: a link that leads nowhere, a name that is not documented
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

links: $(VENV)/installed-docs  # links to elsewhere too: needs a network
	$(BIN)/python -m sphinx -q -b linkcheck docs docs/_build/links

dist: $(VENV)/installed-test  # sdist and wheel; the wheel is installed alone and run
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	MOEWRIGHT_DIST=dist $(BIN)/pytest --no-cov -m dist tests/end_to_end/test_dist.py

clean-compiled:  # what Numba has kept of placement/compiled
	find src -name '*.nb[ci]' -delete

clean: clean-compiled
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis

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

$(VENV)/installed-docs: $(VENV)/created pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]' --constraint constraints.txt
	@touch $@ $(VENV)/installed
