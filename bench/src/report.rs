//! The figures as Markdown tables.

use std::fmt;
use std::time::Duration;

use crate::builders::KILN;
use crate::meter::Sample;
use crate::statistics::{Summary, ratio, summarize};

/// Everything a run found out.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) rounds: u16,
    pub(crate) versions: Vec<String>,
    /// Who could not take part, and why.
    pub(crate) absent: Vec<String>,
    pub(crate) tables: Vec<Table>,
}

/// The figures of one scenario.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// How many CPUs the rest of the machine used meanwhile.
    pub(crate) others: f64,
    pub(crate) rows: Vec<Row>,
}

/// The figures of one contender.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) label: String,
    pub(crate) samples: Vec<Sample>,
    /// Bytes, if somebody looked.
    pub(crate) peak_memory: Option<u64>,
    pub(crate) verdict: Verdict,
}

/// Who a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
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
    pub(crate) fn new(kind: Kind, label: &str) -> Self {
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
}

impl Table {
    fn row(&self, label: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.label == label)
    }

    fn kiln(&self) -> Option<Summary> {
        self.row(KILN)?.summary()
    }

    fn best_peer(&self) -> Option<Summary> {
        self.rows
            .iter()
            .filter(|row| row.kind == Kind::Builder && row.label != KILN)
            .filter_map(Row::summary)
            .min_by_key(|summary| summary.wall.median)
    }

    fn limit(&self) -> Option<Summary> {
        let mut limits = self.rows.iter().filter(|row| row.kind == Kind::Limit);
        limits.next()?.summary()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = if self.rounds == 1 { "round" } else { "rounds" };
        writeln!(formatter, "{}\n", self.machine)?;
        for version in &self.versions {
            writeln!(formatter, "- {version}")?;
        }
        for words in &self.absent {
            writeln!(formatter, "- left out: {words}")?;
        }
        writeln!(
            formatter,
            "\nMedian wall time (CPU time) of {} {rounds}; ratios are of wall times.\n",
            self.rounds
        )?;
        self.write_overview(formatter)?;
        for table in &self.tables {
            write!(formatter, "\n{table}")?;
        }
        Ok(())
    }
}

