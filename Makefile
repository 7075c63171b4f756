# Needs python3 (3.11 or later) with venv, and make. Everything is installed into .venv, nothing outside.
.PHONY: demo lint types quick units test cover test-argo test-browser e2e check mutants test-stacks test-engines e2e-figures bench \
	worlds chaos damage fuzz pictures sbom image image-test lock clean
.DEFAULT_GOAL := test
PYTHON ?= python3
BASE ?= python:3.11-slim-bookworm
IMAGE_PYTHON ?= 3.11
AT_ONCE ?= 8
WORKERS ?= 2
PYTEST = .venv/bin/pytest -q --dist worksteal $(FLAGS)
UNITS = tests/stats tests/checks tests/sources tests/config tests/verdict tests/test_doctests.py
COVERED = stats/* checks/* sources/* verdict/judge.py
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' analyzer/version.py)
COMPILE = .venv/bin/uv pip compile -q --no-header --universal --generate-hashes --no-emit-index-url --extra cloud --extra kubernetes --extra otel --extra report pyproject.toml

demo: .venv/ready  ## a good model version is promoted, a bad one caught; under a minute
	.venv/bin/analyzer demo

lint: .venv/ready  ## style, format, spelling, import layers
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/codespell && .venv/bin/lint-imports --no-logo

types: .venv/full  ## mypy, strict over analyzer and rollouts, not strict over tests
	.venv/bin/mypy && .venv/bin/mypy --config-file tests/mypy.ini

quick: .venv/ready  ## the unit tests, without servers or simulations; under a minute
	$(PYTEST) -n $(WORKERS) -m "not (statistical or prometheus or victoriametrics or argo)" $(UNITS)

units:  # the folders of the unit tests, for .ci/run
	@echo $(UNITS)

test: .venv/ready  ## all that needs no compiler; what needs a missing tool is skipped, with the reason
	$(PYTEST) -n $(WORKERS) -m "not argo"

cover: .venv/ready  ## the unit tests and those on a real Prometheus; every branch of the decisions that they leave out
	$(PYTEST) -n $(WORKERS) -m "not (statistical or victoriametrics or argo)" --cov --cov-report= --cov-fail-under=0 $(UNITS)
	@set -f; for part in $(COVERED); do .venv/bin/coverage report -m --skip-covered --include="analyzer/$$part" || exit 1; done

test-argo: .venv/full  ## manifests, templates and dashboards read by Argo's and Grafana's own code; needs Go
	$(PYTEST) -n $(WORKERS) -m argo

test-browser: .venv/full  ## the pages as people see them, in a real Chromium
	$(PYTEST) -n $(WORKERS) tests/browser

e2e: .venv/full  ## Argo Rollouts on a real API server with pretend nodes; says what is missing
	$(PYTEST) -n $(AT_ONCE) $(ONLY) tests/e2e

check: lint types test test-argo test-browser e2e  ## all of it

mutants: .venv/ready  ## faults of one line each, put in one by one: the tests must notice
	.venv/bin/python tests/mutants

test-stacks: .venv/full  ## real model servers, each in an environment of its own; the first time installs them
	$(PYTEST) $(ONLY) tests/stacks

test-engines: .venv/full  ## counts on current Prometheus, VictoriaMetrics and Thanos, built from source; needs Go
	.venv/bin/python tests/engines.py $(ONLY)

e2e-figures: .venv/full  ## time to recovery and to promotion, for tests/bench/README.md; under half an hour
	.venv/bin/python tests/e2e/recovery $(FORM)

bench: .venv/ready  ## the figures of the READMEs; FORM=--short leaves the long simulations out
	.venv/bin/python tests/bench $(FORM)

worlds: .venv/ready  ## counts of 5,000 histories drawn at random, on a real Prometheus; a quarter of an hour
	ANALYZER_WORLDS=5000 .venv/bin/pytest -q tests/sources/test_worlds.py

chaos: .venv/ready  ## attacks on the service: clients, sources, signals, outages; FORM=--short takes a minute and a half
	.venv/bin/python tests/chaos $(FORM)

damage: .venv/ready  ## verdicts on 10,000 damaged answers of a source; some minutes
	ANALYZER_DAMAGED=10000 .venv/bin/pytest -q tests/sources/test_damaged_answers.py -k drawn

fuzz: .venv/full  ## 200,000 random requests, 100,000 verdicts of one worker: no fault, no memory that grows; a quarter of an hour
	ANALYZER_FUZZED=200000 ANALYZER_FUZZED_VERDICTS=100000 .venv/bin/pytest -q -s tests/web/test_fuzzed_requests.py

pictures: .venv/full  ## the pictures of the READMEs, by prometheus and chromium
	.venv/bin/python tests/browser/pictures.py

sbom: .venv/full requirements.lock  ## the SBOM of the image's packages, as CycloneDX
	.venv/bin/python .ci/sbom.py dist/rollout-analyzer-$(VERSION).cdx.json $(IMAGE_PYTHON) $(VERSION)

image: Dockerfile requirements.lock sbom  ## the container image, by docker, podman or buildah
	$(shell command -v docker || command -v podman || command -v buildah) build --build-arg BASE=$(BASE) --build-arg VERSION=$(VERSION) -t rollout-analyzer:$(VERSION) .

image-test: .venv/full  ## builds the image on a plain Debian and runs it; needs root, buildah and debootstrap
	ANALYZER_REQUIRE_IMAGE=1 .venv/bin/pytest -q tests/image

lock: .venv/full  ## compile the pinned requirements from pyproject.toml
	$(COMPILE) -o requirements.lock
	$(COMPILE) --extra demo --group full -c requirements.lock -o tests/requirements-full.lock
	$(COMPILE) --extra demo --group dev -c tests/requirements-full.lock -o tests/requirements.lock

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage dist

# The small environment, for the first test; what takes long to fetch comes on top of it where a target needs it.
.venv/ready: tests/requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv && .venv/bin/pip install -q --disable-pip-version-check --require-hashes -r tests/requirements.lock
	.venv/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . && touch .venv/ready

.venv/full: .venv/ready tests/requirements-full.lock
	.venv/bin/pip install -q --disable-pip-version-check --require-hashes -r tests/requirements-full.lock && touch .venv/full
