//! Ways out of a sandbox that others had: through descriptors of the runtime, and through its file.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use kiln_files::GuestPath;
use kiln_runtime::{End, ExecError, Executor, ProcessUser, Stream};
use kiln_testbed::cases;
use kiln_threads::Stop;

use crate::fixture::Fixture;

pub(crate) const CASES: &[crate::Case] = cases![
    working_directories_do_not_lead_out
    programs_do_not_lead_out
    search_paths_do_not_lead_out
    interpreters_do_not_lead_out
    the_file_of_kiln_is_not_a_program
    the_launcher_cannot_be_written_to
    user_who_may_not_enter_the_directory_starts_in_it
    directories_are_made_beneath_links_of_the_image
];

/// More levels than kiln's paths have.
const UPWARDS: &str = "../../../../../../../../../../../../../../..";

/// More descriptors than kiln has open in this process.
fn descriptors() -> std::ops::Range<u32> {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.map(|entry| {
        entry
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    });
    0..numbers.max().unwrap_or(0) + 8
}

/// Links of `/proc` that lead to what a process has open, or where it is.
fn links() -> impl Iterator<Item = String> {
    let all = descriptors().map(|number| format!("/proc/self/fd/{number}"));
    // The other names of the directory differ from this one in how it is reached.
    let by_other_names = (0..8).flat_map(|number| {
        ["/proc/1/fd", "/proc/thread-self/fd", "/dev/fd"]
            .map(|directory| format!("{directory}/{number}"))
    });
    let others = ["cwd", "root", "task/1/cwd", "task/1/root"];
    let others = others.map(|name| format!("/proc/self/{name}"));
    all.chain(by_other_names).chain(others)
}

