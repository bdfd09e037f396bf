//! Flags, forms and arguments of the instructions.

use insta::assert_snapshot;

use super::super::*;
use super::*;

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
fn onbuild_triggers_are_parsed() {
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
