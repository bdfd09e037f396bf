use insta::assert_snapshot;

use crate::bad_dockerfiles::harness::{case, complaints, line};

#[test]
fn df_058_forms_of_variables() {
    let shown = complaints(&[
        line("no name", "ENV a=${}"),
        line("a modifier without a name", "ENV a=${:-x}"),
        line("braces in braces", "ENV a=${{x}"),
        line("an unknown modifier", "ENV a=/x/${B!x}/y"),
        line("a colon before a pattern", "LABEL a=${v:#p}"),
        line("a brace that is not closed", "WORKDIR /a/${v"),
        line(
            "an unknown escape in a pattern",
            "ENV a=bcd\nENV b=${a#\\c}",
        ),
        line("a pattern without its replacement", "ENV a=${b/c}"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn df_049_missing_required_variables_are_shown() {
    let shown = complaints(&[
        line("with a message", "ENV a=\"${VERSION:?say which}\""),
        line(
            "with a message that is not quoted",
            "ENV a=${VERSION:?say which}",
        ),
        line("unset", "USER ${WHO?}"),
        line("empty", "ENV W=\nUSER ${W:?}"),
        case("above all stages", "ARG A=${B?}\nFROM scratch\n"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn open_quotes_are_shown() {
    let shown = complaints(&[
        line("a double quote", "ENV a=\"b c"),
        line("a single quote", "LABEL a='b"),
        line("on a further line", "ENV a=b \\\n    c=\"d"),
    ]);
    assert_snapshot!(shown);
}
