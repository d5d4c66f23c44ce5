# make report · make advise · make compress (export) · make verify · make orphans · make query · make test · make bench · make lint: each makes .venv first if it is missing or stale.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete

# Wishes: MODEL, a folder, a GGUF file, a hub id or a name in config; NAME, what to call it; ALSO, further models;
# SIZE=quick, default or full; FIGURES="fig04 fig06"; CONFIG, overlays. docs/own-model.md shows each.
# Only what stands on the command line is a wish: an environment may have a NAME or a CONFIG of its own.
wish = $(1)='$(if $(filter command,$(origin $(1))),$(subst ','\'',$($(1))))'
RUN = $(foreach name,MODEL NAME ALSO SIZE FIGURES CONFIG CORES VARIANT FORM TASK MAX_LOSS SAVE,$(call wish,$(name))) \
	PYTHONPATH=scripts $(BIN)/python -m prunescope.workflow.run

.PHONY: report advise compress export verify orphans query test bench lint

report: $(STAMP)
	@$(RUN)

# Which variants lose little on one kind of task: make advise TASK=generation [MODEL=...] [MAX_LOSS=5%] [SAVE=memory].
advise: $(STAMP)
	@test -n "$(TASK)" || { echo "Say for which task: make advise TASK=multiple-choice, generation or retrieval" \
		"[MODEL=...] [MAX_LOSS=5%] [SAVE=memory|kv|speed] [CONFIG=overlay.yaml]"; exit 1; }
	@$(RUN) advise

# From a model to a checkpoint of a variant: make compress VARIANT=drop-8a [MODEL=...] [FORM=stock].
compress: export

export: $(STAMP)
	@test -n "$(VARIANT)" || { echo "Say which variant to export, a name under \`variants\` in" \
		"config.yaml: make compress VARIANT=drop-8a [MODEL=...] [FORM=stock] [CONFIG=overlay.yaml]"; exit 1; }
	@$(RUN) export

# Reads and hashes every artifact: make verify [STORE=store] [RESULTS=results].
STORE ?= store
RESULTS ?= results
verify: $(STAMP)
	PYTHONPATH=scripts $(BIN)/python -m prunescope.workflow.store_care verify $(STORE) $(RESULTS)

# What the present config no longer reaches: make orphans [CONFIG=overlay.yaml] [REMOVE=yes].
orphans: $(STAMP)
	PYTHONPATH=scripts $(BIN)/python -m prunescope.workflow.store_care orphans $(STORE) $(RESULTS)/figures \
		$(if $(REMOVE),--remove) --snakemake $(if $(CONFIG),--configfile $(CONFIG))

# A question in SQL, or a prompt for several: make query [SQL="SELECT ..."] [STORE=store]; a $ is written $$.
query: $(STAMP)
	@PYTHONPATH=scripts $(BIN)/python -m prunescope.storage.query $(STORE)

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

bench: $(STAMP)
	@set -e; for bench in tests/benchmarks/bench_*.py; do \
		PYTHONPATH=scripts:tests $(BIN)/python $$bench; done

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/sqlfluff lint --disable-progress-bar -q reports
	$(BIN)/snakemake --lint

# The stamp is written last: an installation that broke off is made again.
$(STAMP): requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "prunescope needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
		"Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "$(PYTHON) cannot make virtual environments. Install its venv module," \
		"on Debian: apt-get install python3-venv"; exit 1; }
	@if [ -L $(VENV) ]; then echo "$(VENV) is a link to $$(readlink $(VENV)), whose packages are not those of" \
		"requirements.txt here. Nothing was changed: bring that environment up to date, or remove the link."; exit 1; fi
	@if [ -e $(VENV) ]; then echo "$(VENV) is older than requirements.txt, or was not completed: it is made anew."; fi
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip==26.3'
	$(BIN)/python -m pip install --quiet -r requirements.txt -c constraints.txt
	touch $(STAMP)
