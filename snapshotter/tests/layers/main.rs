//! Layers made, packed, unpacked and looked at, without namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "functions that tests share are tests too"
)]

mod applying;
mod archives; // archives that are added into a root
mod building;
mod digesting; // files digested on their way
mod hostile; // archives that want something else than to be unpacked
mod implied; // directories that are there for what is in them
mod odd_tars; // tars that no program would write
mod packing;
mod reference; // layers at random, compared with a model
mod sample;
mod sharing;
mod sparse; // files with holes
mod tarring;

mod viewing;
