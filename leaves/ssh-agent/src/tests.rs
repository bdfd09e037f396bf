//! The agents as OpenSSH's own programs meet them.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use kiln_testbed::{Daemon, Tool, need, run};

use super::protocol::{self, Request, RsaHash};
use super::*;

fn owner() -> SocketOwner {
    SocketOwner {
        mode: 0o640,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    }
}

struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("socket")).unwrap();
        Self { directory }
    }

    fn make_key(&self, keygen: &Tool, name: &str, flags: &[&str]) -> PathBuf {
        let path = self.directory.path().join(name);
        let mut command = keygen.command();
        command
            .args(["-q", "-C", name])
            .args(flags)
            .arg("-f")
            .arg(&path);
        run(&mut command);
        path
    }

    fn open(&self, agent: Agent) -> ListeningSocket {
        let directory = self.directory.path().join("socket");
        ListeningSocket::open(&directory, Arc::new(agent), owner()).unwrap()
    }

    fn open_keys(&self, paths: &[PathBuf]) -> ListeningSocket {
        self.open(Agent::Keys(Keyring::read(paths).unwrap()))
    }
}

fn ask(ssh_add: &Tool, socket: &Path, arguments: &[&str]) -> Output {
    let mut command = ssh_add.command();
    command.env("SSH_AUTH_SOCK", socket).args(arguments);
    command.output().unwrap()
}

/// All kinds of keys that ssh-keygen makes without further equipment.
const KINDS: [(&str, &[&str]); 6] = [
    ("ed25519", &["-t", "ed25519", "-N", ""]),
    ("p256", &["-t", "ecdsa", "-b", "256", "-N", ""]),
    ("p384", &["-t", "ecdsa", "-b", "384", "-N", ""]),
    ("p521", &["-t", "ecdsa", "-b", "521", "-N", ""]),
    ("rsa2048", &["-t", "rsa", "-b", "2048", "-N", ""]),
    ("rsa3072", &["-t", "rsa", "-b", "3072", "-N", ""]),
];

/// A quarter of the keys on P-521 have a private number that is shorter than the curve: among so
/// many there is one.
#[test]
fn numbers_with_zeros_in_front_are_read() {
    let ssh_add = need!(Tool::find("ssh-add"));
    let keygen = need!(Tool::find("ssh-keygen"));
    let site = Site::new();
    let keys: Vec<PathBuf> = (0..16)
        .map(|number| {
            let flags = ["-t", "ecdsa", "-b", "521", "-N", ""];
            site.make_key(&keygen, &format!("key{number}"), &flags)
        })
        .collect();
    let socket = site.open_keys(&keys);
    for key in keys {
        let key = key.with_extension("pub");
        let tried = ask(&ssh_add, socket.path(), &["-T", key.to_str().unwrap()]);
        assert!(tried.status.success(), "{tried:?}");
    }
}

