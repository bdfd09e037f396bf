//! Chains of several processes, as every runner has to carry them out.

use std::collections::HashMap;
use std::sync::Mutex;

use kiln_cache::{BuiltLayer, LayerStack, Store};
use kiln_oci::Timestamp;
use kiln_snapshotter::LayerStore;
use kiln_solver::{Chain, ChainError, ChainProcess, Runner, StepError};
use kiln_tree::LayerId;

use super::memory::{Memory, left_by};
use super::processes::{Recorded, process};

/// Runs a chain in memory on an empty root, and returns what became of it, the events, and what the
/// layers that it made hold.
fn run(
    commands: &[&str],
    failing: Option<&str>,
) -> (Result<Vec<LayerId>, ChainError>, Recorded, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("state")).unwrap();
    let runner = Memory {
        layers: &LayerStore::new(&store),
        texts: &Mutex::default(),
        ran: Mutex::default(),
        failing: failing.map(str::to_owned),
    };
    let runs: Vec<_> = commands.iter().map(|command| process(&[command])).collect();
    let processes: Vec<_> = runs
        .iter()
        .map(|run| ChainProcess { run, begun: None })
        .collect();
    let empty = LayerStack::default();
    let chain = Chain {
        base: &empty,
        processes: &processes,
        sources: &HashMap::new(),
    };
    let mut events = Recorded::default();
    let result = runner.run(&chain, &mut events);
    let made = match &result {
        Ok(made) => made,
        Err(failed) => &failed.made,
    };
    let created = Timestamp::from_seconds(0);
    let layers = made.iter().map(|layer| BuiltLayer {
        layer: *layer,
        created,
    });
    let texts = runner.texts(&LayerStack::default().with_all(layers));
    (result, events, texts)
}

#[test]
fn process_of_a_chain_starts_from_what_the_one_before_left() {
    let (result, events, texts) = run(&["first", "second"], None);
    assert_eq!(result.unwrap().len(), 2, "a layer for each process");
    let first = left_by("first", &[], &[]);
    let second = left_by("second", std::slice::from_ref(&first), &[]);
    assert_eq!(texts, [first, second]);
    assert_eq!(events.begun, [0, 1]);
    let named = |(process, text): (usize, &str)| (process, text.to_owned());
    assert_eq!(events.output, [(0, "first"), (1, "second")].map(named));
}

#[test]
fn failed_process_of_a_chain_leaves_the_layers_before_it() {
    let (result, events, texts) = run(&["first", "second", "third"], Some("second"));
    let ChainError { made, error } = result.unwrap_err();
    assert_eq!(made.len(), 1);
    assert_eq!(texts, [left_by("first", &[], &[])]);
    let StepError::Process { command, code, .. } = error else {
        unreachable!("the second process ended badly: {error:?}");
    };
    assert_eq!((command.as_str(), code), ("second", 1));
    assert_eq!(events.begun, [0, 1], "the third does not begin");
}
