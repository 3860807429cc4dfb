# The door. `make` alone prints what there is; every target makes the environment it needs.

# A variable that is given on the command line and is none of these is a mistake.
KNOWN := PAPER PRESET SEEDS VARIANTS JOBS DATA OUT SET DEBUG ARGS DEST PYTHON
UNKNOWN := $(filter-out $(KNOWN) MAKEFLAGS CURDIR SHELL VENV,$(foreach v,$(.VARIABLES),$(if $(findstring command,$(origin $v)),$v)))
PRESET ?= cpu
VENV := .venv
PY := $(VENV)/bin/python
comma := ,
split = $(subst $(comma), ,$(1))
# What needs no packages runs on any Python, the environment's if there is one.
ANY_PY = $(or $(wildcard $(PY)),$(shell PYTHON="$(PYTHON)" ci/python.sh),false)
papers := $(notdir $(patsubst %/,%,$(dir $(wildcard papers/*/claims.py))))
export PYTHONUNBUFFERED := 1
ifneq ($(UNKNOWN),)
$(error $(shell $(ANY_PY) ci/nearest.py "$(firstword $(UNKNOWN))" $(KNOWN)))
endif

.DEFAULT_GOAL := help
.PHONY: help list reproduce reproduce-all check-data predict test test-flower lint bench report export new paper-given

help:
	@echo "Papers, reproduced: measured tables and a verdict on every claim."
	@echo
	@echo "  make list                          the papers, one line each, with verdict counts"
	@echo "  make reproduce PAPER=clipsep       train and evaluate every variant and seed, judge the claims"
	@echo "       PRESET=smoke|cpu|paper        seconds for tests | up to an hour on 2 cores (default) | the paper's"
	@echo "       SEEDS=0,1  VARIANTS=a,b       only some of them"
	@echo "       JOBS=4                        runs side by side; default one a GPU, else one a core"
	@echo "       DATA=/path                    the paper's datasets; see make check-data"
	@echo "       OUT=/path                     write there instead of runs/ and the paper's folder"
	@echo "       SET=\"steps=2000\"              other values of the configuration, for every variant"
	@echo "       DEBUG=1                       show the traceback of an error"
	@echo "  make reproduce-all                 every paper in turn, one log each, and a summary; continues where it stopped"
	@echo "  make check-data PAPER= DATA=       what is there, what is missing, how much of it"
	@echo "  make predict PAPER= ARGS=\"...\"     a trained model on your own input; ARGS=--help says how"
	@echo "  make export PAPER= DEST=           copy a paper and shared/ to where you can change them"
	@echo "  make new PAPER=                    start the folder of another paper"
	@echo "  make report                        rebuild the generated README blocks and papers/claims.png, and report/ to look at"
	@echo "  make test PAPER=                   tests of what concerns one paper; default all; ARGS= for pytest"
	@echo "  make test-flower                   tests of the federated engine Flower, in an environment of its own"
	@echo "  make lint                          ruff and mypy"
	@echo "  make bench PAPER=                  speed and memory against references; default all"
	@echo
	@echo "Papers: $(papers)"

# -- environment ------------------------------------------------------------------------------------------------------
# One stamp a set of requirements: installed once, again when one of the files changes.

$(VENV)/.shared: shared/requirements.txt ci/constraints.txt pyproject.toml
	@ci/install.sh $@ -e .

$(VENV)/.dev: $(VENV)/.shared ci/requirements.txt papers/*/requirements.txt
	@ci/install.sh $@ -r ci/requirements.txt $(foreach p,$(papers),-r papers/$(p)/requirements.txt)

$(VENV)/.paper-%: papers/%/requirements.txt $(VENV)/.shared
	@ci/install.sh $@ -r $<

paper-given:
	@$(if $(and $(filter 1,$(words $(PAPER))),$(filter $(papers),$(PAPER))),,\
	  echo "error: PAPER=$(subst ",,$(PAPER)) is not a paper; there are: $(papers)." >&2; exit 1)

# -- what a person does -----------------------------------------------------------------------------------------------

list:
	@$(ANY_PY) -m ci.report --list

reproduce: paper-given
	@$(MAKE) -s --no-print-directory $(VENV)/.paper-$(PAPER)
	@exec $(PY) -m shared.reproduce papers.$(PAPER) --preset $(PRESET) \
	  $(if $(SEEDS),--seeds $(call split,$(SEEDS))) $(if $(VARIANTS),--variants $(call split,$(VARIANTS))) \
	  $(if $(JOBS),--jobs $(JOBS)) $(if $(DATA),--data "$(DATA)") $(if $(OUT),--out "$(OUT)") $(if $(SET),--set $(SET)) \
	  $(if $(DEBUG),--debug)
	@$(PY) -m ci.report --quiet

reproduce-all: $(VENV)/.dev
	@exec $(PY) -m ci.reproduce_all --preset $(PRESET) $(if $(OUT),--out "$(OUT)")
	@$(PY) -m ci.report --quiet

check-data: paper-given
	@$(MAKE) -s --no-print-directory $(VENV)/.paper-$(PAPER)
	@exec $(PY) -m shared.reproduce papers.$(PAPER) --preset paper --check-data $(if $(DATA),--data "$(DATA)")

predict: paper-given
	@$(MAKE) -s --no-print-directory $(VENV)/.paper-$(PAPER)
	@exec $(PY) -m papers.$(PAPER).predict $(ARGS)

export: paper-given
	@$(ANY_PY) ci/export.py $(PAPER) "$(DEST)"

new:
	@$(ANY_PY) ci/new.py "$(PAPER)"

# -- what keeps it whole ----------------------------------------------------------------------------------------------

test: $(if $(PAPER),paper-given)
	@$(MAKE) -s --no-print-directory $(VENV)/.dev
	@exec $(PY) -m pytest $(if $(PAPER),--paper $(PAPER)) $(ARGS)

# Flower needs older versions of some packages than ci/constraints.txt has: it gets an environment of its own on top.
test-flower: .venv-flower/.installed
	@FLOWER_PYTHON=.venv-flower/bin/python $(PY) -m pytest tests/papers/atc/test_flower.py -n 0 $(ARGS)

.venv-flower/.installed: papers/atc/requirements-flower.txt $(VENV)/.dev
	@$(PY) -m venv .venv-flower
	@$(PY) -c "import sysconfig; print(sysconfig.get_path('purelib'))" > \
	  "$$(.venv-flower/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/beneath.pth"
	@.venv-flower/bin/python -m pip install -q -r $<
	@touch $@

lint: $(VENV)/.dev
	@$(PY) -m ruff check shared papers tests ci
	@$(PY) -m ruff format --check shared papers tests ci
	@$(PY) -m mypy shared papers ci

bench: $(VENV)/.dev
	@$(PY) -m ci.bench $(PAPER)
	@$(PY) -m ci.report --quiet

report: $(VENV)/.shared
	@$(PY) -m ci.report
	@$(PY) -m ci.gallery
