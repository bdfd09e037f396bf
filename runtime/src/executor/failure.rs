//! What a child's last words mean.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use kiln_files::GuestPath;

use super::plan::Plan;
use super::unstartable::{BINFMT_MISC, Unstartable};
use crate::sys::{HEAD_BYTES, Record, Stage};
use crate::{End, ExecError};

/// Turns the record of a child that did not become the program into an end or an error. `head` is
/// the beginning of the file that the kernel refused, as far as it is known.
pub(super) fn explain(plan: &Plan, record: Record, head: &[u8]) -> Result<End, ExecError> {
    let errno = rustix::io::Errno::from_raw_os_error(record.value);
    let source = io::Error::from(errno);
    let target = || {
        let index = usize::try_from(record.index).ok();
        index
            .and_then(|index| plan.targets.get(index))
            .cloned()
            .unwrap_or_default()
    };
    let what = match record.stage {
        Stage::Search => {
            return Ok(match errno {
                rustix::io::Errno::ACCESS => not_executable(plan, "permission denied"),
                _ => not_found(plan, plan.searched, None),
            });
        }
        Stage::Execute => {
            let reason = why(plan, record.index, errno, head);
            let reason_after = |answer: &str| match &reason {
                Some(reason) => format!("{answer}: {reason}"),
                None => answer.to_owned(),
            };
            return Ok(match errno {
                // The file is there: what is missing is the interpreter it names.
                rustix::io::Errno::NOENT => not_found(plan, false, reason),
                rustix::io::Errno::NOEXEC => {
                    not_executable(plan, &reason_after("exec format error"))
                }
                rustix::io::Errno::ACCESS => not_executable(plan, "permission denied"),
                rustix::io::Errno::LOOP => not_executable(
                    plan,
                    "too many symbolic links, or one of /proc that leads out of the image",
                ),
                _ => not_executable(plan, &source.to_string()),
            });
        }
        Stage::WorkingDirectory if errno == rustix::io::Errno::LOOP => {
            return Err(ExecError::WorkingDirectoryLink {
                path: plan.cwd.clone(),
            });
        }
        Stage::WorkingDirectory => {
            return Err(ExecError::WorkingDirectory {
                path: plan.cwd.clone(),
                source,
            });
        }
        Stage::Target if errno == rustix::io::Errno::ROFS => {
            let target = target();
            return Err(match outer(plan, &target) {
                Some(outer) => ExecError::MountPointInReadOnly { target, outer },
                None => ExecError::Mount { target, source },
            });
        }
        Stage::MakeMount
            if errno == rustix::io::Errno::PERM && target() == GuestPath::new("proc") =>
        {
            return Err(ExecError::ProcRefused);
        }
        Stage::Target | Stage::MakeMount | Stage::Attach | Stage::Mask => {
            return Err(ExecError::Mount {
                target: target(),
                source,
            });
        }
        Stage::Limit => {
            let index = usize::try_from(record.index).ok();
            let limit = index.and_then(|index| plan.limits.get(index));
            return Err(match limit {
                Some(&limit) => ExecError::Ulimit { limit, source },
                None => ExecError::Vanished,
            });
        }
        Stage::JoinCgroup => "entering the control group",
        Stage::Session => "starting a session",
        Stage::StandardStream => "placing the standard streams",
        Stage::Terminal => "taking the terminal",
        Stage::AttachRoot => "attaching the root file system",
        Stage::PivotRoot => "changing the root",
        Stage::DetachOldRoot => "letting go of the old root",
        Stage::Hostname => "setting the host name",
        Stage::Loopback => "starting the loopback device",
        Stage::Go => "waiting for the network",
        Stage::CgroupNamespace => "making a control group namespace",
        Stage::BoundingSet => "reducing the capability bounding set",
        Stage::Filter => "loading the system call filter",
        Stage::Groups => "setting the supplementary groups",
        Stage::GroupId => "setting the group id",
        Stage::UserId => "setting the user id",
        Stage::Capabilities => "reducing the capabilities",
        Stage::CloseDescriptors => "closing inherited descriptors",
    };
    Err(ExecError::Setup {
        what: what.to_owned(),
        source,
    })
}

/// Finds the mount that a target lies in.
fn outer(plan: &Plan, target: &GuestPath) -> Option<GuestPath> {
    let holds = |outer: &&GuestPath| *outer != target && target.strip_prefix(outer).is_some();
    let outer = plan.targets.iter().filter(holds);
    outer.max_by_key(|outer| outer.as_bytes().len()).cloned()
}

/// Says in words why a file was not executed.
fn why(plan: &Plan, candidate: u32, errno: rustix::io::Errno, head: &[u8]) -> Option<String> {
    let path = plan.candidates.get(usize::try_from(candidate).ok()?)?;
    let system = rustix::system::uname();
    let file = Unstartable {
        path: &path.to_string_lossy(),
        head,
        errno,
        machine: &system.machine().to_string_lossy(),
    };
    file.reason(Path::new(BINFMT_MISC), |path| {
        // Relative ones are relative to where the process was. Mounts are gone by now, but
        // interpreters do not lie in them.
        let file = plan.stubs.look(&plan.cwd.join(path)).ok()?;
        let mut head = Vec::new();
        File::from(file)
            .take(HEAD_BYTES)
            .read_to_end(&mut head)
            .ok()?;
        Some(head)
    })
}

fn not_found(plan: &Plan, searched: bool, missing: Option<String>) -> End {
    End::NotFound {
        program: plan.program.clone(),
        searched,
        missing,
    }
}

fn not_executable(plan: &Plan, reason: &str) -> End {
    End::NotExecutable {
        program: plan.program.clone(),
        reason: reason.to_owned(),
    }
}
