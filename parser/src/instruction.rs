//! One logical line to one instruction.

mod command; // RUN CMD ENTRYPOINT SHELL
mod copy; // COPY ADD
mod from; // FROM
mod healthcheck; // HEALTHCHECK
mod onbuild; // ONBUILD
mod pairs; // ENV LABEL ARG
mod parse; // which family of instructions it is
mod parts; // name, flags and arguments
mod plain; // EXPOSE USER WORKDIR VOLUME STOPSIGNAL MAINTAINER

pub(crate) use parse::{Item, Outcome, parse};
pub(crate) use parts::Parts;
