//! A busybox layer, and containers on it in one line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_containers::{
    Container, ContainerConfig, ContainerId, Containers, Draft, Follow, HostConfig, LogRecord,
    LogStart, Monitor, OwnFacts, Removal, Spec, StoredState,
};
use kiln_oci::{RunConfig, Timestamp};
use kiln_runtime::{OuterProc, ProcessUser, Stream, Streams};
use kiln_testbed::{Skip, busybox_rootfs};
use kiln_threads::Stop;

/// What all cases share.
pub(crate) struct Fixture {
    base: PathBuf,
    /// A layer with busybox, `/dev`, `/proc` and `/sys`.
    layer: PathBuf,
    counter: AtomicUsize,
}

/// What one container is made of.
pub(crate) struct ContainerRequest<'a> {
    pub(crate) script: &'a str,
    pub(crate) streams: Streams,
    pub(crate) removal: Removal,
}

impl<'a> ContainerRequest<'a> {
    pub(crate) fn new(script: &'a str) -> Self {
        Self {
            script,
            streams: Streams::Output,
            removal: Removal::ByHand,
        }
    }
}

impl Fixture {
    pub(crate) fn new(base: &Path) -> Result<Self, Skip> {
        let layer = base.join("busybox");
        fs::create_dir(&layer).unwrap();
        busybox_rootfs(&layer)?;
        Ok(Self {
            base: base.to_owned(),
            layer,
            counter: AtomicUsize::new(0),
        })
    }

    /// Makes a directory of the case's own.
    pub(crate) fn directory(&self) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let directory = self.base.join(number.to_string());
        fs::create_dir(&directory).unwrap();
        directory
    }

    /// Opens a store of the case's own.
    pub(crate) fn store(&self) -> Containers {
        Containers::open(&self.directory().join("containers")).unwrap()
    }

    pub(crate) fn spec(&self, draft: &Draft, request: &ContainerRequest<'_>) -> Spec {
        let mut config = ContainerConfig {
            hostname: draft.id().short().to_owned(),
            image: "busybox".to_owned(),
            run: RunConfig {
                env: vec!["PATH=/bin".to_owned()],
                labels: [("a".to_owned(), "b".to_owned())].into(),
                ..RunConfig::default()
            },
            ..ContainerConfig::default()
        };
        config.set_streams(request.streams);
        let mut host_config = HostConfig {
            auto_remove: request.removal == Removal::Automatic,
            ..HostConfig::default()
        };
        if let Streams::Terminal(size) = request.streams {
            host_config.console_size = [size.rows, size.columns];
        }
        Spec {
            id: draft.id().clone(),
            created: Timestamp::now(),
            path: "/bin/sh".to_owned(),
            args: vec!["-c".to_owned(), request.script.to_owned()],
            image_id: String::new(),
            config,
            host_config,
            image_manifest_descriptor: serde_json::Value::Null,
            own: OwnFacts {
                layers: vec![self.layer.clone()],
                user: ProcessUser::ROOT,
                outer_proc: OuterProc::Refused,
            },
        }
    }

    /// Makes a container in a store of its own.
    pub(crate) fn make(&self, request: &ContainerRequest<'_>) -> Container {
        self.make_with(request, |_| {})
    }

    /// Makes a container in a store of its own, with changes to what it is.
    pub(crate) fn make_with(
        &self,
        request: &ContainerRequest<'_>,
        change: impl FnOnce(&mut Spec),
    ) -> Container {
        let store = self.store();
        let draft = store.draft(ContainerId::random()).unwrap();
        let mut spec = self.spec(&draft, request);
        change(&mut spec);
        store.create(draft, None, &spec).unwrap().release()
    }
}

/// Makes a container run this very program inside, with words for its `main`.
pub(crate) fn run_this_program(spec: &mut Spec, words: &[&str]) {
    let own = std::env::current_exe().unwrap();
    spec.path = "/own".to_owned();
    spec.args = words.iter().copied().map(str::to_owned).collect();
    // And what it is linked with.
    let libraries = ["/lib", "/lib64", "/usr/lib"].map(|path| (PathBuf::from(path), path));
    for (path, target) in libraries.into_iter().chain([(own, "/own")]) {
        if path.exists() {
            let bind = format!("{}:{target}:ro", path.display());
            spec.host_config.binds.push(bind);
        }
    }
}

/// Starts this program again, to be the container's monitor.
pub(crate) fn monitor_of(container: &Container) -> Monitor {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--monitor").arg(container.directory());
    Monitor::start(command).unwrap()
}

/// Starts a container with a monitor of its own.
pub(crate) fn start(container: &Container) -> StoredState {
    container.start_detached(monitor_of(container)).unwrap()
}

/// Reads all of a container's log.
pub(crate) fn log(container: &Container, follow: Follow) -> Vec<LogRecord> {
    let mut reader = container.logs(LogStart::Oldest, follow).unwrap();
    let stop = Stop::default();
    let mut records = Vec::new();
    while let Some(record) = reader.next_record(&stop).unwrap() {
        records.push(record);
    }
    records
}

/// Returns what a log has of one stream.
pub(crate) fn text(records: &[LogRecord], stream: Stream) -> String {
    let wanted = records.iter().filter(|record| record.stream == stream);
    wanted.map(|record| record.log.as_str()).collect()
}

/// Waits until a container has written a line.
pub(crate) fn await_line(container: &Container, line: &str) {
    let mut reader = container.logs(LogStart::Oldest, Follow::UntilEnd).unwrap();
    let stop = Stop::default();
    while let Some(record) = reader.next_record(&stop).unwrap() {
        if record.log == line {
            return;
        }
    }
    panic!("the container ended without saying {line:?}");
}
