//! Ctrl-C amid work that takes long: the command ends with 130, and what it was making is not there.
//!
//! What takes long here is a file of half a gibibyte that is one hole: little to keep for the disk,
//! and a second or more for a kiln that digests, packs or writes it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Stdio};
use std::time::Duration;

use kiln_testbed::{Ended, Kiln, Registry, Tool, assert_no_leftovers, need};

use crate::commands::harness::{interrupt, names};
use crate::program;

/// Bytes.
const LONG: u64 = 512 << 20;

/// Has a context whose build takes a while at each of its stages.
fn with_long_steps(kiln: &Kiln) {
    // ustar: name, mode, owners, size, time; then the sum of all bytes, blanks in its own place.
    let mut header = [0; 512];
    let fields = format!(
        "{:\0<100}{:07o}\0{:07o}\0{:07o}\0{LONG:011o}\0{:011o}\0",
        "long", 0o644, 0, 0, 1
    );
    header[..148].copy_from_slice(fields.as_bytes());
    header[148..157].copy_from_slice(b"        0");
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = File::create(kiln.scratch.join("ctx/long.tar")).unwrap();
    archive.write_all(&header).unwrap();
    archive.set_len(LONG + 3 * 512).unwrap();
    kiln.dockerfile("FROM scratch\nADD long.tar /\n");
}

