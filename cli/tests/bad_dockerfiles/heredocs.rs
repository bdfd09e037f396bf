use insta::assert_snapshot;

use crate::bad_dockerfiles::harness::{complaints, line};

#[test]
fn df_042_df_043_malformed_heredocs_are_shown() {
    let shown = complaints(&[
        line("no end", "RUN <<EOF\necho a\nEOF2"),
        line("an end with blanks before it", "COPY <<EOF /a\ntext\n  EOF"),
        line(
            "the second of two without an end",
            "COPY <<A <<B /d/\na\nA\nb",
        ),
        line("as the destination", "COPY a <<EOF\ntext\nEOF"),
        line("a blank behind the marker", "COPY << EOF /a\ntext\nEOF"),
        line("variables in a body", "COPY <<EOF /a\n${}\nEOF"),
    ]);
    assert_snapshot!(shown);
}
