# Two commands for users of a clone: `make demo` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
# Without the suites on raw sockets, which take long.
QUICK := $(wildcard tests/unit/providers/test_rivya_*.py) tests/unit/catalog tests/unit/manifest/test_identity.py \
	tests/unit/manifest/test_load.py tests/unit/manifest/test_sources.py tests/integration/planning/test_plan.py \
	tests/integration/lifecycle/test_failures.py tests/integration/providers/test_result_addresses.py \
	tests/integration/report/test_figures.py tests/cli/test_offline.py tests/cli/test_look.py

.PHONY: demo demo-cluster test lint types check lowest coverage format bench bench-full clean

demo: .venv/demo.stamp
	$(BIN)/batcher run manifests/quickstart.yaml --simulate
	$(BIN)/batcher report --state state/simulated --html state/simulated/report.html

demo-cluster: .venv/bench.stamp
	$(BIN)/python -m benchmarks.demo_cluster

test: lint types check lowest

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

# Three on two processors: tests of many machines wait for leases more than they work.
check: .venv/dev.stamp
	$(BIN)/python -m pytest --numprocesses=3 --dist=worksteal

# The oldest versions that pyproject.toml allows, with the tests that are quick.
lowest: .venv-lowest/stamp
	.venv-lowest/bin/python -m pytest -p no:cacheprovider --numprocesses=2 $(QUICK)

# Takes twice as long as the tests alone, even without the sweeps, which do the same again and again.
coverage: .venv/dev.stamp
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses=2 --dist=worksteal -m "not sweep"
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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[simulator,report,xlsx]'
	touch $@

# A venv's own pip may be too old to know groups of dependencies.
.venv/dev.stamp: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cluster,mcp,notify,otel,report,simulator,xlsx]' --group dev
	touch $@ .venv/demo.stamp

.venv-lowest/stamp: .venv/dev.stamp pyproject.toml
	$(PYTHON) -m venv --clear .venv-lowest
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable '.[cluster,mcp,notify,otel,report,simulator,xlsx]' --group dev
	touch $@

.venv/bench.stamp: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cluster,mcp,notify,otel,report,simulator,xlsx]' --group bench
	touch $@ .venv/demo.stamp

clean:
	rm -rf .venv .venv-lowest build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
