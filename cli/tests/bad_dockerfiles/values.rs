use insta::assert_snapshot;

use crate::bad_dockerfiles::harness::{complaints, line};

#[test]
fn df_087_wrong_ports_are_shown() {
    let shown = complaints(&[
        line("a word", "EXPOSE abc"),
        line("an unknown protocol", "EXPOSE 443 80/foo"),
        line("a number too high", "EXPOSE 70000"),
        line("a range that runs backwards", "EXPOSE 90-80"),
        line("a host port that is none", "EXPOSE x:80"),
        line("ranges of different sizes", "EXPOSE 1-3:80-81"),
        line("an address that is none", "EXPOSE 1.2.3:80:80"),
        line("nothing in a variable", "ENV P=abc\nEXPOSE 80 $P"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn df_093_df_095_signals_and_durations() {
    let shown = complaints(&[
        line("a signal", "STOPSIGNAL FOO"),
        line("an interval too short", "HEALTHCHECK --interval=1us CMD x"),
        line("an interval that is none", "HEALTHCHECK --timeout=5 CMD x"),
        line("retries below zero", "HEALTHCHECK --retries=-1 CMD x"),
        line(
            "retries that are no number",
            "HEALTHCHECK --retries=x CMD x",
        ),
        line("an unknown type", "HEALTHCHECK FOO x"),
        line("arguments of NONE", "HEALTHCHECK NONE x"),
        line("no command", "HEALTHCHECK CMD"),
        line("an empty volume", "VOLUME $NOTHING"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn df_133_df_148_df_149_wrong_copies_are_shown() {
    let shown = complaints(&[
        line("a mode too high", "COPY --chmod=999 a /b"),
        line("a mode with five digits", "COPY --chmod=10000 a /b"),
        line("a mode in letters", "COPY --chmod=u+q a /b"),
        line("COPY of a URL", "COPY https://example.com/a /b"),
        line("COPY of a repository", "COPY git@example.com:a/b /b"),
        line(
            "a checksum of two",
            "ADD --checksum=sha256:0 https://example.com/a https://example.com/b /c/",
        ),
        line("a checksum of a file", "ADD --checksum=sha256:0 a /b"),
        line("two references", "ADD https://example.com/a.git?ref=x#y /b"),
        line("an unknown option", "ADD https://example.com/a.git?x=1 /b"),
    ]);
    assert_snapshot!(shown);
}
