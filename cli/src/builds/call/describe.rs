//! The methods of `--call` as a table of their own (`--call=subrequests.describe`).

use kiln_docker::table;
use serde_json::{Value, json};

use crate::clean;

/// How BuildKit names what is asked of a frontend.
const PREFIX: &str = "frontend.";
/// Of the requests' form, not of kiln.
const VERSION: &str = "1.0.0";

/// Name and description.
const METHODS: [(&str, &str); 4] = [
    ("outline", "List all parameters current build takes"),
    ("targets", "List all targets current build supports"),
    ("lint", "Lint a Dockerfile"),
    ("subrequests.describe", "List available subrequest types"),
];

/// Returns the table.
pub(super) fn text() -> String {
    let header = ["NAME", "VERSION", "DESCRIPTION"].map(str::to_owned);
    let rows = METHODS.map(|(name, description)| [name, VERSION, description].map(str::to_owned));
    let all: Vec<Vec<String>> = std::iter::once(header).chain(rows).map(Vec::from).collect();
    table::render(&all, clean::line)
}

/// Returns the same for programs.
pub(super) fn json() -> Value {
    let methods = METHODS.map(|(name, description)| {
        let mut method = json!({
            "name": format!("{PREFIX}{name}"),
            "version": VERSION,
            "type": "rpc",
            "description": description,
        });
        if name == "outline" {
            method["opts"] = json!([{ "name": "target", "description": "Target build stage" }]);
        }
        method["metadata"] = json!([{ "name": "result.json" }, { "name": "result.txt" }]);
        method
    });
    Value::from(methods.to_vec())
}
