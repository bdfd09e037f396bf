//! Why a process did not become the program.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use kiln_files::GuestPath;

use super::facts::JobFacts;
use super::unstartable::{BINFMT_MISC, Unstartable};
use crate::sys::{HEAD_BYTES, Record, SetupStage};
use crate::{End, ExecError, outer_filter};

/// Turns the record of a child that did not become the program into an end or an error. `head` is
/// the beginning of the file that the kernel refused, as far as it is known.
pub(super) fn explain(facts: &JobFacts, record: Record, head: &[u8]) -> Result<End, ExecError> {
    let errno = rustix::io::Errno::from_raw_os_error(record.value);
    let source = io::Error::from(errno);
    let target = || {
        let index = usize::try_from(record.index).ok();
        index
            .and_then(|index| facts.targets.get(index))
            .cloned()
            .unwrap_or_default()
    };
    let what = match record.stage {
        SetupStage::Search => {
            return Ok(match errno {
                rustix::io::Errno::ACCESS => not_executable(facts, "permission denied"),
                _ => not_found(facts, facts.searched, None),
            });
        }
        SetupStage::Execute => {
            let reason = why(facts, record.index, errno, head);
            let reason_after = |answer: &str| match &reason {
                Some(reason) => format!("{answer}: {reason}"),
                None => answer.to_owned(),
            };
            return Ok(match errno {
                // The file is there: what is missing is the interpreter it names.
                rustix::io::Errno::NOENT => not_found(facts, false, reason),
                rustix::io::Errno::NOEXEC => {
                    not_executable(facts, &reason_after("exec format error"))
                }
                rustix::io::Errno::ACCESS => not_executable(facts, "permission denied"),
                rustix::io::Errno::LOOP => not_executable(
                    facts,
                    "too many symbolic links, or one of /proc that leads out of the image",
                ),
                _ => not_executable(facts, &source.to_string()),
            });
        }
        SetupStage::WorkingDirectory if errno == rustix::io::Errno::LOOP => {
            return Err(ExecError::WorkingDirectoryLink {
                path: facts.cwd.clone(),
            });
        }
        SetupStage::WorkingDirectory => {
            return Err(ExecError::WorkingDirectory {
                path: facts.cwd.clone(),
                source,
            });
        }
        SetupStage::Target if errno == rustix::io::Errno::ROFS => {
            let target = target();
            return Err(match outer(facts, &target) {
                Some(outer) => ExecError::MountPointInReadOnly { target, outer },
                None => ExecError::Mount { target, source },
            });
        }
        SetupStage::MakeMount
            if errno == rustix::io::Errno::PERM && target() == GuestPath::new("proc") =>
        {
            return Err(ExecError::ProcRefused);
        }
        SetupStage::Target | SetupStage::MakeMount | SetupStage::Attach | SetupStage::Mask => {
            return Err(ExecError::Mount {
                target: target(),
                source,
            });
        }
        SetupStage::Limit => {
            let index = usize::try_from(record.index).ok();
            let limit = index.and_then(|index| facts.limits.get(index));
            return Err(match limit {
                Some(&limit) => ExecError::Ulimit { limit, source },
                None => ExecError::Vanished,
            });
        }
        SetupStage::JoinCgroup => "entering the control group",
        SetupStage::Session => "starting a session",
        SetupStage::StandardStream => "placing the standard streams",
        SetupStage::Terminal => "taking the terminal",
        SetupStage::AttachRoot => "attaching the root file system",
        SetupStage::PivotRoot => "changing the root",
        SetupStage::DetachOldRoot => "letting go of the old root",
        SetupStage::Hostname => "setting the host name",
        SetupStage::Loopback => "starting the loopback device",
        SetupStage::Go => "waiting for the network",
        SetupStage::CgroupNamespace => "making a control group namespace",
        SetupStage::BoundingSet => "reducing the capability bounding set",
        SetupStage::Filter => "loading the system call filter",
        SetupStage::Groups => "setting the supplementary groups",
        SetupStage::GroupId => "setting the group id",
        SetupStage::UserId => "setting the user id",
        SetupStage::Capabilities => "reducing the capabilities",
        SetupStage::CloseDescriptors => "closing inherited descriptors",
    };
    Err(ExecError::Setup {
        what: what.to_owned(),
        source: outer_filter::explained(source),
    })
}

/// Finds the mount that a target lies in.
fn outer(facts: &JobFacts, target: &GuestPath) -> Option<GuestPath> {
    let holds = |outer: &&GuestPath| *outer != target && target.strip_prefix(outer).is_some();
    let outer = facts.targets.iter().filter(holds);
    outer.max_by_key(|outer| outer.as_bytes().len()).cloned()
}

/// Says in words why a file was not executed.
fn why(facts: &JobFacts, candidate: u32, errno: rustix::io::Errno, head: &[u8]) -> Option<String> {
    let path = facts.candidates.get(usize::try_from(candidate).ok()?)?;
    let system = rustix::system::uname();
    let file = Unstartable {
        path: &path.to_string_lossy(),
        head,
        errno,
        machine: &system.machine().to_string_lossy(),
    };
    file.reason(Path::new(BINFMT_MISC), |path| {
        // A relative path is relative to where the process was. Mounts are gone by now, but
        // interpreters do not lie in them.
        let file = facts.stubs.look(&facts.cwd.join(path)).ok()?;
        let mut head = Vec::new();
        File::from(file)
            .take(HEAD_BYTES)
            .read_to_end(&mut head)
            .ok()?;
        Some(head)
    })
}

fn not_found(facts: &JobFacts, searched: bool, missing: Option<String>) -> End {
    End::NotFound {
        program: facts.program.clone(),
        searched,
        missing,
    }
}

fn not_executable(facts: &JobFacts, reason: &str) -> End {
    End::NotExecutable {
        program: facts.program.clone(),
        reason: reason.to_owned(),
    }
}
