# `make` alone lists the targets. Everything runs from .venv, which `make setup` fills.
.DEFAULT_GOAL := help
SHELL := /bin/sh

# The first interpreter that runs and is new enough: a name on the PATH may be a shim that does not.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
DATA ?= demo-data
# One process more than there are cores: many tests wait for servers that start or stop.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) + 1)
FAULTS ?= 200

.PHONY: help setup demo serve test pytest test-docs test-browser chaos bench lint types format docs constraints clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## install everything into .venv, and nothing else

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found: install one, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: setup ## run the quick correction study from the HTTP body to the figure
	$(BIN)/python examples/demo.py --data $(DATA)

serve: setup ## serve the demo's data folder (DATA=…) until Ctrl-C
	$(BIN)/bfc serve --data $(DATA)

# One thread a process: xdist fills the cores, and more threads only wait for each other.
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: setup ## lint, type-check and run every test but the long ones
	@$(MAKE) --no-print-directory -j 3 lint types pytest

# Beside mypy, which takes one core for half a minute.
pytest:
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

test-docs: setup ## run every code block of the documentation
	BFC_TEST_DOCS=all $(BIN)/python -m pytest tests/docs

test-browser: setup ## only the tests that drive the page in Chromium
	$(BIN)/python -m pytest -m browser

chaos: setup ## random faults against a running load (FAULTS=200, SEED=…)
	$(BIN)/python -m tests.chaos --faults $(FAULTS) $(if $(SEED),--seed $(SEED))

bench: setup ## the measurements under bench/, one after another
	@for b in $$(grep -l '^def main(' bench/*.py); do echo "== $$b"; $(BIN)/python -m bench.$$(basename $$b .py) || exit 1; done

lint: setup ## ruff, and the import rules between the rooms
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo

types: setup ## mypy --strict
	$(BIN)/mypy

format: setup ## sort imports and mend what ruff can mend
	$(BIN)/ruff check --fix .

docs: setup ## build the documentation, strictly, into site/
	$(BIN)/mkdocs build --strict --quiet

constraints: setup ## write the installed versions into constraints.txt
	@{ sed '/^[^#]/d' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed -E 's/^(torch==[0-9.]+)\+.*/\1/'; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## remove what builds and tests leave behind (not .venv, not data folders)
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
