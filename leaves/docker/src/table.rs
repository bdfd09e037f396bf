//! Tables as docker prints them: columns padded to their widest cell, three blanks apart.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr as _;

/// Blanks between columns.
const GAP: usize = 3;
/// A column is never narrower than this, gap included; Go's tabwriter is given it by docker.
const NARROWEST: usize = 10;

/// How a cell is shown where the table goes: on a terminal, without anything that it would obey.
pub type ShowCell = fn(&str) -> Cow<'_, str>;

/// Returns rows, the header first, as lines. The last column is not padded.
#[must_use]
pub fn render(rows: &[Vec<String>], show_cell: ShowCell) -> String {
    // Before they are measured: what a terminal obeys has no width, and a line feed is no row.
    let rows: Vec<Vec<Cow<'_, str>>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| show_cell(cell)).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.width()).max().unwrap_or(0);
            (widest + GAP).max(NARROWEST)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let padding = widths[column] - cell.width();
                text.extend(std::iter::repeat_n(' ', padding));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect();
        let rows = [
            row(&["REPOSITORY", "TAG", "SIZE"]),
            row(&["registry.example/team/app", "v1", "1.2MB"]),
            row(&["größe", "latest", "0B"]),
        ];
        insta::assert_snapshot!(render(&rows, |cell| cell.into()), @r"
        REPOSITORY                  TAG       SIZE
        registry.example/team/app   v1        1.2MB
        größe                       latest    0B
        ");
    }
}
