//! Which devices a sandbox may use, in the two forms the kernel takes.
//!
//! The rules are runc's default ones (libcontainer/specconv: `AllowedDevices`), as BuildKit and
//! Docker have them, with two exceptions. The console (5:1) is the host's: a program that reads
//! from it reads what is typed there. And `tun` (10:200) joins networks of the host that are open
//! to every user, for a sandbox may be on the host's network; making one takes a capability that no
//! sandbox has.

use crate::sys::BpfInstruction;
use crate::{DeviceKind, DeviceNumber};

/// The numbers of devices: `null`, `zero`, `full`, `random`, `urandom`, `tty`, `ptmx` and terminals
/// (Linux: Documentation/admin-guide/devices.txt).
const DEFAULT: [DeviceRule; 8] = [
    DeviceRule::character(1, Some(3)),
    DeviceRule::character(1, Some(5)),
    DeviceRule::character(1, Some(7)),
    DeviceRule::character(1, Some(8)),
    DeviceRule::character(1, Some(9)),
    DeviceRule::character(5, Some(0)),
    DeviceRule::character(5, Some(2)),
    DeviceRule::character(136, None),
];

/// A device that may be used; without a minor number, all of a driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DeviceRule {
    kind: DeviceKind,
    major: u32,
    minor: Option<u32>,
}

impl DeviceRule {
    const fn character(major: u32, minor: Option<u32>) -> Self {
        Self {
            kind: DeviceKind::Character,
            major,
            minor,
        }
    }
}

/// Everything a sandbox may use: what it is given, and what all may.
fn rules(given: &[DeviceNumber]) -> impl Iterator<Item = DeviceRule> {
    let given = given.iter().map(|number| DeviceRule {
        kind: number.kind,
        major: number.major,
        minor: Some(number.minor),
    });
    DEFAULT.into_iter().chain(given)
}

/// Returns lines for the file `devices.allow` of a version 1 group, where nothing is allowed before.
/// A job may make a node of any device, and ask whether it is there: that alone does no harm.
pub(super) fn lines(given: &[DeviceNumber]) -> Vec<String> {
    let mut lines = vec!["c *:* m".to_owned(), "b *:* m".to_owned()];
    lines.extend(rules(given).map(|rule| {
        let kind = match rule.kind {
            DeviceKind::Block => 'b',
            DeviceKind::Character => 'c',
        };
        let minor = rule.minor.map_or("*".to_owned(), |minor| minor.to_string());
        format!("{kind} {}:{minor} rwm", rule.major)
    }));
    lines
}

// struct bpf_cgroup_dev_ctx and its values, linux/bpf.h. The first word is the kind of device in its
// lower half, and what is to be done with it in the upper one.
const ACCESS_AND_KIND: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;
const MAKE_NODE: i32 = 1;
/// What access(2) asks for with `F_OK`.
const NOTHING: i32 = 0;

// Registers. The kernel passes the address of what is asked for in register 1.
const ANSWER: u8 = 0;
const ASKED: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR_NUMBER: u8 = 4;
const MINOR_NUMBER: u8 = 5;

// Codes, linux/bpf_common.h and linux/bpf.h: class, operation, source.
const LOAD_WORD: u8 = 0x61;
const MOVE_WORD: u8 = 0xbc;
const SHIFT_RIGHT: u8 = 0x74;
const AND: u8 = 0x54;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const SET: u8 = 0xb7;
const EXIT: u8 = 0x95;

/// Returns a program for a version 2 group: it answers 1 to what is allowed, else 0.
pub(super) fn program(given: &[DeviceNumber]) -> Vec<BpfInstruction> {
    let mut program = vec![
        load(KIND, ACCESS_AND_KIND),
        instruction(MOVE_WORD, ACCESS | KIND << 4, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 16),
        instruction(AND, KIND, 0, 0xffff),
        load(MAJOR_NUMBER, MAJOR),
        load(MINOR_NUMBER, MINOR),
    ];
    allow_if(&[(ACCESS, NOTHING)], &mut program);
    allow_if(&[(ACCESS, MAKE_NODE)], &mut program);
    for rule in rules(given) {
        let kind = match rule.kind {
            DeviceKind::Block => 1,
            DeviceKind::Character => 2,
        };
        let mut tests = vec![(KIND, kind), (MAJOR_NUMBER, rule.major.cast_signed())];
        tests.extend(rule.minor.map(|minor| (MINOR_NUMBER, minor.cast_signed())));
        allow_if(&tests, &mut program);
    }
    answer(0, &mut program);
    program
}

