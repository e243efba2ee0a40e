# Needs only Python 3.11 to 3.14; everything else goes into $(VENV).
PYTHON ?= python3
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help evaluate study realism reproduce retrain test check compiled uncompiled debug coverage fuzz matrix constraints pages docs kills invariants fmt clean

help:
	@echo "make evaluate   install the simulator and compare the baseline policies"
	@echo "make study      answer the reviewers' claims and the sensitivity grid anew (20 minutes)"
	@echo "make realism    compare the simulated scheduler with this machine's (as root, 5 minutes): docs/realism.md"
	@echo "make reproduce  evaluate the shipped trained policies again and compare with their cards"
	@echo "make retrain    train them again (says first how many hours it takes)"
	@echo "make test       format check, lint, types, tests (compiled, and the core uncompiled)"
	@echo "make coverage   which lines the tests reach, compiled functions counted uncompiled"
	@echo "make debug      the core tests, compiled so that every index of a struct is checked"
	@echo "make matrix     the same on every Python of '$(PYTHONS)' that is installed"
	@echo "make constraints  resolve the development environment anew, into constraints.txt"
	@echo "make fuzz       try wrong inputs on everything that takes any, for SECONDS (8 hours)"
	@echo "make pages      make every page that prints results again (hours); python docs/pages.py lists them"
	@echo "make docs       build the documentation site into build/site (extra docs; no network)"
	@echo "make kills      kill sweeps and trainings KILLS times each, go on with them, compare (docs/trust.md)"
	@echo "make invariants run machines for EVENTS events, and look at them in between"
	@echo "make fmt        format the source and sort imports"
	@echo "make clean      remove $(VENV) and what the tools left"

evaluate: $(VENV)/.simulator
	$(BIN)/python -m baselines.evaluate

study: $(VENV)/.dev
	$(BIN)/python -m experiments series-review
	$(BIN)/python -m experiments sensitivity
	$(BIN)/python -m experiments kernel-7.3

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
	$(BIN)/python -c "from vcpu_env.precompile import ensure_compiled; ensure_compiled()"
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target compiled uncompiled

# The two halves of the tests; they run at the same time, each on one CPU.
compiled: $(VENV)/.dev
	$(BIN)/pytest

uncompiled: $(VENV)/.dev
	NUMBA_DISABLE_JIT=1 $(BIN)/pytest -p no:cacheprovider -m "core and not slow"

# Compiled functions count by the uncompiled half: what they do compiled is not seen.
coverage: $(VENV)/.dev
	$(BIN)/coverage erase
	NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest -m "core and not slow"
	$(BIN)/coverage run -m pytest -m "not core and not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

debug: $(VENV)/.dev
	VCPU_ENV_DEBUG=1 $(BIN)/pytest -m "core and not slow"

matrix:
	@for python in $(PYTHONS); do \
		if $$python -c "" 2>/dev/null; then \
			echo "== $$python"; \
			$(MAKE) test PYTHON=$$python VENV=.venv-$${python##*/} || exit 1; \
		else \
			echo "== $$python: not installed, left out"; \
		fi; \
	done

# Newest versions of all but torch, whose pin stays: the build without CUDA goes by its version.
constraints:
	grep '^torch==\|^#' constraints.txt > $(VENV)-torch.txt
	$(PYTHON) -m venv --clear $(VENV)-constraints
	$(VENV)-constraints/bin/python -m pip install --quiet --constraint $(VENV)-torch.txt --editable '.[dev,agents]'
	grep '^#' $(VENV)-torch.txt > constraints.txt
	$(VENV)-constraints/bin/python -m pip freeze --exclude-editable | sed 's/+cpu//' >> constraints.txt
	rm -rf $(VENV)-constraints $(VENV)-torch.txt

SECONDS ?= 28800
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

pages: $(VENV)/.dev
	$(BIN)/python docs/pages.py make

docs: $(VENV)/.docs
	$(BIN)/python docs/make_commands.py
	$(BIN)/sphinx-build --fail-on-warning --fresh-env --quiet -c docs . build/site
	@echo "build/site/index.html"

KILLS ?= 50
kills: $(VENV)/.dev
	VCPU_ENV_KILLS=$(KILLS) $(BIN)/pytest -m slow -s tests/test_kills.py

EVENTS ?= 1000000000
invariants: $(VENV)/.dev
	VCPU_ENV_EVENTS=$(EVENTS) $(BIN)/pytest -m slow -s tests/test_machine_invariants.py

fmt: $(VENV)/.dev
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) .venv-* build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*

# Stamp files: set-up is redone only when what it depends on changes.
$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
		|| { echo "$(PYTHON) must be Python 3.11 to 3.14: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.simulator: pyproject.toml constraints.txt $(VENV)/.venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.simulator
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,agents]'
	touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@
