//! The same work by raw means: what is left to pay when nobody manages anything.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::action::Action;
use crate::context::walk;

/// Makes N steps on top of a root file system: namespaces, an overlay on all earlier steps,
/// and a shell in it that writes one file.
const RUN_STEPS: &str = r#"
set -e
lower=$1
cd "$2"
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

/// Asks for the attributes of every file below a directory.
pub(crate) fn stat_walk(directory: PathBuf) -> Action {
    Action::Here(Box::new(move || walk(&directory).map(drop)))
}

/// As [`stat_walk`], then copies the one file that changed.
pub(crate) fn stat_walk_and_copy_one(directory: PathBuf, file: PathBuf, to: PathBuf) -> Action {
    Action::Here(Box::new(move || {
        walk(&directory)?;
        fs::copy(&file, &to).map(drop)
    }))
}

/// Copies a directory to where there is nothing yet, with the attributes of every file.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Command {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from).arg(to);
    command
}

/// Reads every file below a directory.
pub(crate) fn read_tree(directory: PathBuf) -> Action {
    Action::Here(Box::new(move || read_all(&directory, &mut Vec::new())))
}

/// Runs a number of shells, each on top of what the earlier ones wrote.
pub(crate) fn run_steps(rootfs: &Path, directory: &Path, steps: usize) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", RUN_STEPS, "sh"])
        .arg(rootfs)
        .arg(directory)
        .arg(steps.to_string());
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

    use kiln_testbed::{Scratch, assert_no_leftovers, busybox_rootfs, need, need_root};

    use super::*;

    #[test]
    fn raw_steps_see_what_earlier_ones_wrote() {
        need!(need_root());
        let scratch = Scratch::new();
        let rootfs = scratch.join("rootfs");
        need!(busybox_rootfs(&rootfs));
        let steps = scratch.join("steps");
        fs::create_dir(&steps).unwrap();
        let log = File::create(scratch.join("log")).unwrap();
        let action = Action::program(run_steps(&rootfs, &steps, 3));
        action.perform(&log).unwrap();
        let written = fs::read_to_string(steps.join("3/upper/step-3")).unwrap();
        assert_eq!(written, "3\n");
        assert_no_leftovers(scratch.path());
    }
}
