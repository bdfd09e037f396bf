//! `--cache-from` and `--cache-to`: caches that are shared with other machines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_docker::csv;
use kiln_engine::{
    CacheDestination, CacheManifest, CacheMode, CacheName, CacheSource, CacheTarget, MediaFamily,
    MountContents, OnFailure, StaleBlobs, Transport,
};
use kiln_oci::{DEFAULT_TAG, TaggedRef};
use kiln_parser::parse_bool;

use super::compression;

/// What others can store a cache in and kiln cannot.
const OTHER_SERVICES: [&str; 3] = ["gha", "s3", "azblob"];

/// What a `--cache-from` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Import {
    /// A cache.
    From(CacheSource),
    /// What is in an image, and images are named as registries name them.
    Inline,
    /// A cache of a kind that kiln cannot read; why not. A build without it is the same build, so it
    /// is worth a warning, as in BuildKit.
    Unusable(String),
}

/// Parses one `--cache-from`: a name in a registry, or `type=T,key=value…`.
pub(crate) fn parse_source(text: &str) -> Result<Import, String> {
    let mut attributes = CacheAttributes::parse(text)?;
    let source = match attributes.kind.as_str() {
        "registry" => Import::From(CacheSource::Registry {
            name: attributes.reference()?,
            transport: attributes.transport()?,
        }),
        "local" => {
            let directory = attributes.directory("src")?;
            let tag = attributes.take("tag");
            let entry = match attributes.take("digest") {
                Some(digest) => CacheName::Digest(
                    digest
                        .parse()
                        .map_err(|error| format!("invalid digest {digest:?}: {error}"))?,
                ),
                None => CacheName::Tag(tag.unwrap_or_else(|| DEFAULT_TAG.to_owned())),
            };
            Import::From(CacheSource::Local { directory, entry })
        }
        "inline" => Import::Inline,
        other => return Ok(Import::Unusable(unknown(other))),
    };
    attributes.finish()?;
    Ok(source)
}

/// Parses one `--cache-to`: a name in a registry, or `type=T,key=value…`.
pub(crate) fn parse_target(text: &str) -> Result<CacheTarget, String> {
    let mut attributes = CacheAttributes::parse(text)?;
    let to = match attributes.kind.as_str() {
        "registry" => CacheDestination::Registry {
            name: attributes.reference()?,
            transport: attributes.transport()?,
        },
        "local" => CacheDestination::Local {
            directory: attributes.directory("dest")?,
            tag: attributes
                .take("tag")
                .unwrap_or_else(|| DEFAULT_TAG.to_owned()),
            stale: match attributes.is("reset")? {
                Some(true) => StaleBlobs::Delete,
                _ => StaleBlobs::Keep,
            },
        },
        "inline" => CacheDestination::Inline,
        other => return Err(unknown(other)),
    };
    let is_inline = to == CacheDestination::Inline;
    let mut target = CacheTarget::new(to);
    target.mode = match attributes.take("mode").as_deref() {
        None | Some("" | "min") => CacheMode::Min,
        // BuildKit takes it and writes the minimum.
        Some("max") if is_inline => CacheMode::Min,
        Some("max") => CacheMode::Max,
        Some(other) => return Err(format!("invalid mode {other:?}: expected min or max")),
    };
    target.compression = compression::parse(attributes.take("compression").as_deref())?;
    let level = attributes.take("compression-level");
    target.level = compression::parse_level(level, target.compression)?;
    target.force = attributes.is("force-compression")? == Some(true);
    if attributes.is("image-manifest")? == Some(false) {
        target.manifest = CacheManifest::Index;
    }
    if attributes.is("oci-mediatypes")? == Some(false) {
        target.media_types = MediaFamily::Docker;
        // An image's manifest with a cache's config is OCI's; Docker's lists take anything.
        target.manifest = CacheManifest::Index;
        let checked = target.media_types.check(target.compression);
        checked.map_err(|error| error.to_string())?;
    }
    if attributes.is("mounts")? == Some(true) {
        if is_inline {
            return Err(
                "mounts=true needs a cache of type registry or local: an image cannot hold \
                 cache mounts"
                    .to_owned(),
            );
        }
        target.mounts = MountContents::Exported;
    }
    if attributes.is("ignore-error")? == Some(true) {
        target.on_failure = OnFailure::Warn;
    }
    attributes.finish()?;
    Ok(target)
}

