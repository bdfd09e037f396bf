//! kiln as a library: one function per verb, all wiring, no terminal.
