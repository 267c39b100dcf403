# make run     the example, live, on this machine; ctrl-C ends it
# make test    what CI runs: make check, then all tests
# make check   style, types, layers and the wheel
# make bench   the benchmarks (minutes; see benchmarks/README.md)
# make chaos   kill -9 and worse on a real Kafka; EVENTS=1000000 KILLS=100 SEED=7 MODE=host say how much, again, where
# make chaos-outages   two minutes without a broker, one without a function
# make chaos-memory    one process' memory over EVENTS records
# make clean   remove what the others made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test check bench chaos chaos-outages chaos-memory clean setup-all setup-test

help:
	@sed -n 's/^# make/make/p' Makefile

# On a terminal, `set -m` gives func a foreground group of its own: else ctrl-C would reach make too, which dies of
# it however cleanly the program under it ends.
run: setup-all
	@echo "Starting the example: func run --tick (--tick fires the schedule at once, instead of at the next full minute)"
	@echo "Try in a second terminal, once it is ready:"
	@echo "  curl --data-binary @README.md localhost:8080/identify"
	@echo "  $(BIN)/func events tail files.typed --from-beginning"
	@echo
	@if [ -t 0 ]; then set -m; fi; $(BIN)/func run --tick $(ARGS)

test: check
	$(BIN)/pytest

check: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	@rm -rf dist; log=$$($(BIN)/python -m build --wheel --no-isolation --outdir dist . 2>&1) || { echo "$$log"; exit 1; }
	$(BIN)/check-wheel-contents dist

bench: setup-test
	@for name in startup events inference records images; do $(BIN)/python benchmarks/$$name.py || exit 1; done

EVENTS ?= 100000
KILLS ?= 20
MODE ?= direct
CHAOS := --events $(EVENTS) $(if $(SEED),--seed $(SEED)) $(ARGS)

chaos: setup-test
	@PYTHONPATH=tests $(BIN)/python -m chaos $(CHAOS) --kills $(KILLS) --mode $(MODE) --json dist/chaos.json

chaos-outages: setup-test
	UPON_OUTAGES=full $(BIN)/pytest tests/acceptance/test_outages.py -k "gone_for_a_while" -rP

chaos-memory: setup-test
	@PYTHONPATH=tests $(BIN)/python -m chaos.memory $(CHAOS) --json dist/chaos-memory.json

clean:
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# Installs when pyproject.toml differs from the copy that .venv keeps of the one it was made from: a second time needs
# no network, whatever git did to the file's date.
setup-all: $(BIN)/python
	@cmp -s pyproject.toml $(VENV)/installed-all || { \
	  echo "Installing Upon into $(VENV) (the first time takes about a minute)"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[all]" && \
	  cp pyproject.toml $(VENV)/installed-all; }

setup-test: $(BIN)/python
	@cmp -s pyproject.toml $(VENV)/installed-test || { \
	  echo "Installing Upon and what its tests need into $(VENV) (the first time takes a minute or two)"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[all,test]" && \
	  cp pyproject.toml $(VENV)/installed-all && cp pyproject.toml $(VENV)/installed-test; }

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Upon needs Python 3.11 or newer, and $(PYTHON) is not: try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
