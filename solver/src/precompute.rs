//! Getting finished layers ready while later steps run.
//!
//! What every exporter needs of a layer (its digest, or its packed form) takes as long as reading
//! it; a layer that is followed by other steps is read while those run, on a thread of its own.
//! Images have the layers of results, and caches may have all others too: the exporter says which
//! are worth it. What is not begun when the last step ends is left to the exporter.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use kiln_snapshotter::Layer;

use crate::graph::{Graph, StepId};

/// What a layer becomes a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerUse {
    /// A result.
    Result,
    /// Only what results are made from.
    Beside,
}

/// Gets one layer ready. Errors are not reported: the exporter meets them again.
pub type PrepareLayer<'a> = dyn Fn(&Layer, LayerUse) + Sync + 'a;

/// What is done to layers before they are exported.
#[derive(Clone, Copy)]
pub enum Precompute<'a> {
    /// Nothing: the build exports no layers.
    Nothing,
    /// This.
    Prepare(&'a PrepareLayer<'a>),
}

impl fmt::Debug for Precompute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Prepare(_) => "Prepare",
        })
    }
}

/// Layers on their way to the thread that prepares them.
pub(crate) struct Queue {
    /// By step.
    uses: Vec<LayerUse>,
    /// None if nothing is to be prepared, or no more.
    sender: Mutex<Option<Sender<(Layer, LayerUse)>>>,
    is_over: AtomicBool,
}

impl Queue {
    pub(crate) fn new(
        graph: &Graph,
        targets: &[StepId],
        precompute: Precompute<'_>,
    ) -> (Self, Receiver<(Layer, LayerUse)>) {
        let mut uses = vec![LayerUse::Beside; graph.len()];
        for target in targets {
            let mut next = Some(*target);
            while let Some(id) = next {
                uses[id.index()] = LayerUse::Result;
                next = graph.step(id).parent;
            }
        }
        let (sender, receiver) = channel();
        let queue = Self {
            uses,
            sender: Mutex::new(match precompute {
                Precompute::Prepare(_) => Some(sender),
                Precompute::Nothing => None,
            }),
            is_over: AtomicBool::new(false),
        };
        (queue, receiver)
    }

    /// Hands over the layer that a step made.
    pub(crate) fn add(&self, step: StepId, layer: impl FnOnce() -> Option<Layer>) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(sender), Some(layer)) = (&*sender, layer()) {
            // The other end is there until the queue is closed.
            let _ = sender.send((layer, self.uses[step.index()]));
        }
    }

    /// Ends it; what waits is not prepared any more.
    pub(crate) fn close(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Prepares what comes until the queue is closed.
    pub(crate) fn run(&self, receiver: &Receiver<(Layer, LayerUse)>, prepare: &PrepareLayer<'_>) {
        for (layer, layer_use) in receiver {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            prepare(&layer, layer_use);
        }
    }
}
