//! Why the kernel does not start a file that is there.
//!
//! Its answers are two: "exec format error" and "no such file or directory". The second is the
//! worse, for the file named exists: what is missing is the interpreter or the loader that it
//! names. The beginning of the file, which the child sends before it ends, tells more.

mod binfmt; // emulators registered with the kernel
mod elf; // the head of a binary

use std::path::Path;

use rustix::io::Errno;

use self::binfmt::Binfmt;
use self::elf::Elf;

/// Where the kernel lists the formats that were registered with it.
pub(super) const BINFMT_MISC: &str = "/proc/sys/fs/binfmt_misc";

/// A file that was not started.
pub(super) struct Unstartable<'a> {
    /// Its path inside.
    pub(super) path: &'a str,
    /// How it begins; empty if it could not be read.
    pub(super) head: &'a [u8],
    /// The kernel's answer.
    pub(super) errno: Errno,
    /// This machine as `uname -m` calls it.
    pub(super) machine: &'a str,
}

impl Unstartable<'_> {
    /// Says why in words, if more is known than the kernel's answer. `look` returns the beginning
    /// of another file inside, none if there is no such file.
    pub(super) fn reason(
        &self,
        binfmt_misc: &Path,
        look: impl FnOnce(&str) -> Option<Vec<u8>>,
    ) -> Option<String> {
        let path = self.path;
        if let Some(elf) = Elf::parse(self.head) {
            return self.binary(path, &elf, binfmt_misc);
        }
        let Some(interpreter) = interpreter(self.head) else {
            return match (self.errno, self.head) {
                (Errno::NOEXEC, [b'#', b'!', ..]) => {
                    Some(format!("the first line of {path} names no interpreter"))
                }
                // An empty head may as well be an unreadable one.
                (Errno::NOEXEC, [_, ..]) => Some(format!(
                    "{path} is neither a program for this machine nor a script that begins with \
                     #! and its interpreter"
                )),
                _ => None,
            };
        };
        match look(&interpreter) {
            None if self.errno == Errno::NOENT => Some(match interpreter.strip_suffix('\r') {
                None => format!("its interpreter {interpreter} does not exist"),
                Some(name) => format!(
                    "its first line ends as on Windows, in a carriage return, so its interpreter \
                     is not {name} but {interpreter:?}, which does not exist"
                ),
            }),
            head => self.binary(&interpreter, &Elf::parse(&head?)?, binfmt_misc),
        }
    }

    /// Explains a binary: the file itself or its interpreter.
    fn binary(&self, path: &str, elf: &Elf, binfmt_misc: &Path) -> Option<String> {
        let is_foreign = !elf.runs_on(self.machine);
        let made_for = format!("{path} is a program for {}", elf.machine());
        let foreign = format!("{made_for}, this machine is {}", self.machine);
        if self.errno == Errno::NOENT {
            let emulator = Binfmt::find(binfmt_misc, elf).ok().flatten();
            // The kernel found an emulator for it but looked for that inside.
            if let Some(emulator) = emulator.filter(|emulator| is_foreign && emulator.is_enabled) {
                return Some(format!(
                    "{foreign}, and the emulator {} registered for such programs does not exist \
                     inside; register it with flag F, so that it is taken from this machine \
                     (Debian's qemu-user-static does)",
                    emulator.interpreter
                ));
            }
            let loader = elf.loader.as_ref()?;
            return Some(format!(
                "its loader {loader} does not exist; {path} was linked for another system or C \
                 library"
            ));
        }
        if self.errno != Errno::NOEXEC {
            return None;
        }
        if !is_foreign {
            return Some(format!("{made_for} but damaged or not complete"));
        }
        Some(match Binfmt::find(binfmt_misc, elf) {
            Ok(Some(emulator)) if emulator.is_enabled => format!(
                "{foreign}, and the emulator {} registered for such programs cannot be executed",
                emulator.interpreter
            ),
            Ok(Some(emulator)) => format!(
                "{foreign}, and the emulator registered for such programs, {}, is disabled; \
                 enable it by writing 1 to {}",
                emulator.interpreter,
                emulator.file.display()
            ),
            Ok(None) | Err(_) => format!(
                "{foreign}, and no emulator for such programs is registered with the kernel; \
                 install one, such as Debian's qemu-user-static and binfmt-support"
            ),
        })
    }
}

/// Returns the interpreter that the first line of a script names.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head
        .strip_prefix(b"#!")?
        .split(|&byte| byte == b'\n')
        .next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    let name = words.find(|word| !word.is_empty())?;
    Some(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests;
