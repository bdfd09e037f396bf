//! A runner that runs nothing: it writes down what each process was given.

use std::collections::HashMap;
use std::sync::Mutex;

use kiln_cache::LayerStack;
use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_runtime::Stream;
use kiln_snapshotter::{FileContent, LayerStore, Metadata};
use kiln_solver::{Chain, ChainError, RunEvents, RunMount, Runner, StepError};
use kiln_tree::{Blake3, LayerId};

/// Writes down what it is given in place of running anything.
#[derive(Debug)]
pub(super) struct Memory<'a> {
    pub(super) layers: &'a LayerStore,
    /// What each layer that it made holds.
    pub(super) texts: &'a Mutex<HashMap<LayerId, String>>,
    /// The commands that it was given, in their order.
    pub(super) ran: Mutex<Vec<String>>,
    /// The command that ends badly.
    pub(super) failing: Option<String>,
}

impl Memory<'_> {
    /// Returns what the layers of a state hold.
    pub(super) fn texts(&self, state: &LayerStack) -> Vec<String> {
        let texts = self.texts.lock().unwrap();
        let text = |layer: &LayerId| texts[layer].clone();
        let layers = state.layers().into_iter().map(|built| built.layer);
        layers.map(|layer| text(&layer)).collect()
    }

    /// Makes a layer of one file.
    fn make(&self, name: &str, text: &str) -> LayerId {
        let builder = self.layers.builder().unwrap();
        let metadata = Metadata::root_owned(0o644, Timestamp::from_seconds(1));
        let content = FileContent::Bytes(text.as_bytes());
        builder
            .add_file(&GuestPath::new(name), &metadata, content)
            .unwrap();
        let id = builder.finish().unwrap().id();
        self.texts.lock().unwrap().insert(id, text.to_owned());
        id
    }
}

impl Runner for Memory<'_> {
    fn run(
        &self,
        chain: &Chain<'_>,
        events: &mut dyn RunEvents,
    ) -> Result<Vec<LayerId>, ChainError> {
        let mut base = self.texts(chain.base);
        let mut made = Vec::new();
        for (position, process) in chain.processes.iter().enumerate() {
            let name = &process.run.argv[0];
            events.begin(position);
            events.output(position, Stream::Stdout, name.as_bytes());
            self.ran.lock().unwrap().push(name.clone());
            if self.failing.as_ref() == Some(name) {
                let error = StepError::Process {
                    command: name.clone(),
                    code: 1,
                    out_of_memory: false,
                };
                return Err(ChainError { made, error });
            }
            let mounts = process.run.mounts.iter().filter_map(RunMount::files);
            let sources = mounts.filter_map(|part| chain.sources.get(&part.step?));
            let sources: Vec<Vec<String>> = sources.map(|state| self.texts(state)).collect();
            let text = left_by(name, &base, &sources);
            made.push(self.make(name, &text));
            base.push(text);
        }
        Ok(made)
    }
}

/// Returns what a process leaves: a digest of all that it was given.
pub(super) fn left_by(command: &str, base: &[String], sources: &[Vec<String>]) -> String {
    Blake3::of(format!("{command} {base:?} {sources:?}").as_bytes()).hex()
}
