# `make demo` shows kiln at work, `make test` runs every test. Both install the Debian
# packages they miss, say which, and clean up after themselves.

.PHONY: demo test clean-demo

demo:
	scripts/demo

test:
	scripts/test

# Forgets the base images' ingredients too, which the demo and the tests keep between runs.
clean-demo:
	scripts/clean target/demo target/bases
