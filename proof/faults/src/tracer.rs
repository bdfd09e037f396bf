//! A kiln whose system calls are counted, and of which one fails.
//!
//! Its threads and children are traced, from the first thing that it does itself: what the dynamic
//! loader does before is not kiln's, and neither is what the programs do that kiln starts. Calls are
//! counted by kind over all threads, so that a fault meets one call and no other. Each run is traced
//! by a thread of its own: only what that one started is waited for.

mod calls; // those that are counted, and how they fail
mod registers; // of a process that stands still at a call

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kiln_testbed::Skip;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

pub(crate) use self::calls::{CALLS, Call};
use self::calls::{STARTED, Subject};
use self::registers::Registers;

/// How long a kiln may go on that met a fault, with what it left in the background.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until it is traced. The loader and the shell end before kiln begins.
const WAIT: &str = "read -r go; exec \"$@\" < /dev/null";

/// `PTRACE_SYSCALL_INFO_ENTRY` and `PTRACE_SYSCALL_INFO_EXIT` of include/uapi/linux/ptrace.h.
const ENTRY: u8 = 1;
const EXIT: u8 = 2;

/// The call that fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) call: &'static str,
    /// Counted from 0, among the calls of its kind.
    pub(crate) position: usize,
    pub(crate) error: Errno,
}

/// What a traced run was.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) output: Output,
    /// What each call was about, by kind.
    pub(crate) calls: BTreeMap<&'static str, Vec<String>>,
    /// What the call was about that failed.
    pub(crate) hit: Option<String>,
    /// Whether it went on for so long that it was ended.
    pub(crate) is_endless: bool,
}

