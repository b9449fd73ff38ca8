# Slipway's tasks. `make demo` and `make test` do everything on a fresh Debian
# machine that has Go; `make help` lists the rest.

GO       ?= go
DESTDIR  ?=
PREFIX   ?= /usr/local
TAGS     := -tags=containers_image_openpgp,exclude_graphdriver_btrfs
PKG      := github.com/slipway-build/slipway
COMMIT   := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
BUILT    := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
LDFLAGS  := -s -w -X $(PKG)/internal/version.Commit=$(COMMIT) -X $(PKG)/internal/version.Built=$(BUILT)
FUZZTIME ?= 30s

# One place for what every build and test shares: a static binary, the tested
# module versions, no look-up of a newer tool chain.
export CGO_ENABLED := 0
export GOFLAGS     := -mod=readonly

.DEFAULT_GOAL := build
.PHONY: help build demo image test lint conformance bench fuzz docs install setup arm64 kube

help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## /\1|/p' Makefile | awk -F'|' '{printf "  %-12s %s\n", $$1, $$2}'

build: ## build bin/slipway, one static binary
	$(GO) build $(TAGS) -trimpath -ldflags '$(LDFLAGS)' -o bin/slipway ./cmd/slipway

demo: build ## build a real image twice, run a command in it, write an OCI archive
	@docs/demo/demo.sh bin/slipway

image: build ## build Slipway's own image, localhost/slipway, with Slipway
	@docs/image/build.sh bin/slipway

test: setup build lint arm64 kube ## run every check (as root: installs what they need first)
	SLIPWAY_BIN=$(CURDIR)/bin/slipway $(GO) run ./tests/report $(GO) test $(TAGS) -timeout 24m ./...

setup: # Debian packages and test users for the checks, when root
	@tests/setup.sh

arm64: # the other architecture builds and vets
	GOARCH=arm64 $(GO) build $(TAGS) -o /dev/null ./cmd/slipway
	GOARCH=arm64 $(GO) vet $(TAGS) ./cmd/... ./builder/... ./copier/... ./imagebuildah/...

kube: # Kubernetes' own code judges the manifests of docs/kubernetes.md
	$(GO) test -modfile=tests/kube/kube.mod -tags=kube ./tests/kube/...

lint: ## gofmt, go vet, staticcheck, the structural test, go mod verify (and golangci-lint if installed)
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt'ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet $(TAGS) ./...
	$(GO) tool -modfile=tests/lint/go.mod staticcheck $(TAGS) ./...
	$(GO) test $(TAGS) ./internal/archtest
	$(GO) mod verify
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else echo "golangci-lint is not installed: its extra checks are skipped"; fi

conformance: build ## build the conformance cases with other tools too: PEERS="buildah docker", as root (README there)
	@for peer in $(or $(PEERS),buildah docker); do echo "== $$peer"; \
	SLIPWAY_BIN=$(CURDIR)/bin/slipway SLIPWAY_CONFORMANCE_PEER=$$peer $(GO) test $(TAGS) -v -timeout 2h -run "TestPeer$$" ./tests/conformance || exit 1; done

bench: build ## measure beside Debian's buildah, write docs/benchmarks.md (CHECK=1 fails on a missed aim)
	SLIPWAY_BIN=$(CURDIR)/bin/slipway $(GO) run $(TAGS) ./tests/bench -write docs/benchmarks.md $(if $(CHECK),-check)

fuzz: ## run every fuzz target for FUZZTIME (default 30s) each
	@tests/fuzz.sh $(FUZZTIME)

docs: build ## write docs/commands, a page a command
	rm -rf docs/commands && mkdir -p docs/commands
	bin/slipway docs markdown docs/commands

MAN1 = $(DESTDIR)$(PREFIX)/share/man/man1
COMPLETIONS = $(DESTDIR)$(PREFIX)/share

install: build ## install the program, man pages and completions below $(DESTDIR)$(PREFIX)
	install -D -m 0755 bin/slipway $(DESTDIR)$(PREFIX)/bin/slipway
	install -d $(MAN1) $(COMPLETIONS)/bash-completion/completions $(COMPLETIONS)/zsh/site-functions $(COMPLETIONS)/fish/vendor_completions.d
	bin/slipway docs man $(MAN1)
	bin/slipway completion bash >$(COMPLETIONS)/bash-completion/completions/slipway
	bin/slipway completion zsh >$(COMPLETIONS)/zsh/site-functions/_slipway
	bin/slipway completion fish >$(COMPLETIONS)/fish/vendor_completions.d/slipway.fish