/// Returns the caches of kaniko's `--cache-repo`: results come from there and go there, all of them.
pub(crate) fn of_repository(text: &str) -> Result<(CacheSource, CacheTarget), String> {
    let name = reference(text)?;
    let transport = Transport::Secure;
    let mut target = CacheTarget::new(CacheDestination::Registry {
        name: name.clone(),
        transport,
    });
    target.mode = CacheMode::Max;
    Ok((CacheSource::Registry { name, transport }, target))
}

/// Returns the hosts of caches that need not prove who they are.
pub(crate) fn insecure_hosts(sources: &[CacheSource], targets: &[CacheTarget]) -> Vec<String> {
    let from = sources.iter().filter_map(|source| match source {
        CacheSource::Registry { name, transport } => Some((name, transport)),
        CacheSource::Local { .. } => None,
    });
    let to = targets.iter().filter_map(|target| match &target.to {
        CacheDestination::Registry { name, transport } => Some((name, transport)),
        _ => None,
    });
    from.chain(to)
        .filter(|(_, transport)| **transport == Transport::Insecure)
        .map(|(name, _)| name.domain().to_owned())
        .collect()
}

fn unknown(kind: &str) -> String {
    if OTHER_SERVICES.contains(&kind) {
        format!("cache type {kind} is not supported: registry, local and inline are")
    } else {
        format!("unknown cache type {kind:?}: expected registry, local or inline")
    }
}

fn reference(text: &str) -> Result<TaggedRef, String> {
    text.parse()
        .map_err(|error| format!("invalid cache name {text:?}: {error}"))
}

/// `type=` and what else is said of a cache, taken one by one.
struct CacheAttributes {
    kind: String,
    named: BTreeMap<String, String>,
}

