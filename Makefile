# Needs only Python 3.11 to 3.13; everything else goes into $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help evaluate study realism reproduce retrain test check fuzz fmt clean

help:
	@echo "make evaluate   install the simulator and compare the baseline policies"
	@echo "make study      answer the reviewers' claims and the sensitivity grid anew (20 minutes)"
	@echo "make realism    compare the simulated scheduler with this machine's (as root, 5 minutes): docs/realism.md"
	@echo "make reproduce  evaluate the shipped trained policies again and compare with their cards"
	@echo "make retrain    train them again (says first how many hours it takes)"
	@echo "make test       format check, lint, types, tests (compiled, then the core uncompiled)"
	@echo "make fuzz       try wrong inputs on everything that takes any, for SECONDS (8 hours)"
	@echo "make fmt        format the source and sort imports"
	@echo "make clean      remove $(VENV) and what the tools left"

evaluate: $(VENV)/.simulator
	$(BIN)/python -m baselines.evaluate

study: $(VENV)/.dev
	$(BIN)/python -m experiments series-review
	$(BIN)/python -m experiments sensitivity

realism: $(VENV)/.simulator
	$(BIN)/vcpu-env realism --seconds 1 --repeat 5 --out results/realism
	cp results/realism/realism.md docs/realism.md
	cp results/realism/recording.parquet vcpu_env/realism/recording.parquet

reproduce: $(VENV)/.dev
	$(BIN)/python -m agents.publish reproduce

retrain: $(VENV)/.dev
	$(BIN)/python -m agents.publish retrain

test check: $(VENV)/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy .
	$(BIN)/pytest
	NUMBA_DISABLE_JIT=1 $(BIN)/pytest -m "core and not slow"

SECONDS ?= 28800
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

fmt: $(VENV)/.dev
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Stamp files: set-up is redone only when what it depends on changes.
$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "$(PYTHON) must be Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.simulator: pyproject.toml constraints.txt $(VENV)/.venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.simulator
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,agents]'
	touch $@
