# Two commands do everything on a fresh machine: `make lab` and `make test`.
VENV := .venv
BIN  := $(VENV)/bin
MODE ?= udr
BESIDE ?=
NODES ?= 3
SCALE ?= 1

.PHONY: help install lab test check bench bench-quick format down clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed ## what both of the others need: system packages and .venv

$(VENV)/.installed: requirements.lock pyproject.toml tools/setup.sh
	@tools/setup.sh $(VENV)
	@touch $@

lab: install ## bring the lab up with an example shop and show it working (MODE=udr, vxlan, flannel, azure-cni; BESIDE=, NODES=)
	@$(if $(filter flannel,$(MODE)),tools/packages.sh etcd-server etcd-client)
	@$(BIN)/korat lab demo --mode $(MODE) $(if $(BESIDE),--beside $(BESIDE)) --nodes $(NODES) -f examples/shop.yaml --policies examples/policies.yaml

down: install ## take the lab down again
	@$(BIN)/korat lab down

test: install ## the whole test suite: style, types, layers, unit, property, kernel and lab tests
	@tools/test.sh $(BIN)

check: install ## format, lint, types and layers only
	@$(BIN)/ruff format --check src tests tools bench
	@$(BIN)/ruff check src tests tools bench
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: install ## what korat costs: one table, and bench/out/latest.json (about an hour; ROWS=, SCALE=, PROFILE=1)
	@$(BIN)/python -m bench --scale $(SCALE) $(if $(ROWS),--rows $(ROWS)) $(if $(PROFILE),--profile)

bench-quick: install ## the same rows, small, within two minutes
	@$(BIN)/python -m bench --plan quick $(if $(ROWS),--rows $(ROWS)) $(if $(PROFILE),--profile)

format: install ## let ruff format the code
	@$(BIN)/ruff format src tests tools bench
	@$(BIN)/ruff check --fix src tests tools bench

clean: ## remove the venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
