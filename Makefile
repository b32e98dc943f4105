# make demo and make test need Python 3.11 or newer, and nothing else: each sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo cluster test test-faults fuzz bench check format clean
help:
	@echo "make demo      several workers on one twin, checked at the end   (make demo ARGS='--workers 8 --seconds 20')"
	@echo "make cluster   three masters with a replica each on this machine, until Ctrl-C   (make cluster ARGS='--port 7100')"
	@echo "make test      the tests, on the bundled server and on redis-server where there is one"
	@echo "make test-faults   those of them that break things: servers, networks, disks, clocks"
	@echo "make fuzz      looks for bad input that does harm, other input in each run   (make fuzz MINUTES=30)"
	@echo "make bench     measures everything beside its rivals, in some 10 minutes   (make bench ARGS='--quick')"
	@echo "make check     ruff, format and types"
	@echo "make format    puts the code in order"
	@echo "make clean     removes what these made; make PYTHON=python3.13 ... takes another Python"

demo: $(VENV)/.installed
	@$(BIN)/circman-redis demo $(ARGS)

cluster: $(VENV)/.installed
	@exec $(BIN)/circman-redis cluster $(ARGS)

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest $(ARGS)

test-faults: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest tests/faults tests/fuzz tests/twin $(addprefix tests/contract/test_,repair.py acl.py rights.py cluster.py) tests/twin/test_cluster.py tests/test_deployment.py --thorough $(ARGS)

fuzz: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10) $(ARGS)

bench: $(VENV)/.installed-bench
	@$(BIN)/python -m benchmarks $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis benchmarks/out

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.made
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.made
	@echo "installing into $(VENV), with what the tests need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml | $(VENV)/.made
	@echo "installing into $(VENV), with what the measurements need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@touch $@ $(VENV)/.installed-dev $(VENV)/.installed
