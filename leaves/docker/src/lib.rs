//! How docker says things: the forms that people and scripts know, for every front end of kiln.
//!
//! `--format` templates, `--filter`, tables, sizes, ages, times, and lists of values in flags. Values
//! go in; text and JSON come out. This crate prints nothing, reads neither the environment nor the
//! clock, and knows nothing about how images and containers are stored.

pub mod csv; // values of flags that are lists
pub mod units; // sizes and ages

pub mod time; // points in time and distances from now

mod filter; // --filter
mod template; // --format

pub mod table; // text in aligned columns

mod listing; // a title for each column, and rows as a table, by a template or as JSON

pub mod inspect; // images and containers as inspect describes them
pub mod rows; // the columns and rows of ps, images, history, du and df
pub mod system; // what version and info show

pub use filter::{FilterError, Filters, matches_expression, matches_pattern};
pub use listing::{Listing, pretty, show_value};
pub use template::{Template, TemplateError};