impl CacheAttributes {
    fn parse(text: &str) -> Result<Self, String> {
        let mut named = BTreeMap::new();
        let fields = csv::fields(text).map_err(|error| error.to_string())?;
        // A name alone is one of a registry.
        if !text.contains('=') {
            named.insert("ref".to_owned(), text.to_owned());
            return Ok(Self {
                kind: "registry".to_owned(),
                named,
            });
        }
        for field in fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("invalid value {field}"))?;
            named.insert(key.trim().to_lowercase(), value.to_owned());
        }
        let kind = named
            .remove("type")
            .filter(|kind| !kind.is_empty())
            .ok_or_else(|| format!("type required for {text:?}"))?;
        Ok(Self { kind, named })
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.named.remove(key)
    }

    fn is(&mut self, key: &str) -> Result<Option<bool>, String> {
        let Some(text) = self.take(key) else {
            return Ok(None);
        };
        match parse_bool(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(format!("non-bool value {text:?} specified for {key}")),
        }
    }

    fn reference(&mut self) -> Result<TaggedRef, String> {
        match self.take("ref") {
            Some(text) if !text.is_empty() => reference(&text),
            _ => Err("ref is required for a cache of type registry".to_owned()),
        }
    }

    fn transport(&mut self) -> Result<Transport, String> {
        Ok(match self.is("registry.insecure")? {
            Some(true) => Transport::Insecure,
            _ => Transport::Secure,
        })
    }

    fn directory(&mut self, key: &str) -> Result<PathBuf, String> {
        match self.take(key) {
            Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
            _ => Err(format!("{key} is required for a cache of type local")),
        }
    }

    /// Fails if something is left: a wish that is not understood is not fulfilled.
    fn finish(self) -> Result<(), String> {
        match self.named.keys().next() {
            Some(key) => Err(format!(
                "attribute {key:?} of cache type {} is not supported",
                self.kind
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_oci::Compression;

    use super::*;

    #[test]
    fn names_alone_are_of_registries() {
        let source = parse_source("h:5000/app").unwrap();
        let Import::From(CacheSource::Registry { name, transport }) = source else {
            panic!("a registry was named");
        };
        assert_eq!(name.to_string(), "h:5000/app:latest");
        assert_eq!(transport, Transport::Secure);
        let (source, target) = of_repository("h:5000/app:x").unwrap();
        assert_eq!(target.mode, CacheMode::Max);
        assert_eq!(source.to_string(), target.to.to_string());
    }

    #[test]
    fn everything_can_be_said() {
        let target = parse_target(
            "type=registry,ref=h:5000/app:c,mode=max,compression=zstd,compression-level=9,\
             force-compression=true,image-manifest=false,ignore-error=1,mounts=true,\
             registry.insecure=true",
        )
        .unwrap();
        assert_eq!(target.mode, CacheMode::Max);
        assert_eq!(
            (target.compression, target.level),
            (Compression::Zstd, Some(9))
        );
        assert!(target.force);
        assert_eq!(target.mounts, MountContents::Exported);
        assert_eq!(target.manifest, CacheManifest::Index);
        assert_eq!(target.on_failure, OnFailure::Warn);
        assert_eq!(
            insecure_hosts(&[], std::slice::from_ref(&target)),
            ["h:5000"]
        );

        let target = parse_target("type=local,dest=/c,tag=t,reset=true").unwrap();
        let to = CacheDestination::Local {
            directory: PathBuf::from("/c"),
            tag: "t".to_owned(),
            stale: StaleBlobs::Delete,
        };
        assert_eq!(target, CacheTarget::new(to));
        let digest = kiln_oci::Sha256::of(b"");
        let source = parse_source(&format!("type=local,src=/c,digest={digest}"));
        let expected = CacheSource::Local {
            directory: PathBuf::from("/c"),
            entry: CacheName::Digest(digest),
        };
        assert_eq!(source, Ok(Import::From(expected)));
        assert_eq!(parse_source("type=inline"), Ok(Import::Inline));
        let inline = parse_target("type=inline,mode=max").unwrap();
        assert_eq!(inline, CacheTarget::new(CacheDestination::Inline));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("dest=x", "type required for \"dest=x\""),
            ("type=local", "dest is required for a cache of type local"),
            (
                "type=registry",
                "ref is required for a cache of type registry",
            ),
            (
                "type=gha,scope=x",
                "cache type gha is not supported: registry, local and inline are",
            ),
            (
                "type=ftp",
                "unknown cache type \"ftp\": expected registry, local or inline",
            ),
            (
                "type=inline,dest=x",
                "attribute \"dest\" of cache type inline is not supported",
            ),
            (
                "type=local,dest=x,mode=most",
                "invalid mode \"most\": expected min or max",
            ),
            (
                "type=local,dest=x,ignore-error=perhaps",
                "non-bool value \"perhaps\" specified for ignore-error",
            ),
            (
                "type=local,dest=x,compression-level=10",
                "invalid compression-level \"10\": expected 0 to 9",
            ),
            (
                "type=inline,mounts=true",
                "mounts=true needs a cache of type registry or local: an image cannot hold cache \
                 mounts",
            ),
            (
                "type=local,dest=x,mounts=perhaps",
                "non-bool value \"perhaps\" specified for mounts",
            ),
        ] {
            assert_eq!(parse_target(text), Err(expected.to_owned()), "{text}");
        }
        assert_eq!(
            parse_source("type=s3,bucket=b"),
            Ok(Import::Unusable(
                "cache type s3 is not supported: registry, local and inline are".to_owned()
            ))
        );
    }
}
