//! Rows of things, shown as a table, through a template, or as JSON.

use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use crate::table::{self, ShowCell};
use crate::template::{Template, TemplateError};

/// How rows of one kind are shown.
#[derive(Debug)]
pub struct Listing {
    /// The template that is used unless another is given.
    pub default: &'static str,
    /// The fields of a row and their titles.
    pub titles: &'static [(&'static str, &'static str)],
}

impl Listing {
    /// Returns rows, each a JSON object with the fields of the listing, as lines of text.
    ///
    /// # Errors
    /// When the format is no template, or asks for a field that there is not.
    pub fn render(
        &self,
        format: Option<&str>,
        rows: &[Value],
        show_cell: ShowCell,
    ) -> Result<String, TemplateError> {
        let format = format.filter(|format| !format.is_empty());
        match format.unwrap_or(self.default) {
            "json" => Ok(rows.iter().map(|row| format!("{row}\n")).collect()),
            "table" => self.table(self.default.trim_start_matches("table "), rows, show_cell),
            format => match format.strip_prefix("table ") {
                Some(format) => self.table(format, rows, show_cell),
                None => {
                    let template = Template::parse(&unescape(format))?;
                    let lines = rows.iter().map(|row| {
                        let line = template.execute(row)?;
                        Ok(format!("{line}\n"))
                    });
                    lines.collect()
                }
            },
        }
    }

    fn table(
        &self,
        format: &str,
        rows: &[Value],
        show_cell: ShowCell,
    ) -> Result<String, TemplateError> {
        let template = Template::parse(&unescape(format))?;
        let titles: Map<String, Value> = self
            .titles
            .iter()
            .map(|(field, title)| ((*field).to_owned(), (*title).into()))
            .collect();
        let titles = Value::Object(titles);
        let cells = [&titles].into_iter().chain(rows).map(|row| {
            let line = template.execute(row)?;
            Ok(line.split('\t').map(str::to_owned).collect())
        });
        let cells: Vec<Vec<String>> = cells.collect::<Result<_, TemplateError>>()?;
        Ok(table::render(&cells, show_cell))
    }
}

/// Returns a single value through a template, or as JSON: one line, without its end.
///
/// # Errors
/// As [`Listing::render`].
pub fn show_value(format: &str, value: &Value) -> Result<String, TemplateError> {
    match format {
        "json" => Ok(value.to_string()),
        format => Template::parse(&unescape(format))?.execute(value),
    }
}

/// Returns JSON indented by four blanks, as docker prints what it inspects.
#[must_use]
pub fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let mut serializer =
        Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    value
        .serialize(&mut serializer)
        .expect("a JSON value can be written to memory");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Turns `\t` and `\n`, which shells hand over as they are, into what they mean.
fn unescape(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LISTING: Listing = Listing {
        default: "table {{.ID}}\t{{.Name}}",
        titles: &[("ID", "SOME ID"), ("Name", "NAME")],
    };

    fn show(format: Option<&str>) -> Result<String, String> {
        let rows = [
            json!({"ID": "1", "Name": "one"}),
            json!({"ID": "2", "Name": "two"}),
        ];
        LISTING
            .render(format, &rows, |cell| cell.into())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn rows_are_tables_templates_or_json() {
        let table = "SOME ID   NAME\n1         one\n2         two\n";
        assert_eq!(show(None).unwrap(), table);
        assert_eq!(show(Some("")).unwrap(), table);
        assert_eq!(show(Some("table")).unwrap(), table);
        assert_eq!(show(Some("{{.Name}}")).unwrap(), "one\ntwo\n");
        assert_eq!(
            show(Some("json")).unwrap(),
            "{\"ID\":\"1\",\"Name\":\"one\"}\n{\"ID\":\"2\",\"Name\":\"two\"}\n"
        );
        assert_eq!(
            show(Some(r"table {{.Name}}\t{{upper .Name}}")).unwrap(),
            "NAME      NAME\none       ONE\ntwo       TWO\n"
        );
        let error = show(Some("{{.Size}}")).unwrap_err();
        assert!(error.contains("can't evaluate field Size"), "{error}");
    }
}
