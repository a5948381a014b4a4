# One-word targets; each sets up what it needs, from nothing, on Debian 12 or newer.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: help install serve test lint bench faults clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# command:package. Only what is missing is installed: a Node.js of another source than Debian's would
# be in the way of Debian's npm.
APT_NEEDS := faketime:faketime strace:strace rclone:rclone s3cmd:s3cmd node:nodejs npm:npm curl:curl \
  wrk:wrk bsdtar:libarchive-tools unzip:unzip haproxy:haproxy
export PATH := $(PATH):/usr/sbin  # where haproxy is
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

help:
	@echo "make install | serve | test | lint | bench | faults"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "amur needs Python 3.11 or newer: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "python3-venv is missing: apt-get install python3-venv" >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

serve: install
	@exec $(BIN)/amur serve $(ARGS)

$(VENV)/.test: $(VENV)/.installed pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

# aws-cli and s3fs pin other versions of botocore than boto3 wants: each has a place of its own.
$(VENV)/aws/.installed: $(VENV)/.installed
	$(PYTHON) -m venv $(VENV)/aws
	$(VENV)/aws/bin/pip install --quiet --disable-pip-version-check -r tests/compat/aws.txt
	@touch $@

$(VENV)/s3fs/.installed: $(VENV)/.installed
	$(PYTHON) -m venv $(VENV)/s3fs
	$(VENV)/s3fs/bin/pip install --quiet --disable-pip-version-check -r tests/compat/s3fs.txt
	@touch $@

# moto[server], which the bucket tests use as an S3 service, brings forty packages with it.
$(VENV)/moto/.installed: $(VENV)/.installed
	$(PYTHON) -m venv $(VENV)/moto
	$(VENV)/moto/bin/pip install --quiet --disable-pip-version-check -r tests/compat/moto.txt
	@touch $@

# Without scripts: one package's would write to the home directory.
tests/compat/node/node_modules/.installed: tests/compat/node/package.json | apt
	cd tests/compat/node && \
	  npm install --silent --ignore-scripts --no-audit --no-fund --no-package-lock
	@touch $@

.PHONY: apt
apt:
	@missing=; for need in $(APT_NEEDS); do \
	  command -v $${need%:*} >/dev/null || missing="$$missing $${need#*:}"; done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    $$missing >/dev/null; fi

# PyTorch is 0.8 GB, or 5 with its CUDA libraries: its tests run where it is, or with TORCH=1.
$(VENV)/.torch: $(VENV)/.test
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy
	@touch $@

test: $(if $(TORCH),$(VENV)/.torch)
test: apt $(VENV)/.test $(VENV)/aws/.installed $(VENV)/s3fs/.installed $(VENV)/moto/.installed tests/compat/node/node_modules/.installed
	@$(MAKE) --no-print-directory lint
	$(BIN)/pytest -q -n 2 --dist loadfile $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.bench: $(VENV)/.installed pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

bench: apt $(VENV)/.bench
	$(BIN)/python -m bench $(ARGS)

faults: apt $(VENV)/.test
	$(BIN)/pytest -q -m sweep tests/faults $(ARGS)

clean:
	rm -rf $(VENV) tests/compat/node/node_modules
