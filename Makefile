# Everything that is done with this source tree. Needs make and Node's npm; the rest comes by `make setup`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

BIN := node_modules/.bin
BUN := $(BIN)/bun
INSTALLED := node_modules/.package-lock.json
# What end-to-end tests call, and the Debian package that has it.
APT := haproxy:haproxy strace:strace ip:iproute2
SOURCES := $(shell find src migrations scripts -type f ! -name '*.test.ts' 2>/dev/null) package.json

.PHONY: help setup build build-assets demo lint check test-parts test-pg test-e2e test test-long figures clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Install npm's packages, and Debian's for the end-to-end tests; only what is missing
	@missing=""; \
	for pair in $(APT); do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then root=""; \
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then root="sudo -n"; \
	else root="none"; fi; \
	if [ "$$root" = none ] || ! command -v apt-get >/dev/null; then \
	  echo "setup: install these for the end-to-end tests:$$missing"; exit 0; \
	fi; \
	echo "setup: installing$$missing"; \
	$$root apt-get update -qq; \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null

$(INSTALLED): package-lock.json
	@# A registry mirror may lack other platforms' optional packages; npm ci then calls the lock incomplete,
	@# while install keeps to the lock's versions and hashes all the same.
	@npm ci --silent 2>/dev/null || npm install --no-save --no-audit --no-fund --loglevel=error
	@# Bun is put in place by its package's install script, which npm may be told not to run.
	@$(BUN) --version >/dev/null 2>&1 || node node_modules/bun/install.js
	@$(BUN) --version >/dev/null
	@touch $@

build: dist/twinsite ## Build dist/twinsite, the one file that is the product

dist/twinsite: $(INSTALLED) $(SOURCES)
	@$(BUN) scripts/build.ts

build-assets: $(INSTALLED) ## Make build/assets, the embedded PostgreSQL (kept until its inputs change)
	@$(BUN) scripts/build.ts --assets-only

demo: setup build ## Start both sites on this machine, under ./demo, until Ctrl-C
	dist/twinsite demo

lint: $(INSTALLED) ## Format, lint and types
	@$(BIN)/biome check --error-on-warnings
	@$(BIN)/tsc -p .
	@$(BIN)/oxlint --type-aware src test scripts

check: lint build-assets ## Lint, and unit tests with the import rules; under a minute
	@$(BUN) scripts/run-tests.ts unit

test-parts: build-assets ## Tests of whole parts on real sockets, directories and processes
	@$(BUN) scripts/run-tests.ts parts

test-pg: build-assets ## Tests against real PostgreSQL servers
	@$(BUN) scripts/run-tests.ts pg

test-e2e: build ## Tests of the compiled binary, two sites at a time
	@$(BUN) scripts/run-tests.ts e2e

test: setup build lint ## Everything: lint, unit, PostgreSQL and end-to-end tests; prints the totals
	@$(BUN) scripts/run-tests.ts unit parts pg e2e

test-long: setup build ## The long forms: 50 destroyed sites in a row from each side, 100 kills, longer cuts
	@TWINSITE_ROUNDS=50 TWINSITE_KILLS=100 TWINSITE_CUT_MS=20000 $(BIN)/bun test --timeout 1200000 \
	  ./test/e2e/both-survives.test.ts ./test/e2e/random-kills.test.ts ./test/e2e/partition.test.ts

figures: setup build ## Measure what a newcomer asks for first: start, memory, receipts, the flip
	@$(BUN) bench/first-figures.ts

clean: ## Remove what was built, and ./demo; installed packages stay
	rm -rf build dist demo
