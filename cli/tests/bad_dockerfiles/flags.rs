use insta::assert_snapshot;

use crate::bad_dockerfiles::harness::{complaints, line};

#[test]
fn df_024_df_025_df_026_wrong_flags_are_shown() {
    let shown = complaints(&[
        line("a flag spelt wrong", "COPY --form=a b /c"),
        line("a flag like none", "COPY --frobnicate b /c"),
        line("a flag of another instruction", "ADD --parents b /c"),
        line("a flag where none belongs", "ENV --x a=b"),
        line("a flag twice", "COPY --chown=1 --chown=2 b /c"),
        line("a flag without its value", "COPY --from b /c"),
        line("a switch that is no truth value", "COPY --link=maybe b /c"),
        line("a switch with an empty value", "COPY --link= b /c"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn df_112_modes_of_run() {
    let shown = complaints(&[
        line("a network that is none", "RUN --network=foo true"),
        line("a network spelt wrong", "RUN --network=hots true"),
        line("the host's network unasked", "RUN --network=host true"),
        line("a security mode that is none", "RUN --security=foo true"),
        line("full rights unasked", "RUN --security=insecure true"),
        line("a device without a name", "RUN --device=required true"),
    ]);
    assert_snapshot!(shown);
}