#[test]
fn keys_sign_what_openssh_verifies() {
    let ssh_add = need!(Tool::find("ssh-add"));
    let keygen = need!(Tool::find("ssh-keygen"));
    let site = Site::new();
    let keys: Vec<PathBuf> = KINDS
        .iter()
        .map(|(name, flags)| site.make_key(&keygen, name, flags))
        .collect();
    let socket = site.open_keys(&keys);
    let listed = ask(&ssh_add, socket.path(), &["-L"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let written: String = keys
        .iter()
        .map(|key| fs::read_to_string(key.with_extension("pub")).unwrap())
        .collect();
    assert_eq!(listed, written);
    let data = site.directory.path().join("data");
    fs::write(&data, "data").unwrap();
    let namespace = ["-q", "-n", "kiln"];
    for (name, _) in KINDS {
        let public = site.directory.path().join(format!("{name}.pub"));
        let mut sign = keygen.command();
        sign.env("SSH_AUTH_SOCK", socket.path());
        sign.args(["-Y", "sign"]).args(namespace);
        run(sign.arg("-f").arg(&public).arg(&data));
        let signature = site.directory.path().join("data.sig");
        let mut check = keygen.command();
        check.args(["-Y", "check-novalidate"]).args(namespace);
        check.stdin(fs::File::open(&data).unwrap());
        run(check.arg("-s").arg(&signature));
        fs::remove_file(signature).unwrap();
    }
    // Nothing else can be done with them.
    for refused in [&["-D"][..], &["-x"], &["-d", keys[0].to_str().unwrap()]] {
        let answer = ask(&ssh_add, socket.path(), refused);
        assert!(!answer.status.success(), "{refused:?}: {answer:?}");
    }
    let other = site.make_key(&keygen, "other", &["-t", "ed25519", "-N", ""]);
    let added = ask(&ssh_add, socket.path(), &[other.to_str().unwrap()]);
    assert!(!added.status.success(), "{added:?}");
    let public = other.with_extension("pub");
    let tested = ask(&ssh_add, socket.path(), &["-T", public.to_str().unwrap()]);
    assert!(!tested.status.success(), "{tested:?}");
}

#[test]
fn rsa_keys_sign_as_they_are_told() {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

    let keygen = need!(Tool::find("ssh-keygen"));
    let site = Site::new();
    let path = site.make_key(&keygen, "rsa", &["-t", "rsa", "-b", "2048", "-N", ""]);
    let keyring = Keyring::read(std::slice::from_ref(&path)).unwrap();
    let public = fs::read_to_string(path.with_extension("pub")).unwrap();
    let public = ssh_key::PublicKey::from_openssh(&public).unwrap();
    let blob = public.to_bytes().unwrap();
    let sign = |rsa_hash| {
        keyring.answer(&Request::Sign {
            key: &blob,
            data: b"data",
            rsa_hash,
        })
    };
    let answer = sign(Some(RsaHash::Sha256));
    let signature = &answer[answer.len() - 256..];
    let name = b"rsa-sha2-256";
    assert!(answer.windows(name.len()).any(|bytes| bytes == name));
    let public = public.key_data().rsa().unwrap();
    let components = RsaPublicKeyComponents {
        n: public.n.as_positive_bytes().unwrap(),
        e: public.e.as_positive_bytes().unwrap(),
    };
    components
        .verify(&RSA_PKCS1_2048_8192_SHA256, b"data", signature)
        .unwrap();
    // SHA-1 is what a client wants that says nothing.
    assert_eq!(sign(None), protocol::failure());
}

#[test]
fn an_agent_is_asked_and_not_changed() {
    let ssh_add = need!(Tool::find("ssh-add"));
    let keygen = need!(Tool::find("ssh-keygen"));
    let agent = need!(Tool::find("ssh-agent"));
    let site = Site::new();
    let path = site.directory.path().join("agent");
    let mut command = agent.command();
    command.arg("-D").arg("-a").arg(&path);
    command.stdout(std::process::Stdio::null());
    let mut agent = Daemon::spawn(&mut command, std::time::Duration::from_secs(10)).unwrap();
    while !path.exists() {
        assert!(agent.is_running());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let key = site.make_key(&keygen, "key", &["-t", "ed25519", "-N", ""]);
    // The person can.
    let added = ask(&ssh_add, &path, &[key.to_str().unwrap()]);
    assert!(added.status.success(), "{added:?}");
    let socket = site.open(Agent::Socket(path.clone()));
    let public = key.with_extension("pub");
    let tested = ask(&ssh_add, socket.path(), &["-T", public.to_str().unwrap()]);
    assert!(tested.status.success(), "{tested:?}");
    let removed = ask(&ssh_add, socket.path(), &["-D"]);
    assert!(!removed.status.success(), "{removed:?}");
    assert!(ask(&ssh_add, &path, &["-l"]).status.success());
    // An agent that went away is a connection that ends.
    agent.stop().unwrap();
    assert!(!ask(&ssh_add, socket.path(), &["-l"]).status.success());
}

#[test]
fn sockets_belong_to_whom_they_should_and_go_with_their_value() {
    let site = Site::new();
    let socket = site.open_keys(&[]);
    let path = socket.path().to_owned();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    assert_eq!(metadata.uid(), owner().uid);
    // Clients that say nothing, or half of something, are no obstacle to the end.
    let silent = UnixStream::connect(&path).unwrap();
    let mut half = UnixStream::connect(&path).unwrap();
    half.write_all(&[0, 0, 0]).unwrap();
    let mut good = UnixStream::connect(&path).unwrap();
    good.write_all(&[0, 0, 0, 1, 11]).unwrap();
    let mut answer = [0; 9];
    good.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0, 0, 0, 5, 12, 0, 0, 0, 0]);
    // One that says too much is turned away.
    let mut long = UnixStream::connect(&path).unwrap();
    long.write_all(&[0xff; 4]).unwrap();
    assert!(is_over(&mut long));
    drop(socket);
    assert!(!path.exists());
    assert!(UnixStream::connect(&path).is_err());
    for mut client in [silent, half] {
        assert!(is_over(&mut client));
    }
}

/// Says whether the other side has ended a connection. Unix tells so by a reset if something that
/// was sent has not been read.
fn is_over(client: &mut UnixStream) -> bool {
    match client.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let keygen = need!(Tool::find("ssh-keygen"));
    let site = Site::new();
    let protected = ["-t", "ed25519", "-N", "secret"];
    let key = site.make_key(&keygen, "protected", &protected);
    let error = Keyring::read(std::slice::from_ref(&key)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}: passphrase protected keys are not supported; add it to an agent",
            key.display()
        )
    );
}
