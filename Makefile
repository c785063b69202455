# One word each: `make demo` shows the main job on real parts, `make test` runs everything.
# Both set up what they need: a virtual environment here, and Debian's mariadb-server where it is missing.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# A test takes any free worker. Markers, which pyproject.toml explains, choose: make suite WHICH='not slow'
PYTEST := python -m pytest -n auto --dist worksteal
WHICH ?=

.PHONY: help demo test test-all suite chaos faults bench lint dist test-dist release clean

help:
	@echo "make demo      an hour of calls from a private MariaDB to a stand-in for DID Optimizer"
	@echo "make test      ruff, mypy and the whole suite with coverage, in parallel: five minutes on two cores"
	@echo "make test-all  the suite on every Python that is here, with the lowest and the newest dependencies"
	@echo "make chaos     a minute of kills, faults and restarts"
	@echo "make faults    a kill, and four errors, at every system call of a run: some minutes"
	@echo "make bench     poll cost, throughput, start and memory beside their baselines: some minutes"
	@echo "make dist      sdist, wheel and vicisync.pyz into dist/"
	@echo "make test-dist the suite's end-to-end part against that wheel and vicisync.pyz"
	@echo "make release   what is uploaded, built twice into the same bytes, and what to do with it"
	@echo "make clean     remove what these made"

demo: $(VENV)/ready
	$(BIN)/python -m rehearsal.demo

test: lint
	$(BIN)/$(PYTEST) --cov --cov-report=term

test-all: $(VENV)/ready
	$(BIN)/nox

suite: $(VENV)/ready
	$(BIN)/$(PYTEST) -m "$(WHICH)"

chaos: $(VENV)/ready
	$(BIN)/python -m rehearsal.chaos --seconds 60

faults: $(VENV)/ready
	$(BIN)/python -m rehearsal.faults

bench: $(VENV)/ready
	$(BIN)/python -m bench

lint: $(VENV)/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

dist: $(VENV)/ready
	rm -rf dist
	$(BIN)/python -m release.dist

test-dist: dist
	$(BIN)/python -m venv --clear $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	VICISYNC_COMMAND=$(abspath $(VENV)-wheel)/bin/vicisync $(BIN)/$(PYTEST) -m end_to_end
	VICISYNC_COMMAND=$(abspath dist)/vicisync.pyz $(BIN)/$(PYTEST) -m "end_to_end and not not_pyz"

release: $(VENV)/ready
	rm -rf dist
	$(BIN)/python -m release.release

$(VENV)/ready: pyproject.toml rehearsal/set-up
	rehearsal/set-up "$(PYTHON)" "$(VENV)"

clean:
	rm -rf .venv .venv-* .nox dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
