# `make help` lists the targets. hack/with-go.sh finds Go. Through sudo it builds as the calling
# user, with that user's Go settings.

SHELL := /bin/bash
.DEFAULT_GOAL := help

GO_RUN := hack/with-go.sh
VERSION ?= $(shell $(GO_RUN) git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell $(GO_RUN) git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# Static, with the same bytes in every directory: only LDFLAGS stamps version and commit.
BUILD = CGO_ENABLED=0 $(GO_RUN) go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
# The timestamp of all files in an image.
SOURCE_DATE_EPOCH ?= $(shell $(GO_RUN) git log -1 --format=%ct 2>/dev/null || echo 0)
VIP ?= 192.0.2.10
RUNS ?= 20

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' \
		$(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build bin/kvip, a static binary
	$(BUILD) -o bin/kvip ./cmd/kvip

.PHONY: stamp
stamp: ## print version, commit and time of binaries and images
	@echo VERSION=$(VERSION) COMMIT=$(COMMIT) SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH)

.PHONY: bin/mkimage
bin/mkimage:
	@CGO_ENABLED=0 $(GO_RUN) go -C hack/image build -trimpath -buildvcs=false -o ../../bin/mkimage .

# The image has /kvip and no other file. It needs no CA certificates: kvip connects to API servers
# only, and trusts the CA of its kubeconfig or ServiceAccount. It writes no files, needs no shell
# and no /tmp, and sets no user: the pod sets user and capabilities.
.PHONY: image
image: bin/mkimage ## build the container images bin/image/kvip-{amd64,arm64}.tar and kvip.oci.tar
	@set -e; export SOURCE_DATE_EPOCH='$(SOURCE_DATE_EPOCH)'; version='$(VERSION)'; \
	for arch in amd64 arm64; do \
		GOOS=linux GOARCH=$$arch GOAMD64=v1 GOARM64=v8.0 $(BUILD) -o bin/image/$$arch/kvip ./cmd/kvip; \
		$(GO_RUN) bin/mkimage -o bin/image/kvip-$$arch.tar --platform linux/$$arch \
			--name "localhost/kvip:$$version" --name localhost/kvip:latest \
			--file bin/image/$$arch/kvip:/kvip:0755 --entrypoint /kvip \
			--label org.opencontainers.image.title=kvip \
			--label "org.opencontainers.image.version=$$version" \
			--label org.opencontainers.image.revision='$(COMMIT)' \
			--label org.opencontainers.image.licenses=Apache-2.0 \
			--label org.opencontainers.image.source=https://github.com/kvip/kvip; \
	done; \
	$(GO_RUN) bin/mkimage index -o bin/image/kvip.oci.tar --name "localhost/kvip:$$version" \
		bin/image/kvip-amd64.tar bin/image/kvip-arm64.tar

# The application of the case study in kind, a separate module, for the architecture of this
# machine.
.PHONY: echo-image
echo-image: bin/mkimage ## build the case study's application: bin/image/echo-ARCH.tar
	@set -e; export SOURCE_DATE_EPOCH='$(SOURCE_DATE_EPOCH)'; arch=$$($(GO_RUN) go env GOARCH); \
	CGO_ENABLED=0 $(GO_RUN) go -C kind/echo build -trimpath -buildvcs=false -ldflags '-s -w' \
		-o ../../bin/image/$$arch/echo .; \
	$(GO_RUN) bin/mkimage -o bin/image/echo-$$arch.tar --platform linux/$$arch \
		--name localhost/kvip-echo:latest \
		--file bin/image/$$arch/echo:/echo:0755 --entrypoint /echo

.PHONY: test
test: ## run every test (with sudo: the lab too); prints the time of each stage
	@hack/test.sh

.PHONY: check
check: ## the first checks of CI, without root: format, vet, linters, unit tests with -race
	@hack/test.sh check

.PHONY: lab
lab: ## sudo: the tests on real API servers in network namespaces; RUN=TestAgentRestart runs one
	@RUN='$(RUN)' hack/test.sh lab

.PHONY: kind
kind: ## sudo: the tests in kind; RUN=TestX runs one, K8S=1.35 takes another Kubernetes
	@RUN='$(RUN)' hack/test.sh kind

.PHONY: simulate
simulate: ## N=100000 simulated histories of the election from seed FIRST=1
	@N='$(N)' FIRST='$(FIRST)' hack/test.sh simulate

.PHONY: fuzz
fuzz: ## run each fuzz test for TIME=30s
	@TIME='$(TIME)' hack/test.sh fuzz

.PHONY: test-fresh
test-fresh: ## sudo: the first steps of each command in a Debian with make, git and Go
	@hack/test.sh fresh

.PHONY: unit
unit: ## the tests of all packages with -race, without root and without a lab
	@hack/test.sh unit

.PHONY: lint
lint: ## check format, vet, staticcheck, golangci-lint and go.mod of all modules
	@hack/test.sh lint

# hack/packages lists the packages of each command. They are installed before the first build.
packages-%:
	@hack/deps.sh $*

.PHONY: demo
demo: packages-demo build ## sudo: three control-plane nodes, one VIP, and every fault
	$(GO_RUN) go build -o bin/demo ./test/demo
	@$(GO_RUN) --root bin/demo lab

