# Every target sets up what it needs; `make run` is the place to start.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The first interpreter that the pinned packages support.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null \
	&& echo $$p && break; done)

.PHONY: run up setup test test-all chaos known-bugs bench bench-turns check format clean

run: $(STAMP)  ## one whole job on this machine: data, model, services, training; then stops
	$(BIN)/trainyard demo

up: $(STAMP)  ## the services, kept running until Ctrl-C
	$(BIN)/trainyard up

setup: $(STAMP)  ## the environment alone

# Files side by side: most of their time is spent waiting for processes.
test: $(STAMP)
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not chaos and not slow and not node and not browser"

test-all: $(STAMP)  ## the soak, the slow ones and the Node clients as well
	$(BIN)/python -m pytest -n 3 --dist loadfile

chaos: $(STAMP)  ## the soak, by time and seed: CHAOS_SECONDS=600 CHAOS_SEED=(the clock's)
	CHAOS_SEED=$(or $(CHAOS_SEED),$(shell date +%s)) CHAOS_SECONDS=$(or $(CHAOS_SECONDS),600) \
		CHAOS_JOBS=$(or $(CHAOS_JOBS),20) $(BIN)/python -m pytest -s tests/chaos

known-bugs: $(STAMP)  ## bugs put back one at a time, and the test that finds each: ONLY=name
	$(BIN)/python tests/known_bugs/run.py $(ONLY)

bench: $(STAMP)  ## every promise of speed and memory; ONLY=name[,name], FULL=1 for the long forms
	ONLY="$(ONLY)" FULL="$(FULL)" $(BIN)/python benchmarks/run.py

bench-turns: $(STAMP)  ## beside another checkout, in turns: OTHER=folder ONLY=names ROUNDS=3
	$(BIN)/python benchmarks/turns.py "$(OTHER)" --only "$(ONLY)" --rounds $(or $(ROUNDS),3)

check: $(STAMP)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## the environment and the caches; jobs in ./var stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info

$(STAMP): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Trainyard needs Python 3.11 or 3.12 (set PYTHON=...)." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: apt install python3-venv" >&2; exit 1; }
	@echo "Making the environment in $(VENV) (about two minutes, 1.6 GB) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^torch==[0-9.]*' requirements.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@
