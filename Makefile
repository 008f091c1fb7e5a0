# make demo and make test do all set-up by themselves. make help lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STAGE_NUMBERS := 1 2 3 4
NPROC ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check stats assets bench $(STAGE_NUMBERS:%=stage%) $(STAGE_NUMBERS:%=train%)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9. ]+:.*## / {printf "  make %-28s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  make stage1 ... stage4           curate: DATA=dir OUT=dir [LIMIT=n] [BUDGET=n] [MEASURES=dir] [ALLOW_MISSING=1] [WORKERS=n] [RAY_ADDRESS=host:port]"
	@echo "  make train1 ... train4           train: SHARDS=dir RUN=dir [INIT=run] [MODEL=tiny|2b|7b] [STEPS=n] [NPROC=gpus]"

setup: $(READY)  ## install into .venv (CPU build of torch where there is no GPU)

$(READY): pyproject.toml constraints-cpu.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vl3 needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	@if nvidia-smi >/dev/null 2>&1; then constraint=; else constraint="-c constraints-cpu.txt"; fi; \
	  echo "installing into $(VENV) $$constraint"; $(BIN)/pip install --quiet $$constraint -e ".[all,test]"
	@touch $@

demo: $(READY)  ## synthetic corpora -> four stages of shards -> tiny model through four stages -> answers
	PATH="$(abspath $(BIN)):$$PATH" bash examples/demo.sh demo

test: $(READY)  ## all tests
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder

check: $(READY)  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

$(STAGE_NUMBERS:%=stage%): $(READY)
	$(if $(and $(DATA),$(OUT)),,$(error make $@ needs DATA=dir and OUT=dir))
	$(BIN)/vl3-curate run $@ --data $(DATA) --out $(OUT) --executor ray $(if $(WORKERS),--workers $(WORKERS)) $(if $(LIMIT),--limit $(LIMIT)) \
	  $(if $(MEASURES),--measures $(MEASURES)) $(if $(BUDGET),--budget $(BUDGET)) $(if $(ALLOW_MISSING),--allow-missing)

$(STAGE_NUMBERS:%=train%): $(READY)
	$(if $(and $(SHARDS),$(RUN)),,$(error make $@ needs SHARDS=dir and RUN=dir))
	$(if $(filter 1,$(NPROC)),$(BIN)/vl3-train,$(BIN)/torchrun --nproc-per-node $(NPROC) -m trainer) run $(@:train%=stage%) \
	  --shards $(SHARDS) --out $(RUN) $(if $(INIT),--init $(INIT)) $(if $(MODEL),--model $(MODEL)) $(if $(STEPS),--steps $(STEPS))

stats: $(READY)  ## shard statistics: OUT=dir
	$(BIN)/vl3-curate stats $(OUT)

assets: $(READY)  ## train the small encoder, head and captioner that come along (some 90 minutes on one core)
	$(BIN)/python -m examples.assets all

bench: $(READY)  ## benchmarks of this machine, see docs/benchmarks.md
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done
