//! The environment of this process: copied once, at the start, and handed to every command.
//!
//! What concerns several commands has its meaning here, so that they ask for a state directory or a
//! platform and not for a variable. What one module alone has a use for it asks for by name: colours
//! (`progress::palette`), progress (`progress::renderer`, `builds`), the log (`logging`), limits of the
//! cache (`cache::settings`), agents and secrets (`builds`). docs/guides/configuration.md lists them all, and
//! `proof/testbed/tests/variables.rs` compares.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use kiln_docker::units::parse_size;
use kiln_engine::{Programs, UnpackLimit};
use kiln_oci::Platform;
use kiln_registry::{ClientOptions, Credentials, Proxies, RegistriesConf, Secret};
use kiln_runtime::OuterProc;
use serde_json::Value;

use crate::failure::Failure;

/// Where root's state is.
const STATE_OF_ROOT: &str = "/var/lib/kiln";
/// Names of proxy variables; each counts in lower case too.
const PROXIES: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];
/// Steps mostly wait, for a network or a disk or each other; fewer at once would leave waiting steps in
/// the way of working ones.
const FEWEST_JOBS: usize = 16;

/// The environment of this process.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    variables: BTreeMap<OsString, OsString>,
    is_root: bool,
}

impl Environment {
    /// Copies it. Must happen before namespaces are entered: inside them every user is root.
    pub(crate) fn of_this_process() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// Returns a variable's bytes; an empty one is one.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
    }

    /// Returns a variable's text unless it is empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let value = self.variable(name)?.to_string_lossy().into_owned();
        (!value.is_empty()).then_some(value)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.variable(name)?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    }

    fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    /// Returns a directory of the XDG base directory specification, or its default below the home.
    fn xdg(&self, name: &str, default: &str) -> Option<PathBuf> {
        self.path(name)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(self.home()?.join(default)))
    }

    /// Says whether the person is root, outside of any namespace of ours.
    pub(crate) fn is_root(&self) -> bool {
        self.is_root
    }

    /// Returns the state directory.
    pub(crate) fn state_directory(&self) -> Result<PathBuf, Failure> {
        if let Some(root) = self.path("KILN_ROOT") {
            return Ok(root);
        }
        if self.is_root {
            return Ok(PathBuf::from(STATE_OF_ROOT));
        }
        match self.xdg("XDG_DATA_HOME", ".local/share") {
            Some(data) => Ok(data.join("kiln")),
            None => Err(Failure::new("no state directory: HOME is not set")
                .with_hint("name one in KILN_ROOT")),
        }
    }

    /// Returns the file that kiln's own settings are in, if there is a place for one.
    pub(crate) fn configuration_file(&self) -> Option<PathBuf> {
        if self.is_root {
            Some(PathBuf::from("/etc/kiln/config.toml"))
        } else {
            Some(
                self.xdg("XDG_CONFIG_HOME", ".config")?
                    .join("kiln/config.toml"),
            )
        }
    }

    /// Returns the directory of docker's `config.json`.
    pub(crate) fn docker_directory(&self) -> Option<PathBuf> {
        self.path("DOCKER_CONFIG")
            .or_else(|| Some(self.home()?.join(".docker")))
    }

    /// Returns the platforms that are meant where none is said; empty for this machine's.
    pub(crate) fn default_platforms(&self) -> Result<Vec<Platform>, Failure> {
        let text = self.text("DOCKER_DEFAULT_PLATFORM").unwrap_or_default();
        let names = text.split(',').filter(|name| !name.trim().is_empty());
        names
            .map(|name| {
                name.parse()
                    .map_err(|error| Failure::new(format!("DOCKER_DEFAULT_PLATFORM: {error}")))
            })
            .collect()
    }

    /// Returns `SOURCE_DATE_EPOCH`: seconds since 1970, or the name of something that has a time.
    pub(crate) fn epoch(&self) -> Option<String> {
        self.text("SOURCE_DATE_EPOCH")
    }

    /// Returns what one layer or archive may unpack to.
    pub(crate) fn unpack_limit(&self) -> Result<UnpackLimit, Failure> {
        let mut limit = UnpackLimit::default();
        if let Some(text) = self.text("KILN_UNPACK_LIMIT") {
            limit.bytes = parse_size(&text)
                .map_err(|error| Failure::new(format!("KILN_UNPACK_LIMIT: {error}")))?;
        }
        if let Some(text) = self.text("KILN_UNPACK_RATIO") {
            limit.ratio = text
                .parse()
                .map_err(|_| Failure::new(format!("invalid KILN_UNPACK_RATIO {text:?}")))?;
        }
        Ok(limit)
    }

    /// Returns how many steps run at once unless `--jobs` says it.
    pub(crate) fn jobs(&self) -> Result<usize, Failure> {
        match self.text("KILN_JOBS") {
            Some(text) => text
                .parse()
                .ok()
                .filter(|jobs| *jobs > 0)
                .ok_or_else(|| Failure::new(format!("invalid KILN_JOBS {text:?}"))),
            None => Ok(available_parallelism()
                .map_or(1, usize::from)
                .max(FEWEST_JOBS)),
        }
    }

    /// Returns whether commands may see all processes of this machine where the kernel refuses them
    /// a `/proc` of their own: `KILN_OUTER_PROC=1`.
    pub(crate) fn outer_proc(&self) -> OuterProc {
        match self.text("KILN_OUTER_PROC").as_deref() {
            Some("1" | "true") => OuterProc::Shown,
            _ => OuterProc::Refused,
        }
    }

    /// Returns the proxies that `config.json` wants passed into builds and containers, each under
    /// its name in capitals and in small letters.
    pub(crate) fn injected_proxies(&self) -> Vec<(String, String)> {
        let config = self.docker_directory().map(|d| d.join("config.json"));
        let Some(text) = config.and_then(|path| std::fs::read(path).ok()) else {
            return Vec::new();
        };
        // A file that is not valid is reported when a login is looked for in it.
        let config: Value = serde_json::from_slice(&text).unwrap_or_default();
        let names = ["httpProxy", "httpsProxy", "ftpProxy", "noProxy", "allProxy"];
        let mut proxies = Vec::new();
        for (name, member) in PROXIES.iter().zip(names) {
            if let Some(value) = config["proxies"]["default"][member].as_str() {
                proxies.push(((*name).to_owned(), value.to_owned()));
                proxies.push((name.to_lowercase(), value.to_owned()));
            }
        }
        proxies
    }

    /// Returns how registries are reached.
    pub(crate) fn client_options(&self) -> Result<ClientOptions, Failure> {
        Ok(ClientOptions {
            credentials: self.credentials(),
            registries: self.registries()?,
            proxies: Proxies {
                http: self.proxy("HTTP_PROXY").or(self.proxy("ALL_PROXY")),
                https: self.proxy("HTTPS_PROXY").or(self.proxy("ALL_PROXY")),
                no_proxy: self.proxy("NO_PROXY"),
            },
            certificate_directories: self.certificate_directories(),
            extra_authorities: self.path("SSL_CERT_FILE").into_iter().collect(),
            ..ClientOptions::default()
        })
    }

    /// Returns how git and ssh are started: with what they need to find each other, the network and
    /// whom to trust, and nothing else.
    pub(crate) fn programs(&self) -> Programs {
        const OTHERS: [&str; 5] = [
            "PATH",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "GIT_SSL_CAINFO",
            "GIT_SSL_CAPATH",
        ];
        let proxies = PROXIES
            .iter()
            .flat_map(|name| [(*name).to_owned(), name.to_lowercase()]);
        let names = OTHERS.map(str::to_owned).into_iter().chain(proxies);
        Programs {
            environment: names
                .filter_map(|name| {
                    let value = self.variable(&name)?.to_owned();
                    Some((name.into(), value))
                })
                .collect(),
            known_hosts: self
                .home()
                .map(|home| home.join(".ssh/known_hosts"))
                .into_iter()
                .collect(),
        }
    }

    fn credentials(&self) -> Credentials {
        let auth_files = match self.path("REGISTRY_AUTH_FILE") {
            Some(file) => vec![file],
            None => [
                self.path("XDG_RUNTIME_DIR"),
                self.xdg("XDG_CONFIG_HOME", ".config"),
            ]
            .into_iter()
            .flatten()
            .map(|directory| directory.join("containers/auth.json"))
            .collect(),
        };
        Credentials {
            docker_directory: self.docker_directory(),
            inline: self.text("DOCKER_AUTH_CONFIG").map(Secret::new),
            auth_files,
            search_path: self.variable("PATH").map(OsStr::to_owned),
        }
    }

    /// containers-registries.conf(5): the variable, else the user's file, else the system's.
    fn registries(&self) -> Result<RegistriesConf, Failure> {
        let file = self.path("CONTAINERS_REGISTRIES_CONF").or_else(|| {
            let own = self
                .xdg("XDG_CONFIG_HOME", ".config")?
                .join("containers/registries.conf");
            own.exists().then_some(own)
        });
        let file = file.unwrap_or_else(|| PathBuf::from("/etc/containers/registries.conf"));
        let mut drop_ins = file.clone().into_os_string();
        drop_ins.push(".d");
        RegistriesConf::load(&file, Path::new(&drop_ins)).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            Failure::new(format!("{error}{}", cause.unwrap_or_default()))
        })
    }

    fn proxy(&self, name: &str) -> Option<String> {
        self.text(name).or_else(|| self.text(&name.to_lowercase()))
    }

    fn certificate_directories(&self) -> Vec<PathBuf> {
        let own = self.xdg("XDG_CONFIG_HOME", ".config");
        let own = own.map(|config| config.join("containers/certs.d"));
        let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
        own.into_iter().chain(system).collect()
    }
}

