//! Layers that are unpacked before their image is used for the first time.
//!
//! That is shown on a terminal only, and nothing of it stays: what a container prints is all that
//! others are to see.

use std::sync::{Mutex, PoisonError};

use kiln_docker::units;
use kiln_engine::{LayerProgress, LayerWork, Stream};
use kiln_oci::Sha256;

use super::redraw::LiveLines;
use crate::terminal;

/// Shows layers on their way to the disk.
pub(crate) struct Unpacking {
    /// None where standard error is no terminal.
    state: Option<Mutex<UnpackingLines>>,
}

struct UnpackingLines {
    live: LiveLines,
    layers: Vec<(Sha256, String)>,
}

impl Unpacking {
    /// Begins to show them.
    pub(crate) fn start() -> Self {
        let state = terminal::stderr_is_terminal().then(|| {
            Mutex::new(UnpackingLines {
                live: LiveLines::new(Stream::Stderr),
                layers: Vec::new(),
            })
        });
        Self { state }
    }

    /// Takes what the engine tells, from any thread.
    pub(crate) fn take(&self, progress: &LayerProgress) {
        let Some(state) = &self.state else {
            return;
        };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let UnpackingLines { live, layers } = &mut *state;
        let line = line(progress);
        match layers
            .iter_mut()
            .find(|(digest, _)| *digest == progress.digest)
        {
            Some((_, old)) => *old = line,
            None => layers.push((progress.digest, line)),
        }
        if live.is_due() {
            let lines: Vec<&str> = layers.iter().map(|(_, line)| line.as_str()).collect();
            live.draw(&lines);
        }
    }

    /// Takes them off the screen.
    pub(crate) fn finish(self) {
        if let Some(state) = self.state {
            let mut state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
            state.live.clear();
        }
    }
}

/// Returns docker's words for the stations of a layer.
fn line(progress: &LayerProgress) -> String {
    let digest = progress.digest.short();
    let (done, all) = (
        units::size(progress.done_bytes),
        units::size(progress.size_bytes),
    );
    match progress.work {
        LayerWork::Downloading => format!("{digest}: Downloading {done}/{all}"),
        LayerWork::Extracting if progress.done_bytes == progress.size_bytes => {
            format!("{digest}: Pull complete")
        }
        LayerWork::Extracting => format!("{digest}: Extracting {done}/{all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stations_have_dockers_words() {
        let progress = LayerProgress {
            digest: Sha256::of(b""),
            work: LayerWork::Extracting,
            done_bytes: 1_050_000,
            size_bytes: 3_400_000,
        };
        let short = progress.digest.short();
        assert_eq!(line(&progress), format!("{short}: Extracting 1.05MB/3.4MB"));
        let done = LayerProgress {
            done_bytes: 3_400_000,
            ..progress
        };
        assert_eq!(line(&done), format!("{short}: Pull complete"));
    }
}
