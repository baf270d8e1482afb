# Every target does its own set-up. `make demo` and `make test` are all that a fresh machine with Python 3.11 needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first interpreter that the project supports; `make setup PYTHON=/path/to/python` overrides it.
FIND_PYTHON = for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done
PYTHON ?= $(shell $(FIND_PYTHON))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
HOME_DIR ?= ./data
EVENTS ?= 5000000
MINUTES ?= 20

export DAGSTER_DISABLE_TELEMETRY := yes
export GX_ANALYTICS_ENABLED := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test checkers sail spark soak resources ui bench lint clean

help:  ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: $(READY)  ## .venv from the hash-checked lock; nothing to do while the lock is unchanged

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found. Install one, or: make setup PYTHON=/path/to/python" >&2; exit 2; }
	@rm -f $@
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

demo: setup  ## a made-up shop of 180 days: simulated, run, published, and how to open it
	$(BIN)/behavior simulate --home "$(HOME_DIR)" --days 180 --customers 20000 --seed 7
	$(BIN)/behavior run --home "$(HOME_DIR)" --format rees46 --source "$(HOME_DIR)/simulated/rees46"
	@echo "How close the model of sessions comes to what the simulator knows:"
	$(BIN)/python benchmarks/recovery.py --home "$(HOME_DIR)"
	$(BIN)/behavior run --home "$(HOME_DIR)" >/dev/null  # publishes what was found
	$(BIN)/behavior models list --home "$(HOME_DIR)"
	@home="$$(cd "$(HOME_DIR)" && pwd)"; \
	echo; \
	echo "What you see is SYNTHETIC: a simulated shop, no real customer and no real sale."; \
	echo "  star schema   $$home/exports/behavior.duckdb      (DuckDB views over the published Parquet files)"; \
	echo "  Parquet       $$home/exports/tables/<table>/      (exports/current.json names the files that count)"; \
	echo "  Delta         $$home/lake/{bronze,silver,gold}/<table>"; \
	echo "  report        $$home/exports/report/index.html      (open it in a browser)"; \
	echo "  Power BI      $$home/exports/powerbi/Behavior.pbip  (on Windows: open-Behavior.cmd beside it)"; \
	echo "  Excel, CSV    $$home/exports/aggregate/"; \
	echo "  models        $$home/models/<model>/<version>/     (what they tell lies in the star schema)"; \
	echo; \
	echo "Open it:"; \
	echo "  Dagster UI    make ui HOME_DIR=$(HOME_DIR)        then http://127.0.0.1:3000"; \
	echo "  SQL           $(BIN)/python -c \"import duckdb; duckdb.connect('$$home/exports/behavior.duckdb', read_only=True).sql('FROM fact_product_day LIMIT 5').show()\""; \
	echo "  account       $(BIN)/behavior status --home $(HOME_DIR)"; \
	echo "  model card    $(BIN)/behavior models card session_purchase --home $(HOME_DIR)"; \
	echo "  a figure      $(BIN)/behavior explain 'Conversion Rate' --home $(HOME_DIR)"; \
	echo "  a database    $(BIN)/behavior publish --to postgresql://user@host/database --home $(HOME_DIR)"

test: setup sail  ## the whole test suite
	$(BIN)/python -m pytest -n auto --dist loadfile

sail: .sail/.ready  ## an environment with Sail, a Spark Connect server without Java, for the tests

.sail/.ready: tests/spark/requirements.lock
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found. Install one, or: make sail PYTHON=/path/to/python" >&2; exit 2; }
	@rm -f $@
	test -x .sail/bin/python || $(PYTHON) -m venv .sail
	.sail/bin/python -m pip install --quiet --require-hashes -r tests/spark/requirements.lock
	@touch $@

spark: .spark/.ready  ## opt-in: Delta Lake's jars for Spark, by Maven; needs Java 17

.spark/.ready: tests/spark/pom.xml
	@rm -f $@
	mvn --batch-mode --quiet --file tests/spark/pom.xml dependency:copy-dependencies -DoutputDirectory="$(CURDIR)/.spark/jars"
	@touch $@

checkers: .checkers/.ready  ## opt-in: Microsoft's object model, the M parser and a model review, for the Power BI project; Azure's emulator

.checkers/.ready: tests/checkers/requirements.lock tests/checkers/object-model.lock tests/checkers/package.json
	@rm -f $@
	test -x .checkers/bin/python || $(PYTHON) -m venv .checkers
	.checkers/bin/python -m pip install --quiet --require-hashes -r tests/checkers/requirements.lock
	.checkers/bin/python -m pip install --quiet --no-deps --require-hashes -r tests/checkers/object-model.lock
	cp tests/checkers/package.json tests/checkers/package-lock.json .checkers/
	npm ci --silent --no-audit --no-fund --prefix .checkers
	@touch $@

soak: setup  ## random histories for MINUTES minutes: files, faults, two runs at once; prints what was lost (0) and doubled (0)
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

resources: setup  ## hostile files and one of 20 M rows, each under the memory limit; prints what it took
	BEHAVIOR_RESOURCES=full $(BIN)/python -m pytest -q -s tests/test_resources.py --timeout 1800

ui: setup  ## Dagster's web server and daemon for HOME_DIR, on 127.0.0.1:3000
	@mkdir -p "$(HOME_DIR)/dagster"
	@test -e "$(HOME_DIR)/dagster/dagster.yaml" || cp dagster.yaml "$(HOME_DIR)/dagster/dagster.yaml"
	home="$$(cd "$(HOME_DIR)" && pwd)"; \
	DAGSTER_HOME="$$home/dagster" BEHAVIOR_HOME="$$home" $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1

bench: setup  ## seconds per stage for EVENTS events, beside the floor
	$(BIN)/python benchmarks/chain.py --events $(EVENTS) --json bench-$(EVENTS).json

lint: setup  ## ruff, mypy, and whether the picture in the README is up to date
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python docs/asset_graph.py --check

clean:  ## caches and build leftovers; never data and never .venv
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -not -path './data/*' -prune -exec rm -rf {} +
