//! Where mounts go: mount points that the root lacks, mounts inside mounts, and the order of all.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;

use kiln_files::GuestPath;
use kiln_runtime::{ExecError, JobMount, MountAccess, MountSource};
use kiln_testbed::cases;

use crate::filesystem::{bind, layers, with_files};
use crate::fixture::{Fixture, list};

pub(crate) const CASES: &[crate::Case] = cases![
    nested_mounts_are_all_seen
    mounts_inside_a_tmpfs
    mount_points_missing_in_read_only_mounts
    later_mount_on_the_same_target_wins
    targets_follow_links_inside_the_root
    sockets_can_be_bound
    df_103_stubs_vanish
    df_103_stubs_touched_and_empty_vanish
    stubs_hidden_by_layers_vanish
    used_stubs_stay
    stubs_do_not_follow_links_of_the_job
    wanted_directories_are_made_and_stay
    wanted_directories_do_not_lead_out_of_the_root
    df_113_root_is_no_target
    missing_sources_are_named
];

fn nested_mounts_are_all_seen(fixture: &Fixture) {
    let (outer, inner) = (fixture.directory(), fixture.directory());
    fs::create_dir(outer.join("target")).unwrap();
    fs::write(inner.join("x"), "inner").unwrap();
    let (mut job, _) = fixture.job(&["cat", "/src/target/x"]);
    // Given in the wrong order: they are applied sorted by target.
    job.mounts = vec![
        bind(inner, "/src/target", MountAccess::ReadOnly),
        bind(outer, "/src", MountAccess::ReadOnly),
    ];
    assert_eq!(fixture.output(&job), "inner");
}

fn later_mount_on_the_same_target_wins(fixture: &Fixture) {
    let (first, second) = (fixture.directory(), fixture.directory());
    fs::write(second.join("x"), "second").unwrap();
    let (mut job, _) = fixture.job(&["cat", "/m/x"]);
    job.mounts = vec![
        bind(first, "/m", MountAccess::ReadOnly),
        bind(second, "/m", MountAccess::ReadOnly),
    ];
    assert_eq!(fixture.output(&job), "second");
}

fn targets_follow_links_inside_the_root(fixture: &Fixture) {
    let layer = fixture.directory();
    fs::create_dir_all(layer.join("run")).unwrap();
    fs::create_dir_all(layer.join("var")).unwrap();
    symlink("/run", layer.join("var/run")).unwrap();
    symlink("../../../../../../../tmp", layer.join("var/outside")).unwrap();
    let source = fixture.directory();
    fs::write(source.join("x"), "here").unwrap();
    let lowers = vec![layer, fixture.layer.clone()];
    let (mut job, upper) = fixture.job_on(lowers, &["cat", "/run/sub/x", "/tmp/x"]);
    job.mounts = vec![
        bind(source.clone(), "/var/run/sub", MountAccess::ReadOnly),
        bind(source, "/var/outside", MountAccess::ReadOnly),
    ];
    assert_eq!(fixture.output(&job), "herehere");
    // The stub in /run had to be made in the root, whose copied-up directory may stay.
    assert!(!upper.join("run/sub").exists());
}

fn df_103_stubs_vanish(fixture: &Fixture) {
    let source = fixture.directory();
    fs::write(source.join("file"), "").unwrap();
    let (mut job, upper) = fixture.job(&["true"]);
    job.mounts = vec![
        bind(source.clone(), "/a/b/c", MountAccess::ReadOnly),
        bind(
            source.join("file"),
            "/run/secrets/key",
            MountAccess::ReadOnly,
        ),
        bind(source, "/etc/deep", MountAccess::ReadOnly),
    ];
    fixture.output(&job);
    assert_eq!(list(&upper), [""; 0]);
}

fn stubs_hidden_by_layers_vanish(fixture: &Fixture) {
    // A layer that deleted /etc/hosts, and one that replaced /opt, hide what lies below them.
    let layer = fixture.directory();
    let (job, changes) = fixture.job_on(
        vec![
            with_files(fixture, &["etc/hosts", "opt/old"]),
            fixture.layer.clone(),
        ],
        &[
            "sh",
            "-c",
            "umask 022; rm -r /opt; mkdir /opt; touch -d @1000 /opt /etc",
        ],
    );
    fixture.output(&job);
    fs::rename(&changes, layer.join("top")).unwrap();
    let top = layer.join("top");
    let source = fixture.directory();
    let (mut job, upper) = fixture.job_on(vec![top, fixture.layer.clone()], &["ls", "/opt"]);
    job.mounts = vec![bind(source, "/opt/x/y", MountAccess::ReadOnly)];
    assert_eq!(fixture.output(&job), "x\n");
    let left: Vec<_> = list(&upper)
        .into_iter()
        .filter(|name| name != "etc/" && name != "opt/")
        .collect();
    assert_eq!(left, [""; 0]);
    if upper.join("opt").exists() {
        assert_eq!(fs::metadata(upper.join("opt")).unwrap().mtime(), 1000);
    }
}

