//! Turns a syntax tree into a graph, keys it, and executes what is missing.
