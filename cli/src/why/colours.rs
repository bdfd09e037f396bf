//! The colours of standard output.

use crate::environment::Environment;
use crate::progress::Palette;
use crate::terminal;

/// Returns the colours for standard output.
pub(super) fn palette(environment: &Environment) -> Palette {
    Palette::of(environment, terminal::stdout_is_terminal())
}