/// Emits: the answer is 1 if all these registers have these values.
fn allow_if(tests: &[(u8, i32)], program: &mut Vec<BpfInstruction>) {
    // What is left of the tests, and the answer.
    let mut left = 2 + i16::try_from(tests.len()).expect("there are three at most");
    for &(register, value) in tests {
        left -= 1;
        program.push(instruction(JUMP_UNLESS_EQUAL, register, left, value));
    }
    answer(1, program);
}

fn answer(value: i32, program: &mut Vec<BpfInstruction>) {
    program.push(instruction(SET, ANSWER, 0, value));
    program.push(instruction(EXIT, 0, 0, 0));
}

fn load(register: u8, offset: i16) -> BpfInstruction {
    instruction(LOAD_WORD, register | ASKED << 4, offset, 0)
}

fn instruction(code: u8, registers: u8, offset: i16, value: i32) -> BpfInstruction {
    BpfInstruction {
        code,
        registers,
        offset,
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: u32 = 2;
    const WRITE: u32 = 4;

    /// Runs a program as the kernel does, for the instructions used here.
    fn evaluate(program: &[BpfInstruction], access: u32, number: DeviceNumber) -> u64 {
        let kind = match number.kind {
            DeviceKind::Block => 1,
            DeviceKind::Character => 2,
        };
        let asked = [access << 16 | kind, number.major, number.minor];
        let mut registers = [0_u64; 11];
        let mut at = 0;
        loop {
            let BpfInstruction {
                code,
                registers: both,
                offset,
                value,
            } = program[at];
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            at += 1;
            match code {
                LOAD_WORD => registers[to] = u64::from(asked[offset as usize / 4]),
                MOVE_WORD => registers[to] = registers[from] & 0xffff_ffff,
                SHIFT_RIGHT => registers[to] = (registers[to] & 0xffff_ffff) >> value,
                AND => registers[to] &= value as u64,
                JUMP_UNLESS_EQUAL if registers[to] != value as u64 => at += offset as usize,
                JUMP_UNLESS_EQUAL => {}
                SET => registers[to] = value as u64,
                EXIT => return registers[0],
                other => panic!("code {other:#x}"),
            }
        }
    }

    fn number(kind: DeviceKind, major: u32, minor: u32) -> DeviceNumber {
        DeviceNumber { kind, major, minor }
    }

    #[test]
    fn listed_devices_alone_may_be_used() {
        let (block, character) = (DeviceKind::Block, DeviceKind::Character);
        let given = [number(block, 7, 3)];
        let program = program(&given);
        let may = |access, device| evaluate(&program, access, device) == 1;
        for major in 0..300 {
            for minor in 0..20 {
                let listed = matches!(
                    (major, minor),
                    (1, 3 | 5 | 7 | 8 | 9) | (5, 0 | 2) | (136, _)
                );
                for access in [READ, WRITE, READ | WRITE] {
                    let device = number(character, major, minor);
                    assert_eq!(may(access, device), listed, "{access} {device:?}");
                    let device = number(block, major, minor);
                    assert_eq!(may(access, device), (major, minor) == (7, 3), "{device:?}");
                }
                for access in [0, 1] {
                    assert!(may(access, number(character, major, minor)));
                    assert!(may(access, number(block, major, minor)));
                }
            }
        }
        // Reading and making at once is refused where only making is allowed.
        assert!(!may(1 | READ, number(block, 8, 0)));
    }

    #[test]
    fn lines_say_the_same() {
        let given = [number(DeviceKind::Block, 7, 3)];
        let lines = lines(&given);
        assert_eq!(lines[..3], ["c *:* m", "b *:* m", "c 1:3 rwm"]);
        assert_eq!(lines[9..], ["c 136:* rwm", "b 7:3 rwm"]);
    }
}
