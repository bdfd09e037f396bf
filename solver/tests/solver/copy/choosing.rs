//! Which files are copied, and where to.

use std::fs;
use std::os::unix::fs::symlink;

use super::bench::Bench;

/// DF-116, DF-117.
#[test]
fn directories_give_their_contents_and_files_their_names() {
    let bench = Bench::new(&["d/x", "d/e/y", "f"]);
    let tree = [
        "o/ 755",
        "o/e/ 755",
        "o/e/y 644 \"d/e/y\"",
        "o/x 644 \"d/x\"",
    ];
    bench.check("COPY d /o", &tree);
    bench.check("COPY d /o/", &tree);
    bench.check("COPY d/. o", &tree);
    bench.check("COPY f /o", &["o 644 \"f\""]);
    bench.check("COPY f /o/", &["o/ 755", "o/f 644 \"f\""]);
    bench.check("WORKDIR /o\nCOPY f .", &["o/ 755", "o/f 644 \"f\""]);
    bench.check("WORKDIR /o\nCOPY f /o", &["o/ 755", "o/f 644 \"f\""]);
    bench.check("COPY f ../../a/../b", &["b 644 \"f\""]);
}

/// DF-118, DF-119, DF-120, DF-121.
#[test]
fn several_sources_are_copied_and_missing_ones_refused() {
    let bench = Bench::new(&["a", "b"]);
    bench.check("COPY a b /x", &["x 644 \"b\""]);
    bench.check("COPY a /x\nCOPY nothing* /y/", &["x 644 \"a\""]);
    bench.check("COPY ../../a /x", &["x 644 \"a\""]);
    bench.fails(
        "COPY sub/../nofile /x",
        "failed to compute cache key: failed to calculate checksum: \"/nofile\": not found",
    );
}

/// DF-122, DF-123, DF-124.
#[test]
fn links_are_followed_as_arguments_and_destinations_only() {
    let bench = Bench::new(&["real/file", "f"]);
    symlink("real", bench.path("dirlink")).unwrap();
    symlink("real/file", bench.path("filelink")).unwrap();
    fs::create_dir(bench.path("holder")).unwrap();
    symlink("../f", bench.path("holder/inner")).unwrap();
    bench.check("COPY dirlink /o", &["o/ 755", "o/file 644 \"real/file\""]);
    bench.check(
        "COPY filelink /o/",
        &["o/ 755", "o/filelink 644 \"real/file\""],
    );
    bench.check("COPY dirlink/file /o", &["o 644 \"real/file\""]);
    bench.check("COPY holder /o", &["o/ 755", "o/inner -> ../f"]);
    symlink("/data/real", bench.path("holder/dest")).unwrap();
    bench.check(
        "COPY holder /\nCOPY f /dest",
        &[
            "data/ 755",
            "data/real 644 \"f\"",
            "dest -> /data/real",
            "inner -> ../f",
        ],
    );
    bench.check(
        "WORKDIR /data/real\nCOPY holder /\nCOPY f /dest",
        &[
            "data/ 755",
            "data/real/ 755",
            "data/real/f 644 \"f\"",
            "dest -> /data/real",
            "inner -> ../f",
        ],
    );
}

/// DF-137, DF-138, DF-139, DF-140.
#[test]
fn wildcards_parents_and_exclusions_choose_files() {
    let bench = Bench::new(&[
        "p/one.go",
        "p/q/two.go",
        "p/q/r/three.go",
        "p/q/x.txt",
        "[a].txt",
    ]);
    bench.check(
        "COPY **/one.go /o/",
        &["o/ 755", "o/one.go 644 \"p/one.go\""],
    );
    bench.check("COPY p/*/x.* /o/", &["o/ 755", "o/x.txt 644 \"p/q/x.txt\""]);
    bench.check("COPY [[]a].txt /o", &["o 644 \"[a].txt\""]);
    // A directory that matches gives its contents.
    bench.check(
        "COPY p/q/[r] /o",
        &["o/ 755", "o/three.go 644 \"p/q/r/three.go\""],
    );
    bench.check(
        "COPY --parents p/**/*.go /o/",
        &[
            "o/ 755",
            "o/p/ 755",
            "o/p/one.go 644 \"p/one.go\"",
            "o/p/q/ 755",
            "o/p/q/r/ 755",
            "o/p/q/r/three.go 644 \"p/q/r/three.go\"",
            "o/p/q/two.go 644 \"p/q/two.go\"",
        ],
    );
    bench.check(
        "COPY --parents p/./q/r/three.go /o",
        &[
            "o/ 755",
            "o/q/ 755",
            "o/q/r/ 755",
            "o/q/r/three.go 644 \"p/q/r/three.go\"",
        ],
    );
    bench.check(
        "COPY --exclude=**/*.go --exclude=!q/two.go p /o",
        &[
            "o/ 755",
            "o/q/ 755",
            "o/q/r/ 755",
            "o/q/two.go 644 \"p/q/two.go\"",
            "o/q/x.txt 644 \"p/q/x.txt\"",
        ],
    );
    bench.check("COPY --exclude=*.go p/one.go /o", &["o 644 \"p/one.go\""]);
}

