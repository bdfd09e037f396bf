//! Programs that cannot be started: codes 127 and 126 (docs/spec/cli.md 0.1).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use kiln_files::GuestPath;
use kiln_runtime::{End, ExecError, Process};
use kiln_testbed::cases;

use crate::fixture::Fixture;

pub(crate) const CASES: &[crate::Case] = cases![
    missing_from_path
    missing_file_is_not_found
    missing_interpreter_is_named
    file_without_execute_permission_is_refused
    not_a_program
    path_decides_the_order
    names_with_a_slash_are_not_searched
    nothing_to_run
    working_directory_that_is_a_file
];

fn end(fixture: &Fixture, argv: &[&str]) -> End {
    let (job, _) = fixture.job_on(vec![programs(fixture), fixture.layer.clone()], argv);
    fixture.run(&job).outcome.end
}

/// Makes a layer with programs of every bad kind.
fn programs(fixture: &Fixture) -> PathBuf {
    let layer = fixture.directory();
    for (name, text, mode) in [
        ("plain", "text", 0o644),
        ("script", "#!/no/such/interpreter\n", 0o755),
        ("env", "#! /no/such/env bash\n", 0o755),
        ("windows", "#!/bin/sh\r\necho\r\n", 0o755),
        ("bin/bare", "echo no first line\n", 0o755),
        ("empty", "", 0o755),
        ("noise", "\x7fELFnoise", 0o755),
        ("bin/sh-says-first", "#!/bin/sh\necho first\n", 0o755),
        ("opt/sh-says-first", "#!/bin/sh\necho second\n", 0o755),
        ("opt/denied", "#!/bin/sh\n", 0o644),
    ] {
        let path = layer.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    layer
}

fn missing_from_path(fixture: &Fixture) {
    let end = end(fixture, &["nocmd", "-x"]);
    assert_eq!(end.code(), 127);
    assert_eq!(
        end.start_failure().unwrap(),
        "exec: \"nocmd\": executable file not found in $PATH"
    );
}

fn missing_file_is_not_found(fixture: &Fixture) {
    let end = end(fixture, &["/nope"]);
    assert_eq!(end.code(), 127);
    assert_eq!(
        end.start_failure().unwrap(),
        "exec: \"/nope\": no such file or directory"
    );
}

fn missing_interpreter_is_named(fixture: &Fixture) {
    for (program, missing) in [
        (
            "/script",
            "its interpreter /no/such/interpreter does not exist",
        ),
        ("/env", "its interpreter /no/such/env does not exist"),
        (
            "/windows",
            "its first line ends as on Windows, in a carriage return, so its interpreter is not \
             /bin/sh but \"/bin/sh\\r\", which does not exist",
        ),
    ] {
        let end = end(fixture, &[program]);
        assert_eq!(end.code(), 127);
        assert_eq!(
            end.start_failure().unwrap(),
            format!("exec: {program:?}: no such file or directory: {missing}")
        );
    }
}

fn file_without_execute_permission_is_refused(fixture: &Fixture) {
    for program in ["/plain", "/etc"] {
        let end = end(fixture, &[program]);
        assert_eq!(end.code(), 126);
        assert!(end.start_failure().unwrap().ends_with("permission denied"));
    }
    let (mut job, _) = fixture.job_on(vec![programs(fixture), fixture.layer.clone()], &["denied"]);
    job.process.env = vec![("PATH".to_owned(), "/nowhere:/opt".to_owned())];
    assert_eq!(fixture.run(&job).outcome.end.code(), 126);
}

fn not_a_program(fixture: &Fixture) {
    let neither = "is neither a program for this machine nor a script that begins with #! and its \
                   interpreter";
    for (program, reason) in [
        ("/noise", format!(": /noise {neither}")),
        // Found in the path, so the path is told.
        ("bare", format!(": /bin/bare {neither}")),
        ("/empty", String::new()),
    ] {
        let end = end(fixture, &[program]);
        assert_eq!(end.code(), 126);
        assert_eq!(
            end.start_failure().unwrap(),
            format!("exec: {program:?}: exec format error{reason}")
        );
    }
}

fn path_decides_the_order(fixture: &Fixture) {
    for (path, said) in [("/bin:/opt", "first\n"), ("/nowhere:/opt:/bin", "second\n")] {
        let lowers = vec![programs(fixture), fixture.layer.clone()];
        let (mut job, _) = fixture.job_on(lowers, &["sh-says-first"]);
        job.process.env = vec![("PATH".to_owned(), path.to_owned())];
        assert_eq!(fixture.output(&job), said);
    }
    // Without a PATH the usual directories are searched.
    let (mut job, _) = fixture.job(&["true"]);
    job.process.env.clear();
    fixture.output(&job);
}

fn names_with_a_slash_are_not_searched(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["bin/true"]);
    fixture.output(&job);
    job.process.cwd = GuestPath::new("/etc");
    assert_eq!(fixture.run(&fixture.again(&job)).outcome.end.code(), 127);
    job.process.argv = vec!["../bin/true".to_owned()];
    fixture.output(&fixture.again(&job));
}

fn nothing_to_run(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&[]);
    assert!(matches!(fixture.try_run(&job), Err(ExecError::NoCommand)));
    job = fixture.again(&job);
    job.process = Process::new([""]);
    assert_eq!(fixture.run(&job).outcome.end.code(), 127);
    job = fixture.again(&job);
    job.process = Process::new(["a\0b"]);
    assert!(matches!(
        fixture.try_run(&job),
        Err(ExecError::ZeroByte { .. })
    ));
}

fn working_directory_that_is_a_file(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["true"]);
    job.process.cwd = GuestPath::new("/etc/passwd");
    let error = fixture.try_run(&job).err().unwrap();
    assert_eq!(error.to_string(), "working directory /etc/passwd");
}
