# `make` lists the targets. Everything lands in .venv; only `system-deps` touches the machine.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
BIN := .venv/bin
DEV := ClusterShell hypothesis import-linter mypy polars pyright pytest pytest-timeout pytest-xdist ruff vermin
# one more than a small machine has cores: tests wait for half of their time
WORKERS ?= 3
# else every command of a test compiles corral anew, which is half of what it costs
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test unit check fix bench sim planted chaos failpoints cgroup2 system-deps clean

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/ready: pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "corral needs Python 3.11 or newer with venv"; echo "  try: apt-get install python3-venv"; exit 1; }
	@echo "setting up .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/dev: .venv/ready
	@$(BIN)/pip install --quiet --disable-pip-version-check $(DEV)
	@touch $@

demo: .venv/ready ## set up and run the main job: the Ising model on all cores
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python examples/ising/demo.py

test: .venv/dev ## everything (says what is left out, fails on that under CI)
	@$(BIN)/python -m tests.parts
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -q

unit: .venv/dev ## what needs no servers, no root and less than a minute
	$(BIN)/pytest -q -m "not slow and not system" tests/unit tests/grammar tests/results

check: .venv/dev ## format, lint, types, layers, the agent's Python
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/vermin --quiet --no-tips --violations -t=3.6- src/corral/agent.py

fix: .venv/dev ## mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

SEEDS ?= 300
sim: .venv/dev ## simulate: SEEDS=300 of them, or SEED=n alone
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

planted: .venv/dev ## search a seed that shows each bug planted in the simulation (minutes)
	@$(BIN)/python -m tests.simulation --planted

chaos: .venv/dev ## break real hosts under a run: 160 faults (root; minutes; SEED=n)
	@$(BIN)/python -m tests.chaos --hosts 8 --tasks 2000 --faults 160 --seed $(or $(SEED),7)

failpoints: .venv/dev ## kill corral at each of its failpoints, at the first HITS=5 passings (minutes)
	@HITS=$(or $(HITS),5) $(BIN)/pytest -n $(WORKERS) --dist worksteal -q tests/failpoints

cgroup2: .venv/dev ## boot a kernel with cgroup v2 as a process, test memory limits in it (minutes)
	@$(BIN)/python -m tests.cgroup2

bench: .venv/ready ## measure against a floor and the peers; prints ratios
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks

system-deps: ## Debian packages that tests need (root); starts no service
	@./tools/system-deps

clean: ## remove what make made
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
