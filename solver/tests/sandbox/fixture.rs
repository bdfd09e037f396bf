//! A state directory with a layer of busybox, and runs of chains on it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _};
use std::path::Path;

use kiln_cache::{BuiltLayer, LayerStack, Store};
use kiln_files::GuestPath;
use kiln_oci::{Sha256, Timestamp};
use kiln_parser::mount::FileOwner;
use kiln_runtime::userns::PrivilegeLevel;
use kiln_runtime::{EtcFile, JobNetwork, LocalExecutor, Resources};
use kiln_snapshotter::overlay::{Support, probe};
use kiln_snapshotter::{
    Layer, LayerStore, Overlay, ParentView, RecentViews, Reflink, Snapshotter, WritableRoot,
};
use kiln_solver::{
    AgentSocket, Agents, AllowedDevices, CacheMounts, Chain, ChainError, ChainProcess,
    InitialContent, LayerFetchError, Layers, LayersError, LocalRunner, Runner as _, SandboxContext,
};
use kiln_testbed::{Skip, busybox_rootfs};
use kiln_threads::Stop;
use kiln_tree::{Blake3, LayerId};

use super::processes::{Recorded, process};

/// What all cases share.
pub(crate) struct Fixture {
    store: Store,
    layers: LayerStore,
    executor: LocalExecutor,
    snapshotter: Box<dyn Snapshotter>,
    busybox: LayerStack,
}

impl Fixture {
    pub(crate) fn new(base: &Path, _: PrivilegeLevel) -> Result<Self, Skip> {
        let store = Store::open(&base.join("state")).unwrap();
        let layers = LayerStore::new(&store);
        let empty = Reflink::new(&layers).prepare(&[]).unwrap();
        let WritableRoot::Directory(root) = empty.root() else {
            unreachable!("a copy is a directory");
        };
        busybox_rootfs(root)?;
        let nothing = ParentView::new(&[]).unwrap();
        let layer = empty.commit(&nothing, &[]).unwrap().id();
        let created = Timestamp::from_seconds(0);
        let snapshotter: Box<dyn Snapshotter> = match probe(base) {
            Support::Overlay => Box::new(Overlay::new(&layers)),
            Support::Refused(_) => Box::new(Reflink::new(&layers)),
        };
        Ok(Self {
            executor: LocalExecutor::new(&base.join("scratch")).unwrap(),
            snapshotter,
            busybox: LayerStack::default().with(BuiltLayer { layer, created }),
            store,
            layers,
        })
    }

    /// Runs shell commands as one chain on busybox.
    pub(crate) fn run(&self, commands: &[&str]) -> (Result<Vec<LayerId>, ChainError>, Recorded) {
        let sandbox = SandboxContext {
            proxies: [
                ("http_proxy", "http://proxy.example:3128"),
                ("PATH", "/nowhere"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            network: JobNetwork::None,
            extra_hosts: Vec::new(),
            shm_size_bytes: kiln_runtime::DEFAULT_SHM_SIZE_BYTES,
            ulimits: Vec::new(),
            resources: Resources::default(),
            resolv_conf: EtcFile::Text(String::new()),
            device_directories: Vec::new(),
            devices: AllowedDevices::All,
            secrets: BTreeMap::new(),
        };
        let runner = LocalRunner {
            store: &self.store,
            layers: &self.layers,
            bases: &Nothing,
            views: &RecentViews::default(),
            snapshotter: &*self.snapshotter,
            executor: &self.executor,
            cache_mounts: &Nothing,
            agents: &Nothing,
            sandbox: &sandbox,
            stop: &Stop::default(),
        };
        let run = |command: &&str| {
            let mut run = process(&["/bin/sh", "-c", command]);
            run.env = vec![("PATH".to_owned(), "/bin".to_owned())];
            run
        };
        let runs: Vec<_> = commands.iter().map(run).collect();
        let processes = runs.iter().map(|run| ChainProcess { run, begun: None });
        let processes: Vec<_> = processes.collect();
        let chain = Chain {
            base: &self.busybox,
            processes: &processes,
            sources: &HashMap::new(),
        };
        let mut events = Recorded::default();
        let result = runner.run(&chain, &mut events);
        (result, events)
    }

    /// Reads a file of a stack of layers; none if it has no such file.
    pub(crate) fn text(&self, layers: &[LayerId], path: &str) -> Option<String> {
        let layers = layers.iter().map(|id| self.layers.layer(*id).unwrap());
        let view = ParentView::new(&layers.collect::<Vec<Layer>>()).unwrap();
        let found = view.find(&GuestPath::new(path))?;
        let mut text = String::new();
        let mut file = view.open(&found).unwrap();
        file.read_to_string(&mut text).unwrap();
        Some(text)
    }
}

/// Knows no image, no agent and no cache mount of another machine.
#[derive(Debug)]
struct Nothing;

impl Layers for Nothing {
    fn layers(&self, _: Sha256) -> Result<Vec<Layer>, LayersError> {
        unreachable!("these chains start from a layer that is here")
    }

    fn are_here(&self, _: Sha256) -> bool {
        unreachable!("these chains start from a layer that is here")
    }

    fn fetch_and_unpack(&self, _: &[LayerId]) -> Result<Vec<Layer>, LayerFetchError> {
        unreachable!("these chains have their layers here")
    }
}

impl CacheMounts for Nothing {
    fn begin(&self, _: Blake3, _: &Path) -> io::Result<InitialContent> {
        Ok(InitialContent::Nothing)
    }
}

impl Agents for Nothing {
    fn open(&self, _: &str, _: FileOwner) -> io::Result<Option<Box<dyn AgentSocket>>> {
        Ok(None)
    }
}
