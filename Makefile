# SPDX-License-Identifier: Apache-2.0
# Every target sets up what it needs; `make help` lists them. PYTHON=python3.12 chooses the Python,
# ARGS=... is handed to the program.

VENV := $(CURDIR)/.venv

ifdef PYTHON
SETUP = $(PYTHON) tools/setup.py --this-python
else
PYTHON := python3
SETUP = python3 tools/setup.py
endif

ifdef ROS_DISTRO
IN_ENV = . $(VENV)/bin/activate && . $(VENV)/local_setup.sh &&
else
# The wheels find their libraries by themselves; what another ROS left behind would come first.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH PYTHONPATH
export AMENT_PREFIX_PATH := $(VENV)
IN_ENV = . $(VENV)/bin/activate &&
endif

# Nodes on this machine only: a demo or a test does not meddle with the robots of the building.
ifeq ($(ROS_DISTRO),humble)
export ROS_LOCALHOST_ONLY ?= 1
else
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST
endif

.NOTPARALLEL:
.PHONY: help setup setup-dev setup-training demo test lint format bench clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: require-python  ## Make .venv: ROS 2 (unless one is sourced), vpr_msgs, vpr_ros
	@$(SETUP)

setup-dev: require-python
	@$(SETUP) --dev

setup-training: require-python  ## The same, with what training needs (torch)
	@$(SETUP) --training

demo: setup  ## Drive a rendered town twice and recognise its places with the real node
	@$(IN_ENV) vpr demo $(ARGS)

test: require-python  ## Lint, types and all tests
	@$(SETUP) --dev --training
	@$(MAKE) --no-print-directory check
	@$(IN_ENV) python -m pytest $(ARGS)

lint: setup-dev check  ## Lint and types alone

format: setup-dev  ## Format the code
	@$(IN_ENV) ruff check --fix . && ruff format .

bench: require-python  ## Run every benchmark; takes hours
	@$(SETUP) --dev --training
	@$(IN_ENV) for benchmark in benchmarks/[a-z]*.py; do python "$$benchmark" || exit 1; done

clean:  ## Remove .venv and all that was built
	rm -rf .venv build install log *.egg-info .mypy_cache .pytest_cache .ruff_cache

.PHONY: check require-python
check:
	@$(IN_ENV) ruff check .
	@$(IN_ENV) ruff format --check .
	@$(IN_ENV) mypy

require-python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo 'setup: $(PYTHON) was not found: install Python 3.10 to 3.13, or name one: make PYTHON=...' >&2; \
	  exit 1; }
