# `make demo`: a study becomes a prediction, an explanation and a PDF. `make rehearsal`: a federation of three hospitals on
# this machine, from nothing to a promoted model. `make test`: all checks. `make bench`: docs/results/benchmarks.md.
# `make docs`: the documentation site, build/site/index.html.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo rehearsal test app bench docs lint clean system

demo: $(READY)
	bash scripts/demo.sh

rehearsal: $(READY)
	bash scripts/rehearsal.sh

test: $(READY) system lint docs
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

app: $(READY)
	$(BIN)/fedpet app

# BENCH=all runs the long ones, too; NAMES="start_up batch" some of them
bench: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benchmarks.run $(NAMES) $(if $(filter all,$(BENCH)),--all)

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

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
	rm -rf $(VENV) build demo rehearsal .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
