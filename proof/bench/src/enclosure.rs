//! Namespaces around a run, so that all its CPU time is counted and nothing outlives it.
//!
//! The program starts itself again below a shell script (`enclosure.sh`) in
//!
//! - a control group of its own in every hierarchy, seen as the topmost one, so that groups
//!   that container runtimes make for themselves lie inside and are counted;
//! - a PID namespace, so that the end of the run, however it comes, ends every process;
//! - a mount namespace, so that mounts vanish with them;
//! - one directory, which is also its temporary directory, that the script removes.
//!
//! The script waits outside. Only if the script itself is killed does the directory
//! stay; processes and mounts are gone even then.

use std::convert::Infallible;
use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::{Tool, need_root, run_and_read};

use crate::cgroups::{Hierarchy, hierarchies};
use crate::error::Error;

const SCRIPT: &str = include_str!("enclosure.sh");

/// The file of the enclosure's directory that lists mount points and groups, one pair a line.
const GROUPS: &str = "groups";

/// Becomes the script that starts this program again within an enclosure.
///
/// # Errors
///
/// Without root, a tool or control groups; otherwise it does not return.
pub(crate) fn enter() -> Result<Infallible, Error> {
    need_root()?;
    for tool in ["unshare", "setpriv", "mount", "umount", "find"] {
        Tool::find(tool)?;
    }
    let program = env::current_exe().map_err(Error::at(Path::new("/proc/self/exe")))?;
    let hierarchies = hierarchies(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
    if hierarchies.is_empty() {
        return Err(Error::Lacking("no control groups are mounted".to_owned()));
    }

    // Not in /tmp, which lies in memory on many machines.
    let directory = PathBuf::from(run_and_read(Command::new("sh").args([
        "-c",
        "mktemp --directory \"${TMPDIR:-/var/tmp}/kiln-bench.XXXXXXXX\"",
    ])));
    let list = directory.join(GROUPS);
    fs::write(&list, group_list(&hierarchies, &directory)).map_err(Error::at(&list))?;

    let error = Command::new("sh")
        .args(["-c", SCRIPT, "kiln-bench", "outside"])
        .arg(&directory)
        .arg(program)
        .arg("--enclosed")
        .arg(&directory)
        .args(env::args_os().skip(1))
        .env("ENCLOSURE", SCRIPT)
        .env("TMPDIR", &directory)
        .exec();
    Err(Error::File {
        path: PathBuf::from("sh"),
        source: error,
    })
}

/// Returns where the hierarchies are mounted within an enclosure; each shows the enclosure's
/// group as its top.
pub(crate) fn group_mounts(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = directory.join(GROUPS);
    let text = fs::read_to_string(&list).map_err(Error::at(&list))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(PathBuf::from)
        .collect())
}

/// Writes down the groups to be made, named like the enclosure's directory.
fn group_list(hierarchies: &[Hierarchy], directory: &Path) -> String {
    let name = directory.file_name().expect("mktemp names a directory");
    hierarchies
        .iter()
        .map(|hierarchy| {
            format!(
                "{} {}\n",
                hierarchy.mount_point.display(),
                hierarchy.parent.join(name).display()
            )
        })
        .collect()
}

fn read(path: &str) -> Result<String, Error> {
    fs::read_to_string(path).map_err(Error::at(Path::new(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_like_the_directory() {
        let hierarchies = [Hierarchy {
            mount_point: PathBuf::from("/cg/memory"),
            parent: PathBuf::from("/cg/memory/own"),
        }];
        assert_eq!(
            group_list(&hierarchies, Path::new("/var/tmp/kiln-bench.x")),
            "/cg/memory /cg/memory/own/kiln-bench.x\n"
        );
    }
}
