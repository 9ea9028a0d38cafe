# Everything is done in .venv, which tools/setup makes. `make` alone lists the targets.
PYTHON := .venv/bin/python
PREFIX ?= /opt/remora
C_FILES = $(shell find bpf_programs -name '*.c' -o -name '*.h')
DURATION ?= 15s
ARGS ?=
EXAMPLES ?= 20000
FRAMES ?= 1000000

.DEFAULT_GOAL := help
.PHONY: help demo test kernel-test deploy-test image conformance fuzz lint types bench proto install uninstall deb clean root

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: root ## a small shop of namespaces with traffic and the live view; as root
	@tools/setup run
	@$(PYTHON) -m daemon.cli.main demo --duration $(DURATION) $(ARGS)

test: root ## all tests, those in the kernel too; as root; ARGS goes to pytest
	@tools/setup dev
	@$(PYTHON) -m pytest $(ARGS)

kernel-test: root ## what this kernel may not do, with Debian's own in an emulated machine; minutes; as root
	@tools/setup kernel
	@tools/on-kernel $(PYTHON) -m pytest tests/integration/test_dispatcher.py $(ARGS)

deploy-test: root ## a fresh Debian with the service, the package and the image, for real; minutes; as root
	@tools/setup deploy
	@$(PYTHON) -m pytest -m deploy tests/deploy $(ARGS)

conformance: root ## the live cases of a service proxy, and docs/service-conformance.md from the results; as root
	@tools/setup dev
	@$(PYTHON) -m pytest tests/conformance/services/live --write-conformance $(ARGS)

fuzz: root ## damaged DNS, HTTP and TLS for the parsers, frames for XDP; EXAMPLES and FRAMES say how many; as root
	@tools/setup dev
	@REMORA_FUZZ_EXAMPLES=$(EXAMPLES) REMORA_FUZZ_FRAMES=$(FRAMES) \
		$(PYTHON) -m pytest tests/unit/flows/test_fuzz.py tests/bpf/test_shield_fuzz.py \
		tests/bpf/test_accelerate_fuzz.py $(ARGS)

lint: ## style of Python and C, and the order of imports
	@tools/setup dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	clang-format --dry-run -Werror $(C_FILES)

types: ## mypy --strict
	@tools/setup dev
	.venv/bin/mypy

bench: root ## all benchmarks, or one: BENCH=name; as root
	@tools/setup dev
	@$(PYTHON) -m benchmarks $(BENCH)

proto: ## generate the Python code of daemon/proto/*.proto
	@tools/setup dev
	$(PYTHON) -m daemon.proto.generate

install: root ## into /opt/remora, with the systemd unit; does not start it
	@tools/setup run
	@tools/install $(PREFIX) "$(DESTDIR)"

uninstall: root ## stop it, remove it and what it left in the kernel; keeps /etc/remora
	@tools/uninstall $(PREFIX) "$(DESTDIR)"

deb: root ## a Debian package in build/
	@tools/setup run
	@tools/deb

image: root ## a container image in build/, without an engine
	@tools/setup image
	@deploy/container/build

clean: ## remove the environment and everything that was made
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

root:
	@[ "$$(id -u)" = 0 ] || { \
		echo "remora: this loads BPF programs and makes network namespaces, so it needs root: sudo make $(MAKECMDGOALS)" >&2; \
		exit 1; }
