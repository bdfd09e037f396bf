use insta::assert_snapshot;

use crate::bad_dockerfiles::harness::{complaints, line};

#[test]
fn df_112_df_113_wrong_mounts_are_shown() {
    let shown = complaints(&[
        line(
            "an unknown key",
            "RUN --mount=type=bind,form=a,target=/m true",
        ),
        line("a word without a value", "RUN --mount=type=bind,foo true"),
        line("an unknown type", "RUN --mount=type=foo,target=/m true"),
        line(
            "a type spelt wrong",
            "RUN --mount=type=cahce,target=/m true",
        ),
        line("the root", "RUN --mount=type=tmpfs,target=/ true"),
        line(
            "the working directory, which is the root",
            "RUN --mount=target=. true",
        ),
        line(
            "a quote in the middle",
            "RUN --mount=type=bind,tar\\\"get=/m true",
        ),
        line("nothing", "RUN --mount= true"),
        line(
            "no truth value",
            "RUN --mount=type=secret,id=a,required=perhaps true",
        ),
        line("no number", "RUN --mount=type=cache,target=/m,uid=me true"),
        line("no size", "RUN --mount=type=tmpfs,target=/m,size=big true"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn options_of_other_types() {
    let shown = complaints(&[
        line(
            "an unknown way of sharing",
            "RUN --mount=type=cache,target=/m,sharing=foo true",
        ),
        line(
            "sharing what is no cache",
            "RUN --mount=type=bind,target=/m,sharing=locked true",
        ),
        line(
            "a mode where nothing is made",
            "RUN --mount=type=bind,target=/m,mode=0700 true",
        ),
        line(
            "the size of a bind",
            "RUN --mount=type=bind,target=/m,size=1m true",
        ),
        line(
            "a secret from a stage",
            "RUN --mount=type=secret,id=a,from=b true",
        ),
        line(
            "a secret with two names",
            "RUN --mount=type=secret,id=a,source=b true",
        ),
        line("a secret without a name", "RUN --mount=type=secret true"),
        line(
            "the source of an agent",
            "RUN --mount=type=ssh,source=a true",
        ),
    ]);
    assert_snapshot!(shown);
}
