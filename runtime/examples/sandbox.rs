//! Runs a command in a sandbox whose root is the busybox of this machine.
//!
//! `cargo run -p kiln-runtime --example sandbox -- sh -c 'id; mount'`

#![expect(clippy::print_stderr, reason = "an example talks to whoever runs it")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use kiln_runtime::{
    Executor, Job, JobRoot, LocalExecutor, OverlayDirectories, Process, Stream, userns,
};
use kiln_threads::Stop;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let level = userns::enter(&userns::Options::default())?;
    eprintln!("{level:?} in {:?}", start.elapsed());
    let base = std::env::temp_dir().join(format!("kiln-sandbox-{}", std::process::id()));
    let layer = base.join("layer");
    busybox_root(&layer)?;
    let writable = OverlayDirectories {
        upper: base.join("upper"),
        work: base.join("work"),
    };
    fs::create_dir_all(&writable.upper)?;
    fs::create_dir_all(&writable.work)?;
    let mut process = Process::new(std::env::args().skip(1));
    process.env = vec![("PATH".to_owned(), "/bin".to_owned())];
    let root = JobRoot::Layers {
        lowers: vec![layer],
        upper: Some(writable.clone()),
    };
    let executor = LocalExecutor::new(&base.join("scratch"))?;
    let mut print = |stream: Stream, bytes: &[u8]| {
        // Nobody is left to complain to.
        let _ = match stream {
            Stream::Stdout => std::io::stdout().write_all(bytes),
            Stream::Stderr => std::io::stderr().write_all(bytes),
        };
    };
    let start = Instant::now();
    let outcome = executor.run(&Job::new(root, process), &mut print, &Stop::default());
    eprintln!("{outcome:?} in {:?}", start.elapsed());
    eprintln!("upper: {:?}", list(&writable.upper)?);
    drop(executor);
    fs::remove_dir_all(&base)?;
    outcome?;
    Ok(())
}

fn busybox_root(root: &Path) -> std::io::Result<()> {
    fs::create_dir_all(root.join("bin"))?;
    fs::create_dir_all(root.join("etc"))?;
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    for name in [
        "sh", "ls", "cat", "id", "mount", "true", "env", "ps", "stat", "find",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name))?;
    }
    Ok(())
}

fn list(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
