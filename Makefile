# Each target sets itself up: a virtual environment in .venv, made with whatever `python3` is.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# Tests of what consumers rely on: called once more on another thread than the main one, where they read themselves.
ASIDE = receive close claims reconnect faults limits tls upkeep_live

.PHONY: demo test check soak bench clean

demo: $(VENV)/.local  ## Send a recorded question, hear the answer: answer.wav
	$(BIN)/meshapi-rt talk examples/question.wav -o answer.wav

test: $(VENV)/.test  ## Every test, with samples of the long proofs
	$(BIN)/python -m pytest -m "not soak and not card" -n auto --maxprocesses 4
	$(BIN)/python -m pytest -m "not soak and card"
	$(BIN)/python -m pytest -m "not soak" --aside -n auto --maxprocesses 4 $(foreach one,$(ASIDE),tests/test_$(one).py)

check: $(VENV)/.dev  ## Style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

soak: $(VENV)/.test  ## The long proofs, whole
	$(BIN)/python -m pytest -m soak --durations=0

bench: $(VENV)/.bench  ## Ours beside its peers, in one run; 35 minutes, BENCH=--quick for two minutes
	$(BIN)/python -m benchmarks $(BENCH)

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.local: $(VENV)/.made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local]'
	touch $@

$(VENV)/.bench: $(VENV)/.made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@ $(VENV)/.local

$(VENV)/.test: $(VENV)/.made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ $(VENV)/.local

$(VENV)/.dev: $(VENV)/.made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.test $(VENV)/.local
