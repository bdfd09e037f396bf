//! Layers that are unpacked before their image is used for the first time.
//!
//! On a terminal nothing of it stays: what a container prints is all that others are to see. Elsewhere
//! there is a line every few seconds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_docker::units;
use kiln_engine::{LayerProgress, LayerWork, Stream};
use kiln_oci::Sha256;

use super::redraw::LiveLines;
use crate::terminal;

/// Shows layers on their way to the disk.
pub(crate) struct Unpacking {
    shown: UnpackingDisplay,
}

enum UnpackingDisplay {
    Live(Mutex<UnpackingLines>),
    /// When the last line was written, where standard error is no terminal.
    Lines(Mutex<Instant>),
}

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(5);

struct UnpackingLines {
    live: LiveLines,
    layers: Vec<(Sha256, String)>,
}

impl Unpacking {
    /// Begins to show them.
    pub(crate) fn start() -> Self {
        let shown = if terminal::stderr_is_terminal() {
            UnpackingDisplay::Live(Mutex::new(UnpackingLines {
                live: LiveLines::new(Stream::Stderr),
                layers: Vec::new(),
            }))
        } else {
            UnpackingDisplay::Lines(Mutex::new(Instant::now()))
        };
        Self { shown }
    }

    /// Takes what the engine tells, from any thread.
    pub(crate) fn take(&self, progress: &LayerProgress) {
        match &self.shown {
            UnpackingDisplay::Live(state) => draw(state, progress),
            UnpackingDisplay::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() >= INTERVAL {
                    *last = Instant::now();
                    terminal::tell_line(&line(progress));
                }
            }
        }
    }

    /// Takes them off the screen.
    pub(crate) fn finish(self) {
        if let UnpackingDisplay::Live(state) = self.shown {
            let mut state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
            state.live.clear();
        }
    }
}

fn draw(state: &Mutex<UnpackingLines>, progress: &LayerProgress) {
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
