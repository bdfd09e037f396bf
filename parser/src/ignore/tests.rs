use proptest::prelude::*;

use super::*;
use crate::patterns::tests::{InOrder, matches_in_order};

fn rules(text: &str) -> IgnoreRules {
    let (rules, diagnostics) = IgnoreRules::parse(text.as_bytes());
    assert_eq!(diagnostics, []);
    rules
}

#[track_caller]
fn check(text: &str, path: &str, ignored: bool) {
    assert_eq!(rules(text).is_ignored(path), ignored, "{text:?} {path}");
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
    check("**/x\n!keep/x\n", "keep/x", false);
}

/// `!config` used to bring back `config/.env` too, which an earlier line excludes by itself.
#[test]
fn a_path_excluded_by_itself_does_not_come_back_with_its_directory() {
    check("**/.env\n!config", "config/.env", true);
    check("**/.env\n!config", "config/sub/.env", true);
    check("**/.env\n!config", "config/other", false);
    check("**/.env\n!config/**", "config/.env", false);
    check("**/x\n!keep\n", "keep/x", true);
    check("*\n!config\n**/.env", "config/.env", true);
    // There the exception has something to take out.
    check("*\n**/.env\n!config", "config/.env", false);
}

/// A file that the walk meets and then is not allowed to open would be there without its content.
#[test]
fn a_directory_that_would_arrive_empty_is_ignored() {
    check("a\n!a/b\na", "a/b/f", true);
    let rules = rules("a\n!a/b\na");
    let (_, a) = rules.child(&rules.state_for_root(), "a");
    assert_eq!(rules.child(&a, "b").0, Verdict::Included);
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
fn patterns_match_parents_too() {
    check("a", "a/b/c", true);
    check("a/*", "a/b/c", true);
    check("a/*", "a", false);
}

#[test]
fn lines_are_trimmed_cleaned_and_commented() {
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
}

#[test]
fn a_file_of_errors_is_given_up_on() {
    let (_, diagnostics) = IgnoreRules::parse(&b"[\n".repeat(1_000_000));
    assert_eq!(diagnostics.len(), MAX_ERRORS);
    let long = "a*".repeat(40_000);
    let (rules, diagnostics) = IgnoreRules::parse(long.as_bytes());
    assert!(!rules.is_ignored("aa"));
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
    check("a\n!a/b/**", "a/b", true);
    check("a\n!c/**", "a", false);
    // What is behind the last stars does not count there.
    check("a\n!a/*/**", "a", true);
    check("a\n!a/*/**", "a/q", false);
}

/// The rules of BuildKit's client: a walk over what it enters, and then what it opens.
fn by_the_reference(lines: &[String], path: &str) -> Verdict {
    let patterns: Vec<InOrder> = lines
        .iter()
        .map(|line| clean(&from_root(line.trim())))
        .filter(|line| line != "!" && line != ".")
        .map(|line| InOrder::new(&line))
        .collect();
    let shortened = |text: &str| {
        let text = text.strip_suffix("/**").unwrap_or(text);
        text.strip_suffix("/*").unwrap_or(text).to_owned()
    };
    let exceptions: Vec<String> = patterns
        .iter()
        .filter(|pattern| pattern.is_exception)
        .map(|pattern| shortened(&pattern.text))
        .collect();
    let are_plain = exceptions.iter().all(|text| !text.contains(['*', '?']));
    for (end, _) in path.match_indices('/') {
        let directory = format!("{}/", &path[..end]);
        let is_named = |text: &String| format!("{text}/").starts_with(&directory);
        let is_skipped = are_plain && !exceptions.iter().any(is_named);
        if matches_in_order(&patterns, &path[..end]) && is_skipped {
            return Verdict::Ignored;
        }
    }
    let ends = path.match_indices('/').map(|(end, _)| end);
    let above: Vec<&str> = ends.chain([path.len()]).map(|end| &path[..end]).collect();
    let mut matching = patterns
        .iter()
        .filter(|pattern| above.iter().any(|path| pattern.alone.matches(path)));
    let is_withheld = matching
        .next_back()
        .is_some_and(|pattern| !pattern.is_exception);
    Verdict::of(matches_in_order(&patterns, path) || is_withheld)
}

proptest! {
    #[test]
    fn a_walk_agrees_with_the_reference(
        lines in prop::collection::vec("!?[ab*?/]{1,6}", 0..6),
        path in "[ab]{1,2}(/[ab]{1,2}){0,3}",
    ) {
        let (rules, _) = IgnoreRules::parse(lines.join("\n").as_bytes());
        let expected = by_the_reference(&lines, &path);
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
    fn any_bytes_are_read(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let (rules, _) = IgnoreRules::parse(&text);
        let _ = rules.is_ignored("a/b");
    }
}
