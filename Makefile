# Everything starts here; `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3; do \
	$$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$each && break; done)
PENSTOCK := .venv/bin/penstock
STAMP := .venv/.installed

.PHONY: help env setup demo up down status ps logs clean doctor test test-unit test-faults bench lint format lock topic backfill dashboards

help: ## list what make can do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements.lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh "$(PYTHON)"
	@touch $@

setup: $(STAMP) ## install the Python environment into .venv

env: $(STAMP) ## make .env with generated secrets
	@$(PENSTOCK) env

doctor: $(STAMP) ## look for what would keep the stack from starting
	@$(PENSTOCK) doctor

demo: $(STAMP) ## set everything up, run the DAGs and both streams, show that every record landed (LIVE=1: from the real sources)
	@$(PENSTOCK) demo

up: $(STAMP) ## start the local stack
	@$(PENSTOCK) up

down: $(STAMP) ## stop it; its data stays
	@$(PENSTOCK) down

status ps: $(STAMP) ## show the servers' states and how fresh the data is
	@$(PENSTOCK) status

logs: $(STAMP) ## follow a server's log: make logs NAME=kafka
	@$(PENSTOCK) logs -f $(NAME)

topic: $(STAMP) ## make the topics of include/kafka/topics.yaml, and show them: make topic [NAME=hourlymetrics]
	@$(PENSTOCK) topic apply && $(PENSTOCK) topic $(NAME)

backfill: $(STAMP) ## start a backfill: make backfill PIPELINE=weather_hourly FROM=2026-11-01 TO=2026-11-03
	@$(PENSTOCK) backfill $(PIPELINE) --from $(FROM) --to $(TO)

clean: $(STAMP) ## stop the stack and wipe its data
	@$(PENSTOCK) clean --yes

test: lint ## set everything up and run the tests
	@.venv/bin/pytest -m "not faults" tests

test-unit: $(STAMP) ## run the tests that need no server
	@.venv/bin/pytest tests/unit

test-faults: $(STAMP) ## kill servers and processes, and count what is left
	@.venv/bin/pytest -m faults tests

bench: $(STAMP) ## measure, each figure against a baseline of the same run
	@.venv/bin/python -m tests.bench

lint: $(STAMP) ## check style, types and the direction of imports
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && PYTHONPATH=plugins .venv/bin/lint-imports
	@.venv/bin/shellcheck scripts/*.sh .ci/run

format: $(STAMP) ## format the code
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

dashboards: $(STAMP) ## generate Grafana's dashboards into include/grafana/dashboards
	@PYTHONPATH=plugins .venv/bin/python -m penstock.observe.dashboards

lock: $(STAMP) ## resolve the dependencies anew
	@.venv/bin/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --python-version 3.11 \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --upgrade -q -o requirements.lock
	@.venv/bin/uv pip compile include/docker/executors.in --constraint requirements.lock --universal --generate-hashes \
		--python-version 3.11 --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		$$(sed -nE 's/^([^ =]+)==.*/--no-emit-package \1/p' requirements.lock) --upgrade -q -o include/docker/executors.lock
