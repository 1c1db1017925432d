# Every target that people and CI use, with one line of help each.
# CI (.ci/run) calls only these.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Where Debian keeps mke2fs, sfdisk and the like; not in everybody's PATH.
export PATH := $(PATH):/usr/sbin:/sbin

# Static binaries that do not depend on where they were built.
export CGO_ENABLED := 0
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || echo "v0.1.0-dev+$$(git rev-parse --short HEAD 2>/dev/null || echo nogit)")
LDFLAGS  = -s -w -X main.version=$(VERSION:v%=%)
BUILD    = go build -trimpath -ldflags '$(LDFLAGS)'
TOOL     = go tool -modfile=tools/go.mod

# The packages whose tests match a pattern.
with = $$(grep -rlE '$(1)' --include='*_test.go' --exclude-dir=build . | xargs -r -n1 dirname | sort -u)

# The tests that need root: all others run without.
root_tests = $$(grep -rlE '^//go:build root$$' --include='*_test.go' --exclude-dir=build . | xargs grep -hoE '^func Test\w+' | cut -d' ' -f2 | paste -sd'|')

# TESTFLAGS=-v shows each test; FUZZTIME=1m fuzzes longer; MACHINES run in QEMU at once.
TESTFLAGS ?=
FUZZTIME  ?= 10s
MACHINES  ?= $(shell expr $$(nproc) + 1)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the static programs into build/
	$(BUILD) -o build/ ./cmd/...

test: ## quick tests: no root, no QEMU; says what is missing
	@tools/need test
	go test $(TESTFLAGS) ./...

lint: ## layering, forbidden writers, formatting, tidy go.mod
	$(TOOL) golangci-lint run ./...
	go mod tidy -diff

fmt: ## format the sources
	$(TOOL) golangci-lint fmt ./...

SIZE ?= 2
crash: ## power cuts at every write of every campaign, twice; faults of every operation
	@tools/need test
	@CRASH_SIZE=$(SIZE) go run ./test/verdict crash -count=1 -timeout 20m -run 'Crash|Cut|Fault' $(TESTFLAGS) $(call with,^func Test.*(Crash|Cut|Fault))

crash-long: ## the same with more seeds, contents and second cuts: SIZE=20 is 20 minutes
	@tools/need test
	@CRASH_SIZE=$(SIZE) nice go run ./test/verdict crash -count=1 -timeout 48h -run 'Crash|Cut|Fault' $(TESTFLAGS) $(call with,^func Test.*(Crash|Cut|Fault))

MUTANTS ?= 0
crash-mutants: ## takes each barrier out in turn: would the crash tests notice? MUTANTS=8 tries 8 of them
	@tools/need test
	@nice go run ./test/mutants -sample $(MUTANTS)

attack: ## hostile bundles, servers and surroundings: each named attack and its verdict
	@tools/need test
	@CRASH_SIZE=$(SIZE) go run ./test/verdict attack -count=1 -run '^TestAttack_' $(TESTFLAGS) $(call with,^func TestAttack_)

fuzz: ## fuzz every parser for FUZZTIME each
	@set -e; for pkg in $(call with,^func Fuzz); do \
	  for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "== $$pkg $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

test-root: ## tests on loop devices and with rpm (root)
	@tools/need test root
	@# One package at a time: a mount namespace of one holds the mounts of another.
	go test -count=1 -p 1 -tags root -timeout 20m -run "^($(root_tests))\$$" $(TESTFLAGS) $(call with,^//go:build root)

test-large: ## an image of 5 GiB, a bundle over 4 GiB, peak memory (13 GiB of disk)
	@tools/need test
	go test -count=1 -p 1 -tags large -timeout 30m -run 'TestLarge|TestMemory' $(TESTFLAGS) ./cmd/abupdate ./internal/bundle

test-qemu: ## the suites on real GRUB in QEMU, BIOS and UEFI
	@tools/need test qemu gateway
	go test -count=1 -p 1 -parallel $(MACHINES) -tags qemu -timeout 80m $(TESTFLAGS) ./test/qemu/...

test-qemu-long: ## the same with the long ones: large images, recorded power cuts
	@tools/need test qemu gateway
	go test -count=1 -p 1 -parallel $(MACHINES) -tags qemu,long -timeout 4h $(TESTFLAGS) ./test/qemu/...

test-migrate-long: ## migrations of each layout, their failures and power cuts, in QEMU
	@tools/need test root qemu gateway
	go test -count=1 -p 1 -parallel $(MACHINES) -tags qemu,long -timeout 8h -run '^TestMigrate' $(TESTFLAGS) ./test/qemu/...

PAIRS ?= 5
bench: build ## abupdate beside its peers: ratios of CPU, time, memory, sizes (root; hours; ONLY=install,again: these)
	bench/inputs build/bench
	go build -o build/bench/bench ./bench
	build/bench/bench -pairs $(PAIRS) -only '$(ONLY)' -out docs

demo: ## watch an appliance update itself and fall back, in QEMU (root: installs what it needs)
	@tools/need --install test qemu
	@go run ./test/demo

deps: ## install the Debian packages that the tests need (root)
	tools/need --install test root qemu gateway

rpm: build ## build the RPM into build/
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 1) VERSION="$(VERSION)" \
	  $(TOOL) nfpm package --packager rpm --config images/rpm/nfpm.yaml --target build/

clean: ## remove what was built
	rm -rf build

.PHONY: help build test lint fmt crash crash-long crash-mutants attack fuzz test-root test-large test-qemu test-qemu-long test-migrate-long bench demo deps rpm clean
