# Two commands on a fresh machine: make mini, make test. Each builds .venv when it is not there.

PYTHON ?= python3
VENV := .venv
ENV := $(VENV)/.installed
PARALLEL := -n auto --maxprocesses 4 --dist worksteal

.PHONY: env mini test test-release test-recipes test-slurm test-browser docs lint slurm bench bench-gpu clean

env: $(ENV)

# Rebuilt when what is to be installed changes. pyworld is built from source against numpy and setuptools < 81.
# editable_mode=compat is a plain path entry: the other modes' import hook costs every `asvtk` 30 ms.
$(ENV): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "asvtk needs Python 3.10 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@echo 'Installing; torch and its libraries take some minutes to come.'
	PIP_CONSTRAINT=constraints.txt $(VENV)/bin/python -m pip install --disable-pip-version-check \
	    --config-settings editable_mode=compat -e '.[docs,export,mini,report,serve,test,tune]'
	touch $@
	@echo 'asvtk is installed in $(VENV). In each new shell: . $(VENV)/bin/activate'

mini: env  ## the whole recipe on a generated corpus
	cd egs/mini && ./run.sh

test: env  ## all tests but those of the four targets below
	$(VENV)/bin/python -m pytest --ignore=tests/release --ignore=tests/recipes --ignore=tests/browser $(PARALLEL)

test-release: env  ## what others are given: wheel and sdist, exports of every back-end, the site, commands of its pages
	$(VENV)/bin/python -m pytest tests/release $(PARALLEL)

test-recipes: env  ## whole runs of run.sh: killed, side by side, several seeds, faults
	$(VENV)/bin/python -m pytest tests/recipes --ignore=tests/recipes/test_slurm_lab.py $(PARALLEL)

test-slurm: env  ## the recipe and its faults on a Slurm of two nodes; skipped where there is none (make slurm)
	$(VENV)/bin/python -m pytest tests/recipes/test_slurm_lab.py

docs: env  ## the documentation as a site, site/index.html; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

test-browser: env  ## the service's page in Debian's chromium; skipped where there is none
	$(VENV)/bin/python -m pytest tests/browser

lint: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

slurm:  ## a Slurm for the tests that need one (Debian, as root); without it they are skipped
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge >/dev/null

bench: env  ## the benchmarks of a CPU, in minutes: what got slower than the baseline of this kind of machine
	$(VENV)/bin/python tools/bench/run_suite.py cpu

bench-gpu: env  ## the same on a GPU
	$(VENV)/bin/python tools/bench/run_suite.py gpu

clean:  ## what the mini recipe made; the environment stays
	rm -rf egs/mini/corpus egs/mini/data egs/mini/dump egs/mini/exp
