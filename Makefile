# make setup makes .venv/ with everything in it; every other target calls it.
# PYTHON picks the interpreter (3.11 or newer), ARGS go to the command: make demo ARGS="--orders 20".
# JOBS is how many processes share the tests; a Kafka that KAFKA_BOOTSTRAP_SERVERS names is for one.

PYTHON ?= python3
ARGS ?=
JOBS ?= $(if $(KAFKA_BOOTSTRAP_SERVERS),1,4)
BIN := .venv/bin
STAMP := .venv/.installed
CODEC := .venv/.codec
PEERS := .venv/peers
FLECHTWERK := .venv/flechtwerk
FLECHTWERK_PYTHON ?= $(firstword $(foreach python,python3.14 python3.13,$(shell $(python) -c 'print("$(python)")' 2>/dev/null)))
PYTEST = $(BIN)/python -m pytest $(if $(filter-out 1,$(JOBS)),-n $(JOBS) --dist loadfile --no-loadscope-reorder)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-all pictures check bench bench-track bench-peers profile simulate docs mutants crash-matrix outages chaos clean

help: ## Show the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: $(STAMP) $(CODEC) ## Make .venv/ with everything in it, and compile the codec (nothing to do while neither changes).
	@:

$(STAMP): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "error: there is no '$(PYTHON)' here; Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $$("$(PYTHON)" --version) is too old, 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: this Python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up .venv with $$("$(PYTHON)" --version) ..."
	@"$(PYTHON)" -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $(STAMP)

$(CODEC): eventbus/serde/plan.py hatch_build.py $(STAMP)
	@$(BIN)/python hatch_build.py > $@

# What was compiled is made again if it is gone.
MADE := $(shell cat $(CODEC) 2>/dev/null)
ifneq ($(filter-out $(wildcard $(MADE)),$(MADE)),)
.PHONY: $(CODEC)
endif

demo: setup ## Run the saga on the embedded broker and show it.
	@$(BIN)/saga demo $(ARGS)

test: setup ## Run the quick tests, on the best Kafka there is; REQUIRE_BROKER=1: fail where there is none.
	@$(PYTEST) -m quick $(ARGS)

test-all: setup ## Run every test (half an hour on two cores).
	@$(PYTEST) $(ARGS)

pictures: setup ## Make the page's pictures in docs/ again, in a real browser (needs a Kafka and Chromium).
	@SAGA_SCREENSHOTS=1 $(BIN)/python -m pytest -q tests/e2e/test_ui_looks.py $(ARGS)

check: setup ## Lint, formatting, types, which package may import which, and the choreography.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/saga verify

docs: setup ## Make docs/commands.md from the help of the commands.
	@$(BIN)/python -m tests.support.commands_page

bench: setup ## Measure (needs a Kafka, as the tests do).
	@$(BIN)/python -m tests.bench $(ARGS)

bench-track: setup ## Measure the tracker: a backlog of 1,000,000 orders, memory, queries (ARGS="--orders 100000").
	@$(BIN)/python -m tests.bench.track $(ARGS)

bench-peers: setup ## Measure the payment service beside Kafka Streams and Python frameworks (ARGS="--peer streams").
	@test -e $(PEERS)/.installed || { "$(BIN)/python" -m venv --clear $(PEERS) && \
	  $(PEERS)/bin/python -m pip install --quiet --requirement tests/bench/peers/requirements.txt && touch $(PEERS)/.installed; }
	@test -e $(FLECHTWERK)/.installed || test -z "$(FLECHTWERK_PYTHON)" || { "$(FLECHTWERK_PYTHON)" -m venv --clear $(FLECHTWERK) && \
	  $(FLECHTWERK)/bin/python -m pip install --quiet --requirement tests/bench/peers/requirements-flechtwerk.txt && \
	  touch $(FLECHTWERK)/.installed; }
	@test -e $(FLECHTWERK)/.installed || echo "without Flechtwerk: it needs Python 3.13 (make bench-peers FLECHTWERK_PYTHON=/path/to/python3.13)"
	@$(BIN)/python -m tests.bench.peers --python $(PEERS)/bin/python \
	  $$(test ! -e $(FLECHTWERK)/.installed || echo --flechtwerk-python $(FLECHTWERK)/bin/python) $(ARGS)

profile: setup ## Show where the processor time of a service goes: ARGS="payment", inventory or order (needs a Kafka).
	@$(BIN)/python -m tests.bench.profile $(or $(ARGS),payment)

simulate: setup ## Try the saga under drawn faults, 10,000 runs (no Kafka needed).
	@$(BIN)/saga simulate $(ARGS)

mutants: setup ## Plant bugs one at a time and show that the simulator finds each.
	@$(BIN)/python -m tests.mutants $(ARGS)

crash-matrix: setup ## Kill a worker at every step of every service on a real Kafka (25 minutes; ARGS=--small: one).
	@$(BIN)/python -m tests.crash_matrix $(ARGS)

outages: setup ## Take brokers, databases, provider and registry away for a minute each, and roll two releases over.
	@OUTAGE_SECONDS=$${OUTAGE_SECONDS:-60} $(BIN)/python -m pytest -s --timeout 900 tests/e2e/test_broker_outage.py tests/e2e/test_three_brokers.py tests/e2e/test_outages.py tests/e2e/test_versions.py $(ARGS)

chaos: setup ## Let orders flow while everything breaks, on three brokers of its own: ARGS="--orders 20000 --minutes 10".
	@$(BIN)/python -m tests.chaos $(ARGS)

clean: ## Remove everything that was made here.
	rm -rf .venv build dist *.so eventbus/serde/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
