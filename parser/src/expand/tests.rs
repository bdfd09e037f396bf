use super::*;

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "a" => "A",
        "b" => "two words",
        "empty" => "",
        "path" => "/a/b/c.tar.gz",
        "1" => "one",
        "12" => "twelve",
        "é" => "accent",
        "@" => "at",
        _ => return None,
    };
    Some(value.to_owned())
}

#[track_caller]
fn check(word: &str, expected: &str) {
    let result = expand(word, '\\', Quoting::Word, &variables).map(|expansion| expansion.value);
    assert_eq!(result.as_deref(), Ok(expected), "{word}");
}

#[track_caller]
fn check_error(word: &str, expected: &str) {
    let error = expand(word, '\\', Quoting::Word, &variables).unwrap_err();
    assert_eq!(
        error.message,
        format!("failed to process {}: {expected}", quote(word))
    );
}

#[test]
fn names_end_as_in_buildkit() {
    check("$a", "A");
    check("$a.x", "A.x");
    check("${a}x", "Ax");
    check("$ax", "");
    check("$12x", "twelvex");
    check("$é", "accent");
    check("$@x", "atx");
    check("$", "$");
    check("a$", "a$");
    check("$.a", "$.a");
    check("$(a)", "$(a)");
    check("$$a", "a");
    check("$b", "two words");
}

#[test]
fn df_047_df_048_defaults_and_alternatives() {
    check(
        "${empty:-w}|${empty-w}|${unset:-w}|${unset-w}|${a:-w}",
        "w||w|w|A",
    );
    check(
        "${empty:+w}|${empty+w}|${unset:+w}|${unset+w}|${a:+w}",
        "|w|||w",
    );
    check("${unset:-}", "");
}

#[test]
fn df_054_nested() {
    check("${unset:-${a}}", "A");
    check("${unset:-$a-${unset:-$b}}", "A-two words");
    check("${unset:-\"x y\"}", "x y");
    check("${unset:-'}'}", "}");
    check("${unset:-\\}}", "}");
    check("${path#${unset:-*/}}", "a/b/c.tar.gz");
    check("\"${unset:-\"q\"}\"", "q");
}

#[test]
fn df_049_required() {
    check("${a:?m}", "A");
    check("${empty?m}", "");
    check_error("${unset:?m}", "unset: m");
    check_error("${unset?}", "unset: is not allowed to be unset");
    check_error("${empty:?}", "empty: is not allowed to be empty");
    check_error("${a:-${unset?no}}", "unset: no");
}

#[test]
fn df_050_to_053_patterns() {
    // DF-050 DF-051 DF-052 DF-053
    check(
        "${path#*/} ${path##*/} ${path%.*} ${path%%.*}",
        "a/b/c.tar.gz c.tar.gz /a/b/c.tar /a/b/c",
    );
    check("${path/./_} ${path//./_}", "/a/b/c_tar.gz /a/b/c_tar_gz");
    check("${path//\\//-}", "-a-b-c.tar.gz");
    check("${path/$a/x}", "/a/b/c.tar.gz");
    check("${path/[a-z]/x}", "/a/b/c.tar.gz");
    check("${unset#x}", "");
    check_error(
        "${path#\\a}",
        "invalid pattern (\\a) in substitution: invalid escape '\\a'",
    );
}

#[test]
fn df_058_malformed_substitutions() {
    check_error("${}", "syntax error: bad substitution");
    check_error("${:x}", "syntax error: bad substitution");
    check_error("${{", "syntax error: bad substitution");
    check_error("${B!x}", "unsupported modifier (!) in substitution");
    check_error("${a:#p}", "unsupported modifier (:#) in substitution");
    check_error("${", "syntax error: missing '}'");
    check_error("${a", "syntax error: missing '}'");
    check_error("${a:-b", "syntax error: missing '}'");
    check_error("${a:", "syntax error: missing '}'");
    check_error("${a:-\"b}", "syntax error: missing '}'");
    check_error("${a/b}", "syntax error: missing '/' in ${}");
    check_error("${a/b/c", "syntax error: missing '}'");
    check_error("${a/${b", "syntax error: missing '/' in ${}");
}

