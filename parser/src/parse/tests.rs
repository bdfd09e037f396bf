use insta::assert_snapshot;

use super::*;
use crate::ast::{CommandLine, Source, Text};
use crate::program::Program;

/// Returns the tree, one line per instruction, then the messages.
fn show(text: &str) -> String {
    let parsed = parse(text.as_bytes());
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    for arg in &parsed.dockerfile.global_args {
        line(format!("ARG {}", show_args(arg)));
    }
    for stage in &parsed.dockerfile.stages {
        let from = &stage.from;
        let mut head = format!("FROM {}", from.image.raw);
        if let Some(name) = &from.name {
            head += &format!(" AS {}", name.raw);
        }
        if let Some(platform) = &from.platform {
            head += &format!(" platform={}", platform.raw);
        }
        line(head);
        for instruction in &stage.instructions {
            line(format!("  {}", show_kind(&instruction.kind)));
        }
    }
    for diagnostic in &parsed.diagnostics {
        line(format!("! {}", diagnostic.full_message()));
    }
    out
}

fn show_args(arg: &crate::ast::Arg) -> String {
    let words = arg
        .declarations
        .iter()
        .map(|(name, default)| match default {
            Some(default) => format!("{}={}", name.raw, default.raw),
            None => name.raw.clone(),
        });
    words.collect::<Vec<_>>().join(" | ")
}

fn show_command(command: &CommandLine) -> String {
    match command {
        CommandLine::Shell(text) => format!("shell {:?}", text.raw),
        CommandLine::Exec(arguments) => format!("exec {arguments:?}"),
    }
}

fn show_sources(sources: &[Source]) -> String {
    let sources = sources.iter().map(|source| match source {
        Source::Path(path) => format!("{:?}", path.raw),
        Source::Heredoc(heredoc) => {
            format!(
                "<<{} expand={} {:?}",
                heredoc.name, heredoc.expand, heredoc.body
            )
        }
    });
    sources.collect::<Vec<_>>().join(" ")
}

fn show_option(name: &str, text: &Option<Text>) -> String {
    text.as_ref()
        .map(|text| format!(" {name}={:?}", text.raw))
        .unwrap_or_default()
}

fn show_words(words: &[Text]) -> String {
    words
        .iter()
        .map(|word| format!("{:?}", word.raw))
        .collect::<Vec<_>>()
        .join(" ")
}

fn show_pairs(pairs: &crate::ast::Pairs) -> String {
    let words: Vec<_> = pairs
        .pairs
        .iter()
        .map(|(name, value)| format!("{}={}", name.raw, value.raw))
        .collect();
    format!(
        "{}{}",
        words.join(" | "),
        if pairs.legacy { " legacy" } else { "" }
    )
}