fn used_stubs_stay(fixture: &Fixture) {
    let source = fixture.directory();
    let (mut job, upper) = fixture.job(&["touch", "/cache/beside"]);
    job.mounts = vec![bind(source, "/cache/npm", MountAccess::ReadWrite)];
    fixture.output(&job);
    assert_eq!(list(&upper), ["cache/", "cache/beside"]);
}

fn df_113_root_is_no_target(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["true"]);
    job.mounts = vec![bind(fixture.directory(), "/", MountAccess::ReadOnly)];
    let error = fixture.try_run(&job).err().unwrap();
    assert_eq!(error.to_string(), "invalid mount target \"/\"");
}

fn missing_sources_are_named(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["true"]);
    job.mounts = vec![bind(
        PathBuf::from("/does/not/exist"),
        "/m",
        MountAccess::ReadOnly,
    )];
    let error = fixture.try_run(&job).err().unwrap();
    assert!(matches!(error, ExecError::MountSource { .. }));
    assert_eq!(error.to_string(), "mount source /does/not/exist");
    job.mounts[0].source = layers(std::slice::from_ref(&fixture.layer), "no/such");
    let error = fixture.try_run(&job).err().unwrap();
    assert!(matches!(error, ExecError::MountPart { .. }));
    assert_eq!(error.to_string(), "source /no/such of the mount at /m");
    job.mounts[0].source = MountSource::Bind {
        path: fixture.layer.clone(),
        inside: GuestPath::new("no/such"),
    };
    let error = fixture.try_run(&job).err().unwrap();
    let ExecError::MountPart {
        target,
        path,
        source,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (target.to_string(), path.to_string()),
        ("/m".into(), "/no/such".into())
    );
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
}

fn tmpfs(target: &str) -> JobMount {
    JobMount {
        target: GuestPath::new(target),
        source: MountSource::Tmpfs {
            size_bytes: None,
            mode: 0o1777,
        },
        access: MountAccess::ReadWrite,
    }
}

fn mounts_inside_a_tmpfs(fixture: &Fixture) {
    let source = fixture.directory();
    fs::write(source.join("x"), "inner").unwrap();
    let (mut job, upper) = fixture.job(&["cat", "/t/deep/file", "/t/d/x"]);
    job.mounts = vec![
        bind(source.join("x"), "/t/deep/file", MountAccess::ReadOnly),
        bind(source, "/t/d", MountAccess::ReadOnly),
        tmpfs("/t"),
    ];
    assert_eq!(fixture.output(&job), "innerinner");
    assert_eq!(list(&upper), [""; 0]);
}

fn mount_points_missing_in_read_only_mounts(fixture: &Fixture) {
    let outer = fixture.directory();
    for access in [MountAccess::ReadOnly, MountAccess::ReadWrite] {
        let (mut job, _) = fixture.job(&["touch", "/a/b/c/made"]);
        let inner = fixture.directory();
        job.mounts = vec![
            bind(outer.clone(), "/a", access),
            bind(inner.clone(), "/a/b/c", MountAccess::ReadWrite),
        ];
        match access {
            MountAccess::ReadOnly => {
                let error = fixture.try_run(&job).err().unwrap();
                assert_eq!(
                    error.to_string(),
                    "mounting /a/b/c: it does not exist in the mount at /a, which is read-only, \
                     so it cannot be made there"
                );
            }
            // What is made in a writable source stays in it, as with other runtimes.
            MountAccess::ReadWrite => {
                fixture.output(&job);
                assert_eq!(list(&outer), ["b/", "b/c/"]);
                assert_eq!(list(&inner), ["made"]);
            }
        }
    }
}

fn sockets_can_be_bound(fixture: &Fixture) {
    // As `RUN --mount=type=ssh` does.
    let directory = fixture.directory();
    let path = directory.join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let agent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"from the agent").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    let target = "/run/buildkit/ssh_agent.0";
    let (mut job, upper) = fixture.own_job(&["--connect", target]);
    job.mounts
        .push(bind(path.clone(), target, MountAccess::ReadOnly));
    let ran = fixture.run(&job);
    if ran.stdout != b"from the agent" {
        // Let the thread go before failing.
        drop(UnixStream::connect(&path));
    }
    let errors = String::from_utf8_lossy(&ran.stderr);
    let text = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(text, "from the agent", "{errors}");
    assert_eq!(agent.join().unwrap(), "to the agent\n");
    assert_eq!(list(&upper), [""; 0]);
}

