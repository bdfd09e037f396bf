use proptest::prelude::*;

use super::*;

fn rules(text: &str) -> IgnoreRules {
    let (rules, diagnostics) = IgnoreRules::parse(text.as_bytes());
    assert_eq!(diagnostics, []);
    rules
}

#[track_caller]
fn check(text: &str, path: &str, ignored: bool) {
    assert_eq!(rules(text).is_ignored(path), ignored, "{text:?} {path}");
}

/// Whether one pattern matches one path, parents not considered.
#[track_caller]
fn probe(pattern: &str, path: &str, expected: bool) {
    assert_eq!(
        Shape::parse(&clean(pattern)).unwrap().matches(path),
        expected,
        "{pattern} {path}"
    );
}

#[test]
fn patterns_one_by_one() {
    probe("a/**", "a", false);
    probe("a**b", "axxb", false);
    probe("a**b", "a/x/b", true);
    probe("**.go", "x/y.go", true);
    probe("[^a]b", "cb", true);
    probe("[!a]b", "cb", false);
    probe("[!a]b", "!b", true);
    probe("{a,b}", "a", false);
    probe("{a,b}", "{a,b}", true);
    probe("?", "é", true);
    assert!(Shape::parse("[a-]").is_err());

    probe("a", "a", true);
    probe("*", "a/b", false);
    probe("*.go", "x.go", true);
    probe("*.go", "x/y.go", false);
    probe("**/foo", "foo", true);
    probe("**/foo", "a/b/foo", true);
    probe("**/foo", "a/bfoo", false);
    probe("a/**/b", "a/b", true);
    probe("a/**/b", "a/x/y/b", true);
    probe("a/**/b", "ab", false);
    probe("**", "a/b", true);

    // A `**` at either end is a plain prefix or suffix.
    probe("foo**", "foobar/x", true);
    probe("**foo", "barfoo", true);
    probe("**/foo/**", "x/foo/y", true);
    probe("**/foo/**", "foo/y", true);
    probe("**/*.log", "a.log", true);
    probe("**/*.log", "x/y/.log", true);
    probe("**/*.log", "a.logs", false);
    probe("a.c", "abc", false);
    probe("a\\*b", "a*b", true);
    probe("a\\*b", "axb", false);
    probe("a+(b)|$^", "a+(b)|$^", true);
    probe("x/*/y", "x/a/y", true);
    probe("x/*/y", "x/a/b/y", false);
    probe("a**/b?", "a/q/bc", true);
}

#[test]
fn df_151_last_match_wins() {
    check("*\n!a", "a", false);
    check("!a\n*", "a", true);
    check("*.md\n!README*.md\nREADME-secret.md", "README-x.md", false);
    check(
        "*.md\n!README*.md\nREADME-secret.md",
        "README-secret.md",
        true,
    );
    check("dir\n!dir/keep", "dir/keep", false);
    check("dir\n!dir/keep", "dir/keep/deep", false);
    check("dir\n!dir/keep", "dir/other", true);
    check("**/x\n!keep\n", "keep/x", false);
}

#[test]
fn df_152_any_depth() {
    for path in ["a.log", "x/a.log", "x/y/a.log", "a.log/below"] {
        check("**/*.log", path, true);
    }
}

#[test]
fn df_153_leading_slash() {
    check("/lead", "lead", true);
    check("/lead", "x/lead", false);
    check("!/lead", "lead", false);
    check("*\n! /lead", "lead", false);
}

#[test]
fn parents_count() {
    check("a", "a/b/c", true);
    check("a/*", "a/b/c", true);
    check("a/*", "a", false);
}

#[test]
fn lines() {
    check("\u{FEFF}a\r\n# b\n  c  \n\n", "a", true);
    check("# b", "b", false);
    check("  c  ", "c", true);
    check(" # b", "# b", true);
    check("./a/../b/", "b", true);
    check(".", "a", false);
    check("/", "a", false);
}

#[test]
fn malformed_lines_are_reported_and_skipped() {
    let (rules, diagnostics) = IgnoreRules::parse(b"a\n!\n[\nb\n");
    let found: Vec<_> = diagnostics
        .iter()
        .map(|diagnostic| (&*diagnostic.message, diagnostic.span))
        .collect();
    assert_eq!(
        found,
        [
            ("illegal exclusion pattern: \"!\"", Span::new(2, 3)),
            (
                "failed parsing .dockerignore: syntax error in pattern",
                Span::new(4, 5)
            ),
        ]
    );
    assert!(rules.is_ignored("b"));
    assert_eq!(
        IgnoreRules::from_patterns(["!"]),
        Err(IgnoreError::LoneExclamationMark)
    );
}

#[test]
fn what_is_no_ignore_file_is_given_up_on() {
    let (_, diagnostics) = IgnoreRules::parse(&b"[\n".repeat(1_000_000));
    assert_eq!(diagnostics.len(), MAX_ERRORS);
    let long = "a*".repeat(40_000);
    let (rules, diagnostics) = IgnoreRules::parse(long.as_bytes());
    assert!(rules.is_empty());
    assert_eq!(
        diagnostics[0].message,
        "failed parsing .dockerignore: pattern has more than 65535 bytes"
    );
}

