# Needs python3 (3.11 or later) with venv, and make. Everything is installed into .venv, nothing outside.
.PHONY: demo test check test-browser test-stacks e2e e2e-figures bench pictures image image-test lock clean
.DEFAULT_GOAL := test
PYTHON ?= python3
BASE ?= python:3.11-slim-bookworm
AT_ONCE ?= 8
WORKERS ?= 2

demo: .venv/ready  ## a good model version is promoted, a bad one caught; under a minute
	.venv/bin/analyzer demo

test: .venv/ready  ## the tests; what needs Prometheus or Go is skipped, with the reason, where they are missing
	.venv/bin/pytest -q -n $(WORKERS) --dist worksteal

check: .venv/ready  ## what CI runs: lint, types, import layers, tests, pages in a real Chromium
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/codespell
	.venv/bin/mypy && .venv/bin/lint-imports --no-logo
	.venv/bin/pytest -q -n $(WORKERS) --dist worksteal && .venv/bin/pytest -q -n $(WORKERS) tests/browser

test-browser: .venv/ready  ## the pages as people see them, in a real Chromium
	.venv/bin/pytest -q -n $(WORKERS) tests/browser

test-stacks: .venv/ready  ## real model servers, each in an environment of its own; the first time installs them
	.venv/bin/pytest -q $(ONLY) tests/stacks

e2e: .venv/ready  ## Argo Rollouts on a real API server with pretend nodes; says what is missing
	.venv/bin/pytest -q -n $(AT_ONCE) --dist worksteal $(ONLY) tests/e2e

e2e-figures: .venv/ready  ## time to recovery and to promotion, for rollouts/README.md; under half an hour
	.venv/bin/python tests/e2e/recovery $(FORM)

bench: .venv/ready  ## the figures of the READMEs; FORM=--short leaves the long simulations out
	.venv/bin/python tests/bench $(FORM)

pictures: .venv/ready  ## the pictures of the READMEs, by prometheus and chromium
	.venv/bin/python tests/browser/pictures.py

image: Dockerfile requirements.lock  ## the container image, by docker, podman or buildah
	$(shell command -v docker || command -v podman || command -v buildah) build --build-arg BASE=$(BASE) -t rollout-analyzer:0.1.0 .

image-test: .venv/ready  ## builds the image on a plain Debian and runs it; needs root, buildah and debootstrap
	ANALYZER_REQUIRE_IMAGE=1 .venv/bin/pytest -q tests/image

lock: .venv/ready  ## compile the pinned requirements from pyproject.toml
	.venv/bin/uv pip compile -q --no-header --universal --generate-hashes --no-emit-index-url --extra kubernetes pyproject.toml -o requirements.lock
	.venv/bin/uv pip compile -q --no-header --universal --generate-hashes --no-emit-index-url --extra kubernetes pyproject.toml --group dev -o tests/requirements.lock

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist

.venv/ready: tests/requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv && .venv/bin/pip install -q --disable-pip-version-check --require-hashes -r tests/requirements.lock
	.venv/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . && touch .venv/ready
