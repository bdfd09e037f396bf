# `make demo` shows kiln at work, `make test` runs every test, `make bench` compares kiln with
# other builders. All install the Debian packages they miss, say which, and clean up after
# themselves.

.PHONY: demo test bench clean-demo

demo:
	scripts/demo

test:
	scripts/test

# Arguments go into BENCH: make bench BENCH='--rounds 3 --only no-op'
bench:
	scripts/install-packages test
	cargo build --release --locked -p kiln-cli -p kiln-bench
	$(if $(filter 0,$(shell id -u)),,sudo )target/release/kiln-bench $(BENCH)

# Forgets the base images' ingredients too, which the demo and the tests keep between runs.
clean-demo:
	scripts/clean target/demo target/bases
