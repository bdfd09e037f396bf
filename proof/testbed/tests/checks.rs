//! What holds of the repository as a whole, and of what tests share: one module for each.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its own checkout should stop"
)]

// The repository.
mod architecture; // crates use each other as drawn
mod citations; // what is cited is there
mod contents; // each module of a crate has its word
mod dependencies; // licences, bans, sources
mod floors; // the drawing of each crate
mod modules; // files stand in floors
mod statements; // each has a test
mod test_names; // subject, condition, result
mod variables; // of the environment, in the guide

// What tests share.
mod bases; // base images
mod peers; // other builders
mod registry; // a real one
mod trees; // comparisons of files, and leftovers
mod users; // ordinary ones
