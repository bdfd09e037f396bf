//! A small program that executes another one.
//!
//! Between `clone3` and the user's program the new process is kiln, and `/proc/self/exe` is kiln's
//! own file: a program, an interpreter line or a loader of that name, a path that changes while it
//! is looked up, and kiln would run as the image's program, for the image to write to later
//! (CVE-2019-5736 was that). So the new process becomes this launcher first, a file in memory on a
//! read-only mount that gives a program no power, and only the launcher resolves a path of the image.
//!
//! ```text
//! argv[0]       the file to execute
//! argv[1..]     its arguments
//! descriptor 3  where to report; closed when the file was executed
//! ```
//!
//! It reports what the kernel answered, as one number, and how the file begins.

/// Where the launcher finds the socket for its report.
pub(super) const REPORT: i32 = 3;

/// How often a file is tried that a process has open for writing, and nanoseconds between the
/// attempts.
///
/// Another thread of kiln may have been writing this very program when it cloned a process, which
/// holds a copy of the descriptor until it closes what it does not need: for less than a
/// millisecond. A process that writes for longer does so on purpose.
const ATTEMPTS: u32 = 40;
const PAUSE: u32 = 5_000_000;

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .rodata.kiln_launcher, \"a\", @progbits",
    "kiln_launcher_begin:",
    // The stack: argc, argv, a null pointer, the environment.
    "mov r12, [rsp]",
    "mov r13, [rsp + 8]",
    "lea r14, [rsp + 16]",
    "lea r15, [rsp + r12 * 8 + 16]",
    "mov ebx, {attempts}",
    "mov edi, {report}",
    "mov esi, {f_setfd}",
    "mov edx, {fd_cloexec}",
    "mov eax, {fcntl}",
    "syscall",
    "2:",
    "mov rdi, r13",
    "mov rsi, r14",
    "mov rdx, r15",
    "mov eax, {execve}",
    "syscall",
    "cmp eax, -{etxtbsy}",
    "jne 3f",
    "dec ebx",
    "jz 3f",
    "push {pause}",
    "push 0",
    "mov rdi, rsp",
    "xor esi, esi",
    "mov eax, {nanosleep}",
    "syscall",
    "add rsp, 16",
    "jmp 2b",
    "3:",
    "sub rsp, {head}",
    "neg eax",
    "mov [rsp], eax",
    "mov edi, {report}",
    "mov rsi, rsp",
    "mov edx, 4",
    "mov eax, {write}",
    "syscall",
    "mov rdi, r13",
    "mov esi, {open_flags}",
    "xor edx, edx",
    "mov eax, {open}",
    "syscall",
    "test eax, eax",
    "js 4f",
    "mov edi, eax",
    "mov rsi, rsp",
    "mov edx, {head}",
    "xor eax, eax", // read
    "syscall",
    "test eax, eax",
    "jle 4f",
    "mov edi, {report}",
    "mov rsi, rsp",
    "mov edx, eax",
    "mov eax, {write}",
    "syscall",
    "4:",
    "mov edi, 255",
    "mov eax, {exit_group}",
    "syscall",
    "jmp 4b",
    "kiln_launcher_end:",
    ".popsection",
    attempts = const ATTEMPTS,
    pause = const PAUSE,
    report = const REPORT,
    head = const super::report::HEAD_BYTES,
    f_setfd = const libc::F_SETFD,
    fd_cloexec = const libc::FD_CLOEXEC,
    etxtbsy = const libc::ETXTBSY,
    open_flags = const OPEN_FLAGS,
    fcntl = const libc::SYS_fcntl,
    execve = const libc::SYS_execve,
    nanosleep = const libc::SYS_nanosleep,
    write = const libc::SYS_write,
    open = const libc::SYS_open,
    exit_group = const libc::SYS_exit_group,
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .rodata.kiln_launcher, \"a\", @progbits",
    ".balign 4",
    "kiln_launcher_begin:",
    // The stack: argc, argv, a null pointer, the environment.
    "ldr x19, [sp]",
    "ldr x20, [sp, #8]",
    "add x21, sp, #16",
    "add x22, x21, x19, lsl #3",
    "mov w23, #{attempts}",
    "mov x0, #{report}",
    "mov x1, #{f_setfd}",
    "mov x2, #{fd_cloexec}",
    "mov x8, #{fcntl}",
    "svc #0",
    "2:",
    "mov x0, x20",
    "mov x1, x21",
    "mov x2, x22",
    "mov x8, #{execve}",
    "svc #0",
    "mov x24, x0",
    "cmn x0, #{etxtbsy}",
    "b.ne 3f",
    "subs w23, w23, #1",
    "b.eq 3f",
    "ldr w1, 5f",
    "stp xzr, x1, [sp, #-16]!",
    "mov x0, sp",
    "mov x1, #0",
    "mov x8, #{nanosleep}",
    "svc #0",
    "add sp, sp, #16",
    "b 2b",
    "3:",
    "sub sp, sp, #{head}",
    "neg w24, w24",
    "str w24, [sp]",
    "mov x0, #{report}",
    "mov x1, sp",
    "mov x2, #4",
    "mov x8, #{write}",
    "svc #0",
    "mov x0, #-100", // AT_FDCWD
    "mov x1, x20",
    "ldr w2, 6f",
    "mov x3, #0",
    "mov x8, #{openat}",
    "svc #0",
    "tbnz x0, #63, 4f",
    "mov x1, sp",
    "mov x2, #{head}",
    "mov x8, #{read}",
    "svc #0",
    "cmp x0, #0",
    "b.le 4f",
    "mov x2, x0",
    "mov x0, #{report}",
    "mov x1, sp",
    "mov x8, #{write}",
    "svc #0",
    "4:",
    "mov x0, #255",
    "mov x8, #{exit_group}",
    "svc #0",
    "b 4b",
    "5: .word {pause}",
    "6: .word {open_flags}",
    "kiln_launcher_end:",
    ".popsection",
    attempts = const ATTEMPTS,
    pause = const PAUSE,
    report = const REPORT,
    head = const super::report::HEAD_BYTES,
    f_setfd = const libc::F_SETFD,
    fd_cloexec = const libc::FD_CLOEXEC,
    etxtbsy = const libc::ETXTBSY,
    open_flags = const OPEN_FLAGS,
    fcntl = const libc::SYS_fcntl,
    execve = const libc::SYS_execve,
    nanosleep = const libc::SYS_nanosleep,
    write = const libc::SYS_write,
    read = const libc::SYS_read,
    openat = const libc::SYS_openat,
    exit_group = const libc::SYS_exit_group,
);

