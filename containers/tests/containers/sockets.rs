//! Sockets as programs for i386 ask for them, which kiln makes: the monitor has to listen.
#![expect(unsafe_code, reason = "calls the kernel as programs for i386 do")]

use std::arch::asm;
use std::process::ExitCode;

use kiln_containers::Follow;
use kiln_runtime::Stream;
use kiln_testbed::cases;

use crate::fixture::{ContainerRequest, Fixture, log, run_this_program, start, text};

pub(crate) const CASES: &[crate::Case] = cases![calls_for_sockets_are_answered];

/// Asks for two sockets with `socketcall`, and prints 0 for each, or an error's number. Runs in the
/// container.
pub(crate) fn inside() -> ExitCode {
    for family in [libc::AF_INET, libc::AF_ALG] {
        println!("{}", socketcall([family, libc::SOCK_STREAM, 0]));
    }
    ExitCode::SUCCESS
}

/// Makes a call by interrupt 0x80, with its arguments in reach of addresses of 32 bits.
fn socketcall(arguments: [i32; 3]) -> i32 {
    let result: i32;
    // SAFETY: the memory is a new page of which three words are written; the kernel reads them and
    // makes a socket, which stays open until this process ends.
    unsafe {
        let memory = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        );
        assert_ne!(memory, libc::MAP_FAILED);
        memory.cast::<[i32; 3]>().write(arguments);
        asm!(
            "xchg rbx, {first:r}",
            "int 0x80",
            "xchg rbx, {first:r}",
            first = inout(reg) 1_u64 => _,
            inout("eax") 102 => result,
            in("ecx") memory as usize as u32,
        );
    }
    (-result).max(0)
}

fn calls_for_sockets_are_answered(fixture: &Fixture) {
    let container = fixture.make_with(&ContainerRequest::new(""), |spec| {
        run_this_program(spec, &["--sockets"]);
    });
    start(&container);
    assert_eq!(container.wait().unwrap().exit_code, 0);
    let records = log(&container, Follow::No);
    assert_eq!(text(&records, Stream::Stdout), "0\n1\n");
}
