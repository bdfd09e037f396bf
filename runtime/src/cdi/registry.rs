//! All devices that the files of some directories describe.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::edits::{EditError, Edits};
use super::name::{CdiKind, DeviceName};
use super::spec::{EditsSpec, SpecError, SpecFile};
use super::yaml::{self, YamlError};

/// The annotation by which devices of different kinds are asked for together
/// (buildkit/docs/cdi.md).
const CLASS: &str = "org.mobyproject.buildkit.device.class";

/// The annotation that makes a device available without the `device` entitlement; same source.
const AUTOALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// Bytes; a file for dozens of processors has some hundred thousand.
const LARGEST_FILE: u64 = 16 << 20;

/// The devices of this machine.
#[derive(Debug, Default)]
pub struct DeviceRegistry {
    files: Vec<EditsSpec>,
    devices: BTreeMap<DeviceName, RegisteredDevice>,
    problems: Vec<SpecProblem>,
}

#[derive(Debug)]
struct RegisteredDevice {
    /// Index of what the file says about all of its devices.
    file: usize,
    edits: EditsSpec,
    annotations: BTreeMap<String, String>,
}

/// A file that was left out.
#[derive(Debug, thiserror::Error)]
pub enum SpecProblem {
    /// It cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The disk's answer.
        reason: io::Error,
    },
    /// It is no JSON, or not of the right form.
    #[error("{}: {reason}", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: serde_json::Error,
    },
    /// It is no YAML.
    #[error("{}: {reason}", path.display())]
    Yaml {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: YamlError,
    },
    /// It says something that makes no sense.
    #[error("{}: {reason}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: SpecError,
    },
    /// Two files of one directory describe the same device, so neither counts.
    #[error("{}: device {device} is described by another file too", path.display())]
    Conflict {
        /// The second file.
        path: PathBuf,
        /// The device.
        device: DeviceName,
    },
}

/// What `RUN --device` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRequest {
    /// `vendor.com/class=name`, `vendor.com/class=*` for all, `vendor.com/class` for the first, or
    /// the value of a class annotation.
    pub name: String,
    /// What happens if there is none.
    pub requirement: Requirement,
}

/// Whether a job can do without a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Without it there is an error.
    Required,
    /// Without it the job runs as it is.
    Optional,
}

/// Why devices cannot be given to a job.
#[derive(Debug, thiserror::Error)]
pub enum CdiError {
    /// No file describes it. The files that could not be used may be the reason.
    #[error("required device {name:?} is not registered{}", left_out(problems))]
    NotRegistered {
        /// What was asked for.
        name: String,
        /// What was wrong with which files.
        problems: Vec<String>,
    },
    /// It asks for something that cannot be done.
    #[error(transparent)]
    Edit(#[from] EditError),
}

fn left_out(problems: &[String]) -> String {
    match problems {
        [] => String::new(),
        problems => format!(" (left out: {})", problems.join("; ")),
    }
}

impl DeviceRegistry {
    /// Reads the files of some directories; later ones take precedence over earlier ones, and
    /// those that do not exist do not matter.
    #[must_use]
    pub fn scan(directories: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for directory in directories {
            registry.scan_directory(directory);
        }
        registry
    }

    fn scan_directory(&mut self, directory: &Path) {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(source) => {
                return self.problems.push(SpecProblem::Unreadable {
                    path: directory.to_owned(),
                    reason: source,
                });
            }
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let mut found: BTreeMap<DeviceName, Option<RegisteredDevice>> = BTreeMap::new();
        for path in paths {
            let Some(format) = SpecFormat::of(&path) else {
                continue;
            };
            match read(&path, format) {
                Ok((kind, spec)) => self.add(&path, &kind, spec, &mut found),
                Err(problem) => self.problems.push(problem),
            }
        }
        for (name, entry) in found {
            match entry {
                Some(entry) => self.devices.insert(name, entry),
                None => self.devices.remove(&name),
            };
        }
    }

