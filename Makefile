# Every target sets up what it needs; `make run` is the place to start.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.installed
# The first interpreter that the pinned packages support.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null \
	&& echo $$p && break; done)

.PHONY: run up setup lock audit test test-all long-forms chaos known-bugs bench bench-turns bench-slices bench-peers gpu-proof check format clean

run: $(STAMP)  ## one whole job on this machine: data, model, services, training; then stops
	$(BIN)/trainyard demo

up: $(STAMP)  ## the services, kept running until Ctrl-C
	$(BIN)/trainyard up

setup: $(STAMP)  ## the environment alone

lock: $(STAMP)  ## requirements.lock anew: the newest of what requirements.txt allows, with hashes
	$(BIN)/python tools/lock.py

audit: $(STAMP)  ## the locked packages against the database of known vulnerabilities
	$(BIN)/python tools/audit.py

# Files side by side: most of their time is spent waiting for processes. In their own order: by
# default those with the fewest tests come last, and they are the longest.
SIDE_BY_SIDE := -n 3 --dist loadfile --no-loadscope-reorder

test: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not chaos and not slow and not long and not node and not browser"

test-all: $(STAMP)  ## the soak, the slow ones and the Node clients as well
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not long"

long-forms: $(STAMP)  ## a million events, thousands of kills and sequences, each crash point often: ONLY=a -k expression
	$(BIN)/python -m pytest -m long -s $(if $(ONLY),-k "$(ONLY)")

chaos: $(STAMP)  ## the soak, by time and seed: CHAOS_SECONDS=1800 CHAOS_SEED=(the clock's)
	CHAOS_SEED=$(or $(CHAOS_SEED),$(shell date +%s)) CHAOS_SECONDS=$(or $(CHAOS_SECONDS),1800) \
		CHAOS_JOBS=$(or $(CHAOS_JOBS),40) CHAOS_STRIKES=$(or $(CHAOS_STRIKES),5) \
		CHAOS_LEAST=$(or $(CHAOS_LEAST),20) $(BIN)/python -m pytest -s tests/chaos/test_soak.py

known-bugs: $(STAMP)  ## bugs put back one at a time, and the test that finds each: ONLY=name
	$(BIN)/python tests/known_bugs/run.py $(ONLY)

bench: $(STAMP)  ## every promise of speed and memory; ONLY=name[,name], FULL=1 for the long forms
	ONLY="$(ONLY)" FULL="$(FULL)" $(BIN)/python benchmarks/run.py

bench-turns: $(STAMP)  ## beside another checkout, in turns: OTHER=folder ONLY=names ROUNDS=3
	$(BIN)/python benchmarks/turns.py "$(OTHER)" --only "$(ONLY)" --rounds $(or $(ROUNDS),3)

bench-slices: $(STAMP)  ## trainings beside another checkout's, at once: OTHER=folder ROUNDS=24
	$(BIN)/python benchmarks/slices.py "$(OTHER)" --rounds $(or $(ROUNDS),24)

bench-peers: $(STAMP) $(PEERS_STAMP)  ## beside other queues: RUNS=5 ONLY=names; DOCS=1 writes the table
	$(BIN)/python -m benchmarks.peers --runs $(or $(RUNS),5) --only "$(ONLY)" $(if $(DOCS),--write-docs)

# With GPU_SITE no environment is made: PYTHON has torch, and the folder the other packages.
gpu-proof: $(if $(GPU_SITE),,$(STAMP))  ## what is promised of a GPU, in 8 minutes: OUT=var/gpu-proof GPU_SITE=folder
	GPU_SITE="$(GPU_SITE)" OUT="$(OUT)" $(if $(GPU_SITE),$(PYTHON),$(BIN)/python) -m benchmarks.gpu_proof

check: $(STAMP)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## the environment and the caches; jobs in ./var stay
	rm -rf $(VENV) $(PEERS) .mypy_cache .pytest_cache .ruff_cache *.egg-info

# torch first: which build it is depends on the machine, so that no hash of one file can be held to.
# What its CUDA build brings along comes last, in the versions that it names itself.
TORCH := $(shell grep -o '^torch==[0-9.]*' requirements.txt)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(STAMP): requirements.txt requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Trainyard needs Python 3.11 or 3.12 (set PYTHON=...)." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: apt install python3-venv" >&2; exit 1; }
	@echo "Making the environment in $(VENV) (some minutes, 2 GB) ..."
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps $(TORCH)
	$(PIP) --no-deps --require-hashes --requirement requirements.lock
	$(PIP) $(TORCH)
	PYTHONWARNINGS=ignore $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# torch, TRL and Celery are this project's own; only the other queues are installed here. One that
# cannot be is a note of the benchmark.
$(PEERS_STAMP): benchmarks/peers/requirements.txt $(STAMP)
	rm -rf $(PEERS)
	$(BIN)/python -m venv $(PEERS)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(PEERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth"
	@grep -v '^#' $< | while read -r peer; do \
		$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check "$$peer" \
		|| echo "$$peer cannot be installed: the others go on" >&2; done
	@touch $@
