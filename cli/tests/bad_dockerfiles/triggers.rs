use insta::assert_snapshot;

use crate::bad_dockerfiles::harness::{case, complaints, line};

#[test]
fn df_098_wrong_triggers_are_shown() {
    let shown = complaints(&[
        line("a trigger of a trigger", "ONBUILD ONBUILD RUN x"),
        line("FROM", "ONBUILD FROM scratch"),
        line("MAINTAINER", "ONBUILD maintainer me"),
        line("nothing", "ONBUILD"),
        line("a form that is wrong", "ONBUILD ENV a"),
        line("a heredoc without an end", "ONBUILD RUN <<EOF\nx"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn triggers_that_fire() {
    let shown = complaints(&[
        case(
            "unknown",
            "FROM scratch AS a\nONBUILD COPPY x /\n\nFROM a\n",
        ),
        case(
            "with an unknown flag",
            "FROM scratch AS a\nONBUILD COPY --form=x y /\n\nFROM a AS b\n",
        ),
        case(
            "with a bad value",
            "FROM scratch AS a\nONBUILD EXPOSE 80/foo\n\n\n\nFROM a\n",
        ),
    ]);
    assert_snapshot!(shown);
}
