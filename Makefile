# Targets: `make help`. The first command builds $(VENV) from requirements.lock.
#
# Hydra overrides are given as make variables, in the order they are typed:
#
#     make train model=unet_small schedule=cosine 'name=a b' optimizer.lr=1e-2 +new.key=1 '~logger'
#
# Values travel untouched: spaces, quotes, $HOME, ${oc.env:HOME}, [32,64], {a: 1}, range(1,5), #, ;, *, \, `...`,
# newlines. `make -n train ...` prints the command behind it, ready to paste. make itself swallows a few forms before
# this file sees them, and no quoting brings them back:
#
#     k!=v               make runs v as a command         k+=v  k?=v  k:=v   make's own assignments, not Hydra's
#     'k= v'  'k =v'     blanks around = are dropped      k=1 k=2            the last wins, at the place of the first
#     a@b:c=d  'a b=1'   taken for the name of a target   ~key               (without =) comes behind all the others
#     -m  --cfg          taken for flags of make          PYTHON  ARGS  VENV  SHELL   belong to this file
#
# For those there is ARGS, which the shell reads as it is written:  make train ARGS="--cfg job 'a@b:c=d'"

SHELL  := bash
PYTHON ?= python3
ARGS   ?=
VENV   := .venv

PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
PEERS  := $(VENV)-bench
RUNS   := train sweep resume summary plan sample evaluate average data encode runs compare report export import dashboard sync \
          clean-runs study reproduce

# --- From make's command line to Hydra's ------------------------------------------------------------------------------
# MAKEOVERRIDES lists the variables typed on the command line, latest first, as `name=value` with blanks and backslashes
# escaped. Only the names are read from it; $(value name) is then the text as typed, with nothing to undo. Variables
# here are UPPER_CASE because a lower-case one could be overwritten by a Hydra key of the same name.
EMPTY   :=
SPACE   := $(EMPTY) $(EMPTY)
TAB     := $(EMPTY)	$(EMPTY)
define NEWLINE


endef
REVERSE  = $(if $1,$(call REVERSE,$(wordlist 2,$(words $1),$1)) $(firstword $1))
QUOTE    = '$(subst $(NEWLINE),'$$'\n'',$(subst ','\'',$1))'

TYPED   := $(subst $(NEWLINE),,$(subst \$(TAB),,$(subst \$(SPACE),,$(subst \\,,$(MAKEOVERRIDES)))))
NAMES   := $(call REVERSE,$(foreach word,$(TYPED),$(firstword $(subst =, ,$(word)))))
KEYS    := $(filter-out PYTHON ARGS VENV SHELL,$(NAMES))
DELETED := $(filter ~%,$(MAKECMDGOALS))
HYDRA   := $(foreach key,$(KEYS),$(call QUOTE,$(key)=$(value $(key)))) $(foreach key,$(DELETED),$(call QUOTE,$(key)))

# make would export what was typed: `seed=1` would be $seed in the run and in every process it starts. And the tests
# call make, which must not inherit the flags and variables of the make that runs them.
unexport $(NAMES) PYTHON ARGS VENV MAKEFLAGS MFLAGS MAKEOVERRIDES

