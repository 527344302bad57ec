# Two commands: `make demo` (a study becomes a prediction, an explanation and a PDF) and `make test` (all checks).
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test app lint clean system

demo: $(READY)
	bash scripts/demo.sh

test: $(READY) system lint
	$(BIN)/python -m pytest

app: $(READY)
	$(BIN)/fedpet app

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

system:
	bash scripts/system_packages.sh

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
