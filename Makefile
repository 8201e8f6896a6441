# The two that matter: `make bake` and `make test`.
.DEFAULT_GOAL := help
# With it, each process of the tests would compile ohbuild, and pytest all tests.
unexport PYTHONDONTWRITEBYTECODE
SHELL := /bin/bash -euo pipefail
OHBUILD := .venv/bin/ohbuild
LOCKS := dockerfiles/locks
ALPINE := .tools/alpine-3.23.tar
# As pip does it: with the CA certificates of the system, and with bytecode, which not every Python writes later.
UV := .tools/bin/uv pip install --quiet --no-config --system-certs --compile-bytecode
# What action.yml installs: ohbuild's own requirements, and what builds ohbuild.
ACTION := --only main,build
# With a component repository that has no images, so that all components are in the folder.
RENDER := OHBUILD_COMPONENT_REPOSITORY=localhost:1/none $(OHBUILD) render --folder .tools/rendered

.PHONY: help bake test unit properties coverage lint lint-static lint-workflows seed engine matrix reference lock lock-agent-server lock-debian clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

bake: seed ## install, bring an engine up if there is none, seed the bases, bake both platforms
	$(OHBUILD) bake

test: lint coverage properties seed ## lint, then all tests, including those that need an engine
	.venv/bin/pytest --ignore tests/unit --numprocesses 3 --dist loadscope --durations 20 --durations-min 10

unit: .venv/installed ## the tests that need no engine
	.venv/bin/pytest --numprocesses auto tests/unit

properties: .venv/installed ## the property tests and mutations alone, each with many examples
	.venv/bin/pytest --numprocesses auto tests/unit -m hypothesis --hypothesis-profile ci

# Separate from `unit`, because measuring takes two thirds more CPU time before Python 3.14, which has a cheaper way.
coverage: .venv/installed ## the unit tests, with the branch coverage that pyproject.toml requires
	.venv/bin/pytest --numprocesses auto tests/unit --cov --cov-report=

matrix: seed ## every base in every mode, every point of the contract; writes the table into docs/verify.md
	.venv/bin/python -m tests.engine.matrix

engine: .venv/installed
	$(OHBUILD) engine up

seed: engine $(ALPINE)
	$(OHBUILD) engine seed debian:trixie --platform linux/amd64,linux/arm64
	$(OHBUILD) engine seed alpine:3.23 --from $(ALPINE)

# The root file system of a real Alpine, out of a PyPI package; where Docker Hub answers, the seed above takes no notice.
$(ALPINE): tests/engine/alpine-rootfs.sh
	mkdir -p .tools
	tests/engine/alpine-rootfs.sh $@

lint: lint-static seed ## every static check, including that generated files are up to date
	# System packages need the USER of their base, which the seeded registry knows.
	$(RENDER) --system-packages git
	.venv/bin/hadolint .tools/rendered/Dockerfile .tools/rendered/Dockerfile.components
	eval "$$($(OHBUILD) engine env)"; cd .tools/rendered; \
	docker buildx build --check --file Dockerfile.components context; docker buildx build --check \
	    $$(sed -n 's/^COPY --link --from=\([^ ]*\).*/--build-context \1=context/p' Dockerfile | sort -u) --file Dockerfile context

lint-static: lint-workflows ## the static checks that need no engine
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/python -m tests.reference --check
	.tools/bin/poetry export $(ACTION) | diff -q - action/requirements.txt
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	.venv/bin/shellcheck $$(grep -rl --exclude='*.j2' '^#!.*/\(oh-ba\)\?sh$$' wrappers dockerfiles tests/plugins tests/engine action) .ci/run
	$(RENDER)
	.venv/bin/hadolint .tools/rendered/Dockerfile .tools/rendered/Dockerfile.components

lint-workflows: .venv/installed ## what GitHub reads: workflows, actions and issue forms
	.venv/bin/zizmor --offline --pedantic --strict-collection --quiet --no-progress action.yml .github examples/github/* tests/act
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/* examples/github/*
	.venv/bin/check-jsonschema --builtin-schema custom.github-workflows-require-timeout .github/workflows/* examples/github/*
	.venv/bin/check-jsonschema --builtin-schema vendor.github-actions action.yml tests/act/*/action.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.gitlab-ci examples/gitlab/.gitlab-ci.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*

# Poetry with its export plug-in comes from the same locked list that the build inside the container takes.
.tools/bin/poetry: $(LOCKS)/tools/requirements.txt
	python3 -c 'import ensurepip' 2>/dev/null || { apt-get -q update && apt-get -q install --yes python3-venv; }
	python3 -m venv .tools
	# uv first, because it installs everything else in a second.
	sed -n '/^uv==/,/[^\\]$$/p' $< >.tools/uv.txt
	.tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r .tools/uv.txt
	$(UV) --python .tools/bin/python --require-hashes -r $<
	touch --no-create $@

.venv/installed: pyproject.toml poetry.lock | .tools/bin/poetry
	python3 -m venv .venv
	.tools/bin/poetry export --with build,dev --output .tools/requirements.txt
	$(UV) --python .venv/bin/python --require-hashes --no-deps -r .tools/requirements.txt
	$(UV) --python .venv/bin/python --no-build-isolation --no-deps --editable .
	touch $@

reference: .venv/installed ## generate docs/reference.md and ohbuild.schema.json from the settings and the flags
	.venv/bin/python -m tests.reference

ifdef AGENT_SERVER
lock: lock-agent-server ## write every lock again; AGENT_SERVER=1.59.0 writes that of this version alone, or adds it
else
lock: lock-debian lock-agent-server
	.tools/bin/poetry lock
	.tools/bin/poetry export $(ACTION) --output action/requirements.txt
	.tools/bin/poetry lock --directory dockerfiles/components/python/wheels
	.tools/bin/poetry lock --directory $(LOCKS)/tools
	.tools/bin/poetry export --directory $(LOCKS)/tools --output requirements.txt
endif

AGENT_SERVERS := dockerfiles/components/agent-server
lock-agent-server: .tools/bin/poetry ## write the locks of the agent-server again, of all versions or of AGENT_SERVER
	for version in $(or $(AGENT_SERVER),$(basename $(notdir $(wildcard $(AGENT_SERVERS)/locks/*.txt)))); do \
	    printf "openhands-%s==$$version\n" agent-server sdk tools workspace | .tools/bin/uv pip compile --quiet --upgrade --no-config \
	        --universal --generate-hashes --no-annotate --no-header --python-version 3.13 \
	        --constraint $(AGENT_SERVERS)/constraints.txt --output-file $(AGENT_SERVERS)/locks/$$version.txt -; done

lock-debian: seed ## write the locks of Debian packages again
	eval "$$($(OHBUILD) engine env)"; \
	docker buildx build --no-cache --output dockerfiles --file dockerfiles/apt/Dockerfile dockerfiles

clean: ## remove what make made here; the engine stays (`ohbuild engine remove`)
	rm -rf .venv .tools .ohbuild dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
