//! Where a repository really is: containers-registries.conf(5), version 2.
//!
//! Understood are `prefix` (with `*.domain`), `location`, `insecure`, `blocked`, `[[registry.mirror]]`
//! with `pull-from-mirror`, and the drop-in directory. Short names always mean Docker Hub in kiln, so
//! `unqualified-search-registries` and aliases have no effect.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesConfError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It is not TOML, or not of the right shape.
    #[error("{path}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
    /// It is in the format of version 1.
    #[error("{0} has the format of version 1, which has been replaced by [[registry]] tables")]
    Version1(PathBuf),
    /// A `[[registry]]` says neither what it is about nor where it is.
    #[error("{0} has a [[registry]] with neither prefix nor location")]
    Nameless(PathBuf),
}

/// Rules that map repositories to registries and mirrors. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistriesConf {
    rules: Vec<RegistryRule>,
    insecure_domains: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RegistryRule {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<MirrorRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct MirrorRule {
    location: String,
    insecure: bool,
    serves: Serves,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    All,
    Digests,
    Tags,
}

/// What a pull knows of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    ByTag,
    ByDigest,
}

/// A repository in a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RegistryPlace {
    pub(crate) domain: String,
    pub(crate) path: String,
    pub(crate) insecure: bool,
}

/// Where to look for a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Tried in order, for pulls only.
    pub(crate) mirrors: Vec<RegistryPlace>,
    /// Tried last, and the only one that is written to.
    pub(crate) upstream: RegistryPlace,
    pub(crate) blocked: bool,
}

impl RegistriesConf {
    /// Reads `file` and then, in the order of their names, the `*.conf` files of `drop_ins`.
    ///
    /// A later `[[registry]]` replaces an earlier one of the same prefix. What does not exist says
    /// nothing.
    ///
    /// # Errors
    /// When a file exists and cannot be used.
    pub fn load(file: &Path, drop_ins: &Path) -> Result<Self, RegistriesConfError> {
        let mut conf = Self::default();
        let mut paths = vec![file.to_owned()];
        let failed = |path: &Path, source| RegistriesConfError::Io {
            path: path.to_owned(),
            source,
        };
        match fs::read_dir(drop_ins) {
            Ok(entries) => {
                let mut found = Vec::new();
                for entry in entries {
                    let path = entry.map_err(|error| failed(drop_ins, error))?.path();
                    if path
                        .extension()
                        .is_some_and(|extension| extension == "conf")
                    {
                        found.push(path);
                    }
                }
                found.sort();
                paths.extend(found);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(drop_ins, error)),
        }
        for path in paths {
            match fs::read_to_string(&path) {
                Ok(text) => conf.merge(&text, &path)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path, error)),
            }
        }
        Ok(conf)
    }

    /// Adds the rules of a file's text; `path` is for messages.
    ///
    /// # Errors
    /// When the text cannot be used.
    pub fn merge(&mut self, text: &str, path: &Path) -> Result<(), RegistriesConfError> {
        let file: ConfFile = toml::from_str(text).map_err(|error| RegistriesConfError::Syntax {
            path: path.to_owned(),
            reason: error.message().to_owned(),
        })?;
        if file.registries.is_some() {
            return Err(RegistriesConfError::Version1(path.to_owned()));
        }
        for table in file.registry {
            let rule = table
                .into_rule()
                .ok_or_else(|| RegistriesConfError::Nameless(path.to_owned()))?;
            self.rules.retain(|other| other.prefix != rule.prefix);
            self.rules.push(rule);
        }
        Ok(())
    }

    /// Declares every repository of `domain` (host and port) insecure.
    pub fn allow_insecure(&mut self, domain: &str) {
        self.insecure_domains.push(domain.to_owned());
    }

    /// Finds out where a repository is. The longest prefix that matches decides.
    pub(crate) fn route(&self, domain: &str, path: &str, asked: Asked) -> Route {
        let name = format!("{domain}/{path}");
        let matching = self
            .rules
            .iter()
            .filter_map(|rule| Some((rule, matched_length(&rule.prefix, &name)?)))
            .max_by_key(|(rule, _)| rule.prefix.len());
        let Some((rule, matched)) = matching else {
            return Route {
                mirrors: Vec::new(),
                upstream: self.place(&name, false),
                blocked: false,
            };
        };
        let relocated = |location: &str| match location {
            "" => name.clone(),
            location => format!("{location}{}", &name[matched..]),
        };
        let mirrors = rule
            .mirrors
            .iter()
            .filter(|mirror| match mirror.serves {
                Serves::All => true,
                Serves::Digests => asked == Asked::ByDigest,
                Serves::Tags => asked == Asked::ByTag,
            })
            .map(|mirror| self.place(&relocated(&mirror.location), mirror.insecure))
            .collect();
        Route {
            mirrors,
            upstream: self.place(&relocated(&rule.location), rule.insecure),
            blocked: rule.blocked,
        }
    }

    /// Says whether a host that is not reached through a repository (a token server, say) is
    /// insecure.
    pub(crate) fn is_insecure(&self, domain: &str) -> bool {
        self.insecure_domains.iter().any(|other| other == domain)
            || self.rules.iter().any(|rule| {
                let named = match rule.location.as_str() {
                    "" => &rule.prefix,
                    location => location,
                };
                rule.insecure && named.split('/').next() == Some(domain)
            })
    }

    fn place(&self, name: &str, insecure: bool) -> RegistryPlace {
        let (domain, path) = name.split_once('/').unwrap_or((name, ""));
        RegistryPlace {
            domain: domain.to_owned(),
            path: path.to_owned(),
            insecure: insecure || self.insecure_domains.iter().any(|other| other == domain),
        }
    }
}