#[test]
fn no_pattern_is_slow() {
    let name = "a".repeat(4096);
    let path = format!("{}a", "a/".repeat(150));
    for (pattern, path, expected) in [
        (format!("{}b", "a*".repeat(2000)), &name, false),
        (format!("{}*a", "a*".repeat(2000)), &name, true),
        (format!("{}x", "**/".repeat(1000)), &path, false),
        (format!("{}*x*", "**/a/".repeat(100)), &path, false),
        (format!("x/{}", "**/".repeat(1000)), &path, false),
        ("**".repeat(30_000), &path, true),
        ("*".repeat(60_000), &name, true),
    ] {
        let rules = rules(&pattern);
        assert_eq!(rules.is_ignored(path), expected, "{}", &pattern[..9]);
    }
    let many = rules(&"**/x*\n!**/y*\n".repeat(50_000));
    assert!(!many.is_ignored("a/b/c/d"));
}

#[test]
fn df_140_exclude_patterns_are_anchored() {
    let rules = IgnoreRules::from_patterns(["a.txt", "sub", "!sub/keep", "/x"]).unwrap();
    assert!(rules.is_ignored("a.txt"));
    assert!(!rules.is_ignored("dd/a.txt"));
    assert!(rules.is_ignored("sub/b"));
    assert!(!rules.is_ignored("sub/keep"));
    assert!(!rules.is_ignored("x"));
}

#[test]
fn whole_directories_are_skipped_when_nothing_comes_back() {
    #[track_caller]
    fn check(text: &str, directory: &str, expected: bool) {
        let rules = rules(text);
        let mut state = rules.state_for_root();
        for name in directory.split('/') {
            (_, state) = rules.child(&state, name);
        }
        assert_eq!(
            rules.may_reinclude_below(&state),
            expected,
            "{text:?} {directory}"
        );
    }
    check("node_modules", "node_modules", false);
    check("!a/b\na", "a", false);
    check("a\n!a/b", "a", true);
    check("a\n!a/b", "a/c", false);
    check("a\n!b", "a", false);
    check("a\n!ab", "a", false);
    check("a\n!a/*/x", "a/q", true);
    check("a\n!a/*/x", "a/q/r", false);
    check("a\n!*.go", "a", false);
    check("a\n!**/keep", "a", true);
    check("a\n!a/b/**", "a/b/c", true);
    check("a\n!c/**", "a", false);
}

/// The rules as they are stated: every pattern on the path and all its parents, last match wins.
fn by_definition(rules: &IgnoreRules, path: &str) -> Verdict {
    let ends = path
        .match_indices('/')
        .map(|(index, _)| index)
        .chain([path.len()]);
    let parents: Vec<&str> = ends.map(|end| &path[..end]).collect();
    let mut matching = rules
        .patterns
        .iter()
        .filter(|pattern| parents.iter().any(|parent| pattern.shape.matches(parent)));
    matching
        .next_back()
        .map_or(Verdict::Included, |pattern| pattern.verdict)
}

/// A pattern translated to a regular expression the way moby/patternmatcher does it.
fn as_regex(pattern: &str) -> Option<regex::Regex> {
    let mut text = String::from("(?s)^");
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix("**") {
            rest = behind.strip_prefix('/').unwrap_or(behind);
            text.push_str(if rest.is_empty() { ".*" } else { "(.*/)?" });
            continue;
        }
        match character {
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            other => text.push_str(&regex::escape(&other.to_string())),
        }
        rest = &rest[character.len_utf8()..];
    }
    text.push('$');
    regex::Regex::new(&text).ok()
}

proptest! {
    #[test]
    fn a_walk_agrees_with_the_definition(
        lines in prop::collection::vec("!?[ab*?/]{1,6}", 0..6),
        path in "[ab]{1,2}(/[ab]{1,2}){0,3}",
    ) {
        let (rules, _) = IgnoreRules::parse(lines.join("\n").as_bytes());
        let expected = by_definition(&rules, &path);
        prop_assert_eq!(rules.is_ignored(&path), expected == Verdict::Ignored);

        let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let mut state = rules.state_for_root();
        let mut closed = false;
        for part in directory.split('/').filter(|part| !part.is_empty()) {
            let verdict;
            (verdict, state) = rules.child(&state, part);
            closed |= verdict == Verdict::Ignored && !rules.may_reinclude_below(&state);
        }
        prop_assert_eq!(rules.verdict(&state, name), expected);
        // Whatever a walk skips must be ignored.
        prop_assert!(!closed || expected == Verdict::Ignored);
    }

    #[test]
    fn shapes_agree_with_the_regular_expression(
        pattern in "[ab*?/.]{1,7}",
        path in "[ab.]{1,2}(/[ab.]{1,2}){0,3}",
    ) {
        let pattern = clean(&pattern);
        let shape = Shape::parse(&pattern).unwrap();
        // A leading `**` with plain text behind it is a suffix, which no expression shows.
        prop_assume!(!matches!(shape, Shape::Suffix(_)));
        let expected = as_regex(&pattern).unwrap().is_match(&path);
        prop_assert_eq!(shape.matches(&path), expected, "{} {}", pattern, path);
    }

    #[test]
    fn any_bytes_are_read(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let (rules, _) = IgnoreRules::parse(&text);
        let _ = rules.is_ignored("a/b");
    }
}
