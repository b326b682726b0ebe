# `make demo` and `make test` each do all the set-up on a fresh machine: a Python >= 3.11, .venv, the installation.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; break; }; done)
VENV ?= .venv
EXTRAS ?= test,report
DATA ?=
OUT ?=
ARGS ?=

comma := ,
INSTALLED := $(VENV)/installed-$(subst $(comma),-,$(EXTRAS))
SITE := docs/_build/html

.PHONY: demo test slow faults lint docs install results answer

demo: $(INSTALLED)  ## train three cells on poems, compare their curves, write a verse (DATA=my_poems.txt for yours)
	$(VENV)/bin/python -m experiments.demo --data=$(DATA) $(if $(OUT),--out=$(OUT))

test: $(INSTALLED)  ## everything but what is marked slow
	$(VENV)/bin/python -m pytest -n auto --dist=loadscope

slow: $(INSTALLED)  ## what is marked slow
	$(VENV)/bin/python -m pytest -m slow

faults: $(INSTALLED)  ## faults done to real processes, ≤ 2 hours; goes on where it stopped (ARGS=--sample: minutes)
	PYTHONPATH=tests:. $(VENV)/bin/python -m faults $(ARGS)

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(VENV)/installed-docs  ## the documentation site; a warning is an error, as is a link or an anchor that leads nowhere
	JAX_PLATFORMS=cpu $(VENV)/bin/python -m sphinx --quiet --fail-on-warning --keep-going -d docs/_build/doctrees docs $(SITE)
	@echo "$(SITE)/index.html"

results: $(INSTALLED)  ## draw the pictures and write the tables of docs/results anew, from the metrics beside them
	$(VENV)/bin/python -m experiments.results

answer: $(INSTALLED)  ## write docs/results/answer.md and its tables anew, from the metrics of suite_v1
	$(VENV)/bin/python -m experiments.answer $(ARGS)

install: $(INSTALLED)

$(VENV)/installed-%: setup.cfg setup.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer expected, found none; PYTHON=/path/to/python names one" >&2; exit 2; }
	test -x $(VENV)/bin/python || "$(PYTHON)" -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$(subst -,$(comma),$*)]'
	@touch $@