/// Runs a kiln, and lets one of its calls fail if there is a fault. What it writes is kept in files of
/// `scratch` meanwhile.
///
/// # Errors
/// What the machine lacks.
pub(crate) fn run(command: &Command, scratch: &Path, fault: Option<Fault>) -> Result<Traced, Skip> {
    registers::need()?;
    let (stdout, stderr) = (scratch.join("stdout"), scratch.join("stderr"));
    let mut traced = Command::new("/bin/sh");
    traced
        .args(["-c", WAIT, "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(File::create(&stdout).expect("the scratch directory is ours"))
        .stderr(File::create(&stderr).expect("the scratch directory is ours"));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        traced.current_dir(directory);
    }
    let tracer = std::thread::spawn(move || Tracer::new(fault).run(traced));
    let tracer = tracer.join().expect("the tracer does not panic");
    let (tracer, status, is_endless) =
        tracer.map_err(|error| Skip::because(format!("nothing can be traced here: {error}")))?;
    Ok(Traced {
        output: Output {
            status,
            stdout: fs::read(&stdout).unwrap_or_default(),
            stderr: fs::read(&stderr).unwrap_or_default(),
        },
        calls: tracer.calls,
        hit: tracer.hit,
        is_endless,
    })
}

#[derive(Debug)]
struct Tracer {
    fault: Option<Fault>,
    calls: BTreeMap<&'static str, Vec<String>>,
    hit: Option<String>,
    /// Processes that are still being loaded, or are no kiln.
    foreign: BTreeSet<Pid>,
    /// Threads whose call was withheld, for what it is to return.
    withheld: BTreeMap<Pid, Errno>,
    /// All that there are, to be ended by the caller.
    alive: Arc<Mutex<BTreeSet<Pid>>>,
}

impl Tracer {
    fn new(fault: Option<Fault>) -> Self {
        Self {
            fault,
            calls: BTreeMap::new(),
            hit: None,
            foreign: BTreeSet::new(),
            withheld: BTreeMap::new(),
            alive: Arc::default(),
        }
    }

    /// Runs a command until it and all that it started have ended.
    #[expect(
        clippy::zombie_processes,
        reason = "it is waited for with all that it starts"
    )]
    fn run(mut self, mut command: Command) -> nix::Result<(Self, ExitStatus, bool)> {
        let mut child = command.spawn().expect("a shell is there");
        let main = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        self.foreign.insert(main);
        self.lock().insert(main);
        let followed = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(main, followed).inspect_err(|_| drop(child.kill()))?;
        ptrace::interrupt(main)?;
        let mut gate = child.stdin.take().expect("standard input is a pipe");
        gate.write_all(b"\n").expect("the shell waits for it");

        let (ended, is_ended) = channel::<()>();
        let alive = Arc::clone(&self.alive);
        let watch = std::thread::spawn(move || {
            let is_late = is_ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
            if is_late {
                for &process in &*alive.lock().unwrap_or_else(PoisonError::into_inner) {
                    // One that has just ended needs no end.
                    let _ = kill(process, Signal::SIGKILL);
                }
            }
            is_late
        });
        let status = self.follow(main);
        drop(ended);
        let is_endless = watch.join().expect("it only waits");
        Ok((self, status, is_endless))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Pid>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows processes until there are none, and returns how the main one ended.
    fn follow(&mut self, main: Pid) -> ExitStatus {
        let mut status = ExitStatus::from_raw(0);
        let of_this_thread = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            let (process, signal) = match waitpid(None, Some(of_this_thread)) {
                Ok(WaitStatus::Exited(process, code)) => {
                    self.forget(process);
                    if process == main {
                        status = ExitStatus::from_raw(code << 8);
                    }
                    continue;
                }
                Ok(WaitStatus::Signaled(process, signal, _)) => {
                    self.forget(process);
                    if process == main {
                        status = ExitStatus::from_raw(signal as i32);
                    }
                    continue;
                }
                Ok(WaitStatus::PtraceSyscall(process)) => {
                    // One that was killed meanwhile has nothing to tell.
                    let _ = self.at_call(process);
                    (process, None)
                }
                Ok(WaitStatus::PtraceEvent(process, _, event)) => {
                    let is_new = self.lock().insert(process);
                    let is_loaded = event == ptrace::Event::PTRACE_EVENT_EXEC as i32;
                    if is_loaded || (is_new && !is_kiln(process)) {
                        self.foreign.insert(process);
                    }
                    (process, None)
                }
                Ok(WaitStatus::Stopped(process, signal)) => (process, Some(signal)),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => return status,
            };
            // It may have been killed meanwhile.
            let _ = ptrace::syscall(process, signal);
        }
    }

    fn forget(&mut self, process: Pid) {
        self.lock().remove(&process);
        self.foreign.remove(&process);
        self.withheld.remove(&process);
    }

    /// Counts a call that begins, or gives one its result that was withheld.
    fn at_call(&mut self, process: Pid) -> nix::Result<()> {
        match ptrace::syscall_info(process)?.op {
            ENTRY => {
                let mut registers = Registers::of(process)?;
                if self.foreign.contains(&process) {
                    if registers.call() == STARTED && is_kiln(process) {
                        self.foreign.remove(&process);
                    }
                    return Ok(());
                }
                let call = CALLS.iter().find(|call| call.number == registers.call());
                let subject = call.and_then(|call| subject(process, call, &registers));
                let (Some(call), Some(subject)) = (call, subject) else {
                    return Ok(());
                };
                let calls = self.calls.entry(call.name).or_default();
                let is_it =
                    |fault: &Fault| fault.call == call.name && fault.position == calls.len();
                if let Some(fault) = self.fault.filter(is_it) {
                    registers.withhold()?;
                    self.withheld.insert(process, fault.error);
                    self.hit = Some(subject.clone());
                }
                calls.push(subject);
            }
            EXIT => {
                if let Some(error) = self.withheld.remove(&process) {
                    Registers::of(process)?.fail(error)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Says whether a process runs kiln, or a copy that kiln made of itself.
fn is_kiln(process: Pid) -> bool {
    let program = fs::read_link(format!("/proc/{process}/exe")).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.trim_start_matches("memfd:").starts_with("kiln")
}

/// Returns what a call is about; nothing if it is one that is not counted.
fn subject(process: Pid, call: &Call, registers: &Registers) -> Option<String> {
    let opened = |argument: usize| {
        let number = registers.argument(argument) as i32;
        let link = fs::read_link(format!("/proc/{process}/fd/{number}")).ok()?;
        Some(link.to_string_lossy().into_owned())
    };
    match call.subject {
        Subject::None => Some(String::new()),
        Subject::Path(argument) => {
            let path = text(process, registers.argument(argument))?;
            // openat(2), AT_EMPTY_PATH: what is open itself.
            Some(if path.is_empty() {
                opened(0).unwrap_or_default()
            } else {
                path
            })
        }
        Subject::Opened(argument) => Some(opened(argument).unwrap_or_default()),
        Subject::File(argument) => opened(argument).filter(|path| path.starts_with('/')),
        Subject::Connection(argument) => {
            let socket = opened(argument)?;
            let inode = socket.strip_prefix("socket:[")?.trim_end_matches(']');
            let connections = fs::read_to_string(format!("/proc/{process}/net/tcp")).ok()?;
            let is_one = connections.split_whitespace().any(|word| word == inode);
            is_one.then_some(socket)
        }
        Subject::Mapping => match registers.argument(4) as i32 {
            // mmap(2), pthread_create(3): a stack cannot be read or written until its guard is made.
            -1 if registers.argument(2) == 0 => Some("a thread's stack".to_owned()),
            -1 => None,
            _ => opened(4),
        },
    }
}

/// Reads a text of a process, or what fits into a line.
fn text(process: Pid, address: u64) -> Option<String> {
    let memory = File::open(format!("/proc/{process}/mem")).ok()?;
    let mut bytes = [0; 200];
    let length = memory.read_at(&mut bytes, address).ok()?;
    let end = bytes[..length].iter().position(|&byte| byte == 0);
    let text = &bytes[..end.unwrap_or(length)];
    Some(String::from_utf8_lossy(text).into_owned())
}
