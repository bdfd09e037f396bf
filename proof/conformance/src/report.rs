use std::fmt;

use crate::judge::Verdict;

/// Verdicts in a table: a row for each case, a column for each builder.
#[derive(Debug)]
pub struct Report {
    /// The names of the cases.
    pub cases: Vec<String>,
    /// The builders.
    pub columns: Vec<Column>,
}

/// How a builder did.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub builder: String,
    /// Its verdicts in the order of the cases, or what the machine lacks for it.
    pub verdicts: Result<Vec<Verdict>, String>,
}

impl Report {
    /// Says whether everything is as expected or listed.
    pub fn is_fine(&self) -> bool {
        self.columns
            .iter()
            .filter_map(|column| column.verdicts.as_ref().ok())
            .flatten()
            .all(|verdict| !matches!(verdict, Verdict::Wrong { .. }))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.cases.iter().map(String::len).max().unwrap_or(0);
        write!(out, "{:width$}", "case")?;
        for column in &self.columns {
            write!(out, "  {:11}", column.builder)?;
        }
        writeln!(out)?;
        for (index, case) in self.cases.iter().enumerate() {
            write!(out, "{case:width$}")?;
            for column in &self.columns {
                let word = match &column.verdicts {
                    Ok(verdicts) => word(&verdicts[index]),
                    Err(_) => "skipped",
                };
                write!(out, "  {word:11}")?;
            }
            writeln!(out)?;
        }
        self.write_reasons(out)?;
        self.write_counts(out)
    }
}

impl Report {
    fn write_reasons(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for column in &self.columns {
            let name = &column.builder;
            let verdicts = match &column.verdicts {
                Ok(verdicts) => verdicts,
                Err(reason) => {
                    writeln!(out, "\n{name} is skipped: {reason}")?;
                    continue;
                }
            };
            let mut heading = format!("\n{name}:\n");
            for (case, verdict) in self.cases.iter().zip(verdicts) {
                let (reason, lines) = match verdict {
                    Verdict::Passes => continue,
                    Verdict::Differs { reason }
                    | Verdict::Unsupported { reason }
                    | Verdict::Skipped { reason } => (reason.as_str(), &[][..]),
                    Verdict::Waiting { needs, differences } if differences.is_empty() => {
                        writeln!(out, "{heading}  {case} waits for {needs}, but passes")?;
                        heading.clear();
                        continue;
                    }
                    Verdict::Waiting { needs, .. } => (needs.as_str(), &[][..]),
                    Verdict::Wrong { differences } => ("", &differences[..]),
                };
                write!(out, "{heading}  {case} {}", word(verdict))?;
                heading.clear();
                writeln!(out, "{}{reason}", if reason.is_empty() { "" } else { ": " })?;
                for line in lines {
                    writeln!(out, "      {line}")?;
                }
            }
        }
        Ok(())
    }

    fn write_counts(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n{} cases", self.cases.len())?;
        for column in &self.columns {
            let Ok(verdicts) = &column.verdicts else {
                continue;
            };
            write!(out, "{:9}", column.builder)?;
            for name in [
                "pass",
                "differs",
                "unsupported",
                "waiting",
                "skipped",
                "DIFFERS",
            ] {
                let count = verdicts
                    .iter()
                    .filter(|verdict| word(verdict) == name)
                    .count();
                if count > 0 {
                    write!(out, "  {count} {name}")?;
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passes => "pass",
        Verdict::Differs { .. } => "differs",
        Verdict::Unsupported { .. } => "unsupported",
        Verdict::Skipped { .. } => "skipped",
        Verdict::Waiting { .. } => "waiting",
        Verdict::Wrong { .. } => "DIFFERS",
    }
}
