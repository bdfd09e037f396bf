# `make demo` shows kiln at work, `make test` runs every test, `make conformance` compares what
# kiln and other builders make of many Dockerfiles, `make bench` how long they take, `make faults`
# lets the machine fail under kiln, `make soak` rebuilds thousands of times with little room, and `make
# mutants` sees whether tests notice small changes; `make dist` packs what is released. All install the Debian packages they miss, say which, and clean up
# after themselves.

.PHONY: demo test deny conformance faults soak bench mutants dist try-dist clean-demo

demo:
	scripts/demo

test:
	scripts/test

# The whole of deny.toml; `make test` does what needs neither cargo-deny nor the network.
deny:
	scripts/deny

# Arguments go into BENCH: make bench BENCH='--rounds 3 --only no-op', or BENCH=--growth
BENCH ?= --memory

bench:
	scripts/install-packages test
	cargo build --profile dist --locked -p kiln-cli
	cargo build --release --locked -p kiln-bench
	$(if $(filter 0,$(shell id -u)),,sudo )target/release/kiln-bench --kiln target/dist/kiln $(BENCH)

# Arguments go into CASES: make conformance CASES='--only copy,add --verbose'
conformance:
	scripts/install-packages test
	cargo build --locked -p kiln-cli -p kiln-conformance
	$(if $(filter 0,$(shell id -u)),,sudo )target/debug/kiln-conformance $(CASES)

# Arguments go into FAULTS: make faults FAULTS='--only power-loss --trials 100 --seed 7'
faults:
	scripts/install-packages test
	cargo build --locked -p kiln-cli -p kiln-faults
	$(if $(filter 0,$(shell id -u)),,sudo )target/debug/kiln-faults $(FAULTS)

# How many rebuilds goes into REBUILDS; `make test` has 80 of them.
REBUILDS ?= 2000

soak:
	scripts/install-packages test
	KILN_SOAK=$(REBUILDS) cargo test --locked -p kiln-cli --test suite -- rebuilds_under_one_tag

# Arguments go into MUTANTS: make mutants MUTANTS='--sample 60 --seed 7 oci tree'
mutants:
	scripts/mutants $(MUTANTS)

# What is released, in target/dist-VERSION; docs/releasing.md says what comes before and after.
dist:
	scripts/dist

# The package of `make dist`, installed and used on a bare Debian.
try-dist:
	$(if $(filter 0,$(shell id -u)),,sudo )scripts/try-dist

# Forgets the base images' ingredients too, which the demo and the tests keep between runs.
clean-demo:
	scripts/clean target/demo target/bases
