use std::fmt;
use std::io::Write;

/// What the machine lacks for a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip(String);

impl Skip {
    /// Returns a skip with the reason to print.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// Prints `skipped: <reason>` on the real standard error.
    ///
    /// The test harness captures what the printing macros write and shows it for failing
    /// tests only, but a skipped test passes; a direct write is not captured.
    pub fn announce(&self) {
        let mut stderr = std::io::stderr().lock();
        // A closed standard error must not turn a skip into a failure.
        let _ = writeln!(stderr, "skipped: {}", self.0);
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Takes the value out of a `Result<T, Skip>`, or announces the skip and returns from the test.
#[macro_export]
macro_rules! need {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(skip) => {
                $crate::Skip::announce(&skip);
                return;
            }
        }
    };
}

/// Announces a skip for a formatted reason and returns from the test.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::Skip::because(format!($($reason)*)).announce();
        return;
    }};
}

/// Succeeds for root.
///
/// # Errors
///
/// A skip for everybody else.
pub fn need_root() -> Result<(), Skip> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(Skip::because("needs root"))
    }
}
