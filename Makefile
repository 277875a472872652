# Everything a person or a script runs. Needs make, Python 3.11 or later and its venv module.

PYTHON ?= python3
DATA ?= ../shared/data

VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(wildcard protos/affectmesh/v1/*.proto)
LAST_TAG := $(shell git describe --tags --abbrev=0 2>/dev/null)

.PHONY: setup up demo test lint contracts test-slow bench evaluate clean

setup: $(VENV)/package.stamp

$(VENV)/requirements.stamp: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/package.stamp: $(VENV)/requirements.stamp pyproject.toml setup.py $(PROTOS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

up: setup
	@$(BIN)/affectmesh up

demo: setup
	@$(BIN)/affectmesh demo

test: lint contracts
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Images hold every import, so that buf asks no registry for them.
contracts: setup
	@mkdir -p build
	$(call image,protos,build/image.binpb)
	$(BIN)/buf lint build/image.binpb --config buf.yaml --path affectmesh/v1
ifneq ($(LAST_TAG),)
	rm -rf build/last && mkdir -p build/last
	git archive $(LAST_TAG) protos | tar -x -C build/last
	$(call image,build/last/protos,build/last.binpb)
	$(BIN)/buf breaking build/image.binpb --against build/last.binpb --config buf.yaml --path affectmesh/v1
endif

image = $(BIN)/python -m grpc_tools.protoc -I$(1) -I$(GOOGLEAPIS) --include_imports \
	--include_source_info --descriptor_set_out=$(2) $(1)/affectmesh/v1/*.proto
GOOGLEAPIS = $(shell $(BIN)/python -c 'import google.api.http_pb2 as api, pathlib; print(pathlib.Path(api.__file__).parents[2])')

bench: setup
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.fusion
	@$(BIN)/python -m bench.text
	@$(BIN)/python -m bench.voice
	@$(BIN)/python -m bench.upload
	@$(BIN)/python -m bench.jobs

EVALUATIONS := $(patsubst models/training/%/evaluate.py,%,$(wildcard models/training/*/evaluate.py))

evaluate: setup
	@set -e; for modality in $(EVALUATIONS); do \
		DATA=$(DATA) $(BIN)/python -m models.training.$$modality.evaluate; \
	done

clean:
	rm -rf $(VENV) build affectmesh *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
