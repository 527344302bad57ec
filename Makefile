# `make demo`: a study becomes a prediction, an explanation and a PDF. `make rehearsal`: a federation of three hospitals on
# this machine, from nothing to a promoted model. `make test`: all checks. `make bench`: docs/results/benchmarks.md.
# `make docs`: the documentation site, build/site/index.html.
# federated training needs 3.11; everything else runs on later ones, too
PYTHON ?= $(firstword $(foreach one,python3.11 python3.12 python3.13 python3,$(shell command -v $(one) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo rehearsal test app bench docs lint clean system sbom package lock

demo: $(READY)
	bash scripts/demo.sh

rehearsal: $(READY)
	bash scripts/rehearsal.sh

test: $(READY) system lint docs package sbom
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

app: $(READY)
	$(BIN)/fedpet app

# BENCH=all runs the long ones, too; NAMES="start_up batch" some of them; MINUTES=30 ends then
bench: $(READY)
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/bench.txt || \
	  echo 'OpenVINO cannot be installed here: the comparison with it is left out' >&2
	$(BIN)/python -m benchmarks.run $(NAMES) $(if $(filter all,$(BENCH)),--all) $(if $(MINUTES),--minutes $(MINUTES))

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

# what is installed, as CycloneDX and as a list of licences
sbom: $(READY)
	mkdir -p build
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible --no-validate --output-file build/sbom.json
	$(BIN)/pip-licenses --python $(BIN)/python --format markdown --order license --output-file build/licences.md

package: $(READY)
	bash scripts/package.sh

# after a change of the dependencies in pyproject.toml; UPGRADE=--upgrade takes newer versions of all
lock: $(READY)
	$(BIN)/python -m pip install --quiet uv
	bash scripts/lock.sh $(UPGRADE)

$(READY): pyproject.toml requirements/dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  echo 'Everything is installed but federated training, which needs Python 3.11: make clean, then make PYTHON=/path/to/python3.11' >&2
	touch $(READY)

clean:
	rm -rf $(VENV) build demo rehearsal .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
