//! `--ssh`: agents that `RUN --mount=type=ssh` can reach.

use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use kiln_engine::{AgentRequest, AgentSource, ContextSource};
use kiln_parser::{RemoteSource, SourcePlace, remote_source};

use crate::environment::Environment;
use crate::failure::Failure;

/// The agent of `RUN --mount=type=ssh` without an id.
const DEFAULT_ID: &str = "default";

/// Parses the flags in order. A context that is fetched through ssh brings the default agent along
/// if there is one.
pub(crate) fn parse_all(
    texts: &[String],
    context: &ContextSource,
    environment: &Environment,
) -> Result<Vec<AgentRequest>, Failure> {
    let mut agents: Vec<AgentRequest> = Vec::new();
    for text in texts {
        let agent = parse(text, environment)?;
        if agents.iter().any(|known| known.id == agent.id) {
            return Err(Failure::flag(format!("duplicate agent ID {}", agent.id)));
        }
        agents.push(agent);
    }
    let has_agent = environment.text("SSH_AUTH_SOCK").is_some();
    if agents.is_empty() && has_agent && is_fetched_through_ssh(context) {
        agents.push(parse(DEFAULT_ID, environment)?);
    }
    Ok(agents)
}

fn is_fetched_through_ssh(context: &ContextSource) -> bool {
    let ContextSource::Remote(text) = context else {
        return false;
    };
    match remote_source(text, SourcePlace::BuildContext) {
        // Without a scheme it is user@host:path, which is ssh's own.
        Some(Ok(RemoteSource::Git(source))) => source
            .remote
            .split_once("://")
            .is_none_or(|(scheme, _)| scheme == "ssh"),
        _ => false,
    }
}

/// Parses `ID`, `ID=SOCKET` or `ID=KEY[,KEY…]`.
fn parse(text: &str, environment: &Environment) -> Result<AgentRequest, Failure> {
    let (id, paths) = match text.split_once('=') {
        Some((id, paths)) => (id, paths.split(',').collect()),
        None => (text, Vec::new()),
    };
    let id = match id {
        "" => DEFAULT_ID,
        id => id,
    };
    let source = match paths.as_slice() {
        [] | [""] => {
            let socket = environment.text("SSH_AUTH_SOCK").ok_or_else(|| {
                Failure::new("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")
            })?;
            source(&[&socket])
        }
        paths => source(paths),
    };
    let source = source.map_err(|problem| Failure::new(format!("ssh agent {id}: {problem}")))?;
    Ok(AgentRequest {
        id: id.to_owned(),
        source,
    })
}

/// Tells an agent's socket from private keys by what the files are.
fn source(paths: &[&str]) -> Result<AgentSource, String> {
    let (mut sockets, mut keys) = (Vec::new(), Vec::new());
    for path in paths {
        let path = Path::new(path);
        if is_socket(path)? {
            sockets.push(path.to_owned());
        } else {
            keys.push(readable(path)?);
        }
    }
    match (sockets.as_slice(), keys.is_empty()) {
        ([], _) => Ok(AgentSource::Keys(keys)),
        ([socket], true) => Ok(AgentSource::Socket(socket.clone())),
        (_, true) => Err("only a single socket is allowed".to_owned()),
        (_, false) => Err("invalid combination of keys and sockets".to_owned()),
    }
}

fn is_socket(path: &Path) -> Result<bool, String> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{}: no such file or directory", path.display()),
        _ => format!("{}: {error}", path.display()),
    })?;
    if metadata.is_dir() {
        Err(format!(
            "{} is a directory: expected an agent's socket or a private key",
            path.display()
        ))
    } else {
        Ok(metadata.file_type().is_socket())
    }
}

fn readable(path: &Path) -> Result<PathBuf, String> {
    match File::open(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(error) => Err(format!("failed to open {}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn agents_are_sockets_or_keys() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (socket, other, key) = (path("socket"), path("other"), path("key"));
        let _listeners = [&socket, &other].map(|path| UnixListener::bind(path).unwrap());
        fs::write(&key, "a key").unwrap();
        let environment = Environment::with(&[("SSH_AUTH_SOCK", &socket)]);
        let agent = |text: &str| {
            parse(text, &environment)
                .map(|agent| (agent.id, agent.source))
                .map_err(|failure| failure.message)
        };
        let is = |id: &str, source: AgentSource| Ok((id.to_owned(), source));
        let of_socket = AgentSource::Socket(socket.clone().into());
        let of_keys = |keys: &[&str]| AgentSource::Keys(keys.iter().map(PathBuf::from).collect());
        assert_eq!(agent("default"), is("default", of_socket.clone()));
        assert_eq!(agent("mine="), is("mine", of_socket.clone()));
        assert_eq!(
            agent(&format!("mine={socket}")),
            is("mine", of_socket.clone())
        );
        assert_eq!(agent(&format!("={key}")), is("default", of_keys(&[&key])));
        assert_eq!(
            agent(&format!("mine={key},{key}")),
            is("mine", of_keys(&[&key, &key]))
        );
        for (text, problem) in [
            (
                format!("a={socket},{key}"),
                "ssh agent a: invalid combination of keys and sockets".to_owned(),
            ),
            (
                format!("a={socket},{other}"),
                "ssh agent a: only a single socket is allowed".to_owned(),
            ),
            (
                format!("a={}", path("missing")),
                format!(
                    "ssh agent a: {}: no such file or directory",
                    path("missing")
                ),
            ),
        ] {
            assert_eq!(agent(&text), Err(problem));
        }
    }

    #[test]
    fn without_an_agent_there_is_none() {
        let none = Environment::with(&[]);
        assert_eq!(
            parse("default", &none).unwrap_err().message,
            "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set"
        );
        let environment = Environment::with(&[("SSH_AUTH_SOCK", "/dev/null")]);
        let twice = ["a".to_owned(), "a".to_owned()];
        assert_eq!(
            parse_all(&twice, &ContextSource::Empty, &environment)
                .unwrap_err()
                .message,
            "duplicate agent ID a"
        );
    }

    #[test]
    fn repositories_behind_ssh_bring_the_agent_along() {
        let environment = Environment::with(&[("SSH_AUTH_SOCK", "/dev/null")]);
        let ids = |flags: &[&str], context: &str, environment: &Environment| {
            let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
            let context = ContextSource::Remote(context.to_owned());
            let agents = parse_all(&flags, &context, environment).unwrap();
            agents.into_iter().map(|agent| agent.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&[], "git@h:x.git", &environment), ["default"]);
        assert_eq!(ids(&[], "ssh://git@h/x.git#v1", &environment), ["default"]);
        assert_eq!(ids(&["mine"], "git@h:x.git", &environment), ["mine"]);
        assert!(ids(&[], "https://h/x.git", &environment).is_empty());
        assert!(ids(&[], "https://h/x.tar", &environment).is_empty());
        assert!(ids(&[], "git@h:x.git", &Environment::with(&[])).is_empty());
    }
}
