# `make demo` shows kiln at work, `make test` runs every test, `make conformance` compares what
# kiln and other builders make of many Dockerfiles, `make bench` how long they take, `make faults`
# lets the machine fail under kiln, and `make mutants` sees whether tests notice small changes. All
# install the Debian packages they miss, say which, and clean up after themselves.

.PHONY: demo test conformance faults bench mutants clean-demo

demo:
	scripts/demo

test:
	scripts/test

# Arguments go into BENCH: make bench BENCH='--rounds 3 --only no-op'
BENCH ?= --memory

bench:
	scripts/install-packages test
	cargo build --release --locked -p kiln-cli -p kiln-bench
	$(if $(filter 0,$(shell id -u)),,sudo )target/release/kiln-bench $(BENCH)

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

# Arguments go into MUTANTS: make mutants MUTANTS='--sample 60 --seed 7 oci tree'
mutants:
	scripts/mutants $(MUTANTS)

# Forgets the base images' ingredients too, which the demo and the tests keep between runs.
clean-demo:
	scripts/clean target/demo target/bases
