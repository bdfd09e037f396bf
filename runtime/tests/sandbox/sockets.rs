//! Sockets, by all three ways of asking for one: natively, and as programs for i386 ask, directly
//! and with `socketcall`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use kiln_runtime::userns::{self, PrivilegeLevel};
use kiln_runtime::{ExecError, JobNetwork, JobSecurity, ProcessUser};
use kiln_testbed::{Skip, cases};
use rustix::io::Errno;

use crate::fixture::Fixture;
use crate::i386::{self, Words};

pub(crate) const CASES: &[crate::Case] = cases![
    families_are_refused_however_asked_for
    sockets_connect_on_their_own_network
    sockets_connect_on_the_network_of_the_host
    raw_sockets_need_their_capability
    sockets_belong_to_the_user_who_asked
    limits_and_wrong_addresses_count
    sockets_are_made_in_the_control_groups_of_the_process
    changing_the_family_meanwhile_is_of_no_use
    callers_that_are_killed_do_no_harm
    a_filter_around_kiln_that_listens
];

/// What runs in the sandbox.
pub(crate) fn inside(what: &str) -> ExitCode {
    match what {
        "families" => families(),
        "raw" => raw(),
        "owner" => owner(),
        "limits" => limits(),
        "change" => change(),
        "killed" => killed(),
        "own" => own(),
        port => println!("{}", exchange(port.parse().unwrap())),
    }
    ExitCode::SUCCESS
}

/// Runs what is above.
fn output(fixture: &Fixture, what: &str, network: JobNetwork) -> String {
    let (mut job, _) = fixture.own_job(&["--sockets", what]);
    job.network = network;
    fixture.output(&job)
}

fn errno(result: Result<OwnedFd, Errno>) -> i32 {
    result.map_or_else(Errno::raw_os_error, |_| 0)
}

fn families() {
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_ALG, libc::AF_VSOCK] {
        let kind = match family {
            libc::AF_ALG => libc::SOCK_SEQPACKET,
            _ => libc::SOCK_STREAM,
        };
        let answers = [
            i386::native_socket(family, kind, 0),
            i386::socket(family, kind, 0),
            Words::new(family, kind, 0).socket(),
        ];
        println!("{family} {:?}", answers.map(errno));
    }
}

/// What that prints: the answers of each way, 0 or an error's number.
const FAMILIES: &str = "1 [0, 0, 0]\n2 [0, 0, 0]\n38 [1, 1, 1]\n40 [1, 1, 1]\n";

fn families_are_refused_however_asked_for(fixture: &Fixture) {
    for network in [JobNetwork::Host, JobNetwork::None] {
        assert_eq!(output(fixture, "families", network), FAMILIES);
    }
    let (mut job, _) = fixture.own_job(&["--sockets", "families"]);
    job.security = JobSecurity::Insecure;
    let text = fixture.output(&job);
    assert!(text.starts_with("1 [0, 0, 0]\n2 [0, 0, 0]\n"), "{text}");
}

/// Connects to a port, sends a word and returns the answer.
fn exchange(port: u16) -> String {
    let socket = Words::new(libc::AF_INET, libc::SOCK_STREAM, 0).socket();
    let socket = socket.unwrap();
    let address = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port);
    rustix::net::connect(&socket, &address).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"word\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Sends back what the next one who connects sends.
fn echo(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut word = [0; 5];
    stream.read_exact(&mut word).unwrap();
    stream.write_all(&word).unwrap();
}

fn own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        scope.spawn(|| echo(&listener));
        print!("{}", exchange(port));
    });
    // Its flags are those asked for.
    for (kind, expected) in [
        (libc::SOCK_STREAM, [false, false]),
        (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, [true, false]),
        (libc::SOCK_STREAM | libc::SOCK_NONBLOCK, [false, true]),
    ] {
        let socket = Words::new(libc::AF_INET6, kind, 0).socket().unwrap();
        let closed = rustix::io::fcntl_getfd(&socket).unwrap();
        let status = rustix::fs::fcntl_getfl(&socket).unwrap();
        let flags = [
            closed.contains(rustix::io::FdFlags::CLOEXEC),
            status.contains(rustix::fs::OFlags::NONBLOCK),
        ];
        assert_eq!(flags, expected, "{kind:#x}");
    }
    let udp = Words::new(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP);
    let protocol = rustix::net::sockopt::socket_protocol(udp.socket().unwrap()).unwrap();
    assert_eq!(protocol, Some(rustix::net::ipproto::UDP));
}

fn sockets_connect_on_their_own_network(fixture: &Fixture) {
    assert_eq!(output(fixture, "own", JobNetwork::None), "word\n");
}

fn sockets_connect_on_the_network_of_the_host(fixture: &Fixture) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::scope(|scope| {
        scope.spawn(|| echo(&listener));
        assert_eq!(output(fixture, &port, JobNetwork::Host), "word\n\n");
    });
}

fn raw() {
    let (family, kind, protocol) = (libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP);
    let answers = [
        i386::native_socket(family, kind, protocol),
        i386::socket(family, kind, protocol),
        Words::new(family, kind, protocol).socket(),
        Words::new(libc::AF_PACKET, libc::SOCK_RAW, 0).socket(),
    ];
    println!("{:?}", answers.map(errno));
}

fn raw_sockets_need_their_capability(fixture: &Fixture) {
    let refused = "[1, 1, 1, 1]\n";
    assert_eq!(output(fixture, "raw", JobNetwork::None), "[0, 0, 0, 0]\n");
    // There root lacks the capability.
    assert_eq!(output(fixture, "raw", JobNetwork::Host), refused);
    if fixture.has_ids() {
        let (mut job, _) = fixture.own_job(&["--sockets", "raw"]);
        job.network = JobNetwork::None;
        job.process.user = ordinary();
        assert_eq!(fixture.output(&job), refused);
    }
}

