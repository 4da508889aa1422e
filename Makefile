PYTHON ?= python3
PORT ?= 8000
VENV := .venv
HELM := $(VENV)/helm
LINT := $(VENV)/lint
CLUSTER ?= synergyway
BIN := $(VENV)/bin
# The lock files name everything there is to install: pip, left to look for more, trips over newer releases.
INSTALL := -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --requirement
ARGS ?=
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

.DEFAULT_GOAL := help
.PHONY: help run test cov soak pictures check audit chart-check chart-docs format bench bench-scale bench-growth lock hooks observe kind-up kind-down clean

help:  ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/runtime  ## Run the whole service here, with no server to install (PORT=8000)
	@$(BIN)/python -m app run --port $(PORT)

test: $(VENV)/dev $(HELM)/helm  ## Run the tests (ARGS='-k mapping'); those on real servers need Docker (REQUIRE_DOCKER=1 insists)
	@$(BIN)/python -m pytest $(ARGS)

cov: $(VENV)/dev $(HELM)/helm  ## Run the tests and show which lines they reach
	@$(BIN)/python -m pytest --cov=app --cov-report=term-missing $(ARGS)

soak: $(VENV)/dev  ## Inject faults into a working service for SOAK_SECONDS=1800 a broker (SOAK_BROKER=both, SOAK_SEED; needs Docker)
	@$(BIN)/python -m tests.faults.soak

pictures: $(VENV)/dev  ## Take the README's pictures anew (Chromium; pngquant makes them small)
	@PICTURES=docs/images REQUIRE_BROWSER=1 $(BIN)/python -m pytest -q tests/e2e/test_pictures.py
	@pngquant --quality 80-95 --speed 1 --force --ext .png docs/images/*.png

check: $(VENV)/dev chart-check  ## Check format, lint, types, the floors of the house, the pins, security, the chart and the Dockerfile
	@$(BIN)/black --quiet --check --diff .
	@$(BIN)/isort --quiet --check-only --diff .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pip check
	@.ci/check_security.sh $(LINT)/bin

audit: $(LINT)/done  ## Ask for known vulnerabilities of the pinned packages
	@.ci/audit.sh $(LINT)/bin

chart-check: $(LINT)/done $(HELM)/helm  ## Check the chart and the Dockerfile alone
	@.ci/check_chart.sh $(HELM)/helm $(LINT)/bin

chart-docs: $(VENV)/dev  ## Write the table of values in the chart's README anew
	@$(BIN)/python -m tests.charts.values_table

observe:  ## Run the service in Compose with Prometheus, Grafana, Tempo and Loki beside it (needs Docker)
	@$(COMPOSE) -f docker-compose.yml -f compose.observe.yml up --detach --build
	@echo "The dashboards are at http://localhost:$${GRAFANA_PORT:-3000}, Prometheus at http://localhost:$${PROMETHEUS_PORT:-9090}."
	@echo "It is stopped by: $(COMPOSE) -f docker-compose.yml -f compose.observe.yml down"

kind-up:  ## Create a kind cluster, build the image and install the chart there (CLUSTER=synergyway)
	@.ci/kind.sh up $(CLUSTER)

kind-down:  ## Delete that cluster
	@.ci/kind.sh down $(CLUSTER)

format: $(VENV)/dev  ## Format the code
	@$(BIN)/isort --quiet .
	@$(BIN)/black --quiet .
	@$(BIN)/ruff check --quiet --fix .

bench: $(VENV)/bench  ## Measure the usual way, ours and the limit side by side (PostgreSQL by Docker, or BENCH_DATABASE_URL, which is emptied)
	@$(BIN)/python -m benchmarks.compare

bench-scale: $(VENV)/bench  ## Measure what grows from 10 thousand to 1 million users (BENCH_DATABASE_URL is emptied)
	@$(BIN)/python -m benchmarks.scale

bench-growth: $(VENV)/bench  ## Measure one run over 1, 2 and 4 worker processes (BENCH_DATABASE_URL is emptied)
	@$(BIN)/python -m benchmarks.growth

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	--no-emit-index-url --no-annotate --no-header

lock: $(VENV)/dev  ## Pin the dependencies anew
	@$(BIN)/$(LOCK) pyproject.toml --output-file requirements.lock
	@$(BIN)/$(LOCK) pyproject.toml --extra dev --output-file requirements-dev.lock
	@$(BIN)/$(LOCK) pyproject.toml --extra dev --extra bench --output-file requirements-bench.lock
	@$(BIN)/$(LOCK) --group lint --output-file requirements-lint.lock

hooks: $(VENV)/dev $(LINT)/done  ## Run the checks before each commit
	@$(BIN)/pre-commit install

clean:  ## Remove the environment and what runs and tests have left
	@rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else 0'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No environment could be made. Debian and Ubuntu have what it takes in a package of its own: apt install python3-venv" >&2; exit 1; }

# Each mark is older than the lock file that it stands for when that has changed.
$(VENV)/runtime: requirements.lock | $(BIN)/python
	@echo "Installing what the service needs ..."
	@$(BIN)/python $(INSTALL) requirements.lock
	@touch $@

$(VENV)/dev: requirements-dev.lock | $(BIN)/python
	@echo "Installing what the tests need ..."
	@$(BIN)/python $(INSTALL) requirements-dev.lock
	@touch $@ $(VENV)/runtime

$(VENV)/bench: requirements-bench.lock | $(BIN)/python
	@echo "Installing what the benchmarks need ..."
	@$(BIN)/python $(INSTALL) requirements-bench.lock
	@touch $@ $(VENV)/dev $(VENV)/runtime

# Tools of their own, whose pins would hold back those of the service.
$(LINT)/done: requirements-lint.lock | $(BIN)/python
	@echo "Installing what checks the chart and the security ..."
	@$(BIN)/python -m venv --clear $(LINT)
	@$(LINT)/bin/python $(INSTALL) requirements-lint.lock
	@touch $@

# Not made where neither Helm nor npm is at hand, which one line says.
$(HELM)/helm: .ci/helm/package-lock.json .ci/helm/install.sh
	@.ci/helm/install.sh $(HELM)
