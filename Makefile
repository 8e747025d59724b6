# Two commands on a machine with Python >= 3.11, make and git: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One thread of arithmetic in each test process, and as many processes as there are cores.
JOBS ?= auto
# UTF-8 whatever a library does to the locale of a test process. A lost worker ends the run: pytest-xdist would wait for
# ever after replacing it.
PYTEST := PYTHONUTF8=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 --max-worker-restart 0 --dist loadfile

# MONAI Label wants numpy 1 and pydicom 2, so it has an environment of its own.
LABEL_VENV ?= .venv-label
LABEL := deploy/monailabel
LABEL_STAMP := $(LABEL_VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install install-label install-deploy demo test test-long test-label test-deploy lint format constraints clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv with everything that is needed

$(STAMP): pyproject.toml constraints.txt hatch_build.py
	@command -v "$(PYTHON)" > /dev/null || { echo "no $(PYTHON) here: say where Python >= 3.11 is, make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "mdcsrn needs Python >= 3.11, $(PYTHON) is $$("$(PYTHON)" --version 2>&1): make PYTHON=/path/to/python" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

demo: $(STAMP)  ## the main job on the embedded volume, about 3 minutes on two CPU cores without bfloat16
	$(BIN)/python benchmarks/demo.py

lint: $(STAMP)  ## style, types and the arrows between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## lint, then every test that is not marked long
	$(PYTEST) -m "not long"

# Long tests run one after another: several start processes of their own. Status 5 says that none was collected.
test-long: $(STAMP)  ## the tests marked long
	$(PYTEST) -n 0 -m long || [ $$? -eq 5 ]

# MONAI Deploy has an environment of its own, since its pins are not those of the core; any file of pins builds it anew.
DEPLOY_VENV ?= .venv-deploy
DEPLOY_PINS := $(wildcard deploy/monai_deploy/*.txt deploy/monai_deploy/app/*.txt)

$(DEPLOY_VENV)/.installed: pyproject.toml hatch_build.py $(DEPLOY_PINS)
	"$(PYTHON)" -m venv $(DEPLOY_VENV)
	$(DEPLOY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c deploy/monai_deploy/constraints.txt \
		-r deploy/monai_deploy/requirements.txt -e '.[dicom]'
	@touch $@

install-deploy: $(DEPLOY_VENV)/.installed  ## make .venv-deploy with the MONAI Deploy App SDK

test-deploy: $(DEPLOY_VENV)/.installed  ## the MONAI Deploy app, in .venv-deploy: 1.5 GB, made at the first call
	PYTHONUTF8=1 OMP_NUM_THREADS=1 $(DEPLOY_VENV)/bin/python -m pytest deploy/monai_deploy/tests

install-label: $(LABEL_STAMP)  ## make .venv-label with MONAI Label, for Python 3.11

$(LABEL_STAMP): $(LABEL)/requirements.txt $(LABEL)/packages.txt $(LABEL)/constraints.txt pyproject.toml hatch_build.py
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || { \
		echo "MONAI Label 0.8.5 needs Python 3.11 or 3.12 (cgi), $(PYTHON) is another: make PYTHON=/path/to/python" >&2; exit 1; }
	"$(PYTHON)" -m venv $(LABEL_VENV)
	$(LABEL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $(LABEL)/requirements.txt -c $(LABEL)/constraints.txt
	$(LABEL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(LABEL)/packages.txt -e .
	@touch $@

test-label: $(LABEL_STAMP)  ## the tests of the MONAI Label app, in its own environment
	PYTHONUTF8=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(LABEL_VENV)/bin/python -m pytest $(LABEL)/tests

format: $(STAMP)  ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints:  ## resolve the newest versions in a fresh environment and pin them
	rm -rf build/constraints
	"$(PYTHON)" -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet -e '.[all]'
	{ grep '^#' constraints.txt; build/constraints/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:  ## remove the environment and what builds and tests leave
	rm -rf $(VENV) $(LABEL_VENV) $(DEPLOY_VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