#[cfg(test)]
impl Environment {
    /// Returns an ordinary user's environment with these variables.
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        Self {
            variables: variables
                .iter()
                .map(|(name, value)| (OsString::from(name), OsString::from(value)))
                .collect(),
            is_root: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_depends_on_who_asks() {
        let state = |variables: &[(&str, &str)]| Environment::with(variables).state_directory();
        let home = ("HOME", "/home/user");
        assert_eq!(state(&[home]), Ok("/home/user/.local/share/kiln".into()));
        assert_eq!(
            state(&[home, ("XDG_DATA_HOME", "/data")]),
            Ok("/data/kiln".into())
        );
        // XDG base directory specification: relative paths are to be ignored.
        assert_eq!(
            state(&[home, ("XDG_DATA_HOME", "data")]),
            Ok("/home/user/.local/share/kiln".into())
        );
        assert_eq!(state(&[home, ("KILN_ROOT", "/k")]), Ok("/k".into()));
        assert!(state(&[]).is_err());
        let root = Environment {
            is_root: true,
            ..Environment::with(&[("HOME", "/root")])
        };
        assert_eq!(root.state_directory(), Ok("/var/lib/kiln".into()));
    }

    #[test]
    fn proxies_are_found_in_either_case() {
        let environment = Environment::with(&[
            ("https_proxy", "http://small"),
            ("HTTPS_PROXY", ""),
            ("ALL_PROXY", "http://all"),
        ]);
        let proxies = environment.client_options().unwrap().proxies;
        assert_eq!(proxies.https.as_deref(), Some("http://small"));
        assert_eq!(proxies.http.as_deref(), Some("http://all"));
    }

    #[test]
    fn config_json_injects_proxies_under_both_names() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join("config.json"),
            r#"{"proxies":{"default":{"httpProxy":"http://p:1","noProxy":"x"}}}"#,
        )
        .unwrap();
        let environment =
            Environment::with(&[("DOCKER_CONFIG", directory.path().to_str().unwrap())]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            environment.injected_proxies(),
            [
                pair("HTTP_PROXY", "http://p:1"),
                pair("http_proxy", "http://p:1"),
                pair("NO_PROXY", "x"),
                pair("no_proxy", "x"),
            ]
        );
    }

    #[test]
    fn numbers_must_be_numbers() {
        let of = |name, value| Environment::with(&[(name, value)]);
        assert_eq!(of("KILN_JOBS", "3").jobs(), Ok(3));
        assert!(of("KILN_JOBS", "0").jobs().is_err());
        assert_eq!(of("KILN_OUTER_PROC", "1").outer_proc(), OuterProc::Shown);
        assert_eq!(of("KILN_OUTER_PROC", "0").outer_proc(), OuterProc::Refused);
        assert!(Environment::with(&[]).jobs().unwrap() >= FEWEST_JOBS);
        let limit = |name, value| of(name, value).unpack_limit();
        assert_eq!(
            limit("KILN_UNPACK_LIMIT", "").unwrap(),
            UnpackLimit::default()
        );
        assert_eq!(limit("KILN_UNPACK_LIMIT", "2g").unwrap().bytes, 2 << 30);
        assert_eq!(limit("KILN_UNPACK_RATIO", "1000").unwrap().ratio, 1000);
        assert!(limit("KILN_UNPACK_LIMIT", "much").is_err());
        assert!(limit("KILN_UNPACK_RATIO", "-1").is_err());
    }
}