    fn add(
        &mut self,
        path: &Path,
        kind: &CdiKind,
        spec: SpecFile,
        found: &mut BTreeMap<DeviceName, Option<RegisteredDevice>>,
    ) {
        let file = self.files.len();
        self.files.push(spec.container_edits);
        for device in spec.devices {
            let name = DeviceName::new(kind, &device.name.0);
            if let Some(other) = found.get_mut(&name) {
                *other = None;
                self.problems.push(SpecProblem::Conflict {
                    path: path.to_owned(),
                    device: name,
                });
                continue;
            }
            // The device's own annotations take precedence.
            let annotations = spec.annotations.iter().chain(&device.annotations);
            let annotations = annotations.map(|(key, value)| (key.clone(), value.0.clone()));
            let entry = RegisteredDevice {
                file,
                edits: device.container_edits,
                annotations: annotations.collect(),
            };
            found.insert(name, Some(entry));
        }
    }

    /// Returns the names of all devices, in order.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceName> {
        self.devices.keys()
    }

    /// Returns what is wrong with the files that were left out.
    #[must_use]
    pub fn problems(&self) -> &[SpecProblem] {
        &self.problems
    }

    /// Returns the names of the devices that a request means; none if there is no such device.
    #[must_use]
    pub fn resolve(&self, request: &str) -> Vec<&DeviceName> {
        let (kind, name) = match request.split_once('=') {
            Some((kind, name)) => (kind, name),
            None => (request, ""),
        };
        let mut named = Vec::new();
        if let Ok(kind) = CdiKind::parse(kind) {
            let of_kind = self.devices.keys().filter(|name| *name.kind() == kind);
            match name {
                "" => named.extend(of_kind.take(1)),
                "*" => named.extend(of_kind),
                name => {
                    let whole = DeviceName::new(&kind, name);
                    named.extend(self.devices.get_key_value(&whole).map(|(name, _)| name));
                }
            }
        }
        if named.is_empty() {
            let of_class = self.devices.iter().filter(|(_, entry)| {
                let class = entry.annotations.get(CLASS);
                class.is_some_and(|class| class == request)
            });
            named.extend(of_class.map(|(name, _)| name));
        }
        named
    }

    /// Says whether all devices that a request means may be used without being allowed to.
    #[must_use]
    pub fn is_auto_allowed(&self, request: &str) -> bool {
        self.resolve(request).iter().all(|name| {
            let entry = self.devices.get(name);
            let value = entry.and_then(|entry| entry.annotations.get(AUTOALLOW));
            // What Go's strconv.ParseBool takes as true.
            value.is_some_and(|value| {
                ["1", "t", "T", "true", "TRUE", "True"].contains(&value.as_str())
            })
        })
    }

    /// Returns what the devices asked for change about a job. Each device is taken once, and what
    /// a file says about all of its devices precedes what it says about the first of them.
    ///
    /// # Errors
    /// A required device is not there, or one asks for something that cannot be done.
    pub fn find(&self, requests: &[DeviceRequest]) -> Result<Edits, CdiError> {
        let mut names: Vec<&DeviceName> = Vec::new();
        for request in requests {
            let meant = self.resolve(&request.name);
            if meant.is_empty() && request.requirement == Requirement::Required {
                return Err(CdiError::NotRegistered {
                    name: request.name.clone(),
                    problems: self.problems.iter().map(SpecProblem::to_string).collect(),
                });
            }
            for name in meant {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let mut edits = Edits::default();
        let mut files = Vec::new();
        for name in names {
            let Some(entry) = self.devices.get(name) else {
                continue;
            };
            if !files.contains(&entry.file) {
                files.push(entry.file);
                edits.add(name, &self.files[entry.file])?;
            }
            edits.add(name, &entry.edits)?;
        }
        Ok(edits)
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug)]
enum SpecFormat {
    Json,
    Yaml,
}

impl SpecFormat {
    /// Returns none for files that are something else.
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

fn read(path: &Path, format: SpecFormat) -> Result<(CdiKind, SpecFile), SpecProblem> {
    let owned = || path.to_owned();
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE).read_to_string(&mut text))
        .map_err(|reason| SpecProblem::Unreadable {
            path: owned(),
            reason,
        })?;
    let form = |reason| SpecProblem::Form {
        path: owned(),
        reason,
    };
    let spec: SpecFile = match format {
        SpecFormat::Json => serde_json::from_str(&text).map_err(form)?,
        SpecFormat::Yaml => {
            let value = yaml::parse(&text).map_err(|reason| SpecProblem::Yaml {
                path: owned(),
                reason,
            })?;
            serde_json::from_value(value).map_err(form)?
        }
    };
    let kind = spec.check().map_err(|reason| SpecProblem::Content {
        path: owned(),
        reason,
    })?;
    Ok((kind, spec))
}

#[cfg(test)]
mod tests;
