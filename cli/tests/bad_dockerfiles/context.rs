use insta::assert_snapshot;

use crate::bad_dockerfiles::harness::{case, complaints, line};

#[test]
fn df_120_df_156_missing_files_are_named() {
    let shown = complaints(&[
        line("not there", "ENV a=b\nCOPY nofile /x\nENV c=d"),
        line("not there, above the context", "COPY ../../nofile/ /x"),
        line("ignored", "COPY secret.txt /x")
            .file("secret.txt", "a")
            .file(".dockerignore", "*.txt\n"),
        line("ignored by the file's own list", "ADD a /x")
            .file("a", "a")
            .file("Dockerfile.dockerignore", "a\n"),
        case(
            "not in a stage",
            "FROM scratch AS a\nCOPY a /a\nFROM scratch\nCOPY --from=a /b /\n",
        )
        .file("a", "a"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn df_135_df_141_things_in_the_way() {
    let shown = complaints(&[
        line("a directory onto a file", "COPY a /x\nCOPY d /x")
            .file("a", "a")
            .file("d/e", "e"),
        line("a file onto a directory", "COPY d /x/a\nCOPY c /x/")
            .file("d/e", "e")
            .file("c/a", "a"),
        line(
            "an owner without anybody to ask",
            "COPY --link --chown=me a /x",
        )
        .file("a", "a"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn malformed_ignore_files_are_shown() {
    let shown = complaints(&[
        line("a lone exclamation mark", "COPY . /").file(".dockerignore", "# mine\na\n!\n"),
        line("a class that is not closed", "COPY . /").file(".dockerignore", "[a\n"),
    ]);
    assert_snapshot!(shown);
}

#[test]
fn malformed_times_are_shown() {
    let shown =
        complaints(&[line("that are none", "ENV a=b").with("--build-arg=SOURCE_DATE_EPOCH=noon")]);
    assert_snapshot!(shown);
}