fn ordinary() -> ProcessUser {
    ProcessUser {
        uid: 1000,
        gid: 1001,
        groups: vec![27],
    }
}

fn owner() {
    let socket = Words::new(libc::AF_INET, libc::SOCK_STREAM, 0).socket();
    let owner = rustix::fs::fstat(socket.unwrap()).unwrap();
    println!("{} {}", owner.st_uid, owner.st_gid);
}

fn sockets_belong_to_the_user_who_asked(fixture: &Fixture) {
    // The kernel routes and filters by it.
    assert_eq!(output(fixture, "owner", JobNetwork::Host), "0 0\n");
    if fixture.has_ids() {
        let (mut job, _) = fixture.own_job(&["--sockets", "owner"]);
        job.process.user = ordinary();
        assert_eq!(fixture.output(&job), "1000 1001\n");
    }
}

fn limits() {
    let words = Words::new(libc::AF_UNIX, libc::SOCK_STREAM, 0);
    let answers = [8, 0xffff_f000, 0].map(i386::socketcall);
    println!("{:?}", answers.map(errno));
    let unknown = Words::new(libc::AF_INET, 77, 0).socket();
    println!("{}", errno(unknown));
    let limit = rustix::process::Rlimit {
        current: Some(20),
        maximum: Some(20),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let mut sockets = Vec::new();
    let full = loop {
        match words.socket() {
            Ok(socket) => sockets.push(socket),
            Err(errno) => break errno,
        }
    };
    println!(
        "{} {}",
        full.raw_os_error(),
        (10..20).contains(&sockets.len())
    );
    sockets.pop();
    println!("{}", errno(words.socket()));
}

fn limits_and_wrong_addresses_count(fixture: &Fixture) {
    let (fault, invalid, full) = (libc::EFAULT, libc::EINVAL, libc::EMFILE);
    assert_eq!(
        output(fixture, "limits", JobNetwork::Host),
        format!("[{fault}, {fault}, {fault}]\n{invalid}\n{full} true\n0\n")
    );
}

fn sockets_are_made_in_the_control_groups_of_the_process(fixture: &Fixture) {
    // In which there is no room for another process.
    let (mut job, _) = fixture.own_job(&["--sockets", "families"]);
    job.resources.pids = Some(1);
    job.resources.memory_bytes = Some(64 << 20);
    match fixture.try_run(&job) {
        Ok(ran) => assert_eq!(String::from_utf8(ran.stdout).unwrap(), FAMILIES),
        Err(ExecError::Limit { limit, reason }) => {
            Skip::because(format!("cannot limit {limit}: {reason}")).announce();
        }
        Err(other) => panic!("{other}"),
    }
}

/// How often a family is asked for while it changes, by each kind of user.
const CALLS: u32 = 2500;

/// Asks while another thread changes what is asked for.
fn change() {
    let words = Words::new(libc::AF_INET, libc::SOCK_STREAM, 0);
    let over = AtomicBool::new(false);
    let changes = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for family in [libc::AF_VSOCK, libc::AF_INET, libc::AF_ALG, libc::AF_INET] {
                    words.set_family(family);
                    changes.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        for _ in 0..CALLS {
            match words.socket() {
                Ok(socket) => {
                    let domain = rustix::net::sockopt::socket_domain(&socket).unwrap();
                    assert_eq!(domain, rustix::net::AddressFamily::INET);
                }
                Err(errno) => assert_eq!(errno, Errno::PERM),
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let changes = changes.into_inner();
    assert!(changes > 10_000, "{changes} changes");
    println!("none");
}

fn changing_the_family_meanwhile_is_of_no_use(fixture: &Fixture) {
    assert_eq!(output(fixture, "change", JobNetwork::Host), "none\n");
}

/// Kills processes that ask, and ends with some that do.
fn killed() {
    let words = Words::new(libc::AF_INET, libc::SOCK_STREAM, 0);
    let ask = || drop(words.socket());
    for round in 0..40 {
        let child = i386::fork(ask);
        std::thread::sleep(std::time::Duration::from_micros(100 * round));
        rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
        rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()).unwrap();
    }
    println!("{}", errno(words.socket()));
    for _ in 0..3 {
        i386::fork(ask);
    }
    println!("{}", errno(words.socket()));
}

fn callers_that_are_killed_do_no_harm(fixture: &Fixture) {
    assert_eq!(output(fixture, "killed", JobNetwork::Host), "0\n0\n");
    assert_eq!(output(fixture, "killed", JobNetwork::None), "0\n0\n");
}

/// Runs a job below a filter that listens already, as an engine may run kiln. Started by
/// [`a_filter_around_kiln_that_listens`].
pub(crate) fn listened_to(directory: &Path) -> ExitCode {
    let _listener = i386::listen_to_nothing();
    let level = userns::enter(&userns::Options::default()).unwrap();
    let fixture = Fixture::new(directory, level).ok().unwrap();
    let expected = "1 [0, 0, 38]\n2 [0, 0, 38]\n38 [1, 1, 38]\n40 [1, 1, 38]\n";
    assert_eq!(output(&fixture, "families", JobNetwork::Host), expected);
    ExitCode::SUCCESS
}

fn a_filter_around_kiln_that_listens(fixture: &Fixture) {
    // There can be one who listens, and those calls do not exist then.
    if fixture.level != PrivilegeLevel::Root {
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("--listened-to")
        .arg(fixture.directory())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
