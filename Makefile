# Short names for commands that also work without make; CONTRIBUTING.md explains them. Nothing is defined here alone.

VERSION ?= dev

.DEFAULT_GOAL := help
.PHONY: help build run test deploy-test format generate lint check bench peers soak prove image release clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 22

build: ## bin/gather, for this machine
	CGO_ENABLED=0 go build -trimpath -o bin/gather ./cmd/server

run: ## a server on 127.0.0.1:8080, with its data in ./gather-data
	go run ./cmd/server

test: ## the tests of this module
	go test ./...

deploy-test: ## the tests of dashboards, alerts, manifests and the documentation of flags and metrics
	cd deploy && go test -count=1 ./...

format: ## gofumpt on all files
	go run $(shell sed -n 's/^gofumpt=//p' .ci/run) -w .

generate: ## generated code, from its sources
	go generate ./...

lint: ## vet and golangci-lint
	.ci/run vet lint

check: ## the gate: everything that must pass before a change lands
	.ci/run

bench: ## measurements over loopback, as in docs/benchmarks.md
	go run ./bench

peers: ## other job queues and programs beside gather, as in docs/benchmarks/peers.md
	go run ./bench -run peers,programs

SOAK ?= 1h
soak: ## mixed load for SOAK, streams, a long queue and restarts, as in docs/benchmarks/load.md
	go run ./bench -run soak,streams,queued,restart -soak $(SOAK)

PROVE ?= 10m
prove: ## crashes and faults with new seeds, PROVE for each set of them; docs/proof.md
	go run ./bench/crash -for $(PROVE) -faults 20
	go run ./bench/crash -for $(PROVE) -faults 16 -kinds power,kill-sync,kill-two,kill-synced,kill-write,sync-fail
	go run ./bench/crash -for $(PROVE) -kinds fill,kill,fill-kill
	go run ./bench/crash -for $(PROVE) -kinds clock,clock-kill
	go run ./bench/crash -for $(PROVE) -nodes 3 -steps 30 -faults 20
	go run ./bench/crash -for $(PROVE) -nodes 3 -steps 20 -faults 8 -kinds nats-power,kill,nats-leader,power,nats-two,wipe
	go run ./bench/crash -for $(PROVE) -nodes 3 -steps 20 -faults 6 -kinds nats-fill,kill,pause
	go run ./bench/crash -for $(PROVE) -nodes 3 -steps 20 -faults 8 -kinds clock,nats-clock,clock-kill,nats-leader
	go test -count=1 ./internal/cluster -run TestSnapshotFaults -snapshot-faults -v

image: ## the container image gather:VERSION
	docker build --build-arg VERSION=$(VERSION) -t gather:$(VERSION) .

release: ## binaries for Linux and macOS, with checksums, in dist; VERSION=0.1.0
	.ci/release $(VERSION)

clean: ## remove bin and dist
	rm -rf bin dist
