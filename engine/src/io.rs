//! What a verb is connected to while it runs.

use std::fmt;
use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};

use kiln_solver::Progress;

/// The streams of one request: a terminal's, a connection's, or a test's.
pub struct Io<'a> {
    input: Mutex<&'a mut (dyn Read + Send)>,
    output: Mutex<&'a mut (dyn Write + Send)>,
    progress: &'a dyn Progress,
}

impl<'a> Io<'a> {
    /// Connects a verb. `input` is read where a request says that something comes on it
    /// ([`crate::ContextSource::Archive`]), `output` is written where one says that something goes
    /// there ([`crate::Destination::Stream`]); warnings go to `progress` with everything else.
    pub fn new(
        input: &'a mut (dyn Read + Send),
        output: &'a mut (dyn Write + Send),
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            input: Mutex::new(input),
            output: Mutex::new(output),
            progress,
        }
    }

    /// Returns where events go.
    pub(crate) fn progress(&self) -> &'a dyn Progress {
        self.progress
    }

    /// Has `act` read the input.
    pub(crate) fn read<T>(&self, act: impl FnOnce(&mut (dyn Read + Send)) -> T) -> T {
        act(&mut **self.input.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has `act` write to the output.
    pub(crate) fn write<T>(&self, act: impl FnOnce(&mut dyn Write) -> T) -> T {
        act(&mut **self.output.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").finish_non_exhaustive()
    }
}