ifneq ($(KEYS)$(DELETED),)
ifeq ($(filter $(RUNS),$(MAKECMDGOALS)),)
$(error $(strip $(KEYS) $(DELETED)): only $(RUNS) take overrides)
endif
endif
ifneq ($(filter %:,$(KEYS)),)
$(error $(filter %:,$(KEYS))=... is an assignment of make's own, write $(subst :,,$(filter %:,$(KEYS)))=...)
endif

# --- Targets ----------------------------------------------------------------------------------------------------------
.PHONY: help install $(RUNS) test test-slow robustness cluster mutants explain labbook bench bench-gpu docs \
        docs-serve lint format lock clean $(DELETED)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo '  Overrides:  make train model=unet_small schedule=cosine    (the rest goes in ARGS="...")'

install: $(STAMP) ## build .venv from requirements.lock (PYTHON=python3.12 to choose the interpreter)

train: $(STAMP) ## train one model: make train model=unet_small schedule=cosine
	@$(PY) -m inkwash train $(HYDRA) $(value ARGS)

sweep: $(STAMP) ## train one model for each combination: make sweep schedule=linear,cosine seed=1,2
	@$(PY) -m inkwash sweep $(HYDRA) $(value ARGS)

resume: $(STAMP) ## go on with a run: make resume run=NAME trainer.max_steps=5000 (no run=: the latest)
	@$(PY) -m inkwash resume $(HYDRA) $(value ARGS)

plan: $(STAMP) ## say what a training takes, here and on GPUs: make plan model=unet_cifar10 price=2.5
	@$(PY) -m inkwash plan $(HYDRA) $(value ARGS)

summary: $(STAMP) ## show layers, operations and memory of what train would train: make summary model=unet_small
	@$(PY) -m inkwash summary $(HYDRA) $(value ARGS)

sample: $(STAMP) ## sample images from a run: make sample run=runs/NAME
	@$(PY) -m inkwash sample $(HYDRA) $(value ARGS)

evaluate: $(STAMP) ## measure a run: make evaluate run=runs/NAME sampler=ddim,dpmpp_2m spacing.steps=10,20
	@$(PY) -m inkwash evaluate $(HYDRA) $(value ARGS)

average: $(STAMP) ## measure averages of a run's weights: make average run=runs/NAME length=0.05,0.1,0.2
	@$(PY) -m inkwash average $(HYDRA) $(value ARGS)

data: $(STAMP) ## describe a data set, with a grid of its images: make data data=folder data.path=PATH
	@$(PY) -m inkwash data $(HYDRA) $(value ARGS)

encode: $(STAMP) ## encode images to latents once, to train on them: make encode autoencoder.path=RUN out=PATH
	@$(PY) -m inkwash encode $(HYDRA) $(value ARGS)

runs: $(STAMP) ## list runs, the newest first: make runs state=failed (sweep=NAME: the jobs of a sweep)
	@$(PY) -m inkwash runs $(HYDRA) $(value ARGS)

compare: $(STAMP) ## show what differs between runs, here and on a page: make compare runs=NAME,OTHER
	@$(PY) -m inkwash compare $(HYDRA) $(value ARGS)

report: $(STAMP) ## write the page of a run, a sweep or several runs: make report run=runs/NAME (sweep=, runs=A,B)
	@$(PY) -m inkwash report $(HYDRA) $(value ARGS)

export: $(STAMP) ## write a run for other programs: make export run=runs/NAME out=PATH (format=onnx)
	@$(PY) -m inkwash export $(HYDRA) $(value ARGS)

import: $(STAMP) ## make a run from a diffusers pipeline: make import folder=PATH run=NAME
	@$(PY) -m inkwash import $(HYDRA) $(value ARGS)

dashboard: $(STAMP) ## make a W&B workspace for what a run logged: make dashboard run=runs/NAME (out=PATH: a file)
	@$(PY) -m inkwash dashboard $(HYDRA) $(value ARGS)

sync: $(STAMP) ## upload runs that were logged offline to W&B: make sync (run=runs/NAME for one, dry=true to list them)
	@$(PY) -m inkwash sync $(HYDRA) $(value ARGS)

clean-runs: $(STAMP) ## list what runs that came to nothing have left (dry=false: delete it)
	@$(PY) -m inkwash clean-runs $(HYDRA) $(value ARGS)

study: $(STAMP) ## train and measure a study of the lab book: make study study=predictions
	@PYTHONPATH=benchmarks $(PY) -m labbook study $(HYDRA) $(value ARGS)

reproduce: $(STAMP) ## train a row of a study again, with a new seed: make reproduce recipe=predictions/v
	@PYTHONPATH=benchmarks $(PY) -m labbook reproduce $(HYDRA) $(value ARGS)

test: $(STAMP) ## run the quick tests (ARGS='-k name' to choose)
	@$(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile $(value ARGS)

test-slow: $(STAMP) ## run the tests that take minutes
	@$(PY) -m pytest -m slow $(value ARGS)

robustness: $(STAMP) ## test kills, resumes and bad input by the hundred (half an hour or more)
	@$(PY) -m pytest -m slow tests/robustness $(value ARGS)

cluster: $(STAMP) ## test several machines and SLURM, simulated on this one (root, iproute2, slurm-wlm, munge)
	@$(PY) -m pytest -m slow tests/cluster $(value ARGS)

mutants: $(STAMP) ## check that the tests notice hundreds of small errors in the mathematics (ARGS='betas' for a file)
	@PYTHONPATH=tests $(PY) -m support.mutants $(value ARGS)

explain: $(STAMP) ## draw the ideas of the field from the code (experiments/explain)
	@$(PY) experiments/explain/draw.py $(value ARGS)

labbook: $(STAMP) ## write the pages of the studies and the leaderboard from their results
	@PYTHONPATH=benchmarks $(PY) -m labbook

bench: $(PEERS)/.installed ## time Inkwash beside its peers, half an hour on quiet cores (ARGS="--help")
	@PYTHONPATH=benchmarks:src $(PEERS)/bin/python -m bench $(value ARGS)

bench-gpu: $(PEERS)/.installed ## the same on a GPU, in eight minutes
	@PYTHONPATH=benchmarks:src $(PEERS)/bin/python -m bench.gpu $(value ARGS)

docs: $(STAMP) ## build the documentation into site/, every warning an error
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@echo 'site/index.html    open it in a browser (the search needs make docs-serve)'

docs-serve: $(STAMP) ## show the documentation on a local address while you write it
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs serve --watch conf --watch src --watch experiments $(value ARGS)

lint: $(STAMP) ## check style, types and the imports between packages
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/basedpyright
	@$(VENV)/bin/lint-imports --no-logo

format: $(STAMP) ## format the code and fix what ruff can fix
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

lock: $(STAMP) ## pin every version again after a change of the dependencies in pyproject.toml
	@$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --group dev --all-extras pyproject.toml --quiet -o requirements.lock

clean: ## remove .venv, .venv-bench and every cache; runs/ and data/ stay
	@rm -rf $(VENV) $(PEERS) build dist site .pytest_cache .ruff_cache .import_linter_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A bare `~key` (Hydra: delete this key) reaches make as a goal, which must exist.
$(DELETED): ; @:

# --- Environment ------------------------------------------------------------------------------------------------------
# The stamp is touched last, so an interrupted install is taken up again. No network is needed beyond pip's index, and
# no build isolation: hatchling is in the lock.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$(command -v $(PYTHON) >/dev/null && $(PYTHON) --version 2>&1 || echo missing); \
	  echo "Inkwash needs Python 3.11 or newer, but $(PYTHON) is $$found." \
	    "Name another: make install PYTHON=python3.12" >&2; \
	  exit 1; }
	@echo "Installing requirements.lock into $(VENV): about two minutes the first time, seconds after a small change."
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# The peers have an environment of their own above .venv: same interpreter, same torch, nothing of theirs in .venv. They
# can be done without: their rows then say that they are not installed.
$(PEERS)/.installed: benchmarks/requirements.txt $(STAMP)
	@$(PY) -m venv $(PEERS)
	@site='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	  printf 'import site; site.addsitedir(r"%s")\n' "$$($(PY) -c "$$site")" \
	    > "$$($(PEERS)/bin/python -c "$$site")/above.pth"
	@if $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
	  -r benchmarks/requirements.txt; then touch $@; else echo "Measuring without the peers, which pip cannot install." >&2; fi
