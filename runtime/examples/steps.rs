//! Times sandboxed steps beside plain fork and exec, alternating.
//!
//! `cargo run --release -p kiln-runtime --example steps -- 300`

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_runtime::{
    End, Executor, Job, JobNetwork, JobRoot, JobSecurity, LocalExecutor, OverlayDirectories,
    Process, Stream, userns,
};
use kiln_threads::Stop;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(300), |n| n.parse())?;
    let start = Instant::now();
    let level = userns::enter(&userns::Options::default())?;
    println!("{level:?} in {:?}", start.elapsed());
    let base = std::env::temp_dir().join(format!("kiln-steps-{}", std::process::id()));
    let layer = base.join("layer");
    fs::create_dir_all(layer.join("bin"))?;
    fs::copy("/bin/busybox", layer.join("bin/busybox"))?;
    std::os::unix::fs::symlink("busybox", layer.join("bin/true"))?;
    let start = Instant::now();
    let executor = LocalExecutor::new(&base.join("scratch"))?;
    println!("executor in {:?}", start.elapsed());

    let job = |round: usize| -> Result<Job, Failure> {
        let writable = OverlayDirectories {
            upper: base.join(format!("upper-{round}")),
            work: base.join(format!("work-{round}")),
        };
        fs::create_dir(&writable.upper)?;
        fs::create_dir(&writable.work)?;
        let root = JobRoot::Layers {
            lowers: vec![layer.clone()],
            upper: Some(writable),
        };
        Ok(Job::new(root, Process::new(["/bin/true"])))
    };
    let stop = Stop::default();
    let sandboxed = |job: &Job| -> Result<Duration, Failure> {
        let start = Instant::now();
        let outcome = executor.run(job, &mut |_: Stream, _: &[u8]| {}, &stop)?;
        let time = start.elapsed();
        match outcome.end {
            End::Exited(0) => Ok(time),
            other => Err(format!("{other:?}").into()),
        }
    };

    let mut plain = Vec::new();
    let mut full = Vec::new();
    let mut no_network = Vec::new();
    let mut insecure = Vec::new();
    for round in 0..rounds {
        let start = Instant::now();
        Command::new("/bin/busybox")
            .arg("true")
            .stdin(Stdio::null())
            .output()?;
        plain.push(start.elapsed());
        full.push(sandboxed(&job(round * 3)?)?);
        let mut apart = job(round * 3 + 1)?;
        apart.network = JobNetwork::None;
        no_network.push(sandboxed(&apart)?);
        let mut trusted = job(round * 3 + 2)?;
        trusted.security = JobSecurity::Insecure;
        insecure.push(sandboxed(&trusted)?);
    }
    show("fork and exec", plain);
    show("sandbox", full);
    show("sandbox, own network", no_network);
    show("insecure", insecure);
    drop(executor);
    fs::remove_dir_all(&base)?;
    Ok(())
}

fn show(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!(
        "{name:22} min {:?}  p10 {:?}  median {:?}  p90 {:?}",
        times[0],
        at(10),
        at(50),
        at(90)
    );
}
