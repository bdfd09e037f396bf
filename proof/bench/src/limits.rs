//! The same work by raw means: what is left to pay when nothing is managed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::action::Action;
use crate::error::Error;
use crate::stat_walk::stat_walk;

/// Makes N steps on top of a root file system and, if it is not empty, of what is in
/// `0/upper`: namespaces, an overlay on all earlier steps, and a shell in it that writes one
/// file.
const RUN_STEPS: &str = r#"
set -e
lower=$1
cd "$2"
[ ! -e 0/upper ] || lower=0/upper:$lower
step=1
while [ "$step" -le "$3" ]; do
    mkdir -p "$step/upper" "$step/work" "$step/root"
    unshare --mount --pid --fork sh -e -c '
        mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
        exec chroot "$2/root" /bin/sh -c "echo $2 > /step-$2"
    ' sh "$lower" "$step"
    lower=$step/upper:$lower
    step=$((step + 1))
done
"#;

/// Copies a directory to where the first of [`RUN_STEPS`] sees it, then goes on with those.
const COPY: &str = r#"
set -e
mkdir -p "$2/0/upper"
cp -a "$4" "$2/0/upper/data"
"#;

/// Runs one command in namespaces, in an overlay on a root file system, with the file systems
/// that programs expect.
const IN_OVERLAY: &str = r#"
set -e
cd "$2"
mkdir -p upper work root
exec unshare --mount --pid --fork sh -e -c '
    mount -t overlay overlay -o "lowerdir=$1,upperdir=upper,workdir=work" root
    mount -t proc proc root/proc
    mount --rbind /dev root/dev
    shift
    exec chroot root "$@"
' sh "$1" "$3" "$4" "$5"
"#;

/// Runs one program that needs nothing, in namespaces and an overlay.
const RUN_ONE: &str = r#"
set -e
cd "$2"
mkdir upper work root
exec unshare --mount --pid --fork sh -e -c '
    mount -t overlay overlay -o "lowerdir=$1,upperdir=upper,workdir=work" root
    exec chroot root "$2"
' sh "$1" "$3"
"#;

/// Asks for the attributes of every file below a directory.
pub(crate) fn walk(directory: PathBuf) -> Action {
    Action::Here(Box::new(move || stat_walk(&directory).map(drop)))
}

/// As [`walk`], then copies the one file that changed.
pub(crate) fn walk_and_copy_one(directory: PathBuf, file: PathBuf, to: PathBuf) -> Action {
    Action::Here(Box::new(move || {
        stat_walk(&directory)?;
        fs::copy(&file, &to).map(drop)
    }))
}

/// Copies a directory to where there is nothing yet, with the attributes of every file.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Command {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from).arg(to);
    command
}

/// Copies what is in a directory into an empty one, half of it by each of two processes.
pub(crate) fn copy_halves(from: &Path, to: &Path) -> Result<Action, Error> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(from)?.map(|entry| Ok(entry?.path()));
        let mut paths: Vec<PathBuf> = entries.collect::<io::Result<_>>()?;
        paths.sort();
        Ok(paths)
    };
    let paths = list().map_err(Error::at(from))?;
    let halves = paths.chunks(paths.len().div_ceil(2).max(1));
    let copies = halves.map(|half| {
        let mut command = Command::new("cp");
        command
            .arg("-a")
            .arg("--target-directory")
            .arg(to)
            .args(half);
        command
    });
    Ok(Action::Programs(copies.collect()))
}

/// Copies one file and computes its SHA-256 at the same time. OpenSSL uses the processor's
/// instructions for it, coreutils' program does not.
pub(crate) fn copy_and_digest(file: &Path, to: &Path) -> Action {
    let mut copy = Command::new("cp");
    copy.arg(file).arg(to);
    let mut digest = Command::new("openssl");
    digest.args(["dgst", "-sha256"]).arg(file);
    Action::Programs(vec![copy, digest])
}

/// Reads every file below a directory.
pub(crate) fn read_tree(directory: PathBuf) -> Action {
    Action::Here(Box::new(move || read_all(&directory, &mut Vec::new())))
}

/// Runs a number of shells, each on top of what the earlier ones wrote.
pub(crate) fn run_steps(rootfs: &Path, directory: &Path, steps: usize) -> Command {
    shell(RUN_STEPS, rootfs, directory, &[&steps.to_string()])
}

