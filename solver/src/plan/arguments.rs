//! Build arguments: those on the command line, those every build has, and the global `ARG`s.
//!
//! docs/spec/dockerfile.md 5.

use std::collections::BTreeMap;

use kiln_oci::Platform;
use kiln_parser::{Diagnostic, Dockerfile, Span, Text};

use super::epoch_value as epoch;
use super::options::PlanOptions;
use super::variables::Variables;
use super::words::{self, Words};

/// Proxy arguments reach every `RUN` without being declared and enter no key and no history.
pub(crate) const PROXIES: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Arguments for the builder alone: no command sees them, and no `ARG` need declare them.
pub(crate) const READ_BY_BUILDER: [&str; 2] =
    ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// What a stage's bare `ARG NAME` can take its value from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// `--build-arg`.
    given: BTreeMap<String, String>,
    /// Platform arguments and global `ARG`s, in force for `FROM` lines.
    pub(crate) global: Variables,
    /// Global `ARG`s, with or without a value.
    pub(crate) declared: Vec<DeclaredArgument>,
    /// `SOURCE_DATE_EPOCH` as it was said, which may be the name of something that has a time.
    pub(crate) epoch: Option<String>,
}

/// An `ARG` and what it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredArgument {
    /// Its name, as written: variables in it are not expanded.
    pub name: String,
    /// Its value, if it has one.
    pub value: Option<String>,
    /// Where the name is written.
    pub span: Span,
}

impl Arguments {
    /// Evaluates the global `ARG`s.
    pub(crate) fn new(
        dockerfile: &Dockerfile,
        options: &PlanOptions,
        platform: &Platform,
        target_stage: &str,
        words: &mut Words,
    ) -> Self {
        let mut arguments = Self {
            given: options.build_args.clone(),
            global: Variables::default(),
            declared: Vec::new(),
            epoch: options.build_args.get(epoch::NAME).cloned(),
        };
        if let Some(given) = &arguments.epoch {
            match epoch::seconds(given, options.epoch) {
                Some(seconds) => arguments.given.insert(epoch::NAME.to_owned(), seconds),
                None => arguments.given.remove(epoch::NAME),
            };
        }
        let given = platform_arguments(&options.build_platform, platform, target_stage);
        for (name, value) in given.pairs() {
            let value = options.build_args.get(name).unwrap_or(value);
            arguments.global.set(name, value);
        }
        for arg in &dockerfile.global_args {
            for (written, default) in &arg.declarations {
                let name = &written.raw;
                let is_given = options.build_args.contains_key(name);
                let mut value = match (is_given, default) {
                    // A default is not expanded where `--build-arg` gives a value: it may use
                    // variables that are unset.
                    (true, _) => arguments.given.get(name).cloned(),
                    (false, None) => None,
                    (false, Some(text)) => Some(words.expand(text, &arguments.global)),
                };
                if let (epoch::NAME, false, Some(text)) = (name.as_str(), is_given, &value) {
                    arguments.epoch = Some(text.clone());
                    value = epoch::seconds(text, options.epoch);
                }
                if let Some(value) = &value {
                    arguments.global.set(name, value);
                }
                arguments.declared.push(DeclaredArgument {
                    name: name.clone(),
                    value,
                    span: written.span,
                });
            }
        }
        arguments
    }

    /// Returns the value of a stage's `ARG name[=default]`. Only a default that counts is expanded.
    pub(crate) fn stage_value(
        &self,
        name: &str,
        default: Option<&Text>,
        expand: impl FnOnce(&Text) -> String,
    ) -> Option<String> {
        match (self.given.get(name), default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(expand(default)),
            (None, None) => self.global.get(name).map(str::to_owned),
        }
    }

    /// Returns the names that a `FROM` line may use.
    pub(crate) fn global_names(&self) -> impl Iterator<Item = &str> {
        let declared = self.declared.iter().map(|argument| argument.name.as_str());
        self.global.names().chain(declared)
    }

    /// Returns whether a `FROM` line may use a name, even if it has no value.
    pub(crate) fn is_global(&self, name: &str) -> bool {
        self.global_names().any(|known| known == name)
    }

    /// Returns the proxies given on the command line, in both spellings.
    pub(crate) fn proxies(&self) -> Vec<(String, String)> {
        self.given
            .iter()
            .filter(|(name, _)| is_proxy(name))
            .flat_map(|(name, value)| {
                [name.to_uppercase(), name.to_lowercase()].map(|name| (name, value.clone()))
            })
            .collect()
    }
}

pub(crate) fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

fn platform_arguments(build: &Platform, target: &Platform, target_stage: &str) -> Variables {
    let mut variables = Variables::default();
    let mut add = |prefix: &str, platform: &Platform| {
        for (suffix, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("OSVERSION", String::new()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone()),
        ] {
            variables.set(&format!("{prefix}{suffix}"), &value);
        }
    };
    add("BUILD", build);
    add("TARGET", target);
    variables.set("TARGETSTAGE", target_stage);
    variables
}

/// Checks `--build-arg` names.
pub(crate) fn check_names(options: &PlanOptions) -> Result<(), Diagnostic> {
    if options.build_args.keys().any(String::is_empty) {
        Err(words::error(
            "build-arg",
            Span::default(),
            "build argument names can not be blank",
        ))
    } else {
        Ok(())
    }
}
