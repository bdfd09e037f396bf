//! A busybox root, and one-line ways to run something in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_files::GuestPath;
use kiln_runtime::userns::PrivilegeLevel;
use kiln_runtime::{
    End, ExecError, Executor, Job, JobMount, JobOutcome, JobRoot, LocalExecutor, MountAccess,
    MountSource, OverlayDirectories, Process, Stream,
};
use kiln_testbed::{Skip, busybox_rootfs};
use kiln_threads::Stop;

/// What all cases share.
pub(crate) struct Fixture {
    pub(crate) base: PathBuf,
    /// A layer with busybox, `/dev`, `/proc` and `/sys`.
    pub(crate) layer: PathBuf,
    pub(crate) executor: LocalExecutor,
    pub(crate) level: PrivilegeLevel,
    counter: AtomicUsize,
}

/// What came of a run.
pub(crate) struct Ran {
    pub(crate) outcome: JobOutcome,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Fixture {
    pub(crate) fn new(base: &Path, level: PrivilegeLevel) -> Result<Self, Skip> {
        let layer = base.join("busybox");
        fs::create_dir(&layer).unwrap();
        busybox_rootfs(&layer)?;
        let executor = LocalExecutor::new(&base.join("scratch")).unwrap();
        Ok(Self {
            base: base.to_owned(),
            layer,
            executor,
            level,
            counter: AtomicUsize::new(0),
        })
    }

    /// Says whether user and group ids beside 0 exist.
    pub(crate) fn has_ids(&self) -> bool {
        !matches!(self.level, PrivilegeLevel::SingleId { .. })
    }

    /// Makes a directory of the case's own.
    pub(crate) fn directory(&self) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let directory = self.base.join(number.to_string());
        fs::create_dir(&directory).unwrap();
        directory
    }

    pub(crate) fn writable(&self) -> OverlayDirectories {
        let directory = self.directory();
        let writable = OverlayDirectories {
            upper: directory.join("upper"),
            work: directory.join("work"),
        };
        fs::create_dir(&writable.upper).unwrap();
        fs::create_dir(&writable.work).unwrap();
        writable
    }

    /// Describes a run on busybox, and returns where its changes will be.
    pub(crate) fn job(&self, argv: &[&str]) -> (Job, PathBuf) {
        self.job_on(vec![self.layer.clone()], argv)
    }

    pub(crate) fn job_on(&self, lowers: Vec<PathBuf>, argv: &[&str]) -> (Job, PathBuf) {
        let writable = self.writable();
        let upper = writable.upper.clone();
        let root = JobRoot::Layers {
            lowers,
            upper: Some(writable),
        };
        let mut process = Process::new(argv.iter().copied());
        process.env = vec![("PATH".to_owned(), "/bin".to_owned())];
        (Job::new(root, process), upper)
    }

    /// Describes a run of this very program inside, with words for its `main`.
    pub(crate) fn own_job(&self, words: &[&str]) -> (Job, PathBuf) {
        let argv: Vec<_> = ["/own"].into_iter().chain(words.iter().copied()).collect();
        let (mut job, upper) = self.job(&argv);
        let own = std::env::current_exe().unwrap();
        // And what it is linked with.
        let libraries = ["/lib", "/lib64", "/usr/lib"].map(|path| (PathBuf::from(path), path));
        for (path, target) in libraries.into_iter().chain([(own, "/own")]) {
            if path.exists() {
                job.mounts.push(JobMount {
                    target: GuestPath::new(target),
                    source: MountSource::Bind {
                        path,
                        inside: GuestPath::ROOT,
                    },
                    access: MountAccess::ReadOnly,
                });
            }
        }
        (job, upper)
    }

    /// Runs a job on directories of its own where its root is to be written to: a work directory
    /// serves one mount.
    pub(crate) fn again(&self, job: &Job) -> Job {
        let mut job = job.clone();
        if let JobRoot::Layers {
            upper: Some(upper), ..
        } = &mut job.root
        {
            *upper = self.writable();
        }
        job
    }

    pub(crate) fn try_run(&self, job: &Job) -> Result<Ran, ExecError> {
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        let mut collect = |stream: Stream, bytes: &[u8]| match stream {
            Stream::Stdout => stdout.extend_from_slice(bytes),
            Stream::Stderr => stderr.extend_from_slice(bytes),
        };
        let stop = Stop::default();
        let outcome = self.executor.run(job, &mut collect, &stop)?;
        Ok(Ran {
            outcome,
            stdout,
            stderr,
        })
    }

    pub(crate) fn run(&self, job: &Job) -> Ran {
        self.try_run(job).unwrap()
    }

    /// Runs a shell script that has to succeed, and returns what it printed.
    pub(crate) fn sh(&self, script: &str) -> String {
        let (job, _) = self.job(&["sh", "-c", script]);
        self.output(&job)
    }

    /// Runs a job that has to succeed, and returns what it printed.
    pub(crate) fn output(&self, job: &Job) -> String {
        let ran = self.run(job);
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.outcome.end, End::Exited(0), "{text}{errors}");
        text
    }

    /// Runs a shell script that has to fail, and returns what it complained about.
    pub(crate) fn sh_fails(&self, script: &str) -> String {
        let (job, _) = self.job(&["sh", "-c", script]);
        let ran = self.run(&job);
        assert_ne!(ran.outcome.end, End::Exited(0), "{script}");
        String::from_utf8_lossy(&ran.stderr).into_owned()
    }
}

/// Lists everything below a directory, with a slash behind directories.
pub(crate) fn list(directory: &Path) -> Vec<String> {
    fn visit(directory: &Path, prefix: &str, names: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                names.push(format!("{name}/"));
                visit(&entry.path(), &format!("{name}/"), names);
            } else {
                names.push(name);
            }
        }
    }
    let mut names = Vec::new();
    visit(directory, "", &mut names);
    names.sort();
    names
}
