//! Dockerfile text to syntax tree and diagnostics.
