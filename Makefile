# Trunkline's tasks. `make help` lists them. Everything lives in .venv; nothing
# else on the machine is touched. ARGS= passes extra words to the command.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
DOCS := README.md CONTRIBUTING.md $(sort $(wildcard docs/*.md))
ARGS ?=

# The oldest Python we support, and the names under which one may be installed.
OLDEST := 3.11
PYTHON ?= python3.11 python3 python3.14 python3.13 python3.12 python

.PHONY: help serve install test check lint types imports house drift fix docs bench lock clean

help: ## list these tasks
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

serve: $(VENV)/.serve ## install what serving needs, then run the gateway (ARGS="--port 8080")
	@exec $(BIN)/trunkline serve $(ARGS)

install: $(VENV)/.dev ## install what developing needs into .venv

# Most tests wait most of the time: two cores keep four workers busy, who share the tests as
# tests/sharing.py says. A part has one process, which begins sooner; PARALLEL= says otherwise.
PARALLEL ?= $(if $(ARGS),0,4)
test: $(VENV)/.dev ## run the whole test-suite (ARGS="tests/wire -k sgp")
	@$(BIN)/python -m pytest -n $(PARALLEL) $(ARGS)

check: lint types imports house drift ## everything that needs no test run: style, types, rooms, sizes, docs

lint: $(VENV)/.dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(VENV)/.dev
	@$(BIN)/mypy

imports: $(VENV)/.dev
	@$(BIN)/lint-imports

house: $(VENV)/.dev
	@$(BIN)/python -m pytest tests/test_house.py

drift: $(VENV)/.dev
	@$(BIN)/cog -I docs --verbosity=1 --check --check-fail-msg='Run: make docs' $(DOCS)

fix: $(VENV)/.dev ## repair what tools can: lint, format, generated docs
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format
	@$(BIN)/cog -I docs --verbosity=1 -r $(DOCS)

docs: $(VENV)/.dev ## write the generated parts of the documentation again
	@$(BIN)/cog -I docs --verbosity=1 -r $(DOCS)

bench: $(VENV)/.dev ## measure the gateway on this machine (bench/README.md; ARGS=--quick)
	@$(BIN)/python -m bench.run $(ARGS)

# dev first: what serve pins is then held to the versions that the tests ran with.
UV ?= uv
COMPILE = $(UV) pip compile
PINNED = --universal --python-version $(OLDEST) --generate-hashes --no-emit-index-url --no-header -q
LOCK = $(COMPILE) pyproject.toml $(PINNED) --extra local --group build
lock: ## pin the requirements again from pyproject.toml (needs uv; ARGS=--upgrade for newer ones)
	@$(LOCK) $(ARGS) --group dev -o requirements/dev.txt
	@$(LOCK) -c requirements/dev.txt --upgrade -o requirements/serve.txt
	@$(COMPILE) --group litellm $(PINNED) $(ARGS) -o requirements/litellm.txt

clean: ## remove .venv and every cache
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	@find src tests bench -name __pycache__ -prune -exec rm -rf {} +

# Stamps: a finished step is not done again until a file it depends on changes.
$(VENV)/.python:
	@for name in $(PYTHON); do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(OLDEST)".split("."))))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$name ($$("$$name" -V))"; \
	    "$$name" -m venv --clear $(VENV) || { echo "$$name cannot make a virtual environment: install its venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }; \
	    touch $@; exit 0; \
	  fi; \
	done; \
	echo "Trunkline needs Python $(OLDEST) or newer, and none of these is: $(PYTHON). Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1

# The editable install comes after the requirements: hatchling, which builds it, is among them.
define install
	@echo "Installing $< into $(VENV)"
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(VENV)/.serve: requirements/serve.txt pyproject.toml $(VENV)/.python
	$(install)

$(VENV)/.dev: requirements/dev.txt pyproject.toml $(VENV)/.python
	$(install)
	@touch $(VENV)/.serve
