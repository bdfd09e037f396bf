use insta::assert_snapshot;

use crate::bad_dockerfiles::harness::{case, complaints, line};

#[test]
fn df_078_df_079_df_080_wrong_bases_are_shown() {
    let shown = complaints(&[
        case("nothing", "FROM\n"),
        case("two arguments", "FROM scratch build\n"),
        case("a name without AS", "FROM scratch IS build\n"),
        case("a name that starts with a digit", "FROM scratch AS 1a\n"),
        case("an undeclared variable", "ARG IMAGE=scratch\nFROM $IMGAE\n"),
        case("an argument without a value", "ARG BASE\nFROM ${BASE}\n"),
        case("capitals in a name", "FROM UPPER/Case\n"),
        case("a name that is none", "FROM a:b:c\n"),
        case(
            "an empty platform",
            "FROM --platform=$BUILDPLATFROM scratch\n",
        ),
        case(
            "a platform that is none",
            "FROM --platform=linux/a/b/c scratch\n",
        ),
        case(
            "a flag spelt wrong",
            "FROM --platfrom=linux/amd64 scratch\n",
        ),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn df_159_missing_targets_are_shown() {
    let stages = "FROM scratch AS builder\nFROM scratch AS test\nFROM scratch\n";
    let shown = complaints(&[
        case("spelt wrong", stages).with("--target=bilder"),
        case("like none", stages).with("--target=production"),
        case("an index", stages).with("--target=0"),
        case("no names at all", "FROM scratch\n").with("--target=x"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn df_060_df_115_df_150_df_160_wrong_stage_names_are_shown() {
    let shown = complaints(&[
        case(
            "a variable",
            "FROM scratch AS a\nFROM scratch\nARG S=a\nCOPY --from=$S /x /y\n",
        ),
        case(
            "a variable in a mount",
            "FROM scratch\nRUN --mount=from=$S,target=/m true\n",
        ),
        case(
            "an index too high",
            "FROM scratch\nFROM scratch\nCOPY --from=9 /x /y\n",
        ),
        case(
            "a later stage",
            "FROM scratch AS a\nCOPY --from=b /x /y\nFROM scratch AS b\nFROM a\n",
        ),
        case(
            "a later stage in a mount",
            "FROM scratch AS a\nRUN --mount=from=b,target=/m true\nFROM scratch AS b\nFROM a\n",
        ),
        case(
            "a name that is none",
            "FROM scratch AS Builder\nFROM scratch\nCOPY --from=BUILDR /x /y\n",
        ),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn circles_of_stages_are_shown() {
    let shown = complaints(&[
        case(
            "of two",
            "FROM scratch AS a\nCOPY --from=b / /\n\nFROM scratch AS b\nCOPY --from=a / /\n",
        ),
        case("of one", "FROM scratch AS a\nCOPY --from=a / /\n"),
        case(
            "of three",
            "FROM scratch AS a\nRUN --mount=from=c,target=/m true\n\nFROM a AS b\nENV x=1\n\n\n\n\
             FROM scratch AS c\nENV y=1\nCOPY --from=b \\\n    / /\n",
        ),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn several_mistakes_of_meaning() {
    let shown = complaints(&[line(
        "in one stage",
        "STOPSIGNAL FOO\nEXPOSE 80/foo\nENV a=${}\nCOPY --chmod=999 a b",
    )]);
    assert_snapshot!(shown);
}