impl Report {
    fn write_overview(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.tables.first() else {
            return Ok(());
        };
        let builders: Vec<&str> = first
            .rows
            .iter()
            .filter(|row| row.kind == Kind::Builder)
            .map(|row| row.label.as_str())
            .collect();
        write!(formatter, "| scenario |")?;
        for builder in &builders {
            write!(formatter, " {builder} |")?;
        }
        writeln!(formatter, " limit | kiln / best peer | kiln / limit |")?;
        writeln!(
            formatter,
            "|---|{}---:|---:|---:|",
            "---:|".repeat(builders.len())
        )?;
        for table in &self.tables {
            write!(formatter, "| {} |", table.name)?;
            for builder in &builders {
                let Some(row) = table.row(builder) else {
                    write!(formatter, " - |")?;
                    continue;
                };
                write!(formatter, " {} |", wall_and_cpu(row.summary(), row.mark()))?;
            }
            let (kiln, peer, limit) = (table.kiln(), table.best_peer(), table.limit());
            writeln!(
                formatter,
                " {} | {} | {} |",
                wall_and_cpu(limit, "FAILED"),
                ratio_text(kiln, peer, |summary| summary.wall.median),
                ratio_text(kiln, limit, |summary| summary.wall.median),
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "### {}: {}\n\nOthers used {:.2} CPUs meanwhile.\n",
            self.name, self.title, self.others
        )?;
        writeln!(
            formatter,
            "| | wall median | wall min | CPU median | CPU min | kiln / it, wall | kiln / it, CPU | peak memory |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|"
        )?;
        let kiln = self.kiln();
        for row in &self.rows {
            let label = match row.kind {
                Kind::Builder => row.label.clone(),
                Kind::Limit => format!("limit: {}", row.label),
            };
            match row.summary() {
                None => writeln!(
                    formatter,
                    "| {label} | {} | - | - | - | - | - | - |",
                    row.mark()
                )?,
                Some(Summary { wall, cpu }) => writeln!(
                    formatter,
                    "| {label} | {} | {} | {} | {} | {} | {} | {} |",
                    duration(wall.median),
                    duration(wall.minimum),
                    duration(cpu.median),
                    duration(cpu.minimum),
                    ratio_text(kiln, row.summary(), |summary| summary.wall.median),
                    ratio_text(kiln, row.summary(), |summary| summary.cpu.median),
                    row.peak_memory.map_or_else(|| "-".to_owned(), size),
                )?,
            }
        }
        let marked: Vec<(&Row, &str)> = self
            .rows
            .iter()
            .filter_map(|row| match &row.verdict {
                Verdict::Good => None,
                Verdict::Failed(what) | Verdict::Wrong(what) => Some((row, what.as_str())),
            })
            .collect();
        if !marked.is_empty() {
            writeln!(formatter)?;
        }
        for (row, what) in marked {
            writeln!(formatter, "- {}: {}: {what}", row.label, row.mark())?;
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

fn wall_and_cpu(summary: Option<Summary>, otherwise: &str) -> String {
    match summary {
        None => otherwise.to_owned(),
        Some(Summary { wall, cpu }) => {
            format!("{} ({})", duration(wall.median), duration(cpu.median))
        }
    }
}

fn ratio_text(
    of: Option<Summary>,
    to: Option<Summary>,
    pick: impl Fn(Summary) -> Duration,
) -> String {
    let found = of.zip(to).and_then(|(of, to)| ratio(pick(of), pick(to)));
    match found {
        None => "-".to_owned(),
        Some(ratio @ 10.0..) => format!("{ratio:.1}"),
        Some(ratio @ 0.1..) => format!("{ratio:.2}"),
        Some(ratio) => format!("{ratio:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: Kind, label: &str, milliseconds: &[(u64, u64)]) -> Row {
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

    fn report(rows: Vec<Row>) -> String {
        Report {
            machine: "2 CPUs".to_owned(),
            rounds: 3,
            versions: vec!["kiln: kiln 0.1.0".to_owned()],
            absent: vec!["docker: no dockerd on this machine".to_owned()],
            tables: vec![Table {
                name: "no-op",
                title: "rebuild".to_owned(),
                others: 0.25,
                rows,
            }],
        }
        .to_string()
    }

    #[test]
    fn a_report_reads_as_markdown() {
        let mut kiln = row(Kind::Builder, KILN, &[(10, 8), (12, 9), (11, 30)]);
        kiln.peak_memory = Some(22_000_000);
        let text = report(vec![
            kiln,
            row(Kind::Builder, "buildah", &[(2200, 1800)]),
            row(Kind::Limit, "stat walk", &[(4, 3), (6, 3)]),
        ]);
        assert_eq!(
            text,
            "2 CPUs

- kiln: kiln 0.1.0
- left out: docker: no dockerd on this machine

Median wall time (CPU time) of 3 rounds; ratios are of wall times.

| scenario | kiln | buildah | limit | kiln / best peer | kiln / limit |
|---|---:|---:|---:|---:|---:|
| no-op | 11.0 ms (9.00 ms) | 2.20 s (1.80 s) | 5.00 ms (3.00 ms) | 0.0050 | 2.20 |

### no-op: rebuild

Others used 0.25 CPUs meanwhile.

| | wall median | wall min | CPU median | CPU min | kiln / it, wall | kiln / it, CPU | peak memory |
|---|---:|---:|---:|---:|---:|---:|---:|
| kiln | 11.0 ms | 10.0 ms | 9.00 ms | 8.00 ms | 1.00 | 1.00 | 21 MiB |
| buildah | 2.20 s | 2.20 s | 1.80 s | 1.80 s | 0.0050 | 0.0050 | - |
| limit: stat walk | 5.00 ms | 4.00 ms | 3.00 ms | 3.00 ms | 2.20 | 3.00 | - |
"
        );
    }

    #[test]
    fn a_wrong_result_has_no_figures() {
        let mut kiln = row(Kind::Builder, KILN, &[(1, 1)]);
        kiln.verdict = Verdict::Wrong("the RUN step ran again".to_owned());
        let mut buildah = row(Kind::Builder, "buildah", &[]);
        buildah.verdict = Verdict::Failed("buildah ended with 1".to_owned());
        let text = report(vec![
            kiln,
            buildah,
            row(Kind::Limit, "stat walk", &[(4, 3)]),
        ]);
        for line in [
            "| no-op | WRONG RESULT | FAILED | 4.00 ms (3.00 ms) | - | - |",
            "| kiln | WRONG RESULT | - | - | - | - | - | - |",
            "| limit: stat walk | 4.00 ms | 4.00 ms | 3.00 ms | 3.00 ms | - | - | - |",
            "- kiln: WRONG RESULT: the RUN step ran again",
            "- buildah: FAILED: buildah ended with 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
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
