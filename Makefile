# The few commands, the same for people and CI. `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 40
INPUTS ?= 100000
SECONDS_EACH ?= 60
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help run down dev tools test check unit e2e e2e-new process sim planted fuzz fuzz-guided bench

help: ## list the commands
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: dev ## a local Kubernetes with the operator, a three-member FaunaCluster and sample data
	@PYTHONPATH=tests $(BIN)/python -m kind_test_helpers.run up

down: ## take it down; the machine is as it was
	@PYTHONPATH=tests $(PYTHON) -m kind_test_helpers.run down

dev: $(VENV)/.installed ## the virtual environment with everything for development

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -m ensurepip --version >/dev/null 2>&1 || (apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv python3-pip)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "dev: installing the packages of constraints.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt hatchling editables
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[operator,test]'
	@touch $@

tools: ## fill the tool cache (Kubernetes, Go, Node, base image)
	@PYTHONPATH=tests $(PYTHON) -m kind_test_helpers.tools

test: ## everything that can be tested here, stage by stage
	@$(PYTHON) tests/stages.py all

check: dev ## format, lint, types, import contracts, tidiness
	@$(PYTHON) tests/stages.py check

unit: dev ## unit tests and tables
	@$(PYTHON) tests/stages.py unit

process: dev ## members as real processes
	@$(PYTHON) tests/stages.py process

e2e: dev tools ## end to end on a real Kubernetes
	@$(PYTHON) tests/stages.py e2e

e2e-new: dev tools ## end-to-end tests that are on probation
	@$(PYTHON) tests/stages.py e2e-new

sim: dev ## the simulator: SEEDS=n, or SEED=x TRACE=1 for one
	@PYTHONPATH=database $(BIN)/python -m faunadb_sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(if $(TRACE),--trace)

planted: dev ## plant each bug of tests/planted in a copy; its test must notice
	@$(PYTHON) tests/stages.py planted

fuzz: dev ## each decoder of foreign bytes with INPUTS=100000 inputs
	@FAUNA_FUZZ=$(INPUTS) $(BIN)/python -m pytest -q -s -p no:cacheprovider tests/faunadb/test_decoders.py \
		tests/faunadb/api/test_front.py::test_random_bytes_never_hurt

fuzz-guided: dev ## each decoder for SECONDS_EACH=60, guided by coverage; ONLY=words, KEEP=1 keeps inputs
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[fuzz]'
	@PYTHONPATH=tests $(BIN)/python -m decoders --seconds $(SECONDS_EACH) $(if $(KEEP),--keep) $(ONLY)

bench: dev ## figures of this machine into bench/results
	@$(BIN)/python -m bench
