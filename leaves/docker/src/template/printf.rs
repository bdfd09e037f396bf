//! Go's `printf`, as far as templates use it.

use serde_json::Value;

use super::values::display;

/// Formats arguments; what does not fit is marked as Go marks it.
pub(super) fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || "+-# .".contains(c)))
            .unwrap_or(rest.len());
        let flags = VerbFlags::parse(&rest[..end]);
        let Some(verb) = rest[end..].chars().next() else {
            out.push_str("%!(NOVERB)");
            return out;
        };
        rest = &rest[end + verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        match arguments.next() {
            Some(argument) => out.push_str(&flags.pad(&convert(verb, argument, &flags))),
            None => out.push_str(&format!("%!{verb}(MISSING)")),
        }
    }
    out.push_str(rest);
    let surplus: Vec<String> = arguments.map(display).collect();
    if !surplus.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", surplus.join(", ")));
    }
    out
}

struct VerbFlags {
    is_left: bool,
    fills_with_zeros: bool,
    width: usize,
    precision: Option<usize>,
}

impl VerbFlags {
    fn parse(text: &str) -> Self {
        let signs = text.len() - text.trim_start_matches(['+', '-', '#', ' ', '0']).len();
        let (signs, numbers) = text.split_at(signs);
        let (width, precision) = match numbers.split_once('.') {
            Some((width, precision)) => (width, Some(precision.parse().unwrap_or(0))),
            None => (numbers, None),
        };
        Self {
            is_left: signs.contains('-'),
            fills_with_zeros: signs.contains('0') && !signs.contains('-'),
            width: width.parse().unwrap_or(0),
            precision,
        }
    }

    fn pad(&self, text: &str) -> String {
        let width = self.width;
        match (self.is_left, self.fills_with_zeros) {
            (true, _) => format!("{text:<width$}"),
            (false, true) => format!("{text:0>width$}"),
            (false, false) => format!("{text:>width$}"),
        }
    }
}

fn convert(verb: char, value: &Value, flags: &VerbFlags) -> String {
    let wrong = || format!("%!{verb}({})", display(value));
    match (verb, value) {
        ('s' | 'v', value) => {
            let text = display(value);
            match flags.precision {
                Some(most) if value.is_string() => text.chars().take(most).collect(),
                _ => text,
            }
        }
        ('q', Value::String(text)) => format!("{text:?}"),
        ('t', Value::Bool(value)) => value.to_string(),
        ('d', Value::Number(number)) if !number.is_f64() => number.to_string(),
        ('x', Value::Number(number)) => number.as_u64().map_or_else(wrong, |n| format!("{n:x}")),
        ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('f', Value::Number(number)) => {
            let precision = flags.precision.unwrap_or(6);
            let number = number.as_f64();
            number.map_or_else(wrong, |number| format!("{number:.precision$}"))
        }
        _ => wrong(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mistakes_are_marked_as_in_go() {
        for (format, arguments, expected) in [
            ("%d", vec![json!("x")], "%!d(x)"),
            ("%s %s", vec![json!("x")], "x %!s(MISSING)"),
            ("x", vec![json!(1), json!(2)], "x%!(EXTRA 1, 2)"),
            ("100%%", vec![], "100%"),
            ("%", vec![], "%!(NOVERB)"),
            (
                "%.2s|%x|%t",
                vec![json!("abc"), json!(255), json!(true)],
                "ab|ff|true",
            ),
        ] {
            assert_eq!(printf(format, &arguments), expected, "{format}");
        }
    }
}
