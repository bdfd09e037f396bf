//! Two machines that share results, and what they did.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use kiln_oci::Sha256;
use kiln_testbed::{Ended, Kiln, Registry, Skip};
use serde_json::Value;

use crate::commands::harness::names;
use crate::program;

/// Two machines and a registry between them.
pub(super) struct Machines {
    pub(super) registry: Registry,
    pub(super) first: Kiln,
    pub(super) second: Kiln,
}

/// A stage whose result is not in the image, and one whose result is.
pub(super) const TWO_STAGES: &str = "FROM scratch AS tools\nCOPY busybox /bin/sh\nRUN echo tool > /tool\n\
     FROM scratch\nCOPY busybox /bin/sh\nRUN echo one > /one\nCOPY --from=tools /tool /tool\n\
     RUN echo two > /two\nCMD [\"sh\", \"-c\", \"echo $(cat /one /two /tool)\"]\n";

impl Machines {
    /// Returns two machines and their part of the shared registry.
    pub(super) fn new() -> Result<Self, Skip> {
        Self::beside(Registry::shared()?)
    }

    /// As [`Machines::new`], with a registry of their own, for tests that damage its files.
    pub(super) fn with_own_registry() -> Result<Self, Skip> {
        Self::beside(Registry::start()?)
    }

    fn beside(registry: Registry) -> Result<Self, Skip> {
        let machines = Self {
            registry,
            first: Kiln::for_builds(program())?,
            second: Kiln::for_builds(program())?,
        };
        for kiln in [&machines.first, &machines.second] {
            kiln.knows(&machines.registry);
        }
        machines.dockerfile(TWO_STAGES);
        Ok(machines)
    }

    pub(super) fn dockerfile(&self, text: &str) {
        self.first.dockerfile(text);
        self.second.dockerfile(text);
    }

    /// Returns one more machine.
    pub(super) fn another(&self) -> Result<Kiln, Skip> {
        let kiln = Kiln::for_builds(program())?;
        kiln.knows(&self.registry);
        let dockerfile = fs::read_to_string(self.first.scratch.join("ctx/Dockerfile")).unwrap();
        kiln.dockerfile(&dockerfile);
        Ok(kiln)
    }

    /// Returns the requests that the registry was sent while `act` went on, as `METHOD path`.
    pub(super) fn requests(&self, act: impl FnOnce()) -> Vec<String> {
        let before = self.registry.log().len();
        act();
        let log = self.registry.log();
        let field = |line: &str, name: &str| {
            let (_, rest) = line.split_once(name)?;
            Some(
                rest.split([' ', '"'])
                    .find(|part| !part.is_empty())?
                    .to_owned(),
            )
        };
        log[before..]
            .lines()
            .filter(|line| line.contains("response completed"))
            .filter_map(|line| {
                let method = field(line, "http.request.method=")?;
                let uri = field(line, "http.request.uri=")?;
                Some(format!("{method} {uri}"))
            })
            .collect()
    }
}

/// Changes the config of a cache in a directory, and the digests that lead to it.
pub(super) fn edit_cache(directory: &Path, change: impl FnOnce(&mut Value)) {
    let path = |digest: &Value| {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        directory.join("blobs/sha256").join(hex)
    };
    let put = |value: &Value| {
        let bytes = serde_json::to_vec(value).unwrap();
        let digest = Value::from(Sha256::of(&bytes).to_string());
        fs::write(path(&digest), &bytes).unwrap();
        (digest, Value::from(bytes.len()))
    };
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let top = directory.join("index.json");
    let mut index = read(&top);
    let entry = &mut index["manifests"][0];
    let mut manifest = read(&path(&entry["digest"]));
    let pointer = &mut manifest["config"];
    assert_eq!(
        pointer["mediaType"],
        "application/vnd.buildkit.cacheconfig.v0"
    );
    let mut config = read(&path(&pointer["digest"]));
    change(&mut config);
    (pointer["digest"], pointer["size"]) = put(&config);
    (entry["digest"], entry["size"]) = put(&manifest);
    fs::write(top, serde_json::to_vec(&index).unwrap()).unwrap();
}

#[track_caller]
pub(super) fn build(kiln: &Kiln, arguments: &[&str]) -> Ended {
    let all = [&["build", "--progress=plain"], arguments, &["ctx"]].concat();
    let ended = kiln.run(&all);
    assert_eq!(ended.code, 0, "{ended:#?}");
    ended
}

/// Returns the instructions that ran.
pub(super) fn ran(ended: &Ended) -> BTreeSet<String> {
    let steps = ended.stderr.lines().filter_map(|line| {
        let (number, name) = line.split_once(" [")?;
        let (place, text) = name.split_once("] ")?;
        let is_cached = ended.stderr.contains(&format!("\n{number} CACHED\n"));
        let is_done = ended.stderr.contains(&format!("\n{number} DONE "));
        (place != "internal" && is_done && !is_cached).then(|| text.to_owned())
    });
    steps.collect()
}

/// Returns what a command printed behind a word.
pub(super) fn printed(ended: &Ended, word: &str) -> Vec<String> {
    let lines = ended.stderr.lines().filter(|line| !line.contains("RUN"));
    let text = |line: &str| Some(line.split_once(&format!(" {word} "))?.1.to_owned());
    lines.filter_map(text).collect()
}

pub(super) fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Returns the digests of the blobs that were downloaded, and how often each.
pub(super) fn downloads(requests: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in requests {
        if let Some(path) = request.strip_prefix("GET ")
            && let Some((_, digest)) = path.split_once("/blobs/")
        {
            *counts.entry(digest.to_owned()).or_insert(0) += 1;
        }
    }
    counts
}

pub(super) fn unpacked_layers(kiln: &Kiln) -> usize {
    let layers = kiln.scratch.join("state/layers");
    fs::read_dir(layers).map_or(0, |groups| {
        let inside = |group: std::io::Result<fs::DirEntry>| names(&group.unwrap().path()).len();
        groups.map(inside).sum()
    })
}

pub(super) fn id(kiln: &Kiln, name: &str) -> String {
    kiln.ok(&["inspect", "-f", "{{.Id}}", name])
}
