# The commands of this repository, for people and for CI. `make` alone lists them.
# Needs Python 3.11 or newer with its venv module, and make; everything else is installed into .venv.

PYTHON ?= python3
WORKERS ?= 2
LOCK_FLAGS ?=
REGISTRY_PYTHON := .venv/bin/python
PIP_INSTALL := $(REGISTRY_PYTHON) -m pip install --quiet --disable-pip-version-check --progress-bar off
UV_COMPILE := build/uv/bin/uv pip compile setup.cfg --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header $(LOCK_FLAGS)
TRANSLATIONS := $(wildcard registry/faces/*/translations/*/LC_MESSAGES/*.po)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint bench bench-full soak openapi lock .venv

help: ## List these commands
	@sed -n -E 's/^([a-z.-]+):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-11s %s\n' "$$name" "$$text"; done

run: .venv ## Start a demonstration registry; Ctrl-C ends it (REGISTRY_PORT, REGISTRY_DATA_DIR)
	@exec .venv/bin/registry run

test: .venv/dev.stamp .venv ## Run every test, linters and type checks included (ARGS: pytest's arguments)
	@$(REGISTRY_PYTHON) -m tests.system_tools
	@$(REGISTRY_PYTHON) -m pytest -n $(WORKERS) --dist worksteal --durations=10 $(ARGS)

lint: .venv/dev.stamp ## Run only ruff, mypy and the import rules
	@.venv/bin/ruff check registry tests
	@.venv/bin/mypy
	@.venv/bin/lint-imports --config setup.cfg

bench: .venv/dev.stamp .venv ## Measure the registry in a few minutes
	@$(REGISTRY_PYTHON) -m tests.bench

bench-full: .venv/dev.stamp .venv ## Measure it at full size
	@$(REGISTRY_PYTHON) -m tests.bench --full

soak: .venv/dev.stamp .venv ## Run the long campaigns of kills, faults and fuzz; goes on where it stopped
	@$(REGISTRY_PYTHON) -m tests.soak

openapi: .venv ## Write openapi.yaml from the device face
	@$(REGISTRY_PYTHON) -m registry.faces.openapi > openapi.yaml.new
	@mv openapi.yaml.new openapi.yaml

lock: ## Remake both locks from setup.cfg (LOCK_FLAGS=--upgrade for new versions)
	$(PYTHON) -m venv build/uv
	build/uv/bin/pip install --quiet --disable-pip-version-check uv
	$(UV_COMPILE) --extra build --extra dev --output-file requirements-dev.lock
	$(UV_COMPILE) --extra build --constraints requirements-dev.lock --output-file requirements.lock

.venv: .venv/runtime.stamp $(TRANSLATIONS:.po=.mo) ## Install the registry and what it needs into .venv
	@:

.venv/runtime.stamp: requirements.lock setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "The registry needs Python 3.11 or newer (make PYTHON=python3.12 picks another)." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing the registry and the packages of requirements.lock into .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP_INSTALL) --require-hashes -r requirements.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: .venv/runtime.stamp requirements-dev.lock
	@echo "Installing the tools of requirements-dev.lock into .venv"
	@$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

%.mo: %.po | .venv/runtime.stamp
	@.venv/bin/pybabel --quiet compile -i $< -o $@