# kind/prepare.sh prints lines of NAME=VALUE.
.PHONY: kind-demo
kind-demo: ## five nodes in kind, the holder is killed; NODE_IMAGE=local, K8S=1.35
	@set -e; prepared="$$(kind/prepare.sh any demo)"; mapfile -t prepared <<<"$$prepared"; \
	$(GO_RUN) go build -o bin/demo ./test/demo; $(GO_RUN) mkdir -p .cache; \
	exec env "$${prepared[@]}" bin/demo kind

.PHONY: kind-services-demo
kind-services-demo: ## a Service in kind: an unready pod, a drain, a dead node
	@set -e; prepared="$$(kind/prepare.sh any demo services)"; mapfile -t prepared <<<"$$prepared"; \
	$(GO_RUN) go build -o bin/demo ./test/demo; $(GO_RUN) mkdir -p .cache; \
	exec env "$${prepared[@]}" bin/demo services

.PHONY: kind-bgp-demo
kind-bgp-demo: ## sudo: VIP and Service by BGP in kind, with FRR and BIRD; KEEP=1
	@set -e; prepared="$$(kind/prepare.sh any demo bgp)"; mapfile -t prepared <<<"$$prepared"; \
	$(GO_RUN) go build -o bin/demo ./test/demo; $(GO_RUN) mkdir -p .cache; \
	exec env "$${prepared[@]}" KEEP='$(KEEP)' bin/demo bgp

.PHONY: kind-down
kind-down: ## remove the clusters of the demos and their Docker engine
	@kind/down.sh

.PHONY: kind-node-image
kind-node-image: ## sudo: build the node image for NODE_IMAGE=local; prints its path
	@kind/node/build.sh build

.PHONY: bench-failover
bench-failover: packages-bench-failover build ## sudo: faults RUNS=20 times; MODE=bgp FAULT= TOOL=
	$(GO_RUN) go build -o bin/bench ./test/bench
	@if [ '$(MODE)' = bgp ]; then CGO_ENABLED=0 $(GO_RUN) go -C test/metallb build -trimpath \
		-buildvcs=false -o ../../bin/nativespeaker .; fi
	@KVIP_VERSION="$$($(GO_RUN) hack/program-version.sh)" MODE='$(MODE)' RUNS='$(RUNS)' \
		FAULT='$(FAULT)' TOOL='$(TOOL)' $(GO_RUN) --root bin/bench failover

.PHONY: bench-kind
bench-kind: ## sudo: each fault of the kind tests RUNS=20 times
	@RUN='Killed|MovedAway|Stopped|Paused|Deleted' \
		TESTFLAGS='-test.timeout=3h -test.count=$(RUNS)' hack/test.sh kind kubeadm
	@$(GO_RUN) cp test/artifacts/kind-outages.csv docs/benchmarks/kind.csv

.PHONY: bench-services
bench-services: RUNS = 3
bench-services: packages-bench-services build ## sudo: 10 to 5000 Services RUNS=3 times; N=
	$(GO_RUN) go build -o bin/bench ./test/bench
	@KVIP_VERSION="$$($(GO_RUN) hack/program-version.sh)" RUNS='$(RUNS)' N='$(N)' \
		$(GO_RUN) --root bin/bench services

.PHONY: soak
soak: packages-soak build ## sudo: Services for MINUTES=30; MODE=bgp: FAULTS=500 faults by BGP
	$(GO_RUN) go build -o bin/soak ./test/soak
	@KVIP_BINARY=bin/kvip KVIP_VERSION="$$($(GO_RUN) hack/program-version.sh)" MODE='$(MODE)' \
		MINUTES='$(MINUTES)' SERVICES='$(SERVICES)' FAULTS='$(FAULTS)' SEED='$(SEED)' \
		$(GO_RUN) --root bin/soak

.PHONY: chaos
chaos: packages-chaos build ## sudo: FAULTS=500 faults drawn at random; SEED=, PRESSURE=10m
	$(GO_RUN) go build -o bin/chaos ./test/chaos
	@KVIP_BINARY=bin/kvip KVIP_VERSION="$$($(GO_RUN) hack/program-version.sh)" \
		FAULTS='$(FAULTS)' SEED='$(SEED)' PRESSURE='$(PRESSURE)' $(GO_RUN) --root bin/chaos

.PHONY: manifests
manifests: build ## print all manifests for VIP=192.0.2.10
	@bin/kvip manifest pod --vip $(VIP) && echo --- && bin/kvip manifest rbac && echo --- && \
		bin/kvip manifest daemonset --vip $(VIP)

.PHONY: generate
generate: ## rewrite CRD and deep copies from pkg/apis; hack/crd tests them
	$(GO_RUN) hack/crd/generate.sh templates pkg/apis/v1alpha1

.PHONY: golden
golden: ## rewrite golden files and docs/cli.md; review the difference before the commit
	$(GO_RUN) go test ./cmd/kvip ./pkg/manifest -update

.PHONY: clean
clean: ## remove build results and test artifacts of this tree
	rm -rf bin .cache test/artifacts

.PHONY: clean-cache
clean-cache: ## remove the cache: Kubernetes, node images, Docker engines
	@hack/clean-cache.sh
