# Thin names for what scripts/ and xtask/ do. `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-rdma conformance bench bench-check lint fuzz clean

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Installs what is missing: system packages, and the weed binary into .tools
	@scripts/setup.sh

demo: setup ## Mounts a throw-away SeaweedFS and reads it back; KEEP=1 leaves it mounted
	@cargo xtask demo $(if $(filter-out 0,$(KEEP)),--keep)

test: ## Runs every test, the end-to-end ones against a real SeaweedFS
	@scripts/test.sh

test-rdma: setup ## Runs the RDMA tests in virtual machines with a soft-RoCE device
	@scripts/test-rdma.sh

conformance: ## Runs pjdfstest, fsx, applications, faults and random operations (STEPS=, SEEDS=, CASES=, OPS=)
	@scripts/conformance.sh

bench: setup ## Measures side by side with the stock mount
	@cargo xtask bench $(or $(ARGS),--report docs/bench/$(shell date -u +%F))

bench-check: ## Counts the instructions of the hot paths; fails when one has 5 % more than committed
	@scripts/setup.sh --counts
	@cargo run --quiet --release --package hotpaths -- $(ARGS)

lint: ## fmt, clippy, docs, shellcheck and cargo-deny, all without a warning
	@scripts/lint.sh

fuzz: ## Runs every fuzz target for SECONDS (default 60)
	@scripts/fuzz.sh $(or $(SECONDS),60)

clean: ## Removes what builds and setup made
	cargo clean
	rm -rf .tools fuzz/target
