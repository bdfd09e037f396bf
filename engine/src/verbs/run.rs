//! `kiln run` and its relatives: from an image and options to a container.
//!
//! A container's own life (starting, stopping, logs) is [`kiln_containers`]; here it is
//! decided what it runs. Directories that the image declares as volumes are ordinary directories
//! of the container, made if the image has none of that name: they live and go with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kiln_containers::{
    ContainerConfig, ContainerId, ContainerName, HeldContainer, HostConfig, OwnFacts, Removal,
    SignalNumber, Spec,
};
use kiln_files::GuestPath;
use kiln_oci::{Image, ImageRef, Platform, RunConfig, Timestamp};
use kiln_registry::Client;
use kiln_runtime::{JobNetwork, MountAccess, ProcessUser, Resources, Streams, Ulimit, hosts_text};
use kiln_snapshotter::{Identity, ParentView, find_identity, lower_directories};

use crate::base_layers::{self, Watcher};
use crate::containers;
use crate::error::Cause;
use crate::images;
use crate::local_image::platform_of;
use crate::outside::Outside;
use crate::resolvers::{RESOLV_CONF, RESOLV_CONF_OF_HOST, host_resolvers};
use crate::stores::Stores;
use crate::{Error, LayerProgress};

/// A container, as the command line describes it.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Its id, which no other container has.
    pub id: ContainerId,
    /// Name, id or digest of a local image.
    pub image: String,
    /// `--platform`: which image of an index; this machine's if absent.
    pub platform: Option<Platform>,
    /// The command; the image's own if empty.
    pub command: Vec<String>,
    /// `--name`; made up if absent.
    pub name: Option<ContainerName>,
    /// `-e` and `--env-file`, in order; without a value the variable is removed.
    pub env: Vec<(String, Option<String>)>,
    /// `-w`.
    pub working_dir: Option<String>,
    /// `-u`.
    pub user: Option<String>,
    /// `--entrypoint`; an empty text clears the image's.
    pub entrypoint: Option<String>,
    /// `--network`.
    pub network: JobNetwork,
    /// `-v host:container[:ro]`.
    pub binds: Vec<Bind>,
    /// `-h`; the short id if absent.
    pub hostname: Option<String>,
    /// `--add-host`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// `-l`.
    pub labels: BTreeMap<String, String>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--memory`, `--cpus` and so on.
    pub resources: Resources,
    /// `--shm-size`, bytes.
    pub shm_size_bytes: u64,
    /// `-t`, `-i`.
    pub streams: Streams,
    /// `--rm`.
    pub removal: Removal,
    /// `--stop-signal`; the image's, or TERM, if absent.
    pub stop_signal: Option<SignalNumber>,
    /// `--stop-timeout`.
    pub stop_timeout: Duration,
}

/// A directory or file of the host that a container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// On the host; made as a directory if it is missing.
    pub host: PathBuf,
    /// In the container; absolute.
    pub target: String,
    /// `:ro`.
    pub access: MountAccess,
}

/// Makes a container of a local image. It is not started; as long as the caller holds what is
/// returned, no other kiln starts, removes or prunes it. `report` is told of layers that have to be
/// unpacked first.
///
/// # Errors
/// When there is no such image, the name is taken, or the options do not fit the image.
pub fn create_container(
    stores: &Stores,
    outside: &Outside,
    request: &RunRequest,
    report: &(dyn Fn(&LayerProgress) + Sync),
) -> Result<HeldContainer, Error> {
    let (name, local) = images::take(stores, &request.image)?;
    let image = local.choose(&request.image, request.platform.as_ref())?;
    let layers = layers_on_disk(stores, &outside.client, name.as_deref(), image, report)?;
    let failed = |error: Cause| Error::environment("cannot read the image", error);
    let view = ParentView::new(&layers).map_err(|error| failed(error.into()))?;
    let containers = containers::containers(stores)?;
    let draft = containers.draft(request.id.clone()).map_err(Error::from)?;
    let hostname = match &request.hostname {
        Some(hostname) => hostname.clone(),
        None => draft.id().short().to_owned(),
    };
    let user = request.user.as_deref().unwrap_or(&image.config.config.user);
    let identity = find_identity(&view, user).map_err(Error::bad_input)?;
    let config = config(request, &image.config.config, &hostname, &identity)?;
    let host_config = host_config(request)?;
    let mut command = command(request, &config.run)?.into_iter();
    let etc_file = |name: &str, text: &str| {
        let written = draft.etc_file(name, text);
        written.map_err(Error::from)
    };
    etc_file("hosts", &hosts_text(&hostname, &request.extra_hosts))?;
    etc_file("hostname", &format!("{hostname}\n"))?;
    if let Some(text) = host_resolvers() {
        etc_file(RESOLV_CONF, &text)?;
        etc_file(RESOLV_CONF_OF_HOST, &text)?;
    }
    let mut descriptor = image.descriptor.clone();
    descriptor.platform = Some(platform_of(image));
    let spec = Spec {
        id: draft.id().clone(),
        created: Timestamp::now(),
        path: command.next().unwrap_or_default(),
        args: command.collect(),
        image_id: local.id().to_string(),
        config: ContainerConfig {
            image: name.map_or_else(|| request.image.clone(), |name| name.familiar()),
            ..config
        },
        host_config,
        image_manifest_descriptor: serde_json::to_value(&descriptor).unwrap_or_default(),
        own: OwnFacts {
            layers: lower_directories(&layers).map_err(|error| failed(error.into()))?,
            user: ProcessUser {
                uid: identity.uid,
                gid: identity.gid,
                groups: identity.groups,
            },
            outer_proc: outside.outer_proc,
        },
    };
    containers
        .create(draft, request.name.clone(), &spec)
        .map_err(Error::from)
}

/// Returns the layers of a local image, unpacked; those that only a registry has are fetched.
fn layers_on_disk(
    stores: &Stores,
    client: &Client,
    name: Option<&ImageRef>,
    image: &Image,
    report: &(dyn Fn(&LayerProgress) + Sync),
) -> Result<Vec<kiln_snapshotter::Layer>, Error> {
    let origin = image.layers().find_map(|(_, layer)| {
        kiln_exporter::sources(&stores.blobs, layer.digest)
            .into_iter()
            .next()
    });
    let unknown = || {
        Error::environment(
            "image",
            kiln_cache::BlobError::Missing(image.descriptor.digest),
        )
    };
    // The name is asked only for layers that are not here.
    let placeholder: Option<ImageRef> = "localhost/unknown".parse().ok();
    let from = origin
        .or_else(|| name.cloned())
        .or(placeholder)
        .ok_or_else(unknown)?;
    base_layers::unpacked_layers(stores, client, &from, image, &Watcher::Other(report))
}

/// Returns what of a container would be the same on another machine: the image's own settings with
/// what the request changes of them.
fn config(
    request: &RunRequest,
    image: &RunConfig,
    hostname: &str,
    identity: &Identity,
) -> Result<ContainerConfig, Error> {
    let mut run = image.clone();
    (run.entrypoint, run.cmd) = entrypoint_and_command(request, image);
    run.env = environment(request, image, hostname, &identity.home.to_string());
    run.labels.extend(request.labels.clone());
    if let Some(user) = &request.user {
        run.user.clone_from(user);
    }
    let directory = request.working_dir.as_ref().unwrap_or(&run.working_dir);
    if request.working_dir.is_some() && !directory.starts_with('/') {
        return Err(Error::input(format!(
            "the working directory '{directory}' is invalid, it needs to be an absolute path"
        )));
    }
    run.working_dir = GuestPath::new(directory).to_string();
    let stop_signal = match (request.stop_signal, run.stop_signal.as_str()) {
        (Some(signal), _) => signal,
        (None, "") => SignalNumber::TERM,
        (None, text) => text
            .parse()
            .map_err(|_| Error::input(format!("the image's stop signal is invalid: {text}")))?,
    };
    run.stop_signal = stop_signal.to_string();
    let mut config = ContainerConfig {
        hostname: hostname.to_owned(),
        stop_timeout: Some(request.stop_timeout.as_secs()),
        run,
        ..ContainerConfig::default()
    };
    config.set_streams(request.streams);
    Ok(config)
}

/// Returns what of a container concerns this machine.
fn host_config(request: &RunRequest) -> Result<HostConfig, Error> {
    let hosts = request.extra_hosts.iter();
    let mut config = HostConfig {
        binds: request.binds.iter().map(bind).collect::<Result<_, _>>()?,
        network_mode: request.network.to_string(),
        auto_remove: request.removal == Removal::Automatic,
        extra_hosts: hosts
            .map(|(name, address)| format!("{name}:{address}"))
            .collect(),
        shm_size: request.shm_size_bytes,
        ulimits: request.ulimits.iter().map(Into::into).collect(),
        ..HostConfig::default()
    };
    if let Streams::Terminal(size) = request.streams {
        config.console_size = [size.rows, size.columns];
    }
    config.set_resources(&request.resources);
    Ok(config)
}

/// Returns the program and its arguments.
fn command(request: &RunRequest, config: &RunConfig) -> Result<Vec<String>, Error> {
    let words = config.entrypoint.iter().chain(&config.cmd);
    let words: Vec<String> = words.cloned().collect();
    if words.is_empty() {
        return Err(Error::input("no command specified").with_hint(format!(
            "the image has none; name one behind it, as in: kiln run {} COMMAND",
            request.image
        )));
    }
    Ok(words)
}

/// Returns entrypoint and command. An entrypoint of the request drops the image's command.
fn entrypoint_and_command(request: &RunRequest, config: &RunConfig) -> (Vec<String>, Vec<String>) {
    let (entrypoint, default): (Vec<String>, &[String]) = match request.entrypoint.as_deref() {
        Some("") => (Vec::new(), &[]),
        Some(entrypoint) => (vec![entrypoint.to_owned()], &[]),
        None => (config.entrypoint.clone(), &config.cmd),
    };
    match request.command.as_slice() {
        [] => (entrypoint, default.to_vec()),
        command => (entrypoint, command.to_vec()),
    }
}

fn environment(
    request: &RunRequest,
    config: &RunConfig,
    hostname: &str,
    home: &str,
) -> Vec<String> {
    let mut env: Vec<(String, String)> = Vec::new();
    let set = |env: &mut Vec<(String, String)>, name: &str, value: &str| match env
        .iter_mut()
        .find(|(known, _)| known == name)
    {
        Some((_, old)) => value.clone_into(old),
        None => env.push((name.to_owned(), value.to_owned())),
    };
    set(&mut env, "PATH", kiln_runtime::DEFAULT_PATH);
    set(&mut env, "HOSTNAME", hostname);
    if matches!(request.streams, Streams::Terminal(_)) {
        set(&mut env, "TERM", "xterm");
    }
    set(&mut env, "HOME", home);
    for text in &config.env {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        set(&mut env, name, value);
    }
    for (name, value) in &request.env {
        match value {
            Some(value) => set(&mut env, name, value),
            None => env.retain(|(known, _)| known != name),
        }
    }
    let pairs = env.into_iter();
    pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// Returns a bind in docker's words, and makes what it shows if that is missing.
fn bind(bind: &Bind) -> Result<String, Error> {
    if !bind.target.starts_with('/') || GuestPath::new(&bind.target).is_root() {
        return Err(Error::input(format!(
            "invalid mount target {:?}: it must be an absolute path below /",
            bind.target
        )));
    }
    if !bind.host.exists() {
        fs::create_dir_all(&bind.host).map_err(Error::at("cannot make", &bind.host))?;
    }
    let options = match bind.access {
        MountAccess::ReadOnly => ":ro",
        MountAccess::ReadWrite => "",
    };
    let (host, target) = (bind.host.display(), GuestPath::new(&bind.target));
    Ok(format!("{host}:{target}{options}"))
}