fn start(kiln: &Kiln, arguments: &[&str]) -> Child {
    let mut command = kiln.command();
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Interrupts a command once it has printed a line with `mark` to standard error.
fn interrupt_at(kiln: &Kiln, arguments: &[&str], mark: &str) -> Ended {
    let mut child = start(kiln, arguments);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut stderr = String::new();
    while !stderr.contains(mark) {
        let line = lines.next().unwrap_or_else(|| panic!("{mark}: {stderr}"));
        stderr.push_str(&line.unwrap());
        stderr.push('\n');
    }
    interrupt(&child);
    lines.for_each(|line| stderr.push_str(&(line.unwrap() + "\n")));
    let mut ended = Ended::from(child.wait_with_output().unwrap());
    ended.stderr = stderr;
    ended
}

/// Interrupts a command that has begun to write to standard output, and returns how many bytes came.
fn interrupt_writer(kiln: &Kiln, arguments: &[&str]) -> (Ended, u64) {
    let mut child = start(kiln, arguments);
    let mut output = child.stdout.take().unwrap();
    let mut piece = vec![0; 64 << 10];
    let mut count = output.read(&mut piece).unwrap() as u64;
    assert!(count > 0, "{arguments:?}");
    interrupt(&child);
    loop {
        match output.read(&mut piece).unwrap() {
            0 => break,
            more => count += more as u64,
        }
        // It is to hear of it before all has been read.
        std::thread::sleep(Duration::from_millis(1));
    }
    (Ended::from(child.wait_with_output().unwrap()), count)
}

/// Asserts that nothing is left of a command that was interrupted.
#[track_caller]
fn assert_nothing_came_of(kiln: &Kiln, ended: &Ended) {
    assert_eq!(ended.code, 130, "{ended:#?}");
    assert_eq!(kiln.ok(&["images", "-q"]), "");
    assert_eq!(unfinished(kiln), [""; 0]);
    assert_no_leftovers(kiln.scratch.path());
}

/// Returns what is in the making.
fn unfinished(kiln: &Kiln) -> Vec<String> {
    let work = kiln.scratch.join("state/work");
    if work.exists() {
        names(&work)
    } else {
        Vec::new()
    }
}

#[test]
fn a_build_ends_wherever_it_is() {
    let kiln = need!(Kiln::for_builds(program()));
    with_long_steps(&kiln);
    for mark in ["[1/1] ADD", "exporting to image"] {
        let ended = interrupt_at(&kiln, &["build", "-t", "app", "ctx"], mark);
        assert!(
            ended.stderr.ends_with(
                " CANCELED\n\nERROR: failed to build: failed to solve: Canceled: context canceled\n"
            ),
            "{mark}: {ended:#?}"
        );
        assert_nothing_came_of(&kiln, &ended);
        let why = kiln.ok(&["why"]);
        let told = match mark {
            "[1/1] ADD" => "none of 1 steps came to its end",
            _ => "1 of 1 steps ran",
        };
        assert!(
            why.starts_with("Cancelled building ") && why.contains(told),
            "{why}"
        );
    }
    // What was made before is used, and is right.
    kiln.ok(&["build", "-t", "app", "ctx"]);
    kiln.ok(&["cache", "verify"]);
}

#[test]
fn a_context_is_not_read_to_its_end() {
    let kiln = need!(Kiln::for_builds(program()));
    let long = File::create(kiln.scratch.join("ctx/long")).unwrap();
    // Holes are quickly digested.
    long.set_len(LONG << 7).unwrap();
    kiln.dockerfile("FROM scratch\nCOPY long /\n");
    let ended = interrupt_at(&kiln, &["build", "ctx"], "load build context");
    assert!(ended.stderr.contains("\n#2 CANCELED\n"), "{ended:#?}");
    assert_nothing_came_of(&kiln, &ended);
}

#[test]
fn outputs_are_whole_or_not_there() {
    let kiln = need!(Kiln::for_builds(program()));
    with_long_steps(&kiln);
    for (output, title) in [
        ("type=oci,dest=out", "oci image format"),
        ("type=oci,dest=out,compression=zstd", "oci image format"),
        ("type=docker,dest=out", "docker image format"),
        ("type=tar,dest=out", "client tarball"),
    ] {
        let mark = format!("exporting to {title}");
        let ended = interrupt_at(&kiln, &["build", "-o", output, "ctx"], &mark);
        assert_nothing_came_of(&kiln, &ended);
        assert_eq!(names(kiln.scratch.path()), ["ctx", "state"], "{output}");
    }
    // A directory is filled file by file.
    let mut child = start(&kiln, &["build", "-o", "out", "ctx"]);
    let file = kiln.scratch.join("out/long");
    while !fs::metadata(&file).is_ok_and(|metadata| metadata.len() > 0) {
        assert_eq!(child.try_wait().unwrap(), None);
        std::thread::yield_now();
    }
    interrupt(&child);
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_nothing_came_of(&kiln, &ended);
    assert!(!file.exists());
    for output in [
        "type=tar,dest=-",
        "type=oci,dest=-,compression=uncompressed",
    ] {
        let (ended, count) = interrupt_writer(&kiln, &["build", "-o", output, "ctx"]);
        assert_nothing_came_of(&kiln, &ended);
        assert!(count < LONG, "{output}: {count}");
    }
}

#[test]
fn archives_are_whole_or_not_there() {
    let kiln = need!(Kiln::for_builds(program()));
    with_long_steps(&kiln);
    kiln.ok(&["build", "-t", "app", "ctx"]);
    let before = names(kiln.scratch.path());
    let packing = |child: &mut Child| {
        while unfinished(&kiln).is_empty() {
            assert_eq!(child.try_wait().unwrap(), None);
        }
    };
    let mut child = start(&kiln, &["save", "-o", "out", "app"]);
    packing(&mut child);
    interrupt(&child);
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (130, "Error: cancelled\n")
    );
    assert_eq!(names(kiln.scratch.path()), before);
    assert_eq!(unfinished(&kiln), [""; 0]);

    let output = "type=docker,dest=app.tar,name=loaded,compression=uncompressed";
    kiln.ok(&["build", "-o", output, "ctx"]);
    kiln.ok(&["rmi", "app"]);
    let mut child = start(&kiln, &["load", "-i", "app.tar"]);
    packing(&mut child);
    interrupt(&child);
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_nothing_came_of(&kiln, &ended);
}

