//! The job that runs, made of what the user asked for.

use std::path::Path;

use kiln_files::GuestPath;
use kiln_runtime::{
    EtcFile, Job, JobMount, JobRoot, MountAccess, MountSource, OverlayDirectories, Process,
    RootChanges, Ulimit, UlimitName,
};

use crate::spec::{Removal, Spec, UlimitConfig};

/// Something in a container's description that this kiln does not understand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{member} of the container is not understood: {text:?}")]
pub(crate) struct NotUnderstood {
    member: &'static str,
    text: String,
}

/// Makes a job for a container with its files in a directory.
pub(crate) fn job(spec: &Spec, directory: &Path) -> Result<Job, NotUnderstood> {
    let (config, host) = (&spec.config, &spec.host_config);
    let root = JobRoot::Layers {
        lowers: spec.own.layers.clone(),
        upper: Some(OverlayDirectories {
            upper: directory.join("upper"),
            work: directory.join("work"),
        }),
    };
    let mut process = Process::new(spec.command());
    process.env = config.run.env.iter().map(|text| variable(text)).collect();
    process.cwd = GuestPath::new(&config.run.working_dir);
    process.user = spec.own.user.clone();
    process.streams = config.streams(host.console_size);
    let mut job = Job::new(root, process);
    let mode = host.network_mode.as_str();
    job.network = mode
        .parse()
        .map_err(|_| not_understood("HostConfig.NetworkMode", mode))?;
    job.changes = match spec.removal() {
        Removal::ByHand => RootChanges::Lasting,
        Removal::Automatic => RootChanges::Passing,
    };
    job.outer_proc = spec.own.outer_proc;
    job.shm_size_bytes = host.shm_size;
    job.ulimits = host.ulimits.iter().map(ulimit).collect::<Result<_, _>>()?;
    job.resources = host.resources();
    let own_file = |name| {
        let path = directory.join(name);
        if path.exists() {
            EtcFile::File {
                path,
                access: MountAccess::ReadWrite,
            }
        } else {
            EtcFile::Untouched
        }
    };
    job.hosts = own_file("hosts");
    job.hostname_file = own_file("hostname");
    job.resolv_conf = own_file("resolv.conf");
    job.hostname.clone_from(&config.hostname);
    // As in moby, one at the root is none (daemon/create_unix.go makes a volume of the others).
    job.directories = config.run.volumes.keys().map(GuestPath::new).collect();
    job.mounts = host
        .binds
        .iter()
        .map(|text| bind(text))
        .collect::<Result<_, _>>()?;
    Ok(job)
}

fn not_understood(member: &'static str, text: &str) -> NotUnderstood {
    NotUnderstood {
        member,
        text: text.to_owned(),
    }
}

fn variable(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

fn ulimit(config: &UlimitConfig) -> Result<Ulimit, NotUnderstood> {
    let resource = UlimitName::parse(&config.name)
        .ok_or_else(|| not_understood("HostConfig.Ulimits", &config.name))?;
    Ok(Ulimit {
        resource,
        soft: u64::try_from(config.soft).ok(),
        hard: u64::try_from(config.hard).ok(),
    })
}

fn bind(text: &str) -> Result<JobMount, NotUnderstood> {
    let mut parts = text.splitn(3, ':');
    let (Some(path), Some(target)) = (parts.next(), parts.next()) else {
        return Err(not_understood("HostConfig.Binds", text));
    };
    let mut options = parts.next().unwrap_or_default().split(',');
    Ok(JobMount {
        target: GuestPath::new(target),
        source: MountSource::Bind {
            path: path.into(),
            inside: GuestPath::ROOT,
        },
        access: if options.any(|option| option == "ro") {
            MountAccess::ReadOnly
        } else {
            MountAccess::ReadWrite
        },
    })
}
