//! Two builds of the same come to the same bytes, for all users, places and ways to build.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::{list_directory, need, run};

use crate::truth::machine::{Machine, succeeded};

const DOCKERFILE: &str = r#"FROM base AS made
RUN mkdir -p /out/deep && echo one > /out/b && ln /out/b /out/a && ln -s b /out/deep/link
RUN chown 7:8 /out/deep && chmod 1777 /out && rm /bin/wc
WORKDIR /made/here
FROM base
ARG SOURCE_DATE_EPOCH
COPY --chown=3:4 . /app/
COPY --from=made /out /out
ADD files.tar /unpacked/
COPY <<END /inline/file
inline
END
RUN echo $SOURCE_DATE_EPOCH > /app/time; rm -rf /app/sub; mkdir /app/sub; env | sort > /app/env
ENV B=2 A=1
LABEL z=1 y=2
USER me
WORKDIR /home/me
"#;

const FILES: [&str; 6] = ["z", "a", "sub/m", "sub/b", "Capital", "ümläut"];

/// How a build is done, all of which must not show.
struct Manner<'a> {
    name: &'a str,
    file_mask: &'a str,
    variables: &'a [(&'a str, &'a str)],
    flags: &'a [&'a str],
    order: fn(&mut Vec<&str>),
}

const MANNERS: [Manner<'_>; 3] = [
    Manner {
        name: "one",
        file_mask: "022",
        variables: &[("SOURCE_DATE_EPOCH", "1000"), ("TZ", "Asia/Tokyo")],
        flags: &["--jobs=1"],
        order: |files| files.sort_unstable(),
    },
    Manner {
        name: "another/place",
        file_mask: "077",
        variables: &[("LC_ALL", "tr_TR.UTF-8"), ("TZ", "America/New_York")],
        flags: &["--timestamp=1000", "--jobs=8"],
        order: |files| files.reverse(),
    },
    Manner {
        name: "third",
        file_mask: "000",
        variables: &[("LANG", "C"), ("COLUMNS", "20")],
        flags: &["--build-arg=SOURCE_DATE_EPOCH=1000", "--progress=plain"],
        order: |files| files.rotate_left(2),
    },
];

/// Makes the context, its files in an order of its own.
fn context(root: &Path, order: fn(&mut Vec<&str>)) {
    let mut files = FILES.to_vec();
    order(&mut files);
    fs::create_dir_all(root.join("sub")).unwrap();
    for name in files {
        let path = root.join(name);
        fs::write(&path, format!("this is {name}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    }
    fs::hard_link(root.join("a"), root.join("same-as-a")).unwrap();
    symlink("sub/m", root.join("link")).unwrap();
    fs::set_permissions(root.join("sub"), Permissions::from_mode(0o755)).unwrap();
    run(Command::new("tar")
        .args([
            "--create",
            "--sort=name",
            "--owner=5",
            "--group=6",
            "--mtime=@9000",
        ])
        .args(["--numeric-owner", "--format=ustar", "--file"])
        .arg(root.join("files.tar"))
        .arg("--directory")
        .arg(root)
        .args(["a", "sub"]));
    fs::set_permissions(root.join("files.tar"), Permissions::from_mode(0o644)).unwrap();
    fs::write(root.join(".dockerignore"), ".dockerignore\nDockerfile\n").unwrap();
    fs::write(root.join("Dockerfile"), DOCKERFILE).unwrap();
}

/// Builds in this manner to an output, and returns where that lies.
fn build(machine: &Machine, manner: &Manner<'_>, output: &str) -> PathBuf {
    let place = machine.directory(manner.name);
    let root = place.join("ctx");
    if !root.exists() {
        context(&root, manner.order);
    }
    let kind = output.replace([',', '='], "-");
    let state = machine.state(0, &format!("{}/state-{kind}", manner.name));
    let to = place.join(kind);
    let mut command = machine.kiln_with_mask(&state, manner.file_mask);
    command.envs(manner.variables.iter().copied());
    command
        .args(["build", "-t", "reproduced:v1"])
        .args(manner.flags);
    command
        .arg("-o")
        .arg(format!("{output},dest={}", to.display()));
    succeeded(command.arg(&root));
    to
}

fn all_the_same(output: &str, content: impl Fn(&Path) -> Vec<String>) {
    let machines = [need!(Machine::own()), need!(Machine::of_user())];
    let mut expected = None;
    for machine in &machines {
        for manner in &MANNERS {
            let found = content(&build(machine, manner, output));
            match &expected {
                None => expected = Some(found),
                Some(expected) => assert_eq!(expected, &found, "{} {output}", manner.name),
            }
        }
    }
}

/// Returns the names of the blobs of a layout, which are their digests, and its index.
fn layout(directory: &Path) -> Vec<String> {
    let files = list_directory(&directory.join("blobs/sha256"));
    let mut names: Vec<String> = files
        .iter()
        .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
        .collect();
    names.push(fs::read_to_string(directory.join("index.json")).unwrap());
    names
}

/// Returns an archive as a digest of its bytes.
fn archive(file: &Path) -> Vec<String> {
    let sum = succeeded(
        Command::new("sha256sum")
            .arg("-b")
            .stdin(fs::File::open(file).unwrap()),
    );
    vec![sum]
}

#[test]
fn layouts_with_gzip() {
    all_the_same("type=oci,tar=false,rewrite-timestamp=true", layout);
}

#[test]
fn layouts_with_zstd() {
    all_the_same(
        "type=oci,tar=false,rewrite-timestamp=true,compression=zstd",
        layout,
    );
}

#[test]
fn archives_are_equal_every_time() {
    all_the_same("type=docker,rewrite-timestamp=true", archive);
    all_the_same("type=oci,rewrite-timestamp=true", archive);
}
