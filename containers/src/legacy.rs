//! Containers that were made by a kiln which stored the job itself, under names of its own.
//!
//! They are read as if they had been made today; their files stay as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_oci::{RunConfig, Timestamp};
use kiln_runtime::{Job, JobMount, JobRoot, MountAccess, MountSource, OverlayDirectories, Streams};
use serde::Deserialize;
use serde_json::Value;

use crate::spec::{ContainerConfig, HostConfig, OwnFacts, Removal, Spec};
use crate::{ContainerId, SignalNumber};

/// What was stored.
#[derive(Debug, Deserialize)]
struct LegacySpec {
    id: ContainerId,
    created: Timestamp,
    image: String,
    image_id: String,
    labels: BTreeMap<String, String>,
    job: Job,
    stop_signal: SignalNumber,
    stop_timeout: Duration,
    removal: Removal,
    details: Value,
}

/// Reads a description in either form.
pub(crate) fn read(text: &[u8]) -> serde_json::Result<Spec> {
    let value: Value = serde_json::from_slice(text)?;
    if value.get("job").is_some() {
        serde_json::from_value(value).map(translate)
    } else {
        serde_json::from_value(value)
    }
}

fn translate(legacy: LegacySpec) -> Spec {
    let job = legacy.job;
    let mut command = job.process.argv.into_iter();
    let mut config = ContainerConfig {
        hostname: job.hostname,
        image: legacy.image,
        stop_timeout: Some(legacy.stop_timeout.as_secs()),
        run: RunConfig::default(),
        ..ContainerConfig::default()
    };
    if let Ok(said) = serde_json::from_value(legacy.details["Config"].clone()) {
        config.run = said;
    }
    let pairs = job.process.env.iter();
    config.run.env = pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    config.run.working_dir = job.process.cwd.to_string();
    config.run.labels = legacy.labels;
    config.run.stop_signal = legacy.stop_signal.to_string();
    config.set_streams(job.process.streams);
    let mut host_config = HostConfig {
        binds: job.mounts.iter().filter_map(bind).collect(),
        network_mode: job.network.to_string(),
        auto_remove: legacy.removal == Removal::Automatic,
        shm_size: job.shm_size_bytes,
        ulimits: job.ulimits.iter().map(Into::into).collect(),
        ..HostConfig::default()
    };
    if let Streams::Terminal(size) = job.process.streams {
        host_config.console_size = [size.rows, size.columns];
    }
    host_config.set_resources(&job.resources);
    Spec {
        id: legacy.id,
        created: legacy.created,
        path: command.next().unwrap_or_default(),
        args: command.collect(),
        image_id: legacy.image_id,
        config,
        host_config,
        image_manifest_descriptor: legacy.details["ImageManifestDescriptor"].clone(),
        own: OwnFacts {
            layers: layers(job.root),
            user: job.process.user,
            outer_proc: job.outer_proc,
        },
    }
}

/// Returns the layers, relative to the state directory as it was then.
fn layers(root: JobRoot) -> Vec<PathBuf> {
    let JobRoot::Layers { lowers, upper } = root else {
        return Vec::new();
    };
    // The upper directory is three floors below the state directory.
    let home = upper.as_ref().map(|OverlayDirectories { upper, .. }| upper);
    let home = home.and_then(|upper| upper.ancestors().nth(3));
    let relative = |path: PathBuf| {
        let rest = home.and_then(|home| path.strip_prefix(home).ok());
        rest.map_or_else(|| path.clone(), Path::to_owned)
    };
    lowers.into_iter().map(relative).collect()
}

fn bind(mount: &JobMount) -> Option<String> {
    let MountSource::Bind { path, .. } = &mount.source else {
        return None;
    };
    let options = match mount.access {
        MountAccess::ReadOnly => ":ro",
        MountAccess::ReadWrite => "",
    };
    Some(format!("{}:{}{options}", path.display(), mount.target))
}

#[cfg(test)]
mod tests {
    use kiln_runtime::{EtcFile, ProcessUser, UlimitName};

    use super::*;
    use crate::job::job;

    /// As kiln 0.1.0 wrote it before it stored what was asked for.
    const LEGACY: &str = include_str!("legacy/spec.json");

    #[test]
    fn legacy_containers_are_read_as_if_made_today() {
        let spec = read(LEGACY.as_bytes()).unwrap();
        assert_eq!(spec.id.short(), "e10ba11f70c1");
        assert_eq!(spec.config.image, "app:latest");
        assert_eq!(spec.command(), ["sh", "-c", "echo hi; read x < /shown/f"]);
        assert_eq!(spec.labels()["a"], "b");
        assert_eq!(spec.stop_signal(), SignalNumber::TERM);
        assert_eq!(spec.stop_timeout(), Duration::from_secs(10));
        assert_eq!(spec.removal(), Removal::ByHand);
        assert_eq!(spec.host_config.network_mode, "none");
        assert_eq!(spec.host_config.binds, ["/srv/shown:/shown:ro"]);
        assert!(spec.image_manifest_descriptor["digest"].is_string());
        // Wherever the state directory is now.
        assert!(
            spec.own
                .layers
                .iter()
                .all(|layer| layer.starts_with("layers"))
        );
        assert_eq!(spec.own.layers.len(), 3);
    }

    #[test]
    fn legacy_containers_run_as_they_did() {
        let spec = read(LEGACY.as_bytes()).unwrap();
        let legacy: LegacySpec = serde_json::from_str(LEGACY).unwrap();
        let scratch = kiln_testbed::Scratch::new();
        let job = job(&spec, scratch.path()).unwrap();
        assert_eq!(job.process.argv, legacy.job.process.argv);
        assert_eq!(job.process.env, legacy.job.process.env);
        assert_eq!(job.process.cwd, legacy.job.process.cwd);
        assert_eq!(job.process.user, ProcessUser::ROOT);
        assert_eq!(job.process.streams, Streams::Output);
        assert_eq!(job.hostname, legacy.job.hostname);
        assert_eq!(job.resources, legacy.job.resources);
        assert_eq!(job.ulimits, legacy.job.ulimits);
        assert_eq!(job.ulimits[0].resource, UlimitName::OpenFiles);
        assert_eq!(job.shm_size_bytes, legacy.job.shm_size_bytes);
        assert_eq!(job.network, kiln_runtime::JobNetwork::None);
        assert_eq!(job.changes, legacy.job.changes);
        assert_eq!(job.mounts.len(), 1);
        assert_eq!(job.mounts[0].target, legacy.job.mounts[0].target);
        assert_eq!(job.mounts[0].access, MountAccess::ReadOnly);
        // There is none of them here.
        assert!(matches!(job.hosts, EtcFile::Untouched));
    }
}
