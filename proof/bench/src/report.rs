//! The figures as Markdown tables.

mod details; // everything about one scenario
mod memory_table; // who had how much memory
mod summary; // all scenarios on one screen, and whether kiln is where it should be

use std::fmt;
use std::time::Duration;

use crate::builders::KILN;
use crate::meter::Sample;
use crate::statistics::{Summary, ratio, summarize};
use crate::targets::Target;

/// Everything a run found out.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) versions: Vec<String>,
    /// Who could not take part, and why.
    pub(crate) absent: Vec<String>,
    pub(crate) tables: Vec<Table>,
    pub(crate) skipped: Vec<Skipped>,
}

/// A scenario for which the machine lacks something.
#[derive(Debug)]
pub(crate) struct Skipped {
    pub(crate) name: &'static str,
    pub(crate) why: String,
}

/// The figures of one scenario.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) target: Target,
    /// How many files the context has, where that is the point.
    pub(crate) files: Option<u64>,
    pub(crate) rounds: u16,
    /// How many CPUs the rest of the machine used meanwhile.
    pub(crate) others: f64,
    pub(crate) rows: Vec<Row>,
    /// What else is worth knowing.
    pub(crate) notes: Vec<String>,
}

/// The figures of one contender.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) kind: RowSubject,
    pub(crate) label: String,
    pub(crate) samples: Vec<Sample>,
    /// Bytes, if they were measured.
    pub(crate) peak_memory: Option<u64>,
    pub(crate) verdict: Verdict,
}

/// Who a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowSubject {
    Builder,
    Limit,
}

/// Whether a row's figures mean anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// It gave up.
    Failed(String),
    /// It claimed success, but made something else than it was told to.
    Wrong(String),
}

impl Row {
    /// Returns a row without figures.
    pub(crate) fn new(kind: RowSubject, label: &str) -> Self {
        Self {
            kind,
            label: label.to_owned(),
            samples: Vec::new(),
            peak_memory: None,
            verdict: Verdict::Good,
        }
    }

    /// Returns the figures, if they mean anything.
    fn summary(&self) -> Option<Summary> {
        match self.verdict {
            Verdict::Good => summarize(&self.samples),
            Verdict::Failed(_) | Verdict::Wrong(_) => None,
        }
    }

    /// Returns what stands in the place of figures.
    fn mark(&self) -> &'static str {
        match self.verdict {
            Verdict::Good => "-",
            Verdict::Failed(_) => "FAILED",
            Verdict::Wrong(_) => "WRONG RESULT",
        }
    }

    fn is_peer(&self) -> bool {
        self.kind == RowSubject::Builder && self.label != KILN
    }
}

impl Table {
    fn row(&self, label: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.label == label)
    }

    fn kiln(&self) -> Option<Summary> {
        self.row(KILN)?.summary()
    }

    /// Returns the name and the figures of the fastest peer.
    fn fastest_peer(&self) -> Option<(&str, Summary)> {
        self.rows
            .iter()
            .filter(|row| row.is_peer())
            .filter_map(|row| Some((row.label.as_str(), row.summary()?)))
            .min_by_key(|(_, summary)| summary.wall.median)
    }

    /// Returns the row of the limit that is the closest to it.
    fn limit(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == RowSubject::Limit)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n", self.machine)?;
        for version in &self.versions {
            writeln!(formatter, "- {version}")?;
        }
        for words in &self.absent {
            writeln!(formatter, "- left out: {words}")?;
        }
        for Skipped { name, why } in &self.skipped {
            writeln!(formatter, "- skipped: {name}: {why}")?;
        }
        for table in &self.tables {
            write!(formatter, "\n{table}")?;
        }
        if !self.tables.is_empty() {
            summary::write(self, formatter)?;
            memory_table::write(self, formatter)?;
        }
        Ok(())
    }
}

/// Returns a size in mebibytes, which is fine enough for what processes have in memory.
fn size(bytes: u64) -> String {
    format!("{} MiB", (bytes + (1 << 19)) >> 20)
}

/// Returns a duration with three digits or so, in seconds or milliseconds.
pub(crate) fn duration(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1e3;
    match milliseconds {
        10_000.0.. => format!("{:.1} s", milliseconds / 1e3),
        1_000.0.. => format!("{:.2} s", milliseconds / 1e3),
        100.0.. => format!("{milliseconds:.0} ms"),
        10.0.. => format!("{milliseconds:.1} ms"),
        _ => format!("{milliseconds:.2} ms"),
    }
}

fn wall_and_cpu(Summary { wall, cpu }: Summary) -> String {
    format!("{} ({})", duration(wall.median), duration(cpu.median))
}

fn ratio_of_durations(of: Option<Duration>, to: Option<Duration>) -> String {
    of.zip(to)
        .and_then(|(of, to)| ratio(of, to))
        .map_or_else(|| "-".to_owned(), ratio_text)
}

fn ratio_text(ratio: f64) -> String {
    match ratio {
        10.0.. => format!("{ratio:.1}"),
        0.1.. => format!("{ratio:.2}"),
        _ => format!("{ratio:.4}"),
    }
}

#[cfg(test)]
mod samples {
    use super::*;

    /// Returns a row with figures in milliseconds.
    pub(super) fn row(kind: RowSubject, label: &str, milliseconds: &[(u64, u64)]) -> Row {
        let mut row = Row::new(kind, label);
        row.samples = milliseconds
            .iter()
            .map(|&(wall, cpu)| Sample {
                wall: Duration::from_millis(wall),
                cpu: Duration::from_millis(cpu),
            })
            .collect();
        row
    }

    pub(super) fn table(name: &'static str, rows: Vec<Row>) -> Table {
        Table {
            name,
            title: "rebuild".to_owned(),
            target: Target::times(1.0 / 15.0, 2.0),
            files: None,
            rounds: 3,
            others: 0.25,
            rows,
            notes: Vec::new(),
        }
    }

    pub(super) fn report(tables: Vec<Table>) -> Report {
        Report {
            machine: "2 CPUs".to_owned(),
            versions: vec!["kiln: kiln 0.1.0".to_owned()],
            absent: vec!["docker: no dockerd on this machine".to_owned()],
            tables,
            skipped: vec![Skipped {
                name: "npm-install",
                why: "no network".to_owned(),
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_it_is_about_before_its_tables() {
        let text = samples::report(Vec::new()).to_string();
        assert_eq!(
            text,
            "2 CPUs\n\n- kiln: kiln 0.1.0\n- left out: docker: no dockerd on this machine\n\
             - skipped: npm-install: no network\n"
        );
    }

    #[test]
    fn durations_keep_about_three_digits() {
        let check = |micros, text: &str| assert_eq!(duration(Duration::from_micros(micros)), text);
        check(0, "0.00 ms");
        check(812, "0.81 ms");
        check(45_678, "45.7 ms");
        check(213_400, "213 ms");
        check(3_184_000, "3.18 s");
        check(27_780_000, "27.8 s");
    }
}
