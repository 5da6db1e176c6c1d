# Everything that a fresh machine needs is fetched by the targets themselves; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The interpreter that makes the environments; 3.11 or newer.
PYTHON ?= python3
# Handed to `procdeck serve` by `make run`, to pytest by `make test` and to the benchmarks by `make bench`.
ARGS ?=

VENV := .venv
BENCH_VENV := .venv-bench
LOCK_VENV := .venv-lock
# Stamps: newer than the lock when what it names is installed.
RUNTIME := $(VENV)/.runtime-installed
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(BENCH_VENV)/.installed

PIP_INSTALL := -m pip --disable-pip-version-check install --quiet

# $(call apt-install,packages,why): as root, or through sudo when it asks for no password; else says what to do.
define apt-install
	echo "installing $(1): $(2)"; \
	if ! command -v apt-get >/dev/null; then echo "no apt-get here: please install $(1) yourself" >&2; exit 1; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=(env); \
	elif sudo -n true 2>/dev/null; then as_root=(sudo -n env); \
	else echo "neither root nor sudo without a password: please run: sudo apt-get install $(1)" >&2; exit 1; fi; \
	"$${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get update -qq; \
	"$${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1)
endef

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(RUNTIME) ## install if needed and serve the bundled examples on http://127.0.0.1:8000 (ARGS="--port 9000 jobs.py")
	@$(VENV)/bin/procdeck serve $(ARGS)

.PHONY: install
install: $(INSTALLED) ## make .venv with what users and developers need; the command is .venv/bin/procdeck

.PHONY: test
test: $(INSTALLED) system-packages ## install if needed and run all tests (ARGS="-k name" for some)
	@$(VENV)/bin/python -m pytest -n auto --dist loadscope $(ARGS)

.PHONY: check
check: $(INSTALLED) ## formatting, lint and types
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

.PHONY: format
format: $(INSTALLED) ## format, and mend what lint can mend
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

.PHONY: chaos
chaos: $(INSTALLED) ## kill our own processes at random for ten minutes, and check the books (ARGS="--seconds 60 --seed 7")
	@$(VENV)/bin/python -m tests.faults.chaos $(ARGS)

.PHONY: bench
bench: $(INSTALLED) $(BENCH_INSTALLED) ## measure launches, logs and memory beside supervisord and Circus
	@$(VENV)/bin/python -m benchmarks $(ARGS)

.PHONY: dist
dist: $(INSTALLED) ## build wheel and sdist into dist/
	@$(VENV)/bin/python -m build --no-isolation

.PHONY: clean
clean: ## remove caches and builds; environments and data folders stay
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -path './.venv*' -prune -o -path ./procdeck-data -prune -o -name __pycache__ -type d -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## clean, and remove the environments too
	@rm -rf $(VENV) $(BENCH_VENV) $(LOCK_VENV)

# What the tests drive beside Python: a browser, an init for the container stand-in, a database server, and what the fault
# tests make faults with. Tests that miss one are skipped, saying so; with CI set they fail.
.PHONY: system-packages
system-packages:
	@missing=(); \
	command -v chromium >/dev/null || missing+=(chromium); \
	command -v tini >/dev/null || missing+=(tini); \
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql); \
	command -v gcc >/dev/null && [ -e /usr/include/time.h ] || missing+=(gcc libc6-dev); \
	command -v strace >/dev/null || missing+=(strace); \
	PATH=$$PATH:/sbin:/usr/sbin command -v mkfs.ext4 >/dev/null || missing+=(e2fsprogs); \
	PATH=$$PATH:/sbin:/usr/sbin command -v ip >/dev/null || missing+=(iproute2); \
	if [ $${#missing[@]} -gt 0 ]; then \
	  ($(call apt-install,$${missing[*]},the tests need them)) || echo "going on without $${missing[*]}" >&2; fi

# pip comes last into a new environment, so a half-made one (Debian without python3-venv) is made again.
%/bin/pip:
	@if ! command -v $(PYTHON) >/dev/null; then \
	  echo "no $(PYTHON) here: install Python 3.11 or newer, or name one with PYTHON=…" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(None if sys.version_info >= (3, 11) else f"Python 3.11 or newer is needed, $(PYTHON) is {v}: name another with PYTHON=…")'
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$(PYTHON) cannot make virtual environments: Debian and Ubuntu keep that in the package python3-venv"; \
	  $(call apt-install,python3-venv,virtual environments); fi
	@$(PYTHON) -m venv $*

# Only what is named in a lock, and only files whose hashes stand there; then our own code, in place.
# --no-build-isolation: the build backend comes from the lock as well.
$(RUNTIME): pyproject.toml requirements/runtime.lock requirements/build.lock | $(VENV)/bin/pip
	@echo "installing into $(VENV) …"
	@$(VENV)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/runtime.lock -r requirements/build.lock
	@$(VENV)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(INSTALLED): requirements/dev.lock $(RUNTIME)
	@echo "installing developers' tools into $(VENV) …"
	@$(VENV)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/dev.lock
	@touch $@

$(BENCH_INSTALLED): requirements/bench.lock | $(BENCH_VENV)/bin/pip
	@echo "installing the peers into $(BENCH_VENV) …"
	@$(BENCH_VENV)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/bench.lock
	@touch $@

# dev.lock is resolved first, the others within it, so that one version of a package is used everywhere.
# make lock ARGS=--upgrade moves all of them to the newest allowed.
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(LOCK_VENV)/bin/pip-compile --quiet --generate-hashes --allow-unsafe \
	--strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
	--resolver=backtracking $(ARGS)

.PHONY: lock
lock: | $(LOCK_VENV)/bin/pip ## resolve pyproject.toml into requirements/*.lock (ARGS=--upgrade for the newest)
	@$(LOCK_VENV)/bin/python $(PIP_INSTALL) pip-tools==7.6.2 dependency-groups==1.3.2
	@for group in build dev bench; do $(LOCK_VENV)/bin/dependency-groups $$group >$(LOCK_VENV)/$$group.in; done
	@mkdir -p requirements
	@$(COMPILE) --extra postgres --output-file requirements/dev.lock pyproject.toml $(LOCK_VENV)/dev.in
	@$(COMPILE) --extra postgres --output-file requirements/runtime.lock --constraint requirements/dev.lock pyproject.toml
	@$(COMPILE) --output-file requirements/build.lock --constraint requirements/dev.lock $(LOCK_VENV)/build.in
	@$(COMPILE) --output-file requirements/bench.lock $(LOCK_VENV)/bench.in
