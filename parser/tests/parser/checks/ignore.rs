//! Ignore files, and the patterns of paths.

use kiln_parser::{IgnoreRules, SourcePattern, Verdict, clean, glob_match, has_wildcards};

/// Lines and paths looked at; more would only repeat themselves.
const ENOUGH: usize = 24;

/// Reads an ignore file, up to a NUL, and asks for the paths behind it.
///
/// A walk that carries its state and skips closed directories finds what each line says alone.
pub fn ignore(data: &[u8]) {
    let (file, paths) = match data.iter().position(|byte| *byte == 0) {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &b"a\na/b\n.a/b/c.go"[..]),
    };
    let lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').take(ENOUGH).collect();
    let file = lines.join(&b'\n');
    let (rules, diagnostics) = IgnoreRules::parse(&file);
    for found in diagnostics {
        assert!(found.span.start <= found.span.end && found.span.end as usize <= file.len());
    }
    let paths = String::from_utf8_lossy(paths);
    for path in paths.lines().take(ENOUGH) {
        let cleaned = clean(&format!("/{path}"));
        let path = &cleaned[1..];
        if path.is_empty() {
            continue;
        }
        let found = by_walk(&rules, path);
        assert_eq!(rules.is_ignored(path), found == Verdict::Ignored, "{path}");
        if let Some(expected) = by_lines(&lines, path) {
            assert_eq!(found, expected, "{path}");
        }
        for line in lines.iter().filter_map(|line| str::from_utf8(line).ok()) {
            sources(line, path);
        }
    }
}

/// Decides without exceptions: each line on the path and all above it. With exceptions the order
/// counts, and what it may count is bounded by the lines without and with `!`.
fn by_lines(lines: &[&[u8]], path: &str) -> Option<Verdict> {
    let mut has_exceptions = false;
    let mut verdict = Verdict::Included;
    for (index, line) in lines.iter().enumerate() {
        // A byte order mark counts at the very top only.
        let alone = if index == 0 {
            line.to_vec()
        } else {
            [b"\n", *line].concat()
        };
        let (rule, _) = IgnoreRules::parse(&alone);
        has_exceptions |= rule.reincludes();
        if rule.is_ignored(path) {
            verdict = Verdict::Ignored;
        }
    }
    (!has_exceptions || verdict == Verdict::Included).then_some(verdict)
}

/// Decides as a walk does that does not enter directories without anything in them.
fn by_walk(rules: &IgnoreRules, path: &str) -> Verdict {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut state = rules.state_for_root();
    for part in directory.split('/').filter(|part| !part.is_empty()) {
        let (verdict, below) = rules.child(&state, part);
        if verdict == Verdict::Ignored && !rules.may_reinclude_below(&below) {
            return Verdict::Ignored;
        }
        state = below;
    }
    rules.verdict(&state, name)
}

/// Takes a line as a source of `COPY`.
fn sources(line: &str, path: &str) {
    let cleaned = clean(line);
    assert_eq!(clean(&cleaned), cleaned);
    let _ = glob_match(line, path);
    let Ok(pattern) = SourcePattern::parse(line) else {
        return;
    };
    assert!(!pattern.base().starts_with('/'));
    assert!(!pattern.base().split('/').any(|part| part == ".."));
    assert!(!has_wildcards(pattern.base()));
    for (depth, name) in path.split('/').enumerate() {
        let matches = pattern.matches_at(depth, name);
        assert!(!matches || depth < pattern.depth());
    }
}