/// Makes a program of the host that says that it was run.
fn host_program(fixture: &Fixture) -> PathBuf {
    let directory = fixture.directory();
    let program = directory.join("host-program");
    fs::copy("/bin/busybox", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Makes a layer of links.
fn layer_of(fixture: &Fixture, links: &[(&str, &str)]) -> PathBuf {
    let layer = fixture.directory();
    for (name, target) in links {
        symlink(target, layer.join(name)).unwrap();
    }
    layer
}

fn working_directories_do_not_lead_out(fixture: &Fixture) {
    let secret = fixture.directory().join("secret");
    fs::write(&secret, "of the host").unwrap();
    let script = format!("cat {UPWARDS}{}", secret.display());
    let refused = |job: &kiln_runtime::Job| match fixture.try_run(job) {
        Err(ExecError::WorkingDirectory { .. } | ExecError::WorkingDirectoryLink { .. }) => {}
        Err(other) => panic!("{other}"),
        Ok(ran) => panic!(
            "{:?}: {}{}",
            job.process.cwd,
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        ),
    };
    let (mut job, _) = fixture.job(&["sh", "-c", &script]);
    for link in links() {
        for path in [link.clone(), format!("{link}/new/directory")] {
            job.process.cwd = GuestPath::new(path);
            refused(&fixture.again(&job));
        }
    }
    // By way of the image's own links.
    for number in descriptors() {
        let target = format!("/proc/self/fd/{number}");
        let layer = layer_of(fixture, &[("away", &target)]);
        let lowers = vec![layer, fixture.layer.clone()];
        let (mut job, _) = fixture.job_on(lowers, &["sh", "-c", &script]);
        job.process.cwd = GuestPath::new("/away");
        refused(&job);
    }
    // What is refused is the link, not /proc.
    let (mut job, _) = fixture.job(&["pwd"]);
    job.process.cwd = GuestPath::new("/proc/sys");
    assert_eq!(fixture.output(&job), "/proc/sys\n");
}

/// Runs a job that must not find its program; returns how it ended.
fn fails(fixture: &Fixture, job: &kiln_runtime::Job) -> End {
    let ran = fixture.run(job);
    assert!(
        matches!(
            ran.outcome.end,
            End::NotFound { .. } | End::NotExecutable { .. }
        ),
        "{:?}: {:?} {}",
        job.process.argv,
        ran.outcome.end,
        String::from_utf8_lossy(&ran.stdout)
    );
    ran.outcome.end
}

fn programs_do_not_lead_out(fixture: &Fixture) {
    let directory = host_program(fixture);
    let (mut job, _) = fixture.job(&["", "echo", "escaped"]);
    for link in links() {
        for path in [
            format!("{link}/{UPWARDS}{}/host-program", directory.display()),
            format!("{link}/host-program"),
            link,
        ] {
            job.process.argv[0] = path;
            fails(fixture, &fixture.again(&job));
        }
    }
}

fn search_paths_do_not_lead_out(fixture: &Fixture) {
    let directory = host_program(fixture);
    let (mut job, _) = fixture.job(&["host-program", "echo", "escaped"]);
    let path: Vec<_> = links()
        .map(|link| format!("{link}/{UPWARDS}{}", directory.display()))
        .collect();
    for path in path.chunks(8) {
        job.process.env = vec![("PATH".to_owned(), path.join(":"))];
        fails(fixture, &fixture.again(&job));
    }
    // A link of the image among the directories.
    let target = format!("/proc/self/root/{}", directory.display());
    let layer = layer_of(fixture, &[("bin-away", &target)]);
    let lowers = vec![layer, fixture.layer.clone()];
    let (mut job, _) = fixture.job_on(lowers, &["host-program", "echo", "escaped"]);
    job.process.env = vec![("PATH".to_owned(), "/bin-away".to_owned())];
    fails(fixture, &job);
}

/// Makes a layer with a script for each interpreter.
fn scripts(fixture: &Fixture, interpreters: &[String]) -> PathBuf {
    let layer = fixture.directory();
    for (number, interpreter) in interpreters.iter().enumerate() {
        let script = layer.join(format!("script-{number}"));
        fs::write(&script, format!("#!{interpreter}\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    }
    layer
}

fn interpreters_do_not_lead_out(fixture: &Fixture) {
    let directory = host_program(fixture);
    let interpreters: Vec<_> = descriptors()
        .map(|number| {
            let directory = directory.display();
            format!("/proc/self/fd/{number}/../../../../../..{directory}/host-program echo")
        })
        .collect();
    let layer = scripts(fixture, &interpreters);
    for number in 0..interpreters.len() {
        let lowers = vec![layer.clone(), fixture.layer.clone()];
        let (job, _) = fixture.job_on(lowers, &[&format!("/script-{number}")]);
        fails(fixture, &job);
    }
}

fn the_file_of_kiln_is_not_a_program(fixture: &Fixture) {
    // CVE-2019-5736 began so, with a loader of the image's own.
    for path in [
        "/proc/self/exe",
        "/proc/1/exe",
        "/proc/thread-self/exe",
        "/proc/self/task/1/exe",
    ] {
        let (job, _) = fixture.job(&[path, "--list"]);
        let end = fails(fixture, &job);
        assert_eq!(end.code(), 126);
    }
}

fn the_launcher_cannot_be_written_to(fixture: &Fixture) {
    // An interpreter is looked up by the kernel, for which the file of the process is as good as
    // any other: this script executes the launcher, which executes the script, and so on.
    let layer = scripts(fixture, &["/proc/self/exe".to_owned()]);
    let lowers = vec![layer, fixture.layer.clone()];
    let (job, _) = fixture.job_on(lowers, &["/script-0"]);
    let stop = Stop::default();
    let own = fs::metadata("/proc/self/exe").unwrap();
    std::thread::scope(|scope| {
        let (send, receive) = std::sync::mpsc::channel();
        let (job, stop) = (&job, &stop);
        let run = move || {
            let thread = fs::read_link("/proc/thread-self").unwrap();
            send.send(Path::new("/proc").join(thread)).unwrap();
            fixture
                .executor
                .run(job, &mut |_: Stream, _: &[u8]| {}, stop)
        };
        let running = scope.spawn(run);
        let thread = receive.recv().unwrap();
        let mut seen = 0;
        let looking = std::time::Instant::now();
        while seen < 50 && looking.elapsed() < std::time::Duration::from_secs(20) {
            let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
            for child in children.split_whitespace() {
                let file = format!("/proc/{child}/exe");
                let launcher =
                    fs::read_link(&file).is_ok_and(|path| path == Path::new("/launcher"));
                if !launcher {
                    continue;
                }
                let Ok(open) = fs::File::open(&file) else {
                    continue;
                };
                let found = open.metadata().unwrap();
                assert_ne!((found.dev(), found.ino()), (own.dev(), own.ino()));
                let flags = rustix::fs::fstatvfs(&open).unwrap().f_flag;
                assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
                assert!(fs::File::options().write(true).open(&file).is_err());
                seen += 1;
            }
        }
        stop.ask();
        assert_eq!(running.join().unwrap().unwrap().end, End::Cancelled);
        assert_eq!(seen, 50);
    });
}

fn user_who_may_not_enter_the_directory_starts_in_it(fixture: &Fixture) {
    // As runc has it: root enters before the user is changed.
    if !fixture.has_ids() {
        return;
    }
    let layer = fixture.directory();
    fs::create_dir(layer.join("private")).unwrap();
    fs::set_permissions(layer.join("private"), fs::Permissions::from_mode(0o700)).unwrap();
    let lowers = vec![layer, fixture.layer.clone()];
    let (mut job, _) = fixture.job_on(lowers, &["sh", "-c", "readlink /proc/self/cwd; id -u; ls"]);
    job.process.cwd = GuestPath::new("/private");
    job.process.user = ProcessUser {
        uid: 1234,
        gid: 1234,
        groups: Vec::new(),
    };
    let ran = fixture.run(&job);
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "/private\n1234\n");
    assert_ne!(ran.outcome.end, End::Exited(0));
}

fn directories_are_made_beneath_links_of_the_image(fixture: &Fixture) {
    let links = [
        ("app", "/srv/app"),
        ("up", "../../../../etc"),
        ("gone", "/nowhere"),
    ];
    let layer = layer_of(fixture, &links);
    fs::create_dir_all(layer.join("srv/app")).unwrap();
    let lowers = vec![layer, fixture.layer.clone()];
    for (cwd, expected) in [
        ("/app/new/one", "/srv/app/new/one\n"),
        ("/up", "/etc\n"),
        ("/up/new", "/etc/new\n"),
    ] {
        let (mut job, _) = fixture.job_on(lowers.clone(), &["readlink", "/proc/self/cwd"]);
        job.process.cwd = GuestPath::new(cwd);
        assert_eq!(fixture.output(&job), expected);
    }
    let (mut job, _) = fixture.job_on(lowers, &["pwd"]);
    job.process.cwd = GuestPath::new("/gone");
    assert!(fixture.try_run(&job).is_err());
}
