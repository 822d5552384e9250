# Every target sets up what it needs in .venv; a fresh machine has to bring only python3 and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SEEDS  ?= 200
ARGS   ?=
PEERS  := $(patsubst benchmarks/peers/requirements/%.txt,.venv-peers/%/.ready,$(wildcard benchmarks/peers/requirements/*.txt))

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint fmt benchmark benchmark-peers benchmark-stores faults simulate contract build clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1@\2/p' $(MAKEFILE_LIST) | awk -F@ '{ printf "%-18s %s\n", $$1, $$2 }'

install: $(READY) ## set up .venv with everything pinned

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

demo: $(READY) ## a short tour on a scratch database
	$(BIN)/mainspring demo

test: $(READY) ## the test suite (ARGS='-k lease' picks)
	$(BIN)/python -m pytest $(ARGS)

check: lint ## lint, strict types, architecture tests
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture

lint: $(READY) ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

fmt: $(READY) ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

benchmark: $(READY) ## compare with raw loops and peers (PROFILE=1 adds a profile)
	@command -v wrk >/dev/null || apt-get install -y -q wrk || echo "without wrk, one figure fails"
	$(if $(PROFILE),PROFILE=$(PROFILE)) $(BIN)/python -m benchmarks

benchmark-peers: $(READY) $(PEERS) ## beside other task queues (ARGS='--quick --class postgres')
	$(BIN)/python -m benchmarks.peers $(ARGS)

benchmark-stores: $(READY) ## claims, sizes and rest on every store (ARGS='--quick --store redis')
	$(BIN)/python -m benchmarks.stores $(ARGS)

# One environment per peer: they want different versions of the same libraries.
.venv-peers/%/.ready: benchmarks/peers/requirements/%.txt
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --quiet --disable-pip-version-check -r $<
	@touch $@

faults: $(READY) ## the fault tests, with every verb of every store cut off 500 times
	MAINSPRING_FAULT_CUTS=500 $(BIN)/python -m pytest tests/faults $(ARGS)

simulate: $(READY) ## a cluster on a virtual clock, with faults (SEEDS=200)
	$(BIN)/mainspring simulate --seeds $(SEEDS)

contract: $(READY) ## which rows of the contract have a test
	$(BIN)/python tools/contract.py

build: $(READY) ## wheel and sdist into dist/
	$(BIN)/python -m build

clean: ## remove what builds and tests leave (not .venv)
	rm -rf build dist htmlcov .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
