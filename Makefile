# Two commands matter to a newcomer: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
PIP_OPTIONS ?=
BIN := $(VENV)/bin
SEED ?= 1
COUNT ?= 20000
KILLS ?= 200

CALVE := $(BIN)/calve
RECIPE := pruned_transducer_stateless5
CONFORMER := $(RECIPE) --checkpoint builtin:digits-conformer
SPLITS := --corpus fsdd --split test --split heldout

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast fuzz kills lint format docs pictures compat wer clean

help: ## Show this list.
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet $(PIP_OPTIONS) --constraint constraints.txt --editable '.[test,lint,docs]'
	@touch $@

install: $(VENV)/.installed ## Create .venv and install calve in it, with the exact versions that were tested.

demo: install ## Shipped checkpoint -> ncnn bundle -> lint -> verify -> text, on real runtimes.
	$(BIN)/calve demo --output demo --overwrite

test: install ## All tests, the slow ones included.
	$(BIN)/python -m pytest -m "slow or not slow"

test-fast: install ## The tests that plain `pytest` runs (under ten minutes).
	$(BIN)/python -m pytest

fuzz: install ## 20,000 malformed files, by SEED=; CASE=FORMAT/NUMBER runs one of them again.
	PYTHONPATH=tests/support $(BIN)/python -m fuzzing --seed $(SEED) --count $(COUNT) $(if $(CASE),--case $(CASE))

kills: install ## 200 kills of the commands that write, by SEED= and KILLS=.
	PYTHONPATH=tests/support $(BIN)/python -m fuzzing.kills --seed $(SEED) --count $(KILLS)

compat: install ## The export with four releases of pnnx and ncnn; downloads them.
	CALVE_COMPAT=1 $(BIN)/python -m pytest tests/compat

wer: install ## Error rates of the shipped conformer in every mode and runtime; needs data/fsdd.
	@for format in ncnn onnx jit-script; do \
	  $(CALVE) export $(CONFORMER) --format $$format --output wer/$$format --overwrite || exit 1; \
	done
	@$(CALVE) decode $(CONFORMER) $(SPLITS)
	@for chunk in 8 16 32; do \
	  $(CALVE) streaming-decode $(CONFORMER) $(SPLITS) --decode-chunk-size $$chunk --compare || exit 1; \
	done
	@for format in ncnn onnx jit-script; do \
	  $(CALVE) streaming-decode $(RECIPE) $(SPLITS) --bundle wer/$$format || exit 1; \
	done

lint: install ## ruff, mypy --strict on core, import-linter.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install ## The documentation as a site, in site/; a warning is an error.
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs site

pictures: install ## The pictures in docs/images that are drawn from the code.
	$(BIN)/python docs/images/draw.py

format: install ## Let ruff format everything.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what make created.
	rm -rf $(VENV) demo wer site .fuzz
