//! Lines, directives, comments, and what is no instruction.

use insta::assert_snapshot;

use super::super::*;
use super::*;

#[test]
fn df_001_df_002_df_006_bom_line_endings_and_case() {
    assert_snapshot!(show("\u{FEFF}from scratch\r\nRuN a \\\r\n  b\r\n\r\n  Copy x y\r\n"), @r#"
    FROM scratch
      RUN shell "a   b"
      COPY "x" -> "y"
    "#);
}

#[test]
fn df_003_to_005_nothing_to_build() {
    // DF-003 DF-004 DF-005
    assert_snapshot!(show(""), @"! the Dockerfile cannot be empty");
    assert_snapshot!(show("# hi\n\n  \n"), @"! file with no instructions");
    assert_snapshot!(show("RUN a\nRUN b\n"), @"! no build stage in current context");
    assert_snapshot!(show("ARG a=1\n"), @r"
    ARG a=1
    ! dockerfile contains no stages to build
    ");
    assert_snapshot!(show("\\"), @"! file with no instructions");
}

#[test]
fn df_007_hash_inside_a_line_is_text() {
    assert_snapshot!(show("FROM a\nRUN echo a # b\n"), @r#"
    FROM a
      RUN shell "echo a # b"
    "#);
}

#[test]
fn df_008_to_013_lines() {
    // DF-008 DF-009 DF-010 DF-011 DF-012 DF-013
    assert_snapshot!(show("FROM a\nRUN x \\\n# c\n  # d \\\n\n y\n# e \\\nRUN z \\\\\nRUN w \\  \n v"), @r#"
    FROM a
      RUN shell "x  y"
      RUN shell "z \\\\"
      RUN shell "w  v"
    "#);
}

#[test]
fn df_014_backtick() {
    assert_snapshot!(show("# escape=`\nFROM a\nENV B=c:\\foo `\n  C=d\nCOPY --chown=a`\"b x y\n"), @r#"
    FROM a
      ENV B=c:\foo | C=d
      COPY "x" -> "y" chown="a\"b"
    "#);
}

#[test]
fn df_015_df_016_directive_errors() {
    assert_snapshot!(show("# escape=x\nFROM a\n"), @r"
    FROM a
    ! invalid escape token 'x' does not match ` or \
    ");
    assert_snapshot!(show("# check=a\n# check=b\nFROM a\n"), @r"
    FROM a
    ! only one check parser directive can be used
    ");
}

#[test]
fn df_019_unknown_instructions() {
    assert_snapshot!(show("FROM a\nCOPPY a b\nxyzzy\nFORM b\nRUN c\n"), @r#"
    FROM a
      RUN shell "c"
    ! dockerfile parse error on line 2: unknown instruction: COPPY (did you mean COPY?)
    ! dockerfile parse error on line 3: unknown instruction: xyzzy
    ! dockerfile parse error on line 4: unknown instruction: FORM (did you mean FROM?)
    "#);
}

#[test]
fn df_020_an_error_knows_its_lines() {
    let text = "FROM a\nCOPY --form=b \\\n # c\n  x /y\nRUN z\n";
    let parsed = parse(text.as_bytes());
    let problem = &parsed.diagnostics[0];
    assert_eq!(
        &text[problem.span.start as usize..problem.span.end as usize],
        "--form=b"
    );
    assert_eq!(problem.suggestion.as_deref(), Some("--from=b"));
    assert_snapshot!(crate::excerpt(text.as_bytes(), "Dockerfile", &[problem.lines]), @r"
    Dockerfile:2
    --------------------
       1 |     FROM a
       2 | >>> COPY --form=b \
       3 | >>>  # c
       4 | >>>   x /y
       5 |     RUN z
    --------------------
    ");
}

#[test]
fn errors_do_not_stop_the_parse() {
    assert_snapshot!(show("FROM a\nENV x\nRUNN y\nFROM b b\nRUN z\nCOPY c\n"), @r#"
    FROM a
    FROM b
      RUN shell "z"
    ! ENV must have two arguments
    ! dockerfile parse error on line 3: unknown instruction: RUNN (did you mean RUN?)
    ! dockerfile parse error on line 4: FROM requires either one or three arguments
    ! dockerfile parse error on line 6: COPY requires at least two arguments, but only one was provided. Destination could not be determined
    "#);
}

#[test]
fn bytes_that_are_no_text() {
    let parsed = parse(b"FROM a\n# \xFF\nRUN \xFF\nCOPY <<A /x\n\xFE\nA\n");
    let messages: Vec<_> = parsed
        .diagnostics
        .iter()
        .map(|found| &*found.message)
        .collect();
    assert_eq!(
        messages,
        ["dockerfile contains bytes that are not valid UTF-8"; 2]
    );
    // A NUL is a character like any other here; the program that gets it refuses it.
    assert_eq!(parse(b"FROM a\nRUN a\0b\n").diagnostics, []);
}

#[test]
fn lines_may_not_be_too_long() {
    let text = format!(
        "FROM a\nRUN {}\nRUN b\nUSER {}\n",
        "x".repeat(65_532),
        "y".repeat(65_530)
    );
    let parsed = parse(text.as_bytes());
    let messages: Vec<_> = parsed
        .diagnostics
        .iter()
        .map(Diagnostic::full_message)
        .collect();
    assert_eq!(
        messages,
        ["dockerfile line greater than max allowed size of 65535"]
    );
    assert_eq!(parsed.dockerfile.stages[0].instructions.len(), 2);
}

#[test]
fn comments_and_sites() {
    let text = "# one\n# two\nFROM a\n\n# three\nrun b \\\n\n # no\n c\n";
    let parsed = parse(text.as_bytes());
    let stage = &parsed.dockerfile.stages[0];
    let comments: Vec<_> = stage
        .from
        .site
        .comments
        .iter()
        .map(|text| &*text.raw)
        .collect();
    assert_eq!(comments, ["one", "two"]);
    let site = &stage.instructions[0].site;
    assert_eq!(site.line, "run b  c");
    assert_eq!(site.keyword.raw, "run");
    assert_eq!(
        &text[site.span.start as usize..site.span.end as usize],
        "run b \\\n\n # no\n c"
    );
    let last = site.empty_continuation.unwrap();
    assert_eq!(&text[last.start as usize..last.end as usize], " c");
    assert_eq!(crate::description(&site.comments, "three"), None);
    assert_eq!(crate::description(&stage.from.site.comments, "one"), None);
}

#[test]
fn comments_above_describe_stages_and_arguments() {
    let parsed = parse(b"# x y z\n# a is for b\nARG a\n");
    let comments = &parsed.dockerfile.global_args[0].site.comments;
    assert_eq!(crate::description(comments, "a"), Some("is for b"));
    assert_eq!(crate::description(comments, "x"), Some("y z"));
    assert_eq!(crate::description(comments, "is"), None);
    assert_eq!(crate::description(comments, ""), None);
}