/// Talks to a socket, inside the sandbox.
pub(crate) fn connect(socket: &str) -> ExitCode {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"to the agent\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    print!("{text}");
    ExitCode::SUCCESS
}

fn df_103_stubs_touched_and_empty_vanish(fixture: &Fixture) {
    // What came to nothing does not show: neither the directories nor their times.
    let layer = with_files(fixture, &["opt/old", "opt/there/old"]);
    let before = fs::metadata(layer.join("opt")).unwrap().mtime();
    let script = "
        cd /opt/cache/npm; touch ../lock; rm ../lock; chmod 700 /opt/cache
        cd /opt/there; touch x; rm x";
    let lowers = vec![layer, fixture.layer.clone()];
    let (mut job, upper) = fixture.job_on(lowers, &["sh", "-c", script]);
    job.mounts = vec![
        bind(
            fixture.directory(),
            "/opt/cache/npm",
            MountAccess::ReadWrite,
        ),
        bind(fixture.directory(), "/opt/there/y", MountAccess::ReadWrite),
    ];
    fixture.output(&job);
    assert_eq!(list(&upper), ["opt/", "opt/there/"]);
    assert_eq!(fs::metadata(upper.join("opt")).unwrap().mtime(), before);
}

fn stubs_do_not_follow_links_of_the_job(fixture: &Fixture) {
    // Looking for empty directories after the run must not lead out of the upper directory.
    let host = fixture.directory();
    fs::create_dir_all(host.join("secrets")).unwrap();
    let layer = linked(fixture);
    let script = format!("rm /a; ln -s {} /a", host.display());
    let (mut job, upper) =
        fixture.job_on(vec![layer, fixture.layer.clone()], &["sh", "-c", &script]);
    job.mounts = vec![bind(
        fixture.directory(),
        "/a/secrets/x",
        MountAccess::ReadOnly,
    )];
    fixture.output(&job);
    assert!(host.join("secrets").is_dir());
    assert_eq!(fs::read_link(upper.join("a")).unwrap(), host);
}

fn wanted_directories_are_made_and_stay(fixture: &Fixture) {
    let layer = with_files(fixture, &["there/file"]);
    fs::set_permissions(layer.join("there"), fs::Permissions::from_mode(0o2770)).unwrap();
    let shown = fixture.directory();
    let script = "stat -c '%n %a %u %g' /a/b /there /m/below; ls /there; touch /m/x";
    let lowers = vec![layer, fixture.layer.clone()];
    let (mut job, upper) = fixture.job_on(lowers, &["sh", "-c", script]);
    job.mounts = vec![
        bind(shown.clone(), "/covered", MountAccess::ReadWrite),
        bind(fixture.directory(), "/m/below", MountAccess::ReadWrite),
    ];
    job.directories = ["/", "/a/b", "/there", "/covered/x", "/m", "/proc/x"]
        .map(GuestPath::new)
        .into();
    assert_eq!(
        fixture.output(&job),
        "/a/b 755 0 0\n/there 2770 0 0\n/m/below 755 0 0\nfile\n"
    );
    // What a mount covers is not kiln's to change, and a directory stays though it is empty.
    assert_eq!(list(&shown), [""; 0]);
    assert_eq!(list(&upper), ["a/", "a/b/", "m/", "m/x"]);

    job = fixture.again(&job);
    job.process.argv = vec!["true".to_owned()];
    job.directories = vec![GuestPath::new("/there/file")];
    let error = fixture.try_run(&job).err().unwrap();
    assert!(
        matches!(&error, ExecError::Directory { path, .. } if *path == GuestPath::new("/there/file")),
        "{error:?}"
    );
}

fn wanted_directories_do_not_lead_out_of_the_root(fixture: &Fixture) {
    let host = fixture.directory();
    let layer = fixture.directory();
    symlink(&host, layer.join("absolute")).unwrap();
    let up = "../../../../../../../../../..";
    symlink(format!("{up}{}", host.display()), layer.join("relative")).unwrap();
    let (mut job, upper) = fixture.job_on(vec![layer, fixture.layer.clone()], &["true"]);
    job.directories = ["/absolute/a", "/relative/b"].map(GuestPath::new).into();
    fixture.output(&job);
    assert_eq!(list(&host), [""; 0]);
    let inside = upper.join(host.strip_prefix("/").unwrap());
    assert_eq!(list(&inside), ["a/", "b/"]);
}

/// A layer in which `/a` is a link to a directory.
fn linked(fixture: &Fixture) -> PathBuf {
    let layer = fixture.directory();
    fs::create_dir(layer.join("b")).unwrap();
    symlink("b", layer.join("a")).unwrap();
    layer
}
