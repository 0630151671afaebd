# RauskuClaw. `make up` runs it, `make test` tests it. Needs Python 3.11+ and make, nothing else.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
UV     := 0.13.8
# What `make bench` measures against: apart, so that it changes nothing of what is measured.
PEERS  := .venv-bench

# Stamps, so that a changed lock file and nothing else installs again.
MADE := $(VENV)/.made
RUN  := $(VENV)/.installed
DEV  := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help up test chaos check bench format lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(RUN) ## run everything here: Postgres, Redis, web, workers, beat; Ctrl-C stops it
# exec: the supervisor is make's own child, gets its signals, and its exit code is make's.
	@exec $(BIN)/python -m rauskuclaw.stack

test: $(DEV) ## run all tests, on servers of their own; ARGS="tests/stack -k lock" narrows them
	@exec $(BIN)/python -m pytest $(ARGS)

JOBS ?= 10000

chaos: $(DEV) ## run JOBS=10000 jobs while everything is killed, prove that none was lost; SEED=N repeats a run
	@exec $(BIN)/python -m tests.chaos --jobs $(JOBS) $(if $(SEED),--seed $(SEED)) --report docs

check: $(DEV) ## lint, formats, types, import rules, migrations and generated docs in step
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports
	@$(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@$(BIN)/python manage.py docs --check

bench: $(DEV) $(PEERS)/.installed ## measure against Celery, Procrastinate, RQ, Dramatiq; ARGS="posts --quick" narrows it
	@exec $(BIN)/python -m tests.bench $(ARGS)

format: $(DEV) ## put the code into its one format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

# The newest versions that requirements*.in allow, with hashes. LOCK=--no-upgrade keeps what is locked.
LOCK ?= --upgrade
COMPILE = $(BIN)/uv pip compile --quiet --no-header --system-certs $(LOCK) --universal --python-version 3.11 \
  --override requirements-overrides.txt --generate-hashes

lock: $(DEV) ## resolve requirements*.in anew into requirements*.txt
	@$(COMPILE) requirements.in -o requirements.txt
	@$(COMPILE) requirements-dev.in -o requirements-dev.txt
	@$(COMPILE) requirements-bench.in -o requirements-bench.txt

clean: ## delete the virtual environment and caches; data in var/ stays
	@rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv is several times faster. It reads neither pip.conf nor PIP_*, so where it cannot reach the index, pip may.
# --no-deps: the lists are complete, but for what requirements-overrides.txt leaves out on purpose.
# Bytecode is compiled here, once, or the five processes of the first start would each do it at the same time.
define install
	@echo "installing $(1)"
	@if $(BIN)/uv --version >/dev/null 2>&1 || \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV); then \
	  $(BIN)/uv pip install --quiet --system-certs --compile-bytecode --python $(BIN)/python --no-deps --require-hashes -r $(1); \
	else false; fi || \
	{ echo "uv could not; trying pip"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(1); }
	@touch $@
endef

$(RUN): requirements.txt | $(MADE)
	$(call install,requirements.txt)

$(DEV): requirements-dev.txt $(RUN)
	$(call install,requirements-dev.txt)

$(PEERS)/.installed: requirements-bench.txt $(DEV)
	@echo "installing $<"
	@$(BIN)/python -m venv $(PEERS)
	@$(BIN)/uv pip install --quiet --system-certs --compile-bytecode --python $(PEERS)/bin/python --require-hashes -r $< || \
	  $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(MADE):
	@command -v $(PYTHON) >/dev/null || \
	  { echo "error: $(PYTHON) is not there. Install Python 3.11 or newer, or set PYTHON=/path/to/it." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed, and this is" \
	    "$$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/a/newer/one." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "error: this Python has no venv or no ensurepip. On Debian and Ubuntu: apt install python3-venv." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@
