# make demo   install, generate the phantom cohort, run the pipeline, print the results
# make test   install what is missing and run the tests
PYTHON ?= python3.11
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true
export NO_ALBUMENTATIONS_UPDATE := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test test-slow test-faults test-browser test-pacs test-realdata lint docs ui team test-team lock

demo: .stamp/installed data/phantom.json
	dvc repro
	dgfnet summary

data/phantom.json: | .stamp/installed
	dgfnet phantom

test: .stamp/installed
	pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations=25

test-slow: .stamp/installed
	HYPOTHESIS_PROFILE=full pytest -m "slow or hypothesis"

test-faults: .stamp/installed
	pytest -m faults -s

# the server's page; Debian: apt install chromium chromium-driver. In a folder of its own: what selenium needs
# would replace what is locked
test-browser: .stamp/installed
	$(BIN)/python -m pip install --quiet --upgrade --target .stamp/browser selenium==4.51.0 axe-core-python==0.1.0
	PYTHONPATH=.stamp/browser pytest -m browser

# Orthanc with DICOMweb and dciodvfy, on the loopback interface; installed where that is allowed
test-pacs: .stamp/installed
	@{ command -v Orthanc && command -v dciodvfy; } >/dev/null || apt-get install -y --no-install-recommends orthanc orthanc-dicomweb dicom3tools \
	  || echo "not installed; as root: apt install orthanc orthanc-dicomweb dicom3tools" >&2
	pytest -m pacs -rs

test-realdata: .stamp/installed
	pytest -m realdata

lint: .stamp/installed
	ruff check .
	ruff format --check .
	mypy

docs: .stamp/installed
	python docs/api_page.py
	python docs/settings_page.py
	python docs/measured_page.py

# MLflow 3.17 opens on its pages for language models, unless the address says what is trained
ui: .stamp/installed
	@echo "open http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --backend-store-uri sqlite:///$(CURDIR)/mlflow.db --port 5000

# PostgreSQL, an S3 server and MLflow with users, on this machine; Debian: apt install postgresql
team: .stamp/installed
	python deploy/team.py up

test-team: .stamp/installed
	pytest -m team

.stamp/installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "DGFNet needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1 | tail -n 1);" \
	  "name another, for example: make $(MAKECMDGOALS) PYTHON=/usr/bin/python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	mkdir -p .stamp && touch $@

# needs uv; keeps the exact versions that are tested together
lock:
	uv pip compile pyproject.toml --extra dev --generate-hashes --python-version 3.11 --no-header --no-annotate \
	  -o requirements.lock
