use std::path::Path;
use std::time::{Duration, Instant};

use kiln_testbed::Skip;

use crate::Tally;

/// One kind of fault.
pub trait Scenario {
    /// Returns the word that it is chosen by.
    fn name(&self) -> &'static str;

    /// Returns how many parts of the time it gets beside the others.
    fn share(&self) -> u32 {
        1
    }

    /// Lets faults loose on the program `kiln` until a bound is reached.
    ///
    /// # Errors
    /// What the machine lacks for it.
    fn run(&self, kiln: &Path, bounds: &Bounds) -> Result<Tally, Skip>;
}

/// How much is tried.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Trials, at most.
    pub trials: u32,
    /// No trial begins after so long.
    pub time: Duration,
    /// Where chance starts.
    pub seed: u64,
}

impl Bounds {
    /// Returns the numbers of the trials, as long as there is time.
    pub(crate) fn trials(&self) -> impl Iterator<Item = u32> + use<> {
        let (begun, time) = (Instant::now(), self.time);
        (0..self.trials).take_while(move |_| begun.elapsed() < time)
    }
}