/// What a registry was not told it has no name for.
#[test]
fn a_push_ends_while_it_packs() {
    let kiln = need!(Kiln::for_builds(program()));
    let registry = need!(Registry::shared());
    kiln.knows(&registry);
    with_long_steps(&kiln);
    let name = registry.image("app");
    kiln.ok(&["build", "-t", &name, "ctx"]);
    let mut child = start(&kiln, &["push", &name]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with(": Packing")));
    interrupt(&child);
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (130, "Error: cancelled\n")
    );
    assert_eq!(unfinished(&kiln), [""; 0]);
    kiln.ok(&["rmi", &name]);
    let ended = kiln.run(&["pull", &name]);
    assert!(ended.stderr.contains("not found"), "{ended:#?}");
}

/// Who waits for others, who may never write, does not wait for ever.
#[test]
fn load_that_waits_for_an_archive_ends() {
    let kiln = need!(Kiln::for_builds(program()));
    let mut command = kiln.command();
    command
        .arg("load")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // More than a pipe holds: it is reading.
    input.write_all(&vec![0; 1 << 20]).unwrap();
    interrupt(&child);
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_nothing_came_of(&kiln, &ended);
    drop(input);
}

/// The terminal shows the `^C` itself, wherever the cursor is: once that moved what was drawn last
/// out of the reach of what was drawn next.
#[test]
fn no_picture_stays_above_the_last_one() {
    let script = need!(Tool::find("script"));
    let kiln = need!(Kiln::for_builds(program()));
    with_long_steps(&kiln);
    let plain = kiln.command();
    let environment = plain.get_envs();
    let size_and_build = "stty cols 80 rows 24; exec \"$kiln\" build ctx";
    let mut command = script.command();
    command
        .args(["-qefc", size_and_build, "/dev/null"])
        .env_clear()
        .envs(environment.filter_map(|(name, value)| Some((name, value?))))
        .envs([("kiln", env!("CARGO_BIN_EXE_kiln")), ("TERM", "xterm")])
        .current_dir(kiln.scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
    let mut is_asked = false;
    loop {
        match output.read(&mut piece).unwrap() {
            0 => break,
            count => shown.extend_from_slice(&piece[..count]),
        }
        if !is_asked && String::from_utf8_lossy(&shown).contains("ADD long.tar") {
            is_asked = true;
            keys.write_all(b"\x03").unwrap();
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("^C"), "{shown:?}");
    let lines = screen_after(&shown);
    let pictures = lines.iter().filter(|line| line.starts_with("[+] Building"));
    assert_eq!(pictures.count(), 1, "{lines:#?}");
    assert!(lines[0].contains("FINISHED"), "{lines:#?}");
}

/// Returns what a terminal of 80 columns shows after what was written to it, as far as kiln and its
/// like make use of one.
fn screen_after(written: &str) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut rest = written.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\r' => column = 0,
            '\n' => row += 1,
            '\x1b' => {
                let order: String =
                    std::iter::from_fn(|| rest.next_if(|c| !c.is_alphabetic())).collect();
                let number = order.trim_start_matches('[').parse::<usize>();
                match rest.next().unwrap() {
                    'A' => row -= number.unwrap_or(1).min(row),
                    'B' => row += number.unwrap_or(1),
                    'J' => {
                        lines[row].truncate(column);
                        lines.truncate(row + 1);
                    }
                    'K' if number == Ok(2) => lines[row].clear(),
                    'K' => lines[row].truncate(column),
                    // Colours.
                    _ => {}
                }
            }
            other => {
                // A full line is left when there is more.
                if column == 80 {
                    (row, column) = (row + 1, 0);
                    lines.resize(lines.len().max(row + 1), Vec::new());
                }
                let length = lines[row].len().max(column + 1);
                lines[row].resize(length, ' ');
                lines[row][column] = other;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    lines.into_iter().map(String::from_iter).collect()
}