/// Returns how much of `name` the prefix stands for, or none if it does not match.
fn matched_length(prefix: &str, name: &str) -> Option<usize> {
    if let Some(suffix) = prefix.strip_prefix('*') {
        // `*.example.com`: any host below, and its whole name is what `location` replaces.
        let domain = name.split('/').next()?;
        let below = domain.strip_suffix(suffix)?;
        return (suffix.starts_with('.') && !below.is_empty()).then_some(domain.len());
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
}

#[derive(Deserialize)]
struct ConfFile {
    #[serde(default)]
    registry: Vec<RegistryTable>,
    /// Only version 1 has it.
    registries: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegistryTable {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<PullFromMirror>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    All,
    DigestOnly,
    TagOnly,
}

impl RegistryTable {
    fn into_rule(self) -> Option<RegistryRule> {
        let trimmed = |text: &str| text.trim_end_matches('/').to_owned();
        let location = trimmed(&self.location);
        let prefix = match trimmed(&self.prefix) {
            prefix if prefix.is_empty() => location.clone(),
            prefix => prefix,
        };
        if prefix.is_empty() || prefix == "*" {
            return None;
        }
        let mirrors = self
            .mirror
            .iter()
            .map(|mirror| MirrorRule {
                location: trimmed(&mirror.location),
                insecure: mirror.insecure,
                serves: match mirror.pull_from_mirror {
                    Some(PullFromMirror::DigestOnly) => Serves::Digests,
                    Some(PullFromMirror::TagOnly) => Serves::Tags,
                    None if self.mirror_by_digest_only => Serves::Digests,
                    Some(PullFromMirror::All) | None => Serves::All,
                },
            })
            .collect();
        Some(RegistryRule {
            prefix,
            location,
            insecure: self.insecure,
            blocked: self.blocked,
            mirrors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> RegistriesConf {
        let mut conf = RegistriesConf::default();
        conf.merge(text, Path::new("registries.conf")).unwrap();
        conf
    }

    fn upstream(conf: &RegistriesConf, domain: &str, path: &str) -> String {
        let route = conf.route(domain, path, Asked::ByTag);
        let place = route.upstream;
        let mark = if place.insecure { " insecure" } else { "" };
        format!("{}/{}{mark}", place.domain, place.path)
    }

    #[test]
    fn the_longest_prefix_relocates() {
        let conf = conf(
            r#"
            unqualified-search-registries = ["quay.io"]
            [[registry]]
            prefix = "docker.io/library"
            location = "127.0.0.1:5000/library"
            insecure = true
            [[registry]]
            prefix = "docker.io"
            location = "hub.internal"
            [[registry]]
            prefix = "*.example.com"
            location = "proxy.internal/example"
            [[registry]]
            location = "plain.internal:5000"
            insecure = true
            "#,
        );
        for (domain, path, expected) in [
            (
                "docker.io",
                "library/node",
                "127.0.0.1:5000/library/node insecure",
            ),
            ("docker.io", "libraryx/node", "hub.internal/libraryx/node"),
            ("docker.io", "library", "127.0.0.1:5000/library insecure"),
            ("a.example.com", "x/y", "proxy.internal/example/x/y"),
            ("example.com", "x", "example.com/x"),
            ("plain.internal:5000", "x", "plain.internal:5000/x insecure"),
            ("quay.io", "x", "quay.io/x"),
        ] {
            assert_eq!(upstream(&conf, domain, path), expected, "{domain}/{path}");
        }
    }

    #[test]
    fn the_guide_says_what_is_read() {
        let guide = include_str!("../../docs/guides/configuration.md");
        let mut examples = guide.split("```toml\n");
        let example = examples
            .find(|text| text.starts_with("[[registry]]"))
            .unwrap();
        let conf = conf(example.split("```").next().unwrap());
        assert_eq!(
            upstream(&conf, "registry.lan:5000", "x"),
            "registry.lan:5000/x insecure"
        );
        let route = conf.route("docker.io", "library/node", Asked::ByTag);
        assert_eq!(route.upstream.domain, "docker.io");
        let mirror = &route.mirrors[0];
        assert_eq!(
            (mirror.domain.as_str(), mirror.path.as_str()),
            ("mirror.example", "hub/library/node")
        );
    }

    #[test]
    fn mirrors_keep_their_order_and_their_restrictions() {
        let conf = conf(
            r#"
            [[registry]]
            prefix = "q.io"
            [[registry.mirror]]
            location = "one.internal/q"
            pull-from-mirror = "digest-only"
            [[registry.mirror]]
            location = "two.internal"
            insecure = true
            [[registry.mirror]]
            location = "three.internal"
            pull-from-mirror = "tag-only"
            "#,
        );
        let mirrors = |asked| {
            let route = conf.route("q.io", "x", asked);
            assert_eq!(route.upstream.domain, "q.io");
            let names = route.mirrors.iter();
            names
                .map(|place| format!("{}/{} {}", place.domain, place.path, place.insecure))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            mirrors(Asked::ByTag),
            ["two.internal/x true", "three.internal/x false"]
        );
        assert_eq!(
            mirrors(Asked::ByDigest),
            ["one.internal/q/x false", "two.internal/x true"]
        );
    }

    #[test]
    fn drop_ins_replace_rules_of_the_same_prefix() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("registries.conf");
        let drop_ins = directory.path().join("registries.conf.d");
        let nothing = RegistriesConf::load(&file, &drop_ins).unwrap();
        assert_eq!(nothing, RegistriesConf::default());

        fs::create_dir(&drop_ins).unwrap();
        let rule = |location| format!("[[registry]]\nprefix = 'q.io'\nlocation = '{location}'\n");
        fs::write(&file, rule("main")).unwrap();
        fs::write(drop_ins.join("2.conf"), rule("second")).unwrap();
        fs::write(drop_ins.join("1.conf"), rule("first")).unwrap();
        fs::write(drop_ins.join("3.txt"), "not read").unwrap();
        let conf = RegistriesConf::load(&file, &drop_ins).unwrap();
        assert_eq!(upstream(&conf, "q.io", "x"), "second/x");
    }

    #[test]
    fn unusable_files_are_refused() {
        for text in [
            "[registries.search]\nregistries = ['a']",
            "[[registry]]\ninsecure = true",
            "[[registry]]\nlocation = 5",
            "[[registry",
        ] {
            let mut conf = RegistriesConf::default();
            let error = conf.merge(text, Path::new("x.conf")).unwrap_err();
            assert!(error.to_string().starts_with("x.conf"), "{text}: {error}");
        }
    }

    #[test]
    fn blocked_and_insecure_are_reported() {
        let mut conf = conf("[[registry]]\nprefix = 'bad.io'\nblocked = true");
        assert!(conf.route("bad.io", "x", Asked::ByTag).blocked);
        conf.allow_insecure("h:5000");
        assert_eq!(upstream(&conf, "h:5000", "x"), "h:5000/x insecure");
        assert!(conf.is_insecure("h:5000") && !conf.is_insecure("h"));
    }
}
