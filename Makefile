# The README's commands. Everything is installed into $(VENV); nothing outside this folder is touched but the caches of
# pip and of genau (GENAU_HOME).
#
#   make demo                                              the platform's usual PyTorch
#   make demo PYTHON=python3.12                            another Python, 3.11 or newer
#   make demo TORCH_SPEC='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'   another PyTorch build
#
# TORCH_SPEC is what `pip install` gets, options included; see docs/install.md.

TORCH_SPEC ?= torch==2.13.0
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo-report
RUNS ?= runs/bench
GPUS ?= 1
REPRODUCED ?= runs/reproduced
DEMO_TYPES ?= leak=dark fluid around the part, deformation, scratch, contamination=small dark speck
export TORCH_SPEC # recipes take it from the environment: a '>' in it is then no redirection

PY := $(VENV)/bin/python
# Stamps: what is done is not done again. Another TORCH_SPEC has another stamp and is installed anew.
CREATED := $(VENV)/.created
TORCH := $(VENV)/.torch-$(shell printf '%s' '$(TORCH_SPEC)' | cksum | cut -d' ' -f1)
PACKAGE := $(VENV)/.package
DEV := $(VENV)/.dev

.PHONY: help demo test lint types bench reproduce-visa reproduce-mvtec clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    install into $(VENV), fetch the base weights, inspect examples/pictures, name the report"
	@echo "make test    install what the tests need and run them"
	@echo "make lint    ruff: rules and format"
	@echo "make types   mypy over src and tests"
	@echo "make bench   evaluate nano and the offline baselines on the sets in GENAU_DATA, write docs/benchmarks.md (hours)"
	@echo "make reproduce-visa MODEL=… MVTEC=DIR VISA=DIR [GPUS=8]    train on MVTec AD, evaluate on VisA, print the table"
	@echo "make reproduce-mvtec MODEL=… MVTEC=DIR VISA=DIR [GPUS=8]   the other way round"
	@echo "make clean   remove $(VENV), caches and $(DEMO)"

demo: $(PACKAGE)
	$(VENV)/bin/genau weights pull
	$(VENV)/bin/genau inspect examples/pictures --types "$(DEMO_TYPES)" -o "$(DEMO)" --overwrite
	@echo "Open this in a browser: $$(cd "$(DEMO)" && pwd)/report.html"

test: $(DEV)
	$(PY) -m pytest

lint: $(DEV)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(DEV)
	$(PY) -m mypy

bench: $(PACKAGE)
	$(PY) benchmarks/accuracy.py "$(RUNS)"
	$(PY) tools/make_benchmarks.py

reproduce-visa reproduce-mvtec: reproduce-%: $(PACKAGE)
	@test -n "$(MODEL)" -a -n "$(MVTEC)" -a -n "$(VISA)" || { echo "Say which base and where the data lie:" \
	  "make $@ MODEL=Qwen/Qwen2.5-VL-7B-Instruct MVTEC=/data/mvtec VISA=/data/visa"; exit 2; }
	$(PY) benchmarks/reproduce.py $* --model "$(MODEL)" --mvtec "$(MVTEC)" --visa "$(VISA)" --gpus $(GPUS) \
	  -o "$(REPRODUCED)/$*"

clean:
	rm -rf "$(VENV)" "$(DEMO)" build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(CREATED):
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "There is no '$(PYTHON)' here. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12"; \
	  exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$("$(PYTHON)" --version) is too old; genau needs Python 3.11 or newer. Name one: make PYTHON=python3.12"; \
	  exit 1; }
	"$(PYTHON)" -m venv "$(VENV)" || { rm -rf "$(VENV)"; \
	  echo "Python's venv module does not work. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

# PyTorch comes first and by itself, so that its build is chosen here and not by what depends on it.
$(TORCH): $(CREATED)
	set -f; $(PY) -m pip install --disable-pip-version-check $$TORCH_SPEC
	@rm -f "$(VENV)"/.torch-*
	@touch $@

$(PACKAGE): $(TORCH) pyproject.toml
	$(PY) -m pip install --disable-pip-version-check --quiet --editable .
	@touch $@

$(DEV): $(PACKAGE)
	$(PY) -m pip install --disable-pip-version-check --quiet --editable '.[dev]'
	@touch $@
