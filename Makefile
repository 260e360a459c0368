# The words everyone uses. `make` alone lists them.
PYTHON ?= python3
CONSTRAINTS ?= -c constraints.txt
BIN := .venv/bin
INSTALLED := .venv/.installed
MODELS ?= models
# gpu: onnxruntime for CUDA, in a .venv that `make setup` makes anew.
ENGINE ?= cpu

.DEFAULT_GOAL := help
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
SERVERS ?= 1
TSC ?= tsc
# What `make sbom`, `licences` and `audit` look at: the wheel with these extras. EXTRAS=cpu,export: with PyTorch.
RELEASE := build/release
EXTRAS ?= cpu,http,load,batch,remote,otel,heic,completion
COUNT ?= 100
SEED ?= 1
# Not --quiet: it hides warnings, and --strict then no longer sees them. The variable silences a notice of the theme.
DOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.PHONY: help setup demo serve test test-docker test-swarm test-kubernetes test-ray test-recipes test-release test-gpu fuzz mutate check format docs proto sample-model dist release-tools release-environment sbom licences audit bench soak image up down clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## make .venv and install Covey with all it needs

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Covey needs Python 3.11 or newer, this is %d.%d; run: make PYTHON=python3.11 $(MAKECMDGOALS)" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(CONSTRAINTS) -e '.[$(ENGINE),export,load,dev,docs]'
	@touch $@

demo: setup ## train, convert, verify, serve and classify, end to end, in a few minutes
	$(BIN)/python -m bench.demo --models $(MODELS)

serve: setup ## serve the models in models/ (those of the demo, or one made now) on the default ports
	@ls $(MODELS)/*/*/model.onnx >/dev/null 2>&1 || $(BIN)/covey-export all lenet --dataset sample --models $(MODELS)
	@echo "Once it is ready: curl -T docs/digit.png localhost:8000/v1/models/$$(ls $(MODELS) | head -n 1)/classify"
	$(BIN)/covey-server --models $(MODELS)

# Tests wait as much as they compute: four workers suit two cores. A file's tests stay together.
test: setup ## run all tests; COVERAGE=1: and print what they do not reach
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile $(if $(COVERAGE),--cov --cov-report=term)

test-kubernetes: setup ## validate and try the manifests of Kubernetes and the Helm chart, without a cluster; installs 500 MB of tools
	$(BIN)/pip install --quiet $(CONSTRAINTS) -e '.[kubernetes]'
	$(BIN)/python -m pytest tests/deploy/kubernetes

test-ray: setup ## run covey batch on two Ray nodes of this machine, and kill one in the middle; installs 200 MB
	$(BIN)/pip install --quiet $(CONSTRAINTS) -e '.[ray]'
	$(BIN)/python -m pytest tests/server/offline/test_ray.py

test-docker: setup ## build the images and run them, with Docker: ten minutes, 10 GB
	$(BIN)/python -m pytest -m docker tests/deploy

test-swarm: setup ## run servers on a Docker Swarm of three engines, and kill, cut off and update them; root, 10 minutes
	COVEY_TAG=test $(MAKE) image IMAGES=server
	$(BIN)/python -m tests.swarm --image covey-server:test

# One after another: each training uses both cores.
test-recipes: setup ## train each network on each data set in both precisions, convert large ones: 15 minutes on two cores
	$(BIN)/python -m pytest -m recipes tests/export

test-release: release-tools ## build the distributions, install them in new environments of each Python there is, and try them
	$(BIN)/python -m pytest -m release tests/release

test-gpu: setup ## try what Covey promises of a GPU, in 8 minutes, into bench/results/gpu.json; ENGINE=gpu
	$(BIN)/python -m tests.gpu

fuzz: setup ## send 200,000 mutated requests to a running server, on each gRPC front and over HTTP
	$(BIN)/python -m tests.fuzz

mutate: setup ## put 100 small faults into the code, one at a time, and see whether tests notice: hours; COUNT=20, SEED=2
	$(BIN)/python -m tests.mutation --count $(COUNT) --seed $(SEED)

check: setup ## lint, formatting, types, spelling, generated code, documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/codespell *.md Makefile pyproject.toml bench clients deploy docs export proto server tests
	$(BIN)/python proto/generate.py --check
	@if command -v $(TSC) >/dev/null; then $(TSC) -p tests/page/jsconfig.json; else echo "no $(TSC): the types of the page's modules are not checked"; fi
	$(DOCS)

format: setup ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: setup ## build the documentation site into build/site, strictly: a broken link fails
	$(DOCS)
	@echo 'Built build/site. To read it: $(BIN)/python -m http.server --directory build/site 8080'

proto: setup ## generate the Python code of the .proto files
	$(BIN)/python proto/generate.py

sample-model: setup ## train the model that comes with Covey (server/covey_server/sample) again: four minutes of one core
	rm -rf build/sample
	$(BIN)/covey-export all lenet --dataset sample --recipe best --no-report --models build/sample/models --checkpoints build/sample/checkpoints
	cp build/sample/models/lenet/1/model.onnx server/covey_server/sample/

release-tools: setup
	$(BIN)/pip install --quiet $(CONSTRAINTS) -e '.[release]'

# Of the last commit, whatever else lies here; the date of the files is that of the commit.
dist: release-tools ## build wheel and sdist of the last commit into dist/: the same bytes each time
	rm -rf dist $(RELEASE)/source
	mkdir -p $(RELEASE)/source
	git archive HEAD | tar -x -C $(RELEASE)/source
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation --outdir dist $(RELEASE)/source
	cd dist && sha256sum *.whl *.tar.gz | tee SHA256SUMS

release-environment: dist
	rm -rf $(RELEASE)/environment
	$(PYTHON) -m venv --without-pip $(RELEASE)/environment
	$(BIN)/pip --python $(RELEASE)/environment install --quiet $(CONSTRAINTS) "$$(echo dist/*.whl)[$(EXTRAS)]"

sbom: release-environment ## what an installation of the wheel brings (EXTRAS=...), as CycloneDX, into dist/
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --output-file dist/covey-serve.cdx.json $(RELEASE)/environment/bin/python

licences: release-environment ## list the licences of the same, into dist/; one that pyproject.toml does not allow fails
	$(BIN)/pip-licenses --python $(RELEASE)/environment/bin/python --output-file dist/LICENCES.md

audit: release-environment ## ask PyPI for known vulnerabilities of the same; fails where it does not answer
	$(BIN)/pip --python $(RELEASE)/environment freeze --exclude covey-serve >$(RELEASE)/requirements.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --progress-spinner off --requirement $(RELEASE)/requirements.txt

bench: setup ## measure, as ratios against floors of the same run
	$(BIN)/python -m bench

soak: setup ## a million requests and a thousand reloads: what they do to memory
	$(BIN)/python -m bench.soak

image: ## build the images of server, export, clients and edge, or some: IMAGES="server load"
	$(COMPOSE) --profile load --profile edge build $(IMAGES)

up: ## train what is missing, serve it in containers on the default ports; SERVERS=3: on free ports
	$(if $(filter-out 1,$(SERVERS)),COVEY_GRPC_PORTS=0 COVEY_HTTP_PORTS=0 COVEY_METRICS_PORTS=0 )$(COMPOSE) up --detach --build --scale server=$(SERVERS)

down: ## stop the containers; the models stay in their volume
	$(COMPOSE) --profile monitoring --profile load --profile edge down

clean: ## remove what the targets made, models and checkpoints excepted
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis bench/results build dist
