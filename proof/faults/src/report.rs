use std::fmt;

/// What came of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How often a fault was let loose.
    pub trials: u32,
    /// What kiln promised and did not keep, a trial each.
    pub failures: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} trials, {} failures",
            self.trials,
            self.failures.len()
        )?;
        for failure in &self.failures {
            write!(f, "\n  {}", failure.replace('\n', "\n    "))?;
        }
        Ok(())
    }
}