/// Wildcards used to lose links out of the part of the context that they search, to take what lay
/// behind a link in their middle, and to copy nothing where their directory did not exist.
#[test]
fn wildcards_follow_what_they_match_and_nothing_else() {
    let bench = Bench::new(&["sub/a", "other/b", "other/c/d"]);
    symlink("../other/b", bench.path("sub/file")).unwrap();
    symlink("../other", bench.path("sub/full")).unwrap();
    symlink("other", bench.path("o")).unwrap();
    bench.check(
        "COPY sub/f* /o/",
        &[
            "o/ 755",
            "o/b 644 \"other/b\"",
            "o/c/ 755",
            "o/c/d 644 \"other/c/d\"",
            "o/file 644 \"other/b\"",
        ],
    );
    bench.check(
        "COPY o/* /x/",
        &["x/ 755", "x/b 644 \"other/b\"", "x/d 644 \"other/c/d\""],
    );
    bench.check(
        "COPY sub/a ?/b s*/full/b /x/",
        &["x/ 755", "x/a 644 \"sub/a\""],
    );
    symlink("nowhere", bench.path("sub/gone")).unwrap();
    bench.fails(
        "COPY sub/g* /x/",
        "failed to compute cache key: failed to calculate checksum: \"/sub/gone\": not found",
    );
}

/// BuildKit sends of a context what instructions name. The directory of a wildcard is there if
/// something in it is sent, or it was made by a stage.
#[test]
fn a_wildcard_without_a_match_needs_its_directory() {
    let bench = Bench::new(&["sub/a", "f"]);
    let nowhere = "lstat /sub: no such file or directory: nothing matches \"sub/*.z\"";
    bench.fails("COPY sub/*.z /x/", nowhere);
    bench.fails("COPY none/* /x/", "lstat /none: no such file or directory");
    bench.check("COPY *.z */z /x/\nCOPY f /f", &["f 644"]);
    bench.check("COPY sub/*.z /x/\nCOPY sub/a /f", &["f 644 \"sub/a\""]);
    bench.check("COPY sub/*.z /x/\nCOPY s* /", &["a 644 \"sub/a\""]);
    let stage = |pattern: &str| {
        format!("COPY sub /sub/\nFROM scratch\nCOPY --from=0 {pattern} /x/\nCOPY f /f")
    };
    bench.check(&stage("/sub/*.z"), &["f 644"]);
    bench.fails(
        &stage("/none/*.z"),
        "lstat /none: no such file or directory",
    );
}

/// Links are kept by `--parents`, and its patterns do not go through them.
#[test]
fn with_parents_links_are_kept() {
    let bench = Bench::new(&["a/b/f", "a/g", "o/p"]);
    symlink("g", bench.path("a/l")).unwrap();
    symlink("nowhere", bench.path("a/gone")).unwrap();
    symlink("../o", bench.path("a/lo")).unwrap();
    bench.check(
        "COPY --parents a/l /d/",
        &["d/ 755", "d/a/ 755", "d/a/l -> g"],
    );
    bench.check(
        "COPY --parents a/gone /d",
        &["d/ 755", "d/a/ 755", "d/a/gone -> nowhere"],
    );
    bench.check("COPY --parents a/./lo /d/", &["d/ 755", "d/lo -> ../o"]);
    bench.check("COPY --parents a/lo/p /d/", &["d/ 755"]);
    bench.check(
        "COPY --parents a/lo/./p /d/",
        &["d/ 755", "d/p 644 \"o/p\""],
    );
    bench.check(
        "COPY --parents **/l* /d/",
        &["d/ 755", "d/a/ 755", "d/a/l -> g", "d/a/lo -> ../o"],
    );
}

