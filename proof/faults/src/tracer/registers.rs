use kiln_testbed::Skip;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// Checks that this machine's registers are known here.
pub(super) fn need() -> Result<(), Skip> {
    if cfg!(target_arch = "x86_64") {
        Ok(())
    } else {
        Err(Skip::because("system calls are traced on x86-64 only"))
    }
}

/// The registers of a thread that stands still at a call.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers {
    process: Pid,
    all: nix::libc::user_regs_struct,
}

// x86-64's ABI: syscall(2), "Architecture calling conventions".
#[cfg(target_arch = "x86_64")]
impl Registers {
    pub(super) fn of(process: Pid) -> nix::Result<Self> {
        let all = ptrace::getregs(process)?;
        Ok(Self { process, all })
    }

    /// Returns the number of the call.
    pub(super) fn call(&self) -> i64 {
        self.all.orig_rax.cast_signed()
    }

    /// Returns an argument, counted from 0.
    pub(super) fn argument(&self, number: usize) -> u64 {
        let Self { all, .. } = self;
        [all.rdi, all.rsi, all.rdx, all.r10, all.r8, all.r9][number]
    }

    /// Has the kernel leave out a call that is beginning: there is none of this number.
    pub(super) fn withhold(&mut self) -> nix::Result<()> {
        self.all.orig_rax = u64::MAX;
        ptrace::setregs(self.process, self.all)
    }

    /// Has a call return an error that is ending.
    pub(super) fn fail(&mut self, error: Errno) -> nix::Result<()> {
        self.all.rax = (-i64::from(error as i32)).cast_unsigned();
        ptrace::setregs(self.process, self.all)
    }
}

/// Those of other machines are never looked at: [`need`] says so first.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers;

#[cfg(not(target_arch = "x86_64"))]
impl Registers {
    pub(super) fn of(_process: Pid) -> nix::Result<Self> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn call(&self) -> i64 {
        -1
    }

    pub(super) fn argument(&self, _number: usize) -> u64 {
        0
    }

    pub(super) fn withhold(&mut self) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn fail(&mut self, _error: Errno) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }
}
