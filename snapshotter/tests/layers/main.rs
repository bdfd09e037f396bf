//! Layers made, packed, unpacked and looked at, without namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "functions that tests share are tests too"
)]

mod applying;
mod building;
mod digesting; // files digested on their way
mod packing;
mod sample;
mod sharing;
mod stacking;
mod tarring;
mod viewing;
