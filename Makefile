# The lab in a few words: `make up`, `make test`, `make down`. STACK=name picks another Pulumi.<name>.yaml.
STACK ?= dev
UV := $(shell sh toolchain/uv.sh --where)
# Python's packages are compiled when they are installed: the first command is as fast as the next.
export UV_COMPILE_BYTECODE := 1
RUN := $(UV) run --quiet --locked --no-dev

# BUNDLE=file, as `make bundle` writes it: what is missing is taken from there, nothing from a network.
ifneq ($(BUNDLE),)
export BUNDLE
export UV_OFFLINE := 1
export LVS_DR_LAB_OFFLINE := 1
endif

.PHONY: up down shell setup bundle test soak lint audit bench reference

up: setup-python
	@$(RUN) lab up --stack $(STACK)

down: setup-python
	@$(RUN) lab down --stack $(STACK)

shell: setup-python
	@$(RUN) lab shell --stack $(STACK)

setup: setup-python
	@$(RUN) lab setup

bundle: setup-python
	@$(RUN) lab bundle --stack $(STACK)

.PHONY: setup-python
setup-python:
ifneq ($(BUNDLE),)
	@python3 toolchain/unpack.py "$$BUNDLE"
endif
	@sh toolchain/uv.sh --install
	@$(UV) sync --quiet --locked --no-dev --inexact

lint: setup-python
	@$(UV) sync --quiet --locked
	$(UV) run --quiet ruff check
	$(UV) run --quiet ruff format --check
	$(UV) run --quiet mypy
	$(UV) run --quiet mypy toolchain/unpack.py

# Known holes in the Python packages that uv.lock names.
audit: setup-python
	@sh toolchain/audit.sh $(UV)

# Everything, the real lab included: it builds one. Under emulation on two processors forty minutes to an hour.
# First, on all processors, what needs no lab.
test: lint audit setup test-packages
	@$(UV) sync --quiet --locked
	$(UV) run --quiet pytest -m "not lab" -n auto $(PYTEST)
	$(UV) run --quiet pytest -m "lab and not soak" --durations 40 $(PYTEST)

# What takes too long for every change: interruptions at twenty points, a failover a minute (SOAK_MINUTES, 30).
soak: setup test-packages
	@$(UV) sync --quiet --locked
	$(UV) run --quiet pytest -m soak --durations 0 $(PYTEST)

# Measures the lab beside its peers on this computer, which should do nothing else: an hour and a half by emulation.
bench: setup-python
	@$(UV) sync --quiet --locked
	$(UV) run --quiet python -m bench $(BENCH)

# What the tests need beyond the lab: judges such as keepalived itself. No daemon of theirs is started.
.PHONY: test-packages
test-packages: setup-python
	@$(RUN) python -m tests.install

# Writes what is generated from the model again: README's table, Pulumi.yaml's schema, the picture.
reference: setup-python
	@$(UV) sync --quiet --locked
	$(UV) run --quiet python -m lab.reference
