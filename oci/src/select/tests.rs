use std::collections::BTreeMap;

use super::*;
use crate::{Index, media_type};

/// Documents by digest, and how often each was read.
#[derive(Default)]
struct Registry {
    documents: BTreeMap<Sha256, Document>,
    reads: usize,
}

impl Registry {
    fn manifest(&mut self, name: &str, platform: &str) -> Descriptor {
        let digest = Sha256::of(name.as_bytes());
        let config = Descriptor::of(media_type::OCI_CONFIG, name.as_bytes());
        let manifest = Document::Manifest(Manifest::oci(config, Vec::new()));
        self.documents.insert(digest, manifest);
        let mut descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest, 1);
        descriptor.platform = platform.parse().ok();
        descriptor
    }

    fn index(&mut self, name: &str, entries: &[Descriptor]) -> Descriptor {
        let digest = Sha256::of(name.as_bytes());
        let index = Document::Index(Index::oci(entries.to_vec()));
        self.documents.insert(digest, index);
        Descriptor::new(media_type::OCI_INDEX, digest, 1)
    }

    fn select(&mut self, top: &Descriptor, wanted: &str) -> Result<Sha256, SelectError<()>> {
        let mut read = |descriptor: &Descriptor| {
            self.reads += 1;
            Ok(self.documents.get(&descriptor.digest).cloned())
        };
        select(top, &wanted.parse().unwrap(), &mut read).map(|(found, _)| found.digest)
    }
}

#[test]
fn a_manifest_serves_whatever_is_asked_for() {
    let mut registry = Registry::default();
    let only = registry.manifest("only", "");
    assert_eq!(registry.select(&only, "linux/s390x"), Ok(only.digest));
}

#[test]
fn the_nearest_of_nested_indexes_serves() {
    let mut registry = Registry::default();
    let arm = registry.manifest("arm", "linux/arm64");
    let amd = registry.manifest("amd", "linux/amd64");
    let inner = registry.index("inner", std::slice::from_ref(&arm));
    let outer = registry.index("outer", &[inner, amd.clone()]);
    assert_eq!(registry.select(&outer, "linux/arm64"), Ok(arm.digest));
    assert_eq!(registry.select(&outer, "linux/amd64"), Ok(amd.digest));
    // The platforms of the inner index are listed too.
    let nothing = SelectError::NoPlatform {
        digest: outer.digest,
        available: ["linux/amd64", "linux/arm64"]
            .map(|p| p.parse().unwrap())
            .into(),
    };
    assert_eq!(registry.select(&outer, "linux/s390x"), Err(nothing));
}

#[test]
fn the_next_best_manifest_serves_when_one_is_missing() {
    let mut registry = Registry::default();
    let v7 = registry.manifest("v7", "linux/arm/v7");
    let v6 = registry.manifest("v6", "linux/arm/v6");
    let index = registry.index("index", &[v7.clone(), v6.clone()]);
    assert_eq!(registry.select(&index, "linux/arm/v7"), Ok(v7.digest));
    registry.documents.remove(&v7.digest);
    assert_eq!(registry.select(&index, "linux/arm/v7"), Ok(v6.digest));
}

#[test]
fn an_error_of_reading_ends_the_search() {
    let mut registry = Registry::default();
    let top = registry.manifest("top", "");
    let mut read = |_: &Descriptor| Err("gone");
    let found = select(&top, &"linux".parse().unwrap(), &mut read);
    assert_eq!(found.unwrap_err(), SelectError::Read("gone"));
}

#[test]
fn loops_and_bombs_end() {
    let mut registry = Registry::default();
    let mut top = registry.manifest("bottom", "");
    for depth in 0..6 {
        top = registry.index(&format!("level {depth}"), &[top]);
    }
    let found = registry.select(&top, "linux");
    assert!(matches!(found, Err(SelectError::TooDeep(_))), "{found:?}");

    // An index named a thousand times is read once.
    let empty = registry.index("empty", &[]);
    let wide = registry.index("wide", &vec![empty; 1000]);
    registry.reads = 0;
    assert!(registry.select(&wide, "linux").is_err());
    assert_eq!(registry.reads, 2);

    let many: Vec<_> = (0..1000)
        .map(|number| registry.index(&format!("one of many {number}"), &[]))
        .collect();
    let many = registry.index("many", &many);
    registry.reads = 0;
    assert!(registry.select(&many, "linux").is_err());
    assert!(registry.reads <= MOST_INDEXES + 2, "{}", registry.reads);
}
