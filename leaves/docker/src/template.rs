//! `--format`: the part of Go's text/template that people use, over JSON values.
//!
//! Fields, pipelines, variables, `if`, `range` and `with`, the functions of Go and of docker. There
//! are no methods, no nested definitions and no comparison of anything but numbers and text.

mod error; // what is wrong with a template
mod values; // how values look, and what Go calls them

mod lex; // from text to tokens
mod printf; // %-10s

mod functions; // json, join, index, …
mod known; // values, and those that are absent

mod parse; // from tokens to nodes

mod evaluate; // from nodes and a value to text

pub use error::TemplateError;
pub use parse::Template;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sample() -> Value {
        json!({
            "ID": "abc",
            "Names": ["a", "b"],
            "State": {"ExitCode": 0, "Running": true, "Health": null},
            "Config": {"Labels": {"k.y": "v", "a": "<&>"}, "Env": []},
            "Size": 1.5,
        })
    }

    fn run(template: &str) -> Result<String, String> {
        let template = Template::parse(template).map_err(|error| error.to_string())?;
        template
            .execute(&sample())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn templates_give_text() {
        for (template, expected) in [
            ("plain", "plain"),
            ("{{.ID}}-{{ .State.ExitCode }}", "abc-0"),
            ("{{.Names}} {{.Config.Labels}}", "[a b] map[a:<&> k.y:v]"),
            ("{{json .}}", &sample().to_string()),
            ("{{json .Config.Labels}}", r#"{"k.y":"v","a":"<&>"}"#),
            (
                "{{.State | json}}",
                r#"{"ExitCode":0,"Running":true,"Health":null}"#,
            ),
            (r#"{{join .Names ","}}"#, "a,b"),
            (r#"{{index .Config.Labels "k.y"}}"#, "v"),
            (r#"{{index .Config.Labels "none"}}"#, ""),
            ("{{index .Names 1}}", "b"),
            ("{{len .Names}}{{len .ID}}", "23"),
            ("{{range .Names}}[{{.}}]{{end}}", "[a][b]"),
            (
                "{{range $i, $n := .Names}}{{$i}}={{$n}} {{end}}",
                "0=a 1=b ",
            ),
            (
                "{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}};{{end}}",
                "a:<&>;k.y:v;",
            ),
            ("{{range .Config.Env}}x{{else}}none{{end}}", "none"),
            ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
            (
                "{{if .State.ExitCode}}bad{{else if .State.Running}}up{{end}}",
                "up",
            ),
            (
                "{{if and .State.Running (not .State.ExitCode)}}y{{end}}",
                "y",
            ),
            (
                "{{if eq .ID \"x\" \"abc\"}}y{{end}}{{if lt 1 2}}z{{end}}",
                "yz",
            ),
            (
                "{{with .State}}{{.ExitCode}}{{end}}{{with .Config.Env}}x{{end}}",
                "0",
            ),
            (
                "{{upper .ID}}{{lower \"X\"}}{{title \"ab cd\"}}",
                "ABCxAb Cd",
            ),
            ("{{range split \"a:b\" \":\"}}{{.}}.{{end}}", "a.b."),
            ("{{println .ID}}", "abc\n"),
            ("{{print 1 2 \"x\" \"y\"}}", "1 2xy"),
            (
                r#"{{printf "%-5s|%5.1f|%03d|%q|%v" .ID .Size 7 "x" .Names}}"#,
                "abc  |  1.5|007|\"x\"|[a b]",
            ),
            ("{{pad .ID 1 2}}|{{truncate .ID 2}}", " abc  |ab"),
            ("a {{- .ID -}} b", "aabcb"),
            ("{{/* nothing */}}x{{- /* nor here */ -}} y", "xy"),
            ("{{$x := .ID}}{{$x}}{{$.Size}}", "abc1.5"),
            ("{{(index .Names 0) | upper}}", "A"),
            ("{{.State.Health}}", "<no value>"),
            ("{{`raw`}}{{\"tab\\t\"}}", "rawtab\t"),
            (r#"{{.Config.Labels "a"}}"#, "<&>"),
        ] {
            assert_eq!(run(template), Ok(expected.to_owned()), "{template}");
        }
    }

    #[test]
    fn absent_members_are_empty() {
        let value = json!({"Config": {"Env": null}, "Size": 1});
        let zero = json!({
            "Config": {"Labels": {}, "Env": [], "User": "", "Healthcheck": null},
            "State": {"Health": null, "Policy": {"Name": ""}},
        });
        for (template, expected) in [
            (
                "{{.Config.Labels}}{{.Config.Env}}|{{.Config.User}}|",
                "map[][]||",
            ),
            (
                "{{json .Config.Labels}} {{.Config.Env | json}}",
                "null null",
            ),
            (
                "{{json .Config}}{{json .Config.User}}",
                "{\"Env\":null}\"\"",
            ),
            ("{{.Config.Healthcheck}}", "<nil>"),
            ("{{index .Config.Labels \"x\"}}{{len .Config.Env}}", "0"),
            (
                "{{with .Config}}{{.Labels}}{{$.State.Policy.Name}}{{end}}",
                "map[]",
            ),
            ("{{range .Config.Labels}}x{{else}}none{{end}}", "none"),
            (
                "{{$c := .Config}}{{if $c.Env}}x{{else}}{{join $c.Env \",\"}}{{end}}",
                "",
            ),
            (
                "{{if .Config.Healthcheck}}x{{else}}no{{end}}{{.Size}}",
                "no1",
            ),
        ] {
            let parsed = Template::parse(template).unwrap();
            let shown = parsed.execute_with_zeros(&value, &zero);
            assert_eq!(shown.as_deref(), Ok(expected), "{template}");
        }
        for (template, message) in [
            ("{{.State.Health.Status}}", "nil pointer evaluating"),
            ("{{.Config.Nope}}", "can't evaluate field Nope"),
            (
                "{{.Config.User.Nope}}",
                "can't evaluate field Nope in type string",
            ),
        ] {
            let parsed = Template::parse(template).unwrap();
            let error = parsed.execute_with_zeros(&value, &zero).unwrap_err();
            assert!(error.to_string().contains(message), "{template}: {error}");
        }
    }

    #[test]
    fn mistakes_are_explained() {
        for (template, message) in [
            ("{{.Nope}}", "can't evaluate field Nope in type map"),
            ("{{.ID.Nope}}", "can't evaluate field Nope in type string"),
            (
                "{{.State.Health.Log}}",
                "nil pointer evaluating interface {}.Log",
            ),
            ("{{nope .}}", "function \"nope\" not defined"),
            ("{{.ID", "unclosed action"),
            ("{{if .ID}}", "unexpected EOF"),
            ("{{end}}", "unexpected {{end}}"),
            ("{{range}}x{{end}}", "missing value for range"),
            ("{{\"x}}", "unterminated quoted string"),
            ("{{$y}}", "undefined variable \"$y\""),
            ("{{index .Names 7}}", "index out of range: 7"),
            ("{{range .ID}}{{end}}", "range can't iterate over abc"),
            ("{{join .ID \",\"}}", "wrong type for join"),
            ("{{.ID %}}", "unexpected \"%\""),
            ("{{}}", "missing value for command"),
            ("{{len}}", "wrong number of args for len: want 1 got 0"),
        ] {
            let error = run(template).expect_err(template);
            assert!(error.contains(message), "{template}: {error}");
        }
    }
}