/// What a refused file is read with: it may be anything, a pipe without a writer too.
const OPEN_FLAGS: i32 = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;

unsafe extern "C" {
    static kiln_launcher_begin: u8;
    static kiln_launcher_end: u8;
}

/// Returns the launcher's code, which runs wherever it lies.
fn code() -> &'static [u8] {
    let begin = &raw const kiln_launcher_begin;
    let end = &raw const kiln_launcher_end;
    // SAFETY: both are labels of one section that is never written to, the second after the first.
    unsafe { std::slice::from_raw_parts(begin, end.offset_from_unsigned(begin)) }
}

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// Bytes of the file's header, and of one entry of its program header table.
const HEADER: u16 = 64;
const ENTRY: u16 = 56;

/// Where it is loaded: above what `vm.mmap_min_addr` keeps free.
const BASE: u64 = 0x40_0000;

/// Returns the launcher as a file: headers and code (elf(5)).
pub(crate) fn launcher() -> Vec<u8> {
    let code = code();
    let start = u64::from(HEADER) + 2 * u64::from(ENTRY);
    let length = start + code.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    file.resize(16, 0);
    let half = |file: &mut Vec<u8>, values: &[u16]| {
        for value in values {
            file.extend(value.to_le_bytes());
        }
    };
    let word = |file: &mut Vec<u8>, values: &[u32]| {
        for value in values {
            file.extend(value.to_le_bytes());
        }
    };
    let long = |file: &mut Vec<u8>, values: &[u64]| {
        for value in values {
            file.extend(value.to_le_bytes());
        }
    };
    // Type: executable. Then version, entry, and the offsets of both tables; there are no sections.
    half(&mut file, &[2, MACHINE]);
    word(&mut file, &[1]);
    long(&mut file, &[BASE + start, u64::from(HEADER), 0]);
    word(&mut file, &[0]);
    half(&mut file, &[HEADER, ENTRY, 2, 0, 0, 0]);
    // PT_LOAD, readable and executable: offset, both addresses, both lengths, alignment.
    word(&mut file, &[1, 5]);
    long(&mut file, &[0, BASE, BASE, length, length, 0x1_0000]);
    // PT_GNU_STACK, readable and writable: the stack is not to be executed.
    word(&mut file, &[0x6474_e551, 6]);
    long(&mut file, &[0, 0, 0, 0, 0, 16]);
    file.extend(code);
    file
}
