# One entry point for people and for continuous integration. `make help` lists the targets.
#
# Needs Node >= 20.19 with npm, and python3 with pip when the model hub cannot be reached (the
# model files then come from packages). Everything else is set up here, on first use.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

bin := node_modules/.bin
installed := node_modules/.installed
kvault := node cli/bin/kvault.js
# The models that the tests and the demo use.
models := smollm2-135m qwen2.5-coder-0.5b

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Reinstalls only when the lock file changed. No dependency's install script runs (.npmrc).
$(installed): package-lock.json
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: build
build: $(installed) ## Install what is missing and compile
	@$(bin)/tsc -b

.PHONY: demo
demo: build ## Read, compress, store and query a real document, from nothing
	@$(kvault) demo

.PHONY: cluster-demo
cluster-demo: build test-servers ## The same across a cluster: Redis, S3, 1 gateway, 2 prefill and 2 decode workers
	@$(kvault) model pull qwen2.5-coder-0.5b
	@$(bin)/tsx --conditions=kvault-source tests/cluster/demo.ts

.PHONY: chaos
chaos: build test-servers ## Ten minutes of kills, pauses, partitions and damage under load: SEED=N SECONDS=600
	@$(bin)/tsx tests/chaos/main.ts --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

.PHONY: test
test: $(installed) ## Every check and every test (what CI runs)
	@$(bin)/tsx tools/check.ts all

.PHONY: native
native: ## Build the CUDA addon and fetch its ONNX Runtime (GPU machines only; needs Rust)
	@tools/build-native

.PHONY: test-servers
test-servers: ## Set up the real Redis and S3 servers that tests start (make test does it too)
	@tools/setup-test-servers

# The rivals are installed here and nowhere else, without their install scripts.
bench/node_modules/.installed: bench/package-lock.json
	npm ci --prefix bench --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# The site's tools are installed here and nowhere else, without their install scripts.
site/node_modules/.installed: site/package-lock.json
	npm ci --prefix site --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: docs
docs: $(installed) site/node_modules/.installed ## Build the documentation as a web site: site/dist
	@$(bin)/tsx tools/stage-site.ts site/pages
	@cd site && node_modules/.bin/vitepress build .

.PHONY: client
client: build ## Pack the client SDK for npm: out/kvault-client-VERSION.tgz
	@$(bin)/tsx --conditions=kvault-source tools/pack-client.ts out

.PHONY: pictures
pictures: build ## The pictures of the console in docs/images (needs the models, and a browser that it finds or installs)
	@$(kvault) model pull smollm2-135m
	@tools/setup-browser
	@$(bin)/tsx --conditions=kvault-source tests/console/pictures.ts

.PHONY: bench
bench: build bench/node_modules/.installed ## Measure KVault beside llama.cpp (ONLY=name,name for some; ARGS=--json)
	@$(kvault) model pull $(models)
	@$(bin)/tsx --conditions=kvault-source bench/src/main.ts --only "$(ONLY)" $(ARGS)

.PHONY: k8s-test
k8s-test: build test-servers models ## The manifests: their processes, and a real Kubernetes API server (built on first use)
	@tools/setup-kubernetes servers
	@$(bin)/vitest run --project kubernetes

.PHONY: check
check: $(installed) ## The checks that need no model: run before every commit
	@$(bin)/tsx tools/check.ts quick

.PHONY: fmt
fmt: $(installed) ## Format, sort imports and apply safe fixes
	@$(bin)/biome check --write .

.PHONY: gen
gen: build ## Write generated code and the generated sections of the docs
	@$(bin)/buf generate
	@$(bin)/tsc -b
	@$(bin)/tsx --conditions=kvault-source tools/gen-docs.ts

.PHONY: eval
eval: build ## Measure the accuracy table of docs/kvault-method.md (hours; goes on where it stopped)
	@$(kvault) model pull qwen2.5-coder-0.5b
	@$(bin)/tsx --conditions=kvault-source libs/runtime/src/evaluation/main.ts qwen2.5-coder-0.5b

.PHONY: models
models: build ## Download and verify the models the tests use
	@$(kvault) model pull $(models)

.PHONY: clean
clean: ## Remove everything that was built or installed here (not ~/.cache/kvault)
	rm -rf node_modules bench/node_modules bench/.kvault site/{node_modules,pages,dist} coverage {libs,services}/*/dist cli/dist tools/dist tests/dist examples/dist
