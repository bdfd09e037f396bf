//! What a person sees who made a mistake in a Dockerfile: all of standard error, without a
//! terminal. The pictures are under `bad_dockerfiles/snapshots/`, one file per kind of mistake; after a
//! deliberate change `INSTA_UPDATE=always cargo test -p kiln-cli --test suite bad_dockerfiles::`
//! redraws them.
//!
//! docs/spec/dockerfile.md 1 to 9 and 13.

mod harness;

mod context; // files that are not there, ignored or in the way
mod expansion; // variables
mod flags; // words that start with --
mod forms; // what stands behind an instruction's name
mod heredocs; // files written in place
mod lint; // findings that count as errors
mod mounts; // RUN --mount
mod source; // bytes, lines, directives
mod stages; // FROM, --from, --target
mod triggers; // ONBUILD
mod values; // ports, modes, signals, durations
