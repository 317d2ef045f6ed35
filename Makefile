# Graft: `make help` lists what can be made.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed
# Stages are run as `python`, which must be the environment's.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# For report, crossval and study, on the command line (a variable of the environment is none of them).
SET :=
NAME :=
AGAINST :=
# For fuzz: of all targets together.
SECONDS := 120

# Each process takes tests of another one when it has none left. CI's log ends with what took longest.
PYTEST := pytest -n auto --dist worksteal --durations 25

# In the order of the report; what is measured with: make bench ARCHIVE=photos.tar WEIGHTS=file.h5 IMAGES=100 PAIRS=1
BENCHMARKS := extract new_images fine_tune_epoch learning_rate from_archive predict_start predict_many memory interpreters hub_features int8 ray_workers
MEASURED_WITH = $(if $(ARCHIVE),--archive '$(ARCHIVE)') $(if $(WEIGHTS),--weights '$(WEIGHTS)') \
	$(if $(IMAGES),--images $(IMAGES)) $(if $(PAIRS),--pairs $(PAIRS))

TRACKED := params.yaml relabelled.csv dvc.lock metrics data/source data/source.json data/weights \
	data/weights.json
# `evaluate` may write more files there than the last commit has.
FIGURES := metrics/plots
# A `dvc exp run` that was killed leaves this reference, HEAD without its branch, and the photos staged below data/source.
KILLED := refs/exps/exec/EXEC_HEAD
# Corrections of labels are work by hand: those of no commit are kept.
CORRECTIONS := .cache/relabelled.csv

.PHONY: help repro report restore crossval study lint test test-all test-kills coverage fuzz mutation bench setup

help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

repro: $(INSTALLED) ## run the pipeline: dvc repro; then write report.html and show how often the exported model is right
	@test -e .git || git rev-parse --git-dir >/dev/null 2>&1 || { echo "error: DVC needs a git repository:" \
	"clone the project with git, or run git init && git add . && git commit -m start" >&2; exit 1; }
	python -m graft mend
	dvc repro
	@python -m graft report

report: $(INSTALLED) ## write report.html, a page about the last run: make report AGAINST=main
	@python -m graft report $(AGAINST:%=--against '%')

# Git takes a file for unchanged whose size and second are those of its index, which DVC writes together: hence `touch`.
restore: ## go back to the last commit's parameters and results, without training anew
	@git rev-parse --verify HEAD >/dev/null || { echo "error: git has no commit to go back to, see above" >&2; exit 1; }
	@git reset --quiet -- data/source
	@branch=$$(git rev-parse --quiet --abbrev-ref '@{-1}'); \
	if git rev-parse --quiet --verify $(KILLED) >/dev/null && ! git symbolic-ref --quiet HEAD >/dev/null && \
	test "$$(git rev-parse --quiet --verify "refs/heads/$$branch")" = "$$(git rev-parse HEAD)"; then \
	git switch --quiet "$$branch"; fi
	touch -ch $$(git ls-tree -r --name-only HEAD -- $(TRACKED))
	@test ! -f relabelled.csv || git diff --quiet HEAD -- relabelled.csv || { mkdir -p .cache && \
	cp relabelled.csv $(CORRECTIONS) && echo "relabelled.csv had other corrections; a copy is $(CORRECTIONS)"; }
	git checkout --quiet HEAD -- $$(git ls-tree -r --name-only HEAD -- $(TRACKED))
	@git reset --quiet -- $(FIGURES) && git clean --quiet --force -d -- $(FIGURES)
	@dvc checkout || { echo "error: parameters and metrics are back, but not all models and data: they were never" \
	"computed here. \`dvc repro\` computes them; \`dvc exp show\` lists your experiments, which are kept" >&2; exit 1; }

crossval: $(INSTALLED) ## judge on every fold: make crossval SET="backbone=MobileNetV2 lr=1e-4" NAME=mobilenet AGAINST=lite0
	python -m graft crossval $(SET:%=-S '%') $(NAME:%=--name '%') $(AGAINST:%=--against '%')

study: $(INSTALLED) ## rank the variants of a study in studies.yaml: make study NAME=augmentation
	python -m graft study $(SET:%=-S '%') '$(NAME)'

lint: $(INSTALLED) ## check style, types and the workflows of CI
	ruff check .
	ruff format --check .
	mypy
	zizmor --offline --no-progress --quiet .github/workflows

test: lint ## check style and types, and run the tests
	$(PYTEST)

test-all: $(INSTALLED) ## run the slow tests too
	$(PYTEST) -m 'not network'

test-kills: $(INSTALLED) ## kill `dvc repro` a hundred times: it must end with the same hashes
	pytest -m kills

coverage: $(INSTALLED) ## run the tests and report which lines of graft/ and stages/ they run; at least 92 % must be
	$(PYTEST) --cov --cov-report=term

fuzz: $(INSTALLED) ## look for damaged files that end in neither a result nor one line: make fuzz SECONDS=120
	cd tests && python -m fuzz --seconds $(SECONDS)

mutation: $(INSTALLED) ## change split and scores in hundreds of small ways, and list the changes that no test notices
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutation]'
	mutmut run
	mutmut results

bench: $(INSTALLED) ## measure all claims, which takes hours, and rewrite benchmarks/RESULTS.md: ARCHIVE= WEIGHTS= IMAGES= PAIRS=
	@set -e; for name in $(BENCHMARKS); do echo "benchmarks.$$name"; python -m benchmarks.$$name $(MEASURED_WITH); done
	python -m benchmarks.report

setup: $(INSTALLED) ## make the environment .venv with the pinned versions

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else \
	"error: Python " + sys.version.split()[0] + " found, 3.11 to 3.13 needed: make PYTHON=python3.12 ...")'
	@echo "installing the packages of constraints.txt into $(VENV): it takes some minutes and 4.3 GB, without a word of pip"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@
