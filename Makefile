PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test cov pictures check format bench bench-scale bench-growth lock hooks clean

help:  ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/runtime  ## Run the whole service here, with no server to install (PORT=8000)
	@$(BIN)/python -m app run --port $(PORT)

test: $(VENV)/dev  ## Run the tests (ARGS='-k mapping'); those on real servers need Docker (REQUIRE_DOCKER=1 insists)
	@$(BIN)/python -m pytest $(ARGS)

cov: $(VENV)/dev  ## Run the tests and show which lines they reach
	@$(BIN)/python -m pytest --cov=app --cov-report=term-missing $(ARGS)

pictures: $(VENV)/dev  ## Take the README's pictures anew (Chromium; pngquant makes them small)
	@PICTURES=docs/images REQUIRE_BROWSER=1 $(BIN)/python -m pytest -q tests/e2e/test_pictures.py
	@pngquant --quality 80-95 --speed 1 --force --ext .png docs/images/*.png

check: $(VENV)/dev  ## Check format, lint, types and the floors of the house
	@$(BIN)/black --quiet --check --diff .
	@$(BIN)/isort --quiet --check-only --diff .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/dev  ## Format the code
	@$(BIN)/isort --quiet .
	@$(BIN)/black --quiet .
	@$(BIN)/ruff check --quiet --fix .

bench: $(VENV)/bench  ## Measure the usual way, ours and the limit side by side (PostgreSQL by Docker or BENCH_DATABASE_URL)
	@$(BIN)/python -m benchmarks.compare

bench-scale: $(VENV)/bench  ## Measure what grows from 10 thousand to 1 million users
	@$(BIN)/python -m benchmarks.scale

bench-growth: $(VENV)/bench  ## Measure one run over 1, 2 and 4 worker processes
	@$(BIN)/python -m benchmarks.growth

LOCK := uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	--no-emit-index-url --no-annotate --no-header

lock: $(VENV)/dev  ## Pin the dependencies anew
	@$(BIN)/$(LOCK) --output-file requirements.lock
	@$(BIN)/$(LOCK) --extra dev --output-file requirements-dev.lock
	@$(BIN)/$(LOCK) --extra dev --extra bench --output-file requirements-bench.lock

hooks: $(VENV)/dev  ## Run the checks before each commit
	@$(BIN)/pre-commit install

clean:  ## Remove the environment and what runs and tests have left
	@rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else 0'
	@$(PYTHON) -m venv $(VENV)

# Each mark is older than the lock file that it stands for when that has changed.
$(VENV)/runtime: requirements.lock | $(BIN)/python
	@echo "Installing what the service needs ..."
	@$(PIP) install --require-hashes --requirement requirements.lock
	@touch $@

$(VENV)/dev: requirements-dev.lock | $(BIN)/python
	@echo "Installing what the tests need ..."
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@touch $@ $(VENV)/runtime

$(VENV)/bench: requirements-bench.lock | $(BIN)/python
	@echo "Installing what the benchmarks need ..."
	@$(PIP) install --require-hashes --requirement requirements-bench.lock
	@touch $@ $(VENV)/dev $(VENV)/runtime
