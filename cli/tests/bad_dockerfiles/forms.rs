use insta::assert_snapshot;

use crate::bad_dockerfiles::harness::{complaints, line};

#[test]
fn df_027_df_029_names_and_values() {
    let shown = complaints(&[
        line("ENV with a name alone", "ENV a"),
        line("ENV with nothing", "ENV"),
        line("ENV with a word that has no =", "ENV a=b c d=e"),
        line("ENV without a name", "ENV =b"),
        line("LABEL with a name alone", "LABEL version"),
        line("LABEL without a name", "LABEL a=b =c"),
        line("ARG with nothing", "ARG"),
        line("ARG without a name", "ARG a =b"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn df_023_df_082_malformed_arrays_are_shown() {
    let shown = complaints(&[
        line("CMD with a number", "CMD [\"a\", 1]"),
        line("RUN with a nested array", "RUN [[\"a\"]]"),
        line("HEALTHCHECK with a number", "HEALTHCHECK CMD [1]"),
        line("SHELL without an array", "SHELL /bin/bash -c"),
        line("SHELL with an empty array", "SHELL []"),
        line("SHELL with single quotes", "SHELL ['/bin/sh', '-c']"),
        line("RUN with an empty array", "RUN []"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn df_030_numbers_of_arguments() {
    let shown = complaints(&[
        line("COPY with one", "COPY a"),
        line("ADD with none", "ADD"),
        line("USER with none", "USER"),
        line("WORKDIR with none", "WORKDIR"),
        line("EXPOSE with none", "EXPOSE"),
        line("VOLUME with none", "VOLUME"),
        line("VOLUME with an empty one", "VOLUME [\"\"]"),
        line("STOPSIGNAL with none", "STOPSIGNAL"),
        line("MAINTAINER with none", "MAINTAINER"),
        line("HEALTHCHECK with none", "HEALTHCHECK"),
    ]);
    assert_snapshot!(shown);
}
