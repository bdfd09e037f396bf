use std::fmt::{self, Write};

use super::{Report, Table, ratio_of_durations, wall_and_cpu};
use crate::builders::KILN;
use crate::targets::{Reached, fraction};

/// Writes one line for each scenario: kiln, the fastest peer and the limit, and whether kiln's
/// ratios to them are what they are to be.
pub(super) fn write(report: &Report, to: &mut impl Write) -> fmt::Result {
    writeln!(
        to,
        "\n### Summary\n\nMedian wall time (CPU time); ratios are of wall times.\n\n\
         | scenario | kiln | fastest peer | limit | kiln / peer | target | reached | kiln / limit | target | reached |\n\
         |---|---:|---:|---:|---:|---:|:---:|---:|---:|:---:|"
    )?;
    for table in &report.tables {
        write_line(table, to)?;
    }
    for skipped in &report.skipped {
        writeln!(
            to,
            "| {} | skipped | - | - | - | - | - | - | - | - |",
            skipped.name
        )?;
    }
    Ok(())
}

fn write_line(table: &Table, to: &mut impl Write) -> fmt::Result {
    let kiln_row = table.row(KILN);
    let kiln = table.kiln();
    let peer = table.fastest_peer();
    let limit = table.limit().and_then(|row| row.summary());
    let otherwise = || kiln_row.map_or("-", |row| row.mark()).to_owned();
    let failed = || table.limit().map_or("-", |row| row.mark()).to_owned();

    let kiln_wall = kiln.map(|summary| summary.wall.median);
    let peer_wall = peer.map(|(_, summary)| summary.wall.median);
    let limit_wall = limit.map(|summary| summary.wall.median);
    let target = &table.target;
    writeln!(
        to,
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        table.name,
        kiln.map_or_else(otherwise, wall_and_cpu),
        peer.map_or_else(
            || "-".to_owned(),
            |(name, summary)| format!("{name} {}", wall_and_cpu(summary))
        ),
        limit.map_or_else(failed, wall_and_cpu),
        ratio_of_durations(kiln_wall, peer_wall),
        target.peer.map_or_else(|| "-".to_owned(), fraction),
        reached(target.against_peer(kiln_wall, peer_wall)),
        ratio_of_durations(kiln_wall, limit_wall),
        target
            .limit
            .map_or_else(|| "-".to_owned(), |limit| limit.to_string()),
        reached(target.against_limit(kiln_wall, limit_wall)),
    )
}

fn reached(reached: Option<Reached>) -> String {
    reached.map_or_else(|| "-".to_owned(), |reached| reached.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::samples::{report, row, table};
    use super::super::{RowSubject, Verdict};
    use super::*;
    use crate::targets::Target;

    fn lines(tables: Vec<Table>) -> Vec<String> {
        let mut text = String::new();
        write(&report(tables), &mut text).unwrap();
        text.lines().skip(7).map(str::to_owned).collect()
    }

    #[test]
    fn a_line_has_ratios_targets_and_verdicts() {
        let rows = vec![
            row(RowSubject::Builder, KILN, &[(11, 9)]),
            row(RowSubject::Builder, "buildah", &[(2200, 1800)]),
            row(RowSubject::Builder, "docker", &[(220, 180)]),
            row(RowSubject::Limit, "stat walk", &[(5, 3)]),
            row(RowSubject::Limit, "reading all", &[(500, 300)]),
        ];
        assert_eq!(
            lines(vec![table("no-op", rows)]),
            [
                "| no-op | 11.0 ms (9.00 ms) | docker 220 ms (180 ms) | 5.00 ms (3.00 ms) \
                 | 0.05 | 1/15 | yes | 2.20 | 2 | **no** |"
                    .replace("0.05 ", "0.0500 "),
                "| npm-install | skipped | - | - | - | - | - | - | - | - |".to_owned(),
            ]
        );
    }

    #[test]
    fn without_figures_or_targets_there_is_nothing_to_reach() {
        let mut kiln = row(RowSubject::Builder, KILN, &[(1, 1)]);
        kiln.verdict = Verdict::Wrong("nothing was made".to_owned());
        let wrong = table(
            "no-op",
            vec![kiln, row(RowSubject::Limit, "walk", &[(5, 3)])],
        );
        let mut free = table("smoke", vec![row(RowSubject::Builder, KILN, &[(1, 1)])]);
        free.target = Target::NONE;
        let found = lines(vec![wrong, free]);
        assert_eq!(
            found[0],
            "| no-op | WRONG RESULT | - | 5.00 ms (3.00 ms) | - | 1/15 | ? | - | 2 | ? |"
        );
        assert_eq!(
            found[1],
            "| smoke | 1.00 ms (1.00 ms) | - | - | - | - | - | - | - | - |"
        );
    }
}
