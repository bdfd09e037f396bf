//! Programs for other machines: what is said about them, and that emulators run them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use kiln_runtime::End;
use kiln_runtime::userns::PrivilegeLevel;
use kiln_testbed::{Skip, Tool, cases};

use crate::fixture::Fixture;

pub(crate) const CASES: &[crate::Case] = cases![
    programs_for_other_machines
    emulators_are_used
];

/// ELF's number of arm64.
const ARM64: u16 = 183;

const BINFMT_MISC: &str = "/proc/sys/fs/binfmt_misc";

/// No machine there is, nor any emulator of the host's for it.
const STRANGE_MACHINE: u16 = 0x7a7a;

/// Makes a layer with a program for that machine, and a script for it.
fn strange(fixture: &Fixture) -> PathBuf {
    let layer = fixture.directory();
    let mut head = b"\x7fELF\x02\x01\x01".to_vec();
    head.resize(64, 0);
    head[16] = 2;
    head[18..20].copy_from_slice(&STRANGE_MACHINE.to_le_bytes());
    for (name, text) in [("strange", &*head), ("by-strange", b"#!/strange -x\n")] {
        fs::write(layer.join(name), text).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(layer.join(name), mode).unwrap();
    }
    layer
}

fn programs_for_other_machines(fixture: &Fixture) {
    let layer = strange(fixture);
    let machine = machine_name();
    for program in ["/strange", "/by-strange"] {
        let lowers = vec![layer.clone(), fixture.layer.clone()];
        let (job, _) = fixture.job_on(lowers, &[program]);
        let end = fixture.run(&job).outcome.end;
        assert_eq!(end.code(), 126);
        assert_eq!(
            end.start_failure().unwrap(),
            format!(
                "exec: {program:?}: exec format error: /strange is a program for ELF machine \
                 31354, this machine is {machine}, and no emulator for such programs is \
                 registered with the kernel; install one, such as Debian's qemu-user-static and \
                 binfmt-support"
            )
        );
    }
}

fn machine_name() -> String {
    let output = Command::new("uname").arg("-m").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Registers emulators in a user namespace of its own and runs programs with them; run by
/// [`emulators_are_used`].
pub(crate) fn emulate(base: &Path) -> ExitCode {
    let mounted = Command::new("mount")
        .args(["-t", "binfmt_misc", "none", BINFMT_MISC])
        .output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        // Linux before 6.7 has one list for all.
        Skip::because("user namespaces have no binfmt_misc of their own").announce();
        return ExitCode::SUCCESS;
    }
    let fixture = Fixture::new(base, PrivilegeLevel::Root).unwrap();
    let layer = strange(&fixture);
    // Says what it is asked to run.
    let echo = fixture.directory().join("echo");
    fs::hard_link(fixture.layer.join("bin/busybox"), &echo).unwrap();
    let run = |emulator: &Path, machine: u16, flags: &str, argv: &[&str]| {
        register(emulator, machine, flags);
        let (job, _) = fixture.job_on(vec![layer.clone(), fixture.layer.clone()], argv);
        let ran = fixture.run(&job);
        fs::write(format!("{BINFMT_MISC}/kiln-test"), "-1").unwrap();
        (ran.outcome.end, String::from_utf8(ran.stdout).unwrap())
    };
    let argv = ["/strange", "one", "two"];
    let (end, text) = run(&echo, STRANGE_MACHINE, "F", &argv);
    assert_eq!((end, &*text), (End::Exited(0), "/strange one two\n"));
    let (end, _) = run(&echo, STRANGE_MACHINE, "", &argv);
    assert_eq!(
        end.start_failure().unwrap(),
        format!(
            "exec: \"/strange\": no such file or directory: /strange is a program for ELF machine \
             31354, this machine is {}, and the emulator {} registered for such programs does not \
             exist inside; register it with flag F, so that it is taken from this machine \
             (Debian's qemu-user-static does)",
            machine_name(),
            echo.display()
        )
    );
    match Tool::find("qemu-aarch64-static") {
        Ok(_) if machine_name() == "aarch64" => {
            Skip::because("arm64 is not foreign here").announce();
        }
        Ok(qemu) => {
            fs::write(layer.join("hello"), arm64_hello()).unwrap();
            fs::set_permissions(layer.join("hello"), fs::Permissions::from_mode(0o755)).unwrap();
            let (end, text) = run(qemu.path(), ARM64, "F", &["/hello"]);
            assert_eq!((end, &*text), (End::Exited(0), "hello\n"));
        }
        Err(skip) => skip.announce(),
    }
    ExitCode::SUCCESS
}

/// Registers an emulator for 64-bit little-endian binaries of a machine.
fn register(emulator: &Path, machine: u16, flags: &str) {
    let [low, high] = machine.to_le_bytes();
    let zeros = r"\x00".repeat(10);
    let magic = format!(r"\x7fELF\x02\x01{zeros}\x02\x00\x{low:02x}\x{high:02x}");
    let mask = format!(r"{}{zeros}\xfe\xff\xff\xff", r"\xff".repeat(6));
    let line = format!(
        ":kiln-test:M:0:{magic}:{mask}:{}:{flags}",
        emulator.display()
    );
    fs::write(format!("{BINFMT_MISC}/register"), line).unwrap();
}

/// A program that prints "hello".
fn arm64_hello() -> Vec<u8> {
    const CODE: [u32; 8] = [
        0xd280_0020, // mov x0, #1
        0x1000_00e1, // adr x1, 28 bytes further: the text
        0xd280_00c2, // mov x2, #6
        0xd280_0808, // mov x8, #64: write
        0xd400_0001, // svc #0
        0xd280_0000, // mov x0, #0
        0xd280_0ba8, // mov x8, #93: exit
        0xd400_0001, // svc #0
    ];
    const BASE: u64 = 0x40_0000;
    const HEADERS: u16 = 64 + 56;
    let size = u64::from(HEADERS) + 32 + 6;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let half = |file: &mut Vec<u8>, number: u16| file.extend(number.to_le_bytes());
    let word = |file: &mut Vec<u8>, number: u32| file.extend(number.to_le_bytes());
    let long = |file: &mut Vec<u8>, number: u64| file.extend(number.to_le_bytes());
    half(&mut file, 2);
    half(&mut file, ARM64);
    word(&mut file, 1);
    long(&mut file, BASE + u64::from(HEADERS));
    long(&mut file, 64);
    long(&mut file, 0);
    word(&mut file, 0);
    for number in [64, 56, 1, 64, 0, 0] {
        half(&mut file, number);
    }
    // One segment, to be loaded, readable and executable.
    word(&mut file, 1);
    word(&mut file, 5);
    for number in [0, BASE, BASE, size, size, 0x1_0000] {
        long(&mut file, number);
    }
    for instruction in CODE {
        word(&mut file, instruction);
    }
    file.extend(b"hello\n");
    assert_eq!(file.len() as u64, size);
    file
}

fn emulators_are_used(fixture: &Fixture) {
    // docs/spec/dockerfile.md 10: foreign programs run via binfmt_misc. What is registered would
    // hold for the whole machine, or for all cases here, hence another user namespace.
    let unshare = match Tool::find("unshare") {
        Ok(unshare) => unshare,
        Err(skip) => return skip.announce(),
    };
    let status = unshare
        .command()
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "--propagation",
            "private",
            "--",
        ])
        .arg(std::env::current_exe().unwrap())
        .arg("--emulate")
        .arg(fixture.directory())
        .status()
        .unwrap();
    assert!(status.success());
}
