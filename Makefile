# One word each: `make demo` shows the main job on real parts, `make test` runs everything.
# Both set up what they need: a virtual environment here, and Debian's mariadb-server where it is missing.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test suite chaos bench lint clean

help:
	@echo "make demo    an hour of calls from a private MariaDB to a stand-in for DID Optimizer"
	@echo "make test    ruff, mypy and the whole suite with coverage"
	@echo "make chaos   a minute of kills, faults and restarts"
	@echo "make bench   poll cost, throughput, start and memory beside their baselines: some minutes"
	@echo "make clean   remove what these made"

demo: $(VENV)/ready
	$(BIN)/python -m rehearsal.demo

test: lint
	$(BIN)/python -m pytest --cov --cov-report=term

suite: $(VENV)/ready
	$(BIN)/python -m pytest -q

chaos: $(VENV)/ready
	$(BIN)/python -m rehearsal.chaos --seconds 60

bench: $(VENV)/ready
	$(BIN)/python -m bench

lint: $(VENV)/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

$(VENV)/ready: pyproject.toml rehearsal/set-up
	rehearsal/set-up "$(PYTHON)" "$(VENV)"

clean:
	rm -rf .venv .venv-* dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
