use insta::assert_snapshot;

use crate::bad_dockerfiles::harness::{case, complaints, line};

#[test]
fn df_003_df_004_df_005_files_without_a_build() {
    let shown = complaints(&[
        case("an empty file", ""),
        case(
            "nothing but comments",
            "# syntax=docker/dockerfile:1\n\n# later\n",
        ),
        case("no stage", "RUN make\nCOPY a b\n"),
        case("nothing but arguments", "ARG A=1\nARG B\n"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn df_015_df_016_wrong_directives_are_shown() {
    let shown = complaints(&[
        case("an escape token that is none", "# escape=x\nFROM scratch\n"),
        case(
            "a directive twice",
            "# escape=`\n# syntax=docker/dockerfile:1\n# escape=`\nFROM scratch\n",
        ),
        case(
            "another frontend",
            "# syntax=example.com/frontend\nFROM scratch\n",
        ),
        case(
            "a check option that is none",
            "# check=foo=1\nFROM scratch\n",
        ),
        case(
            "a check option without a truth value",
            "# check=skip=all;error=perhaps\nFROM scratch\n",
        ),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn df_019_df_020_malformed_lines_are_shown() {
    let long = format!("FROM scratch\nENV A={}\n", "x".repeat(65_536));
    let shown = complaints(&[
        line("an unknown instruction", "COPPY a /"),
        line("an instruction like none", "Frobnicate a"),
        line(
            "several lines",
            "COPY --form=a \\\n  # why\n  b \\\n\n  /c\nENV d=e",
        ),
        case("bytes that are no text", b"FROM scratch\nENV A=\xff\xfe\n"),
        case("a line that is too long", long),
        case(
            "several mistakes",
            "FROM scratch AS 1st\nCPOY a b\nENV x\nRUN --mount=type=secret\nEXPOSE\n",
        ),
    ]);
    assert_snapshot!(shown.replace(&"x".repeat(1_994), "[1994 times x]"));
}
