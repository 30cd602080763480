# Two commands matter: `make run` solves a PDE and shows it, `make test` proves the rest.
# Both set themselves up in .venv; `make PYTHON=python3.13 test` uses another Python, in
# a .venv of its own. More for one call: `make test ARGS="-k poisson"`.

ifndef PYTHON
# The first Python that is new enough, as `python3` is an old one on some machines.
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
VENV ?= .venv
endif
VENV ?= .venv-$(notdir $(PYTHON))
BIN := $(VENV)/bin
# Errors only: a bare machine's pip warns of things that are not the reader's concern.
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test lint format docs notebooks bench tables gpu clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*##/make \1\t/p' $(MAKEFILE_LIST)

run: $(VENV)/.plot  ## solve problems/poisson_2d.py beside its rivals; pictures go to out/
	@$(BIN)/sobng run problems/poisson_2d.py --compare --out out $(ARGS)

test: $(VENV)/.dev  ## the fast tests
	@# Two workers with two BLAS threads each wait for one another, ten times slower.
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

lint: $(VENV)/.dev  ## ruff and pyright
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.dev  ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.docs  ## build the documentation into out/site, strictly
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build -q --strict -f docs/config/mkdocs.yml

notebooks: $(VENV)/.notebooks  ## execute the notebooks in place
	@$(BIN)/jupyter-execute --inplace $(ARGS) notebooks/*.ipynb

bench: $(VENV)/.dev  ## race sobng and its peers for docs/benchmarks.md, some hours
	@$(BIN)/python tests/benchmarks/bench.py $(ARGS)

tables: $(VENV)/.dev  ## the tables of sobng alone in docs/benchmarks.md, about an hour
	@$(BIN)/python tests/benchmarks/table.py $(ARGS)

gpu: $(VENV)/.gpu  ## the table of docs/benchmarks.md on the accelerator found here
	@$(BIN)/python tests/benchmarks/table.py --marks gpu --seeds 0 --dtype float64 float32 $(ARGS)

clean:  ## remove environments, caches and what runs wrote
	rm -rf .venv* out .pytest_cache .ruff_cache .hypothesis

# A stamp for each set of extras: newer than pyproject.toml means installed.
$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "sobng needs Python 3.11 or newer, and found none. \
	Install one, or name it: make PYTHON=/path/to/python3.11 run" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.plot: EXTRAS = plot
$(VENV)/.dev: EXTRAS = dev,plot
$(VENV)/.docs: EXTRAS = docs
$(VENV)/.notebooks: EXTRAS = notebooks
$(VENV)/.plot $(VENV)/.dev $(VENV)/.docs $(VENV)/.notebooks: pyproject.toml $(VENV)/.created
	@echo "Installing sobng [$(EXTRAS)] into $(VENV), a minute or two the first time ..."
	@$(PIP_INSTALL) -e '.[$(EXTRAS)]'
	@touch $@

# jax for NVIDIA only where there is such a device: elsewhere the wheels are 3 GB of ballast.
$(VENV)/.gpu: pyproject.toml $(VENV)/.created
	@echo "Installing sobng for this machine's accelerator into $(VENV) ..."
	@if command -v nvidia-smi >/dev/null; then extras=cuda,plot; else extras=plot; fi; \
	$(PIP_INSTALL) -e ".[$$extras]"
	@touch $@