/// What stands in front of `/./` may have wildcards; what matches nothing still makes the
/// destination.
#[test]
fn with_parents_the_pivot_may_be_a_pattern() {
    let bench = Bench::new(&["a/b/f", "c/b/g", "c/h"]);
    bench.mode("c/b", 0o700);
    bench.check(
        "COPY --parents ?/./b/* /d/",
        &[
            "d/ 755",
            "d/b/ 700",
            "d/b/f 644 \"a/b/f\"",
            "d/b/g 644 \"c/b/g\"",
        ],
    );
    bench.check("COPY --parents none* a/z* /d/", &["d/ 755"]);
    bench.check("COPY --parents . /d/", &["d/ 755"]);
    bench.fails(
        "COPY --parents a/z /d/",
        "failed to compute cache key: failed to calculate checksum: \"/a/z\": not found",
    );
    bench.fails(
        "COPY --parents a/./z* /d/",
        "lstat /a: no such file or directory: nothing matches \"a/./z*\"",
    );
    // What is there keeps its owner; the mode is that of the source.
    bench.check(
        "COPY --chown=5:6 --chmod=711 c /d\nCOPY --parents --chown=7:8 c/./b/g /d/",
        &[
            "d/ 711 5:6",
            "d/b/ 700 5:6",
            "d/b/g 644 7:8 \"c/b/g\"",
            "d/h 711 5:6 \"c/h\"",
        ],
    );
}

/// With `--parents` patterns begin at the root, or at the pivot, and leave out what is named too.
#[test]
fn with_parents_exclusions_count_from_the_root() {
    let bench = Bench::new(&["a/b/f", "a/g", "t"]);
    let g = ["d/ 755", "d/a/ 755", "d/a/g 644 \"a/g\""];
    bench.check("COPY --parents --exclude=a/b a /d/", &g);
    bench.check("COPY --parents --exclude=b --exclude=a/b/f a/g /d/", &g);
    bench.check(
        "COPY --parents --exclude=a/g a/g t /d/",
        &["d/ 755", "d/t 644 \"t\""],
    );
    bench.check("COPY --parents --exclude=b a/./b /d/", &["d/ 755"]);
    bench.check(
        "COPY --parents --exclude=a --exclude=!a/b a /d/",
        &["d/ 755", "d/a/ 755", "d/a/b/ 755", "d/a/b/f 644 \"a/b/f\""],
    );
    // A directory that was not excluded does not bring back what in it was.
    bench.check(
        "COPY --exclude=**/f --exclude=!b a /d/",
        &["d/ 755", "d/b/ 755", "d/g 644 \"a/g\""],
    );
}

/// DF-151, DF-156, DF-157.
#[test]
fn ignored_files_do_not_exist() {
    let bench = Bench::new(&["keep", "a.log", "d/b.log", "gone/x", "gone/back"]);
    let ignore = "**/*.log\ngone\n!gone/back\n";
    let built = bench
        .try_build("FROM scratch\nCOPY . /o\n", ignore)
        .unwrap();
    assert_eq!(
        built.lines,
        [
            "o/ 755",
            "o/d/ 755",
            "o/gone/ 755",
            "o/gone/back 644 \"gone/back\"",
            "o/keep 644 \"keep\""
        ]
    );
    let leaking = bench.try_build("FROM scratch\nCOPY . /o\n", "**/*.log\n!d\n**/keep\n");
    let lines = leaking.unwrap().lines;
    assert_eq!(lines[1..3], ["o/d/ 755", "o/gone/ 755"], "{lines:?}");
    let error = bench.try_build("FROM scratch\nCOPY gone/x /o\n", ignore);
    let message = error.err().unwrap().to_string();
    assert!(message.ends_with("\"/gone/x\": not found"), "{message}");
}
