use std::fs;

use kiln_testbed::Scratch;

use super::*;

/// A 64-bit, little-endian binary of a machine, with a loader if it has a name.
fn elf(machine: u16, loader: &str) -> Vec<u8> {
    let mut head = b"\x7fELF\x02\x01\x01".to_vec();
    head.resize(64, 0);
    head[16] = 3;
    head[18..20].copy_from_slice(&machine.to_le_bytes());
    if !loader.is_empty() {
        head[32] = 64;
        head[54] = 56;
        head[56] = 2;
        head.resize(64 + 2 * 56, 0);
        // The second header is the one that counts.
        head[64] = 6;
        head[120] = 3;
        head[128] = 176;
        head[152] = u8::try_from(loader.len() + 1).unwrap();
        head.extend_from_slice(loader.as_bytes());
        head.push(0);
    }
    head
}

/// What Debian registers for arm64.
const QEMU: &str = "interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
";

fn reason(head: &[u8], errno: Errno, handler: Option<&str>) -> String {
    let scratch = Scratch::new();
    if let Some(handler) = handler {
        fs::write(scratch.path().join("status"), "enabled\n").unwrap();
        fs::write(scratch.path().join("register"), "").unwrap();
        fs::write(
            scratch.path().join("other"),
            "enabled\ninterpreter /x\nextension .exe\n",
        )
        .unwrap();
        fs::write(scratch.path().join("qemu-aarch64"), handler).unwrap();
    }
    let file = Unstartable {
        path: "/bin/x",
        head,
        errno,
        machine: "x86_64",
    };
    let look = |path: &str| (path == "/bin/sh").then(|| elf(183, ""));
    let reason = file.reason(scratch.path(), look).unwrap_or_default();
    reason.replace(&scratch.path().display().to_string(), "BINFMT")
}

#[test]
fn foreign_programs_want_an_emulator() {
    let arm = elf(183, "");
    let machines = "is a program for arm64, this machine is x86_64, and";
    let none = "no emulator for such programs is registered with the kernel; install one, such as \
                Debian's qemu-user-static and binfmt-support";
    assert_eq!(
        reason(&arm, Errno::NOEXEC, None),
        format!("/bin/x {machines} {none}")
    );
    for script in ["#!/bin/sh\n", "#! /bin/sh -e\necho"] {
        let expected = format!("/bin/sh {machines} {none}");
        assert_eq!(reason(script.as_bytes(), Errno::NOEXEC, None), expected);
    }
    let emulator = "/usr/libexec/qemu-binfmt/aarch64-binfmt-P";
    assert_eq!(
        reason(&arm, Errno::NOEXEC, Some(&format!("enabled\n{QEMU}"))),
        format!(
            "/bin/x {machines} the emulator {emulator} registered for such programs cannot be \
             executed"
        )
    );
    assert_eq!(
        reason(&arm, Errno::NOEXEC, Some(&format!("disabled\n{QEMU}"))),
        format!(
            "/bin/x {machines} the emulator registered for such programs, {emulator}, is \
             disabled; enable it by writing 1 to BINFMT/qemu-aarch64"
        )
    );
    assert_eq!(
        reason(&arm, Errno::NOENT, Some(&format!("enabled\n{QEMU}"))),
        format!(
            "/bin/x {machines} the emulator {emulator} registered for such programs does not \
             exist inside; register it with flag F, so that it is taken from this machine \
             (Debian's qemu-user-static does)"
        )
    );
    // A handler for others is of no use.
    let riscv = reason(
        &elf(243, ""),
        Errno::NOEXEC,
        Some(&format!("enabled\n{QEMU}")),
    );
    assert!(
        riscv.contains("for riscv64") && riscv.contains(none),
        "{riscv}"
    );
    assert!(reason(&elf(4660, ""), Errno::NOEXEC, None).contains("for ELF machine 4660, this"));
}

#[test]
fn missing_interpreters_and_loaders_are_named() {
    let musl = elf(62, "/lib/ld-musl-x86_64.so.1");
    assert_eq!(
        reason(&musl, Errno::NOENT, None),
        "its loader /lib/ld-musl-x86_64.so.1 does not exist; /bin/x was linked for another \
         system or C library"
    );
    assert_eq!(
        reason(b"#!/bin/bash\n", Errno::NOENT, None),
        "its interpreter /bin/bash does not exist"
    );
    assert_eq!(
        reason(b"#!/bin/sh\r\necho", Errno::NOENT, None),
        "its first line ends as on Windows, in a carriage return, so its interpreter is not \
         /bin/sh but \"/bin/sh\\r\", which does not exist"
    );
}

#[test]
fn files_that_are_no_programs() {
    assert_eq!(
        reason(b"echo hello\n", Errno::NOEXEC, None),
        "/bin/x is neither a program for this machine nor a script that begins with #! and its \
         interpreter"
    );
    assert_eq!(
        reason(b"#!\n", Errno::NOEXEC, None),
        "the first line of /bin/x names no interpreter"
    );
    assert_eq!(
        reason(&elf(62, ""), Errno::NOEXEC, None),
        "/bin/x is a program for amd64 but damaged or not complete"
    );
    assert_eq!(reason(b"", Errno::NOEXEC, None), "");
    assert_eq!(reason(&elf(62, ""), Errno::NOENT, None), "");
    // Whatever a file holds, reading it ends.
    for length in 0..200 {
        reason(&elf(62, "/lib/x")[..length.min(183)], Errno::NOENT, None);
        reason(
            &[b"\x7fELF\x02\x01".to_vec(), vec![0xff; length]].concat(),
            Errno::NOENT,
            None,
        );
    }
}
