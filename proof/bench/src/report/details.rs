use std::fmt;

use super::{Row, RowSubject, Table, Verdict, duration, ratio_of_durations, size};
use crate::statistics::Summary;

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = if self.rounds == 1 { "round" } else { "rounds" };
        writeln!(
            formatter,
            "### {}: {}\n\n{} {rounds}; others used {:.2} CPUs meanwhile.\n",
            self.name, self.title, self.rounds, self.others
        )?;
        writeln!(
            formatter,
            "| | wall median | wall min | CPU median | CPU min | kiln / it, wall | kiln / it, CPU | peak memory |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|"
        )?;
        for row in &self.rows {
            self.write_row(row, formatter)?;
        }
        let marked = self.rows.iter().filter_map(|row| match &row.verdict {
            Verdict::Good => None,
            Verdict::Failed(what) | Verdict::Wrong(what) => {
                Some(format!("{}: {}: {what}", row.label, row.mark()))
            }
        });
        let remarks: Vec<String> = marked.chain(self.notes.iter().cloned()).collect();
        if !remarks.is_empty() {
            writeln!(formatter)?;
        }
        for remark in remarks {
            writeln!(formatter, "- {remark}")?;
        }
        Ok(())
    }
}

impl Table {
    fn write_row(&self, row: &Row, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = match row.kind {
            RowSubject::Builder => row.label.clone(),
            RowSubject::Limit => format!("limit: {}", row.label),
        };
        let Some(Summary { wall, cpu }) = row.summary() else {
            return writeln!(
                formatter,
                "| {label} | {} | - | - | - | - | - | - |",
                row.mark()
            );
        };
        let kiln = self.kiln();
        writeln!(
            formatter,
            "| {label} | {} | {} | {} | {} | {} | {} | {} |",
            duration(wall.median),
            duration(wall.minimum),
            duration(cpu.median),
            duration(cpu.minimum),
            ratio_of_durations(kiln.map(|kiln| kiln.wall.median), Some(wall.median)),
            ratio_of_durations(kiln.map(|kiln| kiln.cpu.median), Some(cpu.median)),
            row.peak_memory.map_or_else(|| "-".to_owned(), size),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{row, table};
    use super::*;
    use crate::builders::KILN;

    #[test]
    fn a_table_reads_as_markdown() {
        let mut kiln = row(RowSubject::Builder, KILN, &[(10, 8), (12, 9), (11, 30)]);
        kiln.peak_memory = Some(22_000_000);
        let mut table = table(
            "no-op",
            vec![
                kiln,
                row(RowSubject::Builder, "buildah", &[(2200, 1800)]),
                row(RowSubject::Limit, "stat walk", &[(4, 3), (6, 3)]),
            ],
        );
        table.notes.push("it rained".to_owned());
        assert_eq!(
            table.to_string(),
            "### no-op: rebuild

3 rounds; others used 0.25 CPUs meanwhile.

| | wall median | wall min | CPU median | CPU min | kiln / it, wall | kiln / it, CPU | peak memory |
|---|---:|---:|---:|---:|---:|---:|---:|
| kiln | 11.0 ms | 10.0 ms | 9.00 ms | 8.00 ms | 1.00 | 1.00 | 21 MiB |
| buildah | 2.20 s | 2.20 s | 1.80 s | 1.80 s | 0.0050 | 0.0050 | - |
| limit: stat walk | 5.00 ms | 4.00 ms | 3.00 ms | 3.00 ms | 2.20 | 3.00 | - |

- it rained
"
        );
    }

    #[test]
    fn a_wrong_result_has_no_figures() {
        let mut kiln = row(RowSubject::Builder, KILN, &[(1, 1)]);
        kiln.verdict = Verdict::Wrong("the RUN step ran again".to_owned());
        let mut buildah = row(RowSubject::Builder, "buildah", &[]);
        buildah.verdict = Verdict::Failed("buildah ended with 1".to_owned());
        let limit = row(RowSubject::Limit, "stat walk", &[(4, 3)]);
        let text = table("no-op", vec![kiln, buildah, limit]).to_string();
        for line in [
            "| kiln | WRONG RESULT | - | - | - | - | - | - |",
            "| limit: stat walk | 4.00 ms | 4.00 ms | 3.00 ms | 3.00 ms | - | - | - |",
            "- kiln: WRONG RESULT: the RUN step ran again",
            "- buildah: FAILED: buildah ended with 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
