//! Heredocs, where they are allowed and what they hold.

use insta::assert_snapshot;

use super::super::*;
use super::*;
use crate::program::Program;

#[test]
fn df_032_to_035_copy_heredocs() {
    // DF-032 DF-033 DF-034 DF-035
    assert_snapshot!(show("FROM a\nCOPY <<A <<-\"B\" c /d/\n x\nA\n\ty\n\t\tz\n\tB\nADD <<A /x\nA\nRUN y\n"), @r#"
    FROM a
      COPY <<A expand=true " x\n" <<B expand=false "y\nz\n" "c" -> "/d/"
      ADD <<A expand=true "" -> "/x" git=None unpack=None
      RUN shell "y"
    "#);
}

#[test]
fn df_043_heredoc_as_destination() {
    assert_snapshot!(show("FROM a\nCOPY x <<A\nA\nRUN y\n"), @r#"
    FROM a
      RUN shell "y"
    ! dockerfile parse error on line 2: COPY cannot accept a heredoc as a destination
    "#);
}

#[test]
fn a_blank_in_the_marker_is_for_run_only() {
    assert_snapshot!(show("FROM a\nRUN << A\nx\nA\nCOPY << A /x\ny\nA\nADD <<'A B' <<C /x\nA B\nC\n"), @r#"
    FROM a
      RUN shell "<< A" <<A "x\n"
    ! dockerfile parse error on line 5: the marker of heredoc "A" must not hold a blank
    ! dockerfile parse error on line 8: the marker of heredoc "A B" must not hold a blank
    "#);
}

/// Such a file used to hold a heredoc without lines, and lost them when it was printed.
#[test]
fn a_marker_no_shell_would_see_is_an_error() {
    assert_snapshot!(show("FROM a\nCOPY <<\\\nRUN '\nADD x <<A ${B /d\nCOPY \"x <<A y\" /d\nCOPY \\ <<A /d\nRUN z\n"), @r#"
    FROM a
      RUN shell "z"
    ! dockerfile parse error on line 2: unexpected end of statement while looking for matching single-quote
    ! dockerfile parse error on line 4: syntax error: missing '}'
    ! dockerfile parse error on line 5: heredoc "<<A" is quoted and has no body
    ! dockerfile parse error on line 6: heredoc "<<A" is quoted and has no body
    "#);
    let text = "FROM a\nCOPY x <<A y' /d\n";
    let parsed = parse(text.as_bytes());
    let span = parsed.diagnostics[0].span;
    assert_eq!(&text[span.start as usize..span.end as usize], "' /d");
}

#[test]
fn df_042_unterminated_heredoc() {
    assert_snapshot!(show("FROM a\nRUN <<A\nx\n A\n"), @r"
    FROM a
    ! unterminated heredoc
    ");
}

#[test]
fn heredoc_bodies_are_raw() {
    assert_snapshot!(show("FROM a\nRUN <<A\r\n# x \\\r\n\r\nFROM b\r\nA\r\nRUN c\r\n"), @r##"
    FROM a
      RUN shell "<<A" <<A "# x \\\r\n\r\nFROM b\r\n"
      RUN shell "c"
    "##);
    assert_snapshot!(show("FROM a\nRUN [\"<<A\"]\nRUN echo \"<<A\" $((1<<2))\nCMD <<A\n"), @r#"
    FROM a
      RUN exec ["<<A"]
      RUN shell "echo \"<<A\" $((1<<2))"
      CMD shell "<<A"
    "#);
}

#[test]
fn df_037_to_041_programs() {
    // DF-037 DF-038 DF-039 DF-040 DF-041
    #[track_caller]
    fn check(text: &str, expected: Program) {
        let parsed = parse(format!("FROM a\n{text}\n").as_bytes());
        assert_eq!(parsed.diagnostics, []);
        let InstructionKind::Run(run) = &parsed.dockerfile.stages[0].instructions[0].kind else {
            panic!("not a RUN")
        };
        assert_eq!(run.program(), expected);
    }
    let shell = |text: &str| Program::Shell(text.to_owned());
    check("RUN a b", shell("a b"));
    check("RUN [\"a\"]", Program::Exec(vec!["a".to_owned()]));
    check("RUN <<E\na\nb\nE", shell("a\nb\n"));
    check("RUN <<-E\n\ta\n\tE", shell("a\n"));
    let file = Program::File {
        name: "E".to_owned(),
        body: "#!/bin/x\na\n".to_owned(),
    };
    check("RUN <<'E'\n#!/bin/x\na\nE", file);
    check("RUN cat <<E >/x\na\nE", shell("cat <<E >/x\na\nE"));
    check("RUN cat <<-E\n\ta\n\tE", shell("cat <<-E\n\ta\nE"));
    check("RUN 3<<E cat <&3\na\nE", shell("3<<E cat <&3\na\nE"));
}
