//! What tests of runners share: processes, and the events of a chain, written down.

use kiln_files::GuestPath;
use kiln_runtime::Stream;
use kiln_solver::{Network, RunEvents, RunOp, Security};

/// Describes a process that finds nothing mounted.
pub(crate) fn process(argv: &[&str]) -> RunOp {
    RunOp {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        script: None,
        env: Vec::new(),
        arguments: Vec::new(),
        cwd: GuestPath::ROOT,
        user: String::new(),
        mounts: Vec::new(),
        devices: Vec::new(),
        secret_variables: Vec::new(),
        hostname: "buildkitsandbox".to_owned(),
        network: Network::Default,
        extra_hosts: Vec::new(),
        security: Security::Sandbox,
        platform: "linux/amd64".parse().unwrap(),
    }
}

/// What the processes of a chain did, by their positions.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// The processes that began, in order.
    pub(crate) begun: Vec<usize>,
    /// The output of each that wrote something, in the order of their first words.
    pub(crate) output: Vec<(usize, String)>,
}

impl RunEvents for Recorded {
    fn begin(&mut self, process: usize) {
        self.begun.push(process);
    }

    fn output(&mut self, process: usize, _: Stream, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        match self.output.last_mut() {
            Some((last, known)) if *last == process => known.push_str(&text),
            _ => self.output.push((process, text.into_owned())),
        }
    }

    fn warn(&mut self, _: String) {}
}
