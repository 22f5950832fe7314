# What people and CI both run. `make demo` and `make test` set up everything they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-bench

.DEFAULT_GOAL := help
.PHONY: help setup demo smoke test check bench peers params ui ui-stop clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: $(READY) ## the virtual environment with the pinned set

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Installing the pinned set into $(VENV) (about 2.5 GB on disk, 2 to 5 minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" -c constraints.txt
	@touch $@

demo: $(READY) ## explain latents and neurons of a real model, end to end
	@$(BIN)/python -m flows.demo

smoke: $(READY) ## the same path at toy size in a copy of the project, a minute or two
	@$(BIN)/python -m flows.demo --sandbox .scratch/smoke experiment=smoke

test: $(READY) ## all tests, the report in a real browser included
	@$(BIN)/python tests/install_browser.py
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(READY) ## format, lint, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@PYTHONPATH=src $(BIN)/lint-imports --no-cache

bench: $(READY) $(PEERS)/.ready ## speed against limits and other libraries, on a quiet machine
	@PYTHONPATH=src $(PEERS)/bin/python benchmarks/topk_step.py
	@PYTHONPATH=src $(BIN)/python benchmarks/growth.py
	@$(BIN)/python benchmarks/capture.py

peers: $(PEERS)/.ready ## the libraries we compare with, in an environment of their own (.venv-bench)

$(PEERS)/.ready: benchmarks/peers_environment.sh pyproject.toml constraints.txt
	@sh benchmarks/peers_environment.sh

params: $(READY) ## compose conf/ into params.yaml
	@$(BIN)/python -m flows.params

ui: $(READY) ## Prefect and MLflow on loopback, in the background
	@$(BIN)/python -m flows.ui start

ui-stop: ## stop them
	@$(BIN)/python -m flows.ui stop

clean: ## remove artifacts (of sweeps, planted and cascade for good), the report and drafts; kept: DVC cache, answers, models
	rm -rf artifacts reports/run reports/timings .scratch
