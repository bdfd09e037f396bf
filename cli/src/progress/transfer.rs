//! Pulls and pushes, layer by layer.
//!
//! On a terminal each layer has a line that changes; elsewhere each change of state is a line, and
//! bytes are not counted.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use kiln_docker::units;
use kiln_engine::{PackProgress, Stream};
use kiln_oci::Sha256;
use kiln_registry::{TransferEvent, TransferStep};

use super::redraw::LiveLines;
use crate::{clean, terminal};

/// Where the lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransferOutput {
    /// Standard output.
    Stdout,
    /// None (`--quiet`).
    Nowhere,
}

/// Shows the transfers of one image.
pub(crate) struct Transfers {
    state: Mutex<TransferLines>,
}

struct TransferLines {
    output: TransferOutput,
    /// None where lines stay as they are.
    live: Option<LiveLines>,
    /// Layers in the order they were first heard of.
    order: Vec<Sha256>,
    layers: BTreeMap<Sha256, String>,
}

impl Transfers {
    /// Begins to show transfers.
    pub(crate) fn start(output: TransferOutput) -> Self {
        let is_drawn = output == TransferOutput::Stdout && terminal::stdout_is_terminal();
        Self {
            state: Mutex::new(TransferLines {
                output,
                live: is_drawn.then(|| LiveLines::new(Stream::Stdout)),
                order: Vec::new(),
                layers: BTreeMap::new(),
            }),
        }
    }

    /// Takes what the registry client tells, from any thread.
    pub(crate) fn take(&self, event: &TransferEvent) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.take(event);
    }

    /// Takes what is told of layers that are packed before they are sent, from any thread.
    pub(crate) fn pack(&self, layer: PackProgress) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pack(layer);
    }

    /// Leaves the last state of every layer on the screen.
    pub(crate) fn finish(self) {
        let mut state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let lines = state.lines();
        if let Some(live) = &mut state.live {
            live.clear();
            for line in lines {
                state.write(&line);
            }
        }
    }
}

impl TransferLines {
    fn take(&mut self, event: &TransferEvent) {
        let words = words(event);
        let is_bytes = matches!(
            event.step,
            TransferStep::Downloading { done_bytes: 1.. }
                | TransferStep::Uploading { done_bytes: 1.. }
        );
        let plain = is_bytes.then(|| plain_start(event));
        self.show(event.digest, words, plain);
    }

    fn pack(&mut self, layer: PackProgress) {
        // Until it is packed, its digest in registries is not known.
        let digest = layer.diff_id.0;
        if layer.done_bytes < layer.size_bytes {
            let (done, all) = (units::size(layer.done_bytes), units::size(layer.size_bytes));
            let words = format!("Packing {done}/{all}");
            return self.show(digest, words, Some("Packing"));
        }
        self.layers.remove(&digest);
        self.order.retain(|known| *known != digest);
    }

    /// Shows where a layer is. Where lines stay as they are, `plain` alone is said of what can be
    /// counted, once.
    fn show(&mut self, digest: Sha256, words: String, plain: Option<&str>) {
        let before = self.layers.insert(digest, words.clone());
        if before.is_none() {
            self.order.push(digest);
        }
        let lines = self.lines();
        match &mut self.live {
            Some(live) if plain.is_some() && !live.is_due() => {}
            Some(live) => live.draw(&lines),
            None if plain.is_some() && before.is_some() => {}
            None if before.as_ref() == Some(&words) => {}
            None => self.write(&line(digest, plain.unwrap_or(&words))),
        }
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.order.iter().filter_map(|digest| {
            let words = self.layers.get(digest)?;
            Some(line(*digest, words))
        });
        lines.collect()
    }

    fn write(&self, line: &str) {
        // Progress that cannot be shown must not fail the transfer.
        let _ = match self.output {
            TransferOutput::Stdout => writeln!(io::stdout().lock(), "{line}"),
            TransferOutput::Nowhere => Ok(()),
        };
    }
}

fn line(digest: Sha256, words: &str) -> String {
    format!("{}: {words}", digest.short())
}

/// What a transfer that has begun is called where bytes are not counted.
fn plain_start(event: &TransferEvent) -> &'static str {
    match event.step {
        TransferStep::Uploading { .. } => "Pushing",
        _ => "Pulling fs layer",
    }
}

/// Docker's words for the stations of a layer.
fn words(event: &TransferEvent) -> String {
    let progress = |words: &str, done: u64| {
        let (done, all) = (units::size(done), units::size(event.size_bytes));
        format!("{words} {done}/{all}")
    };
    match &event.step {
        TransferStep::AlreadyHere => "Already exists".to_owned(),
        TransferStep::Downloading { done_bytes: 0 } => "Pulling fs layer".to_owned(),
        TransferStep::Downloading { done_bytes } => progress("Downloading", *done_bytes),
        TransferStep::Downloaded => "Pull complete".to_owned(),
        TransferStep::Preparing => "Preparing".to_owned(),
        TransferStep::AlreadyThere => "Layer already exists".to_owned(),
        TransferStep::Mounted { from } => format!("Mounted from {}", clean::line(from)),
        TransferStep::Uploading { done_bytes: 0 } => "Pushing".to_owned(),
        TransferStep::Uploading { done_bytes } => progress("Pushing", *done_bytes),
        TransferStep::Uploaded => "Pushed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stations_have_dockers_words() {
        let event = |step| TransferEvent {
            digest: Sha256::of(b""),
            size_bytes: 3_400_000,
            step,
        };
        for (step, expected) in [
            (
                TransferStep::Downloading { done_bytes: 0 },
                "Pulling fs layer",
            ),
            (
                TransferStep::Downloading {
                    done_bytes: 1_050_000,
                },
                "Downloading 1.05MB/3.4MB",
            ),
            (
                TransferStep::Mounted {
                    from: "library/x".to_owned(),
                },
                "Mounted from library/x",
            ),
            (TransferStep::Uploaded, "Pushed"),
        ] {
            assert_eq!(words(&event(step)), expected);
        }
    }
}
