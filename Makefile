# Two commands for users of a clone: `make demo` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
# Thousands of small ledgers are made and thrown away: in memory that takes a third of the time.
SCRATCH := $(shell test -w /dev/shm && echo /dev/shm || echo $${TMPDIR:-/tmp})

.PHONY: demo test lint types check coverage format bench bench-full clean

demo: .venv/demo.stamp
	$(BIN)/batcher run manifests/quickstart.yaml --simulate
	$(BIN)/batcher report --state state/simulated --html state/simulated/report.html

test: lint types check

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

check: .venv/dev.stamp
	PYTEST_DEBUG_TEMPROOT=$(SCRATCH) $(BIN)/python -m pytest --numprocesses=2 --dist=worksteal

# Takes twice as long as the tests alone, even without the sweeps, which do the same again and again.
coverage: .venv/dev.stamp
	$(BIN)/coverage erase
	PYTEST_DEBUG_TEMPROOT=$(SCRATCH) $(BIN)/coverage run -m pytest --numprocesses=2 --dist=worksteal -m "not sweep"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Each figure with its goal: under ten minutes, and with the largest cases.
bench: .venv/bench.stamp
	$(BIN)/python -m benchmarks

bench-full: .venv/bench.stamp
	$(BIN)/python -m benchmarks --full

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "batcher needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv

.venv/demo.stamp: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[simulator,report]'
	touch $@

.venv/dev.stamp: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ .venv/demo.stamp

.venv/bench.stamp: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench,simulator,report]'
	touch $@ .venv/demo.stamp

clean:
	rm -rf .venv build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
