use std::fmt::{self, Write};

use super::{Report, RowSubject, Table, ratio_text, size};
use crate::builders::KILN;
use crate::targets::{Reached, fraction};

/// The most that kiln may have at once over all scenarios, times the most of the best peer.
const PEER_TARGET: f64 = 1.0 / 3.0;
/// Bytes that kiln may have more for a file more.
const FILE_TARGET: f64 = 250.0;

/// Writes who had how much memory at most, in each scenario and in all of them; nothing if
/// it was not measured.
pub(super) fn write(report: &Report, to: &mut impl Write) -> fmt::Result {
    let names = names(report);
    if !names.contains(&KILN) {
        return Ok(());
    }
    write!(to, "\n### Peak memory of all processes\n\n| scenario |")?;
    for name in &names {
        write!(to, " {name} |")?;
    }
    writeln!(to, " kiln / best peer | kiln's bytes a file |")?;
    writeln!(to, "|---|{}---:|---:|", "---:|".repeat(names.len()))?;
    for table in &report.tables {
        let peaks: Vec<_> = names.iter().map(|name| peak(table, name)).collect();
        let growth = bytes_per_file(&report.tables, table)
            .map_or_else(|| "-".to_owned(), |bytes| format!("{bytes:.0}"));
        let ratio = ratio_to_best_peer(&names, &peaks);
        write_line(table.name, &peaks, ratio, &growth, to)?;
    }
    let most: Vec<Option<u64>> = names
        .iter()
        .map(|name| {
            report
                .tables
                .iter()
                .filter_map(|table| peak(table, name))
                .max()
        })
        .collect();
    let growths = report
        .tables
        .iter()
        .filter_map(|table| bytes_per_file(&report.tables, table));
    let growth = growths.reduce(f64::max);
    let growth_text = growth.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes:.0}"));
    // A builder that did none of the big scenarios has little to show for it.
    let hardest = report
        .tables
        .iter()
        .max_by_key(|table| peak(table, KILN).unwrap_or_default());
    let comparable: Vec<Option<u64>> = names
        .iter()
        .zip(&most)
        .map(|(name, most)| hardest.and_then(|table| peak(table, name)).and(*most))
        .collect();
    let ratio = ratio_to_best_peer(&names, &comparable);
    write_line("**most**", &most, ratio, &growth_text, to)?;

    writeln!(
        to,
        "\nTargets: {} of the best peer: {}; {FILE_TARGET} bytes a file: {}.",
        fraction(PEER_TARGET),
        at_most(ratio, PEER_TARGET),
        at_most(growth, FILE_TARGET),
    )
}

/// Returns the names of those whose memory was looked at, in the order of the tables.
fn names(report: &Report) -> Vec<&str> {
    let mut names = Vec::new();
    let rows = report.tables.iter().flat_map(|table| &table.rows);
    for row in rows.filter(|row| row.kind == RowSubject::Builder && row.peak_memory.is_some()) {
        if !names.contains(&row.label.as_str()) {
            names.push(row.label.as_str());
        }
    }
    names
}

fn peak(table: &Table, name: &str) -> Option<u64> {
    let row = table.row(name)?;
    row.summary().and(row.peak_memory)
}

fn write_line(
    label: &str,
    peaks: &[Option<u64>],
    ratio: Option<f64>,
    growth: &str,
    to: &mut impl Write,
) -> fmt::Result {
    write!(to, "| {label} |")?;
    for peak in peaks {
        write!(to, " {} |", peak.map_or_else(|| "-".to_owned(), size))?;
    }
    let ratio = ratio.map_or_else(|| "-".to_owned(), ratio_text);
    writeln!(to, " {ratio} | {growth} |")
}

/// Returns kiln's share of what the most frugal peer has.
#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of memory are far below 2^52"
)]
fn ratio_to_best_peer(names: &[&str], peaks: &[Option<u64>]) -> Option<f64> {
    let of = |wanted: bool| {
        names
            .iter()
            .zip(peaks)
            .filter(move |(name, _)| (**name == KILN) == wanted)
            .filter_map(|(_, peak)| *peak)
            .min()
    };
    Some(of(true)? as f64 / of(false)? as f64)
}

/// Returns how much memory kiln has for a file more: the difference to the scenario that has
/// fewer files and needs the least, by the difference in files.
#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of memory are far below 2^52"
)]
fn bytes_per_file(tables: &[Table], table: &Table) -> Option<f64> {
    let (files, bytes) = (table.files?, peak(table, KILN)?);
    let smaller = tables.iter().filter_map(|other| {
        let fewer = other.files.filter(|fewer| *fewer < files)?;
        Some((peak(other, KILN)?, fewer))
    });
    let (least, fewer) = smaller.min()?;
    Some((bytes as f64 - least as f64) / (files - fewer) as f64)
}

fn at_most(found: Option<f64>, most: f64) -> Reached {
    match found {
        None => Reached::Unknown,
        Some(found) if found <= most => Reached::Yes,
        Some(_) => Reached::No,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{report, row, table};
    use super::*;

    const MIB: u64 = 1 << 20;

    fn measured(name: &'static str, files: Option<u64>, peaks: &[(&str, u64)]) -> Table {
        let rows = peaks.iter().map(|(label, peak)| {
            let mut row = row(RowSubject::Builder, label, &[(1, 1)]);
            row.peak_memory = Some(*peak);
            row
        });
        let mut table = table(name, rows.collect());
        table.files = files;
        table
    }

    fn written(tables: Vec<Table>) -> String {
        let mut text = String::new();
        write(&report(tables), &mut text).unwrap();
        text
    }

    #[test]
    fn the_table_has_each_scenario_and_the_most_of_all() {
        let tables = vec![
            measured("version", None, &[(KILN, 2 * MIB), ("runc", 9 * MIB)]),
            measured(
                "no-op",
                Some(2_000),
                &[(KILN, 10 * MIB), ("docker", 300 * MIB)],
            ),
            measured(
                "no-op-20k",
                Some(20_000),
                &[(KILN, 10 * MIB + 200 * 18_000), ("docker", 90 * MIB)],
            ),
        ];
        assert_eq!(
            written(tables),
            "
### Peak memory of all processes

| scenario | kiln | runc | docker | kiln / best peer | kiln's bytes a file |
|---|---:|---:|---:|---:|---:|
| version | 2 MiB | 9 MiB | - | 0.22 | - |
| no-op | 10 MiB | - | 300 MiB | 0.0333 | - |
| no-op-20k | 13 MiB | - | 90 MiB | 0.15 | 200 |
| **most** | 13 MiB | 9 MiB | 300 MiB | 0.0448 | 200 |

Targets: 1/3 of the best peer: yes; 250 bytes a file: yes.
"
        );
    }

    #[test]
    fn rounds_without_a_look_say_nothing() {
        assert_eq!(written(vec![table("no-op", Vec::new())]), "");
    }
}