/// Copies a directory, then does as [`run_steps`] on top of it.
pub(crate) fn copy_and_run_steps(
    rootfs: &Path,
    directory: &Path,
    steps: usize,
    files: &Path,
) -> Command {
    let script = format!("{COPY}{RUN_STEPS}");
    let mut command = shell(&script, rootfs, directory, &[&steps.to_string()]);
    command.arg(files);
    command
}

/// Runs one command line on top of a root file system. What is in `upper` of the directory is
/// there already.
pub(crate) fn in_overlay(rootfs: &Path, directory: &Path, command_line: &str) -> Command {
    let arguments = ["/bin/sh", "-c", command_line];
    let mut command = shell(IN_OVERLAY, rootfs, directory, &arguments);
    // Ours is not in there.
    command.env_remove("TMPDIR");
    command
}

/// Runs one program without arguments on top of a root file system.
pub(crate) fn run_one(rootfs: &Path, directory: &Path, program: &str) -> Command {
    shell(RUN_ONE, rootfs, directory, &[program])
}

/// Compresses a file into another one.
pub(crate) fn compress(compressor: &[&str], from: &Path, to: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "to=$1; shift; exec \"$@\" >\"$to\"", "sh"])
        .arg(to)
        .args(compressor)
        .arg("-c")
        .arg(from);
    command
}

fn shell(script: &str, rootfs: &Path, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(rootfs)
        .arg(directory)
        .args(arguments);
    command
}

fn read_all(directory: &Path, buffer: &mut Vec<u8>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            read_all(&entry.path(), buffer)?;
        } else {
            buffer.clear();
            io::Read::read_to_end(&mut fs::File::open(entry.path())?, buffer)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use kiln_testbed::{
        Scratch, assert_no_leftovers, busybox_rootfs, list_directory, need, need_root,
    };

    use super::*;

    fn perform(scratch: &Scratch, action: Action) {
        let log = scratch.join("log");
        let result = action.perform(&File::create(&log).unwrap());
        let said = fs::read_to_string(log).unwrap();
        result.unwrap_or_else(|error| panic!("{error}: {said}"));
    }

    #[test]
    fn raw_steps_see_what_earlier_ones_wrote() {
        need!(need_root());
        let scratch = Scratch::new();
        let rootfs = scratch.join("rootfs");
        need!(busybox_rootfs(&rootfs));
        let steps = scratch.join("steps");
        fs::create_dir(&steps).unwrap();
        perform(&scratch, Action::program(run_steps(&rootfs, &steps, 3)));
        let written = fs::read_to_string(steps.join("3/upper/step-3")).unwrap();
        assert_eq!(written, "3\n");
        assert_no_leftovers(scratch.path());
    }

    #[test]
    fn a_raw_command_sees_the_root_and_what_lies_on_top() {
        need!(need_root());
        let scratch = Scratch::new();
        let rootfs = scratch.join("rootfs");
        need!(busybox_rootfs(&rootfs));
        let directory = scratch.join("directory");
        fs::create_dir_all(directory.join("upper/app")).unwrap();
        fs::write(directory.join("upper/app/input"), "5").unwrap();
        let line = "cd /app; [ -d /proc/1 ]; cat input /etc/group > output; echo > /dev/null";
        perform(
            &scratch,
            Action::program(in_overlay(&rootfs, &directory, line)),
        );
        let written = fs::read_to_string(directory.join("upper/app/output")).unwrap();
        assert!(written.starts_with("5root:"), "{written}");

        let directory = scratch.join("one");
        fs::create_dir(&directory).unwrap();
        perform(
            &scratch,
            Action::program(run_one(&rootfs, &directory, "/bin/true")),
        );
        assert_no_leftovers(scratch.path());
    }

    #[test]
    fn two_halves_are_the_whole() {
        let scratch = Scratch::new();
        for name in ["from/a/1", "from/b/2", "from/c/3"] {
            fs::create_dir_all(scratch.join(name)).unwrap();
            fs::write(scratch.join(name).join("file"), name).unwrap();
        }
        let [from, to] = ["from", "to"].map(|name| scratch.join(name));
        fs::create_dir(&to).unwrap();
        let copies = copy_halves(&from, &to).unwrap();
        assert!(matches!(&copies, Action::Programs(commands) if commands.len() == 2));
        perform(&scratch, copies);
        let [from, to] = [from, to].map(|path| list_directory(&path).split_off(1));
        assert_eq!(from, to);
    }
}