#[test]
fn df_055_df_056_quotes_and_escapes() {
    check("'$a'", "$a");
    check("\"$a\"", "A");
    check("\"'$a'\"", "'A'");
    check(r"a\ b", "a b");
    check(r"\$a", "$a");
    check(r#""\$a \" \\ \n""#, r#"$a " \ \n"#);
    check(r"'a\'", r"a\");
    check(r"a\", "a");
    check("a\"b c\"'d'", "ab cd");
    check("\"\"", "");
    check_error(
        "\"a",
        "unexpected end of statement while looking for matching double-quote",
    );
    check_error(
        "'a",
        "unexpected end of statement while looking for matching single-quote",
    );
}

#[test]
fn df_014_backtick_escape() {
    let backtick = |word| expand(word, '`', Quoting::Word, &variables).unwrap().value;
    assert_eq!(backtick(r"c:\foo"), r"c:\foo");
    assert_eq!(backtick("a` b`$a"), "a b$a");
    assert_eq!(backtick(r#""\$a""#), r"\A");
}

#[test]
fn df_036_df_046_heredoc_bodies() {
    #[track_caller]
    fn check(body: &str, expected: &str) {
        let result = expand(body, '`', Quoting::HeredocBody, &variables).unwrap();
        assert_eq!(result.value, expected);
    }
    check("'$a' \"$a\"", "'A' \"A\"");
    check(r"\$a \\ a\nb", r"$a \ anb");
    check("a\\\nb", "a\nb");
    check("it's ${unset:-'x'}", "it's 'x'");
    check("`$a`", "`A`");
    check("$ 5$", "$ 5$");
}

#[test]
fn undefined_names_are_listed_once() {
    let result = expand("$x ${y:-$x} $a ${z+1}", '\\', Quoting::Word, &variables).unwrap();
    assert_eq!(result.undefined, ["x", "y", "z"]);
}

#[test]
fn error_offset_is_where_reading_stopped() {
    let error = expand("ab${a!}", '\\', Quoting::Word, &variables).unwrap_err();
    assert_eq!(error.offset, 6);
}

/// Returns the part of an error's message that says what is wrong.
fn problem(word: &str, variables: &dyn Fn(&str) -> Option<String>) -> String {
    let error = expand(word, '\\', Quoting::Word, variables).unwrap_err();
    // The word is not repeated at whatever length.
    assert!(error.message.len() < 2500);
    let (_, problem) = error.message.rsplit_once("\": ").unwrap();
    problem.to_owned()
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth| format!("{}x{}", "${unset:-".repeat(depth), "}".repeat(depth));
    check(&nested(MAX_DEPTH), "x");
    let expected = "more than 1000 substitutions inside each other";
    assert_eq!(problem(&nested(MAX_DEPTH + 1), &variables), expected);
    for open in [
        "${unset:-",
        "${unset#",
        "${unset/a/",
        "${a:+\"",
        "${unset:?",
    ] {
        assert_eq!(problem(&open.repeat(100_000), &variables), expected);
    }
    let open = "${unset:-".repeat(MAX_DEPTH);
    assert_eq!(problem(&open, &variables), "syntax error: missing '}'");
}

#[test]
fn values_have_a_limit() {
    let long = "a".repeat(1 << 20);
    let variables = |name: &str| (name == "v").then(|| long.clone());
    let expected = "expands to more than 67108864 bytes";
    assert_eq!(problem(&"$v".repeat(65), &variables), expected);
    assert_eq!(problem("${v//a/$v}", &variables), expected);
    assert_eq!(problem("${v///$v}", &variables), expected);
    let full = expand(&"$v".repeat(64), '\\', Quoting::Word, &variables).unwrap();
    assert_eq!(full.value.len(), MAX_VALUE);
}

#[test]
fn long_patterns_and_values_are_quick() {
    let long = "a".repeat(1_000_000);
    let variables = |name: &str| (name == "v").then(|| long.clone());
    let value = |word: &str| expand(word, '\\', Quoting::Word, &variables).unwrap().value;
    assert_eq!(value("${v//a/bb}").len(), 2_000_000);
    assert_eq!(value(&format!("${{v//{}b/x}}", "a*".repeat(2000))), long);
    assert_eq!(value(&format!("${{v//{}b/x}}", "?*a".repeat(1000))), long);
    assert_eq!(value(&format!("${{v##{}b}}", "a*".repeat(2000))), long);
    assert_eq!(value(&format!("${{v%b{}}}", "*a".repeat(2000))), long);
    let pattern = "a".repeat(4097);
    assert_eq!(
        problem(&format!("${{v//{pattern}/x}}"), &variables),
        format!(
            "invalid pattern ({}…) in substitution: pattern has more than 4096 characters",
            &pattern[..1000]
        )
    );
}

#[test]
fn commands_are_shown_with_what_is_known() {
    for (text, expected) in [
        (
            "RUN echo $a ${a} $unset ${unset}",
            "RUN echo A A $unset ${unset}",
        ),
        (r#"RUN echo "$a" '$a' "'$a'""#, r#"RUN echo "A" '$a' "'A'""#),
        (
            "RUN ${unset:-$a} ${unset/$a/b} ${a:+x}",
            "RUN ${unset:-A} ${unset/A/b} x",
        ),
        (r"RUN echo \$a a\b", "RUN echo $a ab"),
        ("RUN ${unset#*x} ${unset?no}", "RUN ${unset#*x} ${unset?no}"),
        (
            "RUN for i in 1; do echo $i; done",
            "RUN for i in 1; do echo $i; done",
        ),
    ] {
        let shown = expand(text, '\\', Quoting::Shown, &variables).unwrap();
        assert_eq!(shown.value, expected);
    }
}
