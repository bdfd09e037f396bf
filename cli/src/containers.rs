//! `kiln run` and what can be done with containers afterwards.

mod failures; // what the containers say as failures of commands
mod words; // states and networks in docker's words

mod arguments; // flags of run
mod limits; // of memory and processors
mod values; // environment and binds

mod each; // several containers side by side
mod monitor; // what stands beside a container

mod describe; // what inspect shows
mod end; // stop, kill, wait, rm
mod list; // ps
mod logs; // what a container wrote
mod run; // create, start, stay or leave
mod start; // containers that ended

pub(crate) use arguments::RunArguments;
pub(crate) use describe::describe_container;
pub(crate) use end::{
    KillArguments, RmArguments, StopArguments, WaitArguments, kill, rm, stop, wait,
};
pub(crate) use failures::failure;
pub(crate) use list::{PsArguments, ps};
pub(crate) use logs::{LogsArguments, logs, parse_time};
pub(crate) use monitor::{MONITOR, monitor};
pub(crate) use run::run;
pub(crate) use start::{StartArguments, start};
