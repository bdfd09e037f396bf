use proptest::prelude::*;

use super::*;

/// Walks to a path and returns whether it matches there.
fn walk(patterns: &PathPatterns, path: &str) -> bool {
    let mut state = patterns.state_for_root();
    let mut matched = false;
    for name in path.split('/') {
        assert_eq!(
            patterns.matches(&state, name),
            patterns.child(&state, name).0
        );
        (matched, state) = patterns.child(&state, name);
    }
    matched
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
fn single_patterns_match_as_in_moby() {
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
fn malformed_patterns_are_refused() {
    let error = |pattern| PathPatterns::new([pattern]).unwrap_err().to_string();
    assert_eq!(error("!"), "illegal exclusion pattern: \"!\"");
    assert_eq!(error("["), "syntax error in pattern");
}

#[test]
fn df_140_exclude_patterns_are_anchored() {
    let rules = PathPatterns::new(["a.txt", "sub", "!sub/keep", "/x"]).unwrap();
    assert!(walk(&rules, "a.txt"));
    assert!(!walk(&rules, "dd/a.txt"));
    assert!(walk(&rules, "sub/b"));
    assert!(!walk(&rules, "sub/keep"));
    assert!(!walk(&rules, "x"));
}

/// A cleaned pattern, the way moby/patternmatcher takes it.
pub(crate) enum Alone {
    /// A leading `**` with plain text behind it, which no expression shows.
    Suffix(String),
    Expression(regex::Regex),
}

impl Alone {
    pub(crate) fn new(pattern: &str) -> Self {
        match pattern.strip_prefix("**") {
            Some(suffix) if !suffix.contains(['*', '?', '[', '\\']) => {
                Self::Suffix(suffix.to_owned())
            }
            _ => Self::Expression(as_regex(pattern)),
        }
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path)
            }
            Self::Expression(expression) => expression.is_match(path),
        }
    }
}

/// A pattern and whether it has a `!`.
pub(crate) struct InOrder {
    pub(crate) is_exception: bool,
    pub(crate) text: String,
    pub(crate) alone: Alone,
}

impl InOrder {
    pub(crate) fn new(cleaned: &str) -> Self {
        let text = cleaned.strip_prefix('!').unwrap_or(cleaned);
        Self {
            is_exception: text != cleaned,
            text: text.to_owned(),
            alone: Alone::new(text),
        }
    }
}

/// A pattern translated to a regular expression the way moby/patternmatcher does it.
fn as_regex(pattern: &str) -> regex::Regex {
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
    regex::Regex::new(&text).unwrap()
}

/// Whether the last of some patterns that has something to say about a path lets it match: the
/// rules of moby/patternmatcher, from directory to directory.
pub(crate) fn matches_in_order(patterns: &[InOrder], path: &str) -> bool {
    let mut above = vec![false; patterns.len()];
    let mut result = false;
    let ends = path.match_indices('/').map(|(end, _)| end);
    for end in ends.chain([path.len()]) {
        result = false;
        for (index, pattern) in patterns.iter().enumerate() {
            let is_of_interest = pattern.is_exception == result;
            above[index] |= is_of_interest && pattern.alone.matches(&path[..end]);
            if above[index] {
                result = !pattern.is_exception;
            }
        }
    }
    result
}

proptest! {
    #[test]
    fn order_counts_as_in_the_reference(
        patterns in prop::collection::vec("!?[ab*?/]{1,6}", 0..6),
        path in "[ab]{1,2}(/[ab]{1,2}){0,3}",
    ) {
        let patterns: Vec<String> = patterns.iter().map(|pattern| clean(pattern)).collect();
        prop_assume!(patterns.iter().all(|pattern| pattern != "!"));
        let split: Vec<InOrder> = patterns.iter().map(|text| InOrder::new(text)).collect();
        let ours = PathPatterns::new(patterns.iter().map(String::as_str)).unwrap();
        prop_assert_eq!(walk(&ours, &path), matches_in_order(&split, &path));
    }

    #[test]
    fn shapes_agree_with_the_reference(
        pattern in "[ab*?/.]{1,7}",
        path in "[ab.]{1,2}(/[ab.]{1,2}){0,3}",
    ) {
        let pattern = clean(&pattern);
        let shape = Shape::parse(&pattern).unwrap();
        prop_assert_eq!(shape.matches(&path), Alone::new(&pattern).matches(&path));
    }
}