fn show_kind(kind: &InstructionKind) -> String {
    match kind {
        InstructionKind::Run(run) => {
            let mut out = format!("RUN {}", show_command(&run.command));
            for mount in &run.mounts {
                out += &format!(" mount={:?}", mount.fields);
            }
            out += &show_option("network", &run.network);
            out += &show_option("security", &run.security);
            for heredoc in &run.heredocs {
                out += &format!(" <<{} {:?}", heredoc.name, heredoc.body);
            }
            out
        }
        InstructionKind::Cmd(command) => format!("CMD {}", show_command(command)),
        InstructionKind::Entrypoint(command) => format!("ENTRYPOINT {}", show_command(command)),
        InstructionKind::Copy(copy) => format!(
            "COPY {} -> {:?}{}{}{}{}{}{}",
            show_sources(&copy.sources),
            copy.destination.raw,
            show_option("from", &copy.from),
            show_option("chown", &copy.chown),
            show_option("chmod", &copy.chmod),
            if copy.link { " link" } else { "" },
            if copy.parents { " parents" } else { "" },
            copy.excludes
                .iter()
                .map(|text| format!(" -{}", text.raw))
                .collect::<String>(),
        ),
        InstructionKind::Add(add) => format!(
            "ADD {} -> {:?}{} git={:?} unpack={:?}",
            show_sources(&add.sources),
            add.destination.raw,
            show_option("checksum", &add.checksum),
            add.keep_git_dir,
            add.unpack,
        ),
        InstructionKind::Env(pairs) => format!("ENV {}", show_pairs(pairs)),
        InstructionKind::Label(pairs) => format!("LABEL {}", show_pairs(pairs)),
        InstructionKind::Arg(arg) => format!("ARG {}", show_args(arg)),
        InstructionKind::Expose(words) => format!("EXPOSE {}", show_words(words)),
        InstructionKind::Volume(words) => format!("VOLUME {}", show_words(words)),
        InstructionKind::User(text) => format!("USER {:?}", text.raw),
        InstructionKind::Workdir(text) => format!("WORKDIR {:?}", text.raw),
        InstructionKind::StopSignal(text) => format!("STOPSIGNAL {:?}", text.raw),
        InstructionKind::Maintainer(text) => format!("MAINTAINER {:?}", text.raw),
        InstructionKind::Shell(arguments) => format!("SHELL {arguments:?}"),
        InstructionKind::Healthcheck(crate::ast::Healthcheck::None) => {
            "HEALTHCHECK none".to_owned()
        }
        InstructionKind::Healthcheck(crate::ast::Healthcheck::Command {
            command,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        }) => format!(
            "HEALTHCHECK {} {interval} {timeout} {start_period} {start_interval} {retries}",
            show_command(command)
        ),
        InstructionKind::Onbuild(onbuild) => format!("ONBUILD {:?}", onbuild.trigger),
    }
}

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
fn df_021_to_023_json_form() {
    // DF-021 DF-022 DF-023
    assert_snapshot!(show("FROM a\nRUN [\"a\", \"b c\"]\nRUN ['a']\nRUN [\"a\"] b\nCMD []\nCMD [1]\nENTRYPOINT\nVOLUME [\"/a b\", \"/c\"]\nSHELL [\"s\",\"-c\"]\nRUN [\"\\u00e9\\n\"]\n"), @r#"
    FROM a
      RUN exec ["a", "b c"]
      RUN shell "['a']"
      RUN shell "[\"a\"] b"
      CMD exec []
      ENTRYPOINT shell ""
      VOLUME "/a b" "/c"
      SHELL ["s", "-c"]
      RUN exec ["é\n"]
    ! when using JSON array syntax, arrays must be comprised of strings only
    "#);
}

#[test]
fn df_024_to_026_df_060_df_112_flags() {
    // DF-024 DF-025 DF-026
    assert_snapshot!(show(r#"FROM a
COPY --form=x a b
COPY --chown=a --chown=b a b
COPY --link=false a b
COPY --link=TRUE --parents a b
COPY --link=maybe a b
COPY --link= a b
COPY --chown a b
COPY --chown="a b" --exclude=x --exclude='y z' -- --a b
WORKDIR --x /a
STOPSIGNAL --x 9
ARG --x a
RUN --mount=type=cache,target=/x --mount=TYPE=tmpfs,dst=/y,ro --security=insecure --network=none x
RUN --mount=from=$x y
RUN --mount= y
RUN --network=foo y
RUN --security=foo y
COPY --from=$x a b
COPY --from=x$ a b
"#), @r#"
FROM a
  COPY "a" -> "b"
  COPY "a" -> "b" link parents
  COPY "--a" -> "b" chown="a b" -x -y z
  STOPSIGNAL "9"
  ARG a
  RUN shell "x" mount=[("type", Some("cache")), ("target", Some("/x"))] mount=[("type", Some("tmpfs")), ("dst", Some("/y")), ("ro", None)] network="none" security="insecure"
  COPY "a" -> "b" from="x$"
! dockerfile parse error on line 2: unknown flag: --form (did you mean from?)
! dockerfile parse error on line 3: duplicate flag specified: --chown
! dockerfile parse error on line 6: expecting boolean value for flag --link, not: maybe
! dockerfile parse error on line 7: missing a value on flag: --link
! dockerfile parse error on line 8: missing a value on flag: --chown
! dockerfile parse error on line 10: unknown flag: --x
! dockerfile parse error on line 14: 'from' doesn't support variable expansion, define alias stage instead
! dockerfile parse error on line 15: failed to parse csv mounts: EOF
! dockerfile parse error on line 16: invalid network mode "foo"
! dockerfile parse error on line 17: security "foo" is not valid
! dockerfile parse error on line 18: variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround
"#);
}

#[test]
fn values_that_a_flag_knows_are_listed() {
    let parsed = parse(b"FROM a\nRUN --network=hots x\n");
    let notes = &parsed.diagnostics[0].notes;
    assert_eq!(notes.last().unwrap(), "expected default, none or host");
}

#[test]
fn df_027_to_029_pairs() {
    // DF-027 DF-028 DF-029
    assert_snapshot!(show(r#"FROM a
ENV a
ENV a b  c
ENV a=b c
ENV
ENV =b
ENV a="b c" d=e\ f g='h"' i=$j
LABEL "a b"=c d=
LABEL a
ARG
ARG a b=c d="e f"
ARG =x
"#), @r#"
FROM a
  ENV a=b  c legacy
  ENV a="b c" | d=e\ f | g='h"' | i=$j
  LABEL "a b"=c | d=
  ARG a | b=c | d="e f"
! ENV must have two arguments
! Syntax error - can't find = in "c". Must be of the form: name=value
! dockerfile parse error on line 5: ENV requires at least one argument
! dockerfile parse error on line 6: ENV names can not be blank
! LABEL must have two arguments
! dockerfile parse error on line 10: ARG requires at least one argument
! dockerfile parse error on line 12: ARG names can not be blank
"#);
}

#[test]
fn df_030_df_031_copy_arguments() {
    assert_snapshot!(show("FROM a\nCOPY a\nADD\nCOPY [\"a b\", \"c\"]\nADD --keep-git-dir --unpack=false --checksum=x a b c\n"), @r#"
    FROM a
      COPY "a b" -> "c"
      ADD "a" "b" -> "c" checksum="x" git=Some(true) unpack=Some(false)
    ! dockerfile parse error on line 2: COPY requires at least two arguments, but only one was provided. Destination could not be determined
    ! dockerfile parse error on line 3: ADD requires at least two arguments, but only one was provided. Destination could not be determined
    "#);
}

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

#[test]
fn df_078_df_079_from() {
    assert_snapshot!(show(r#"FROM a AS 1a
FROM a b
FROM
FROM a as B.c-d_9
FROM --platform=$P a
FROM a to b
RUN x
"#), @r#"
FROM a
FROM a
FROM 
FROM a AS B.c-d_9
FROM a platform=$P
FROM a
  RUN shell "x"
! dockerfile parse error on line 1: invalid name for build stage: "1a", name can't start with a number or contain symbols
! dockerfile parse error on line 2: FROM requires either one or three arguments
! dockerfile parse error on line 3: FROM requires either one or three arguments
! dockerfile parse error on line 6: FROM requires either one or three arguments
"#);
}

#[test]
fn words_and_whole_rests() {
    assert_snapshot!(show(r#"FROM a
EXPOSE 80  $P/udp
EXPOSE
USER a:b c
USER
WORKDIR /a b
VOLUME /a  /b
VOLUME
VOLUME [""]
SHELL sh -c
SHELL []
SHELL
STOPSIGNAL
MAINTAINER a <b@c>
"#), @r#"
FROM a
  EXPOSE "80" "$P/udp"
  USER "a:b c"
  WORKDIR "/a b"
  VOLUME "/a" "/b"
  MAINTAINER "a <b@c>"
! dockerfile parse error on line 3: EXPOSE requires at least one argument
! dockerfile parse error on line 5: USER requires exactly one argument
! dockerfile parse error on line 8: VOLUME requires at least one argument
! dockerfile parse error on line 9: VOLUME specified can not be an empty string
! dockerfile parse error on line 10: SHELL requires the arguments to be in JSON form
! dockerfile parse error on line 11: SHELL requires at least one argument
! dockerfile parse error on line 12: SHELL requires at least one argument
! dockerfile parse error on line 13: STOPSIGNAL requires exactly one argument
"#);
}

#[test]
fn df_094_df_095_health_checks() {
    assert_snapshot!(show(r#"FROM a
HEALTHCHECK NONE
HEALTHCHECK --interval=1x none
HEALTHCHECK NONE x
HEALTHCHECK --interval=30s --timeout=1m --start-period=1ms --start-interval=0 --retries=3 CMD curl x
HEALTHCHECK CMD ["a"]
HEALTHCHECK --interval=1us CMD a
HEALTHCHECK --start-period=-1s CMD a
HEALTHCHECK --interval=abc CMD a
HEALTHCHECK --retries=-1 CMD a
HEALTHCHECK --retries=x CMD a
HEALTHCHECK --retries=9999999999 CMD a
HEALTHCHECK CMD
HEALTHCHECK CMD []
HEALTHCHECK CMD [1]
HEALTHCHECK foo x
HEALTHCHECK
"#), @r#"
FROM a
  HEALTHCHECK none
  HEALTHCHECK none
  HEALTHCHECK shell "curl x" 30000000000 60000000000 1000000 0 3
  HEALTHCHECK exec ["a"] 0 0 0 0 0
! dockerfile parse error on line 4: HEALTHCHECK NONE takes no arguments
! dockerfile parse error on line 7: Interval "interval" cannot be less than 1ms
! dockerfile parse error on line 8: Interval "start-period" cannot be less than 1ms
! dockerfile parse error on line 9: time: invalid duration "abc"
! dockerfile parse error on line 10: --retries cannot be negative (-1)
! dockerfile parse error on line 11: invalid value for --retries: "x"
! dockerfile parse error on line 12: value of --retries is out of range: 9999999999
! dockerfile parse error on line 13: Missing command after HEALTHCHECK CMD
! dockerfile parse error on line 14: Missing command after HEALTHCHECK CMD
! when using JSON array syntax, arrays must be comprised of strings only
! dockerfile parse error on line 16: Unknown type "FOO" in HEALTHCHECK (try CMD)
! dockerfile parse error on line 17: HEALTHCHECK requires at least one argument
"#);
}

#[test]
fn df_098_onbuild() {
    assert_snapshot!(show(r#"FROM a
ONBUILD RUN --mount=a  b
onbuild ONBUILD RUN x
ONBUILD from x
ONBUILD MAINTAINER x
ONBUILD
ONBUILD --x RUN y
ONBUILD ENV a
ONBUILD CMD [1]
ONBUILD WHAT x
ONBUILD COPY --nope=x <<A <<-B /d
	x
A
	y
	B
"#), @r#"
FROM a
  ONBUILD "RUN --mount=a  b"
  ONBUILD "WHAT x"
  ONBUILD "COPY --nope=x <<A <<-B /d\n\tx\nA\n\ty\nB"
! dockerfile parse error on line 3: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed
! dockerfile parse error on line 4: FROM isn't allowed as an ONBUILD trigger
! dockerfile parse error on line 5: MAINTAINER isn't allowed as an ONBUILD trigger
! dockerfile parse error on line 6: ONBUILD requires at least one argument
! dockerfile parse error on line 7: unknown flag: --x
! ENV must have two arguments
! when using JSON array syntax, arrays must be comprised of strings only
"#);
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
fn triggers() {
    let parsed = parse_instruction("COPY --from=x <<A b /c\n$y\nA", '\\').unwrap();
    assert_snapshot!(show_kind(&parsed.kind), @r#"COPY <<A expand=true "$y\n" "b" -> "/c" from="x""#);
    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(
            parse_instruction(text, '\\').unwrap_err().full_message(),
            expected
        );
    }
    check(
        "",
        "dockerfile parse error on line 1: file with no instructions",
    );
    check(
        "FROM x",
        "dockerfile parse error on line 1: FROM isn't allowed as an ONBUILD trigger",
    );
    check(
        "COPY --x a b",
        "dockerfile parse error on line 1: unknown flag: --x",
    );
    check(
        "WHAT",
        "dockerfile parse error on line 1: unknown instruction: WHAT",
    );
    check("RUN <<A\nx", "unterminated heredoc");
    check(
        "RUN a\nRUN b",
        "dockerfile parse error on line 1: a trigger holds one instruction",
    );
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
    // A NUL is a character like any other here; whoever executes it will object.
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
fn descriptions() {
    let parsed = parse(b"# x y z\n# a is for b\nARG a\n");
    let comments = &parsed.dockerfile.global_args[0].site.comments;
    assert_eq!(crate::description(comments, "a"), Some("is for b"));
    assert_eq!(crate::description(comments, "x"), Some("y z"));
    assert_eq!(crate::description(comments, "is"), None);
    assert_eq!(crate::description(comments, ""), None);
}
