//! Caches elsewhere, read: a manifest, and the config that says what is in it.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kiln_cache::{ActionKey, LayerStack};
use kiln_exporter::{
    CACHE_CONFIG, CacheConfigError, FoundCache, LayoutEntry, ReadLayoutError, SharedCache,
    find_in_layout, parse_cache_config, read_from_layout, read_inline,
};
use kiln_oci::{
    DEFAULT_TAG, Descriptor, ImageConfig, ImageRef, Index, Manifest, MediaKind, Platform, Sha256,
};
use kiln_registry::Client;
use kiln_tree::LayerId;

use crate::Error;
use crate::request::{CacheName, CacheSource};

/// Bytes. Many times what a cache of a thousand steps takes.
const LARGEST_DOCUMENT: u64 = 64 << 20;

/// A cache elsewhere.
#[derive(Debug)]
pub(super) struct Imported {
    pub(super) cache: SharedCache,
    pub(super) origin: CacheOrigin,
    /// The layers of the image that the cache was in, if it was in one.
    pub(super) image: Vec<Descriptor>,
    /// Which record has a key.
    pub(super) records: HashMap<ActionKey, usize>,
    /// Where a layer is in the cache's list.
    pub(super) layers: HashMap<LayerId, usize>,
    /// The stacks of the cache's states.
    pub(super) stacks: Vec<LayerStack>,
}

/// Where a cache is, blobs included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CacheOrigin {
    /// A repository.
    Repository(ImageRef),
    /// A layout on disk.
    Layout(PathBuf),
}

/// Why a cache elsewhere is not used.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error(transparent)]
    Registry(#[from] Box<kiln_registry::Error>),
    #[error(transparent)]
    Layout(#[from] ReadLayoutError),
    #[error(transparent)]
    Config(#[from] CacheConfigError),
    #[error("its manifest is not valid")]
    Manifest(#[source] serde_json::Error),
    #[error("{digest} has {size_bytes} bytes, more than {LARGEST_DOCUMENT}")]
    TooLarge { digest: Sha256, size_bytes: u64 },
    #[error("{0} cannot be read")]
    Read(Sha256, #[source] std::io::Error),
    #[error("it was written by BuildKit, whose keys are not kiln's; nothing in it can be used")]
    BuildKit,
    #[error("there is no cache in it")]
    Nothing,
}

impl From<kiln_registry::Error> for ImportError {
    fn from(error: kiln_registry::Error) -> Self {
        Self::Registry(Box::new(error))
    }
}

/// Reads the caches that a source stands for: one, or of an index of images, one for each image
/// that serves a platform.
pub(super) fn import(
    client: &Client,
    source: &CacheSource,
    platforms: &[Platform],
) -> Result<Vec<Imported>, Error> {
    let read = || {
        let (origin, top) = find(client, source)?;
        let importer = Importer {
            client,
            origin: &origin,
            platforms,
        };
        importer.read(&top)
    };
    read().map_err(|error| match error {
        ImportError::Registry(error) => {
            let name = match source {
                CacheSource::Registry { name, .. } => Some(&**name),
                CacheSource::Local { .. } => None,
            };
            Error::registry(name, *error)
        }
        error => Error::bad_input(error),
    })
}

fn find(client: &Client, source: &CacheSource) -> Result<(CacheOrigin, Vec<u8>), ImportError> {
    match source {
        CacheSource::Registry { name, .. } => {
            let resolved = client.resolve(name)?;
            let bytes = match resolved.bytes {
                Some(bytes) => bytes,
                None => client.fetch_manifest(name, &resolved.descriptor)?,
            };
            Ok((CacheOrigin::Repository(name.clone().into()), bytes))
        }
        CacheSource::Local { directory, entry } => {
            let wanted = match entry {
                CacheName::Tag(tag) if tag.is_empty() => LayoutEntry::Tag(DEFAULT_TAG),
                CacheName::Tag(tag) => LayoutEntry::Tag(tag),
                CacheName::Digest(digest) => LayoutEntry::Digest(*digest),
            };
            // Layers are looked for later, maybe from another working directory.
            let directory =
                std::path::absolute(directory).map_err(|source| ReadLayoutError::Io {
                    path: directory.clone(),
                    source,
                })?;
            let digest = match (find_in_layout(&directory, wanted), entry) {
                // What lost its tag is there all the same, until stale blobs are deleted.
                (Err(ReadLayoutError::NoEntry(_)), CacheName::Digest(digest)) => *digest,
                (found, _) => found?.digest,
            };
            let bytes = read_from_layout(&directory, digest, LARGEST_DOCUMENT)?;
            Ok((CacheOrigin::Layout(directory), bytes))
        }
    }
}

struct Importer<'a> {
    client: &'a Client,
    origin: &'a CacheOrigin,
    platforms: &'a [Platform],
}

impl Importer<'_> {
    fn read(&self, top: &[u8]) -> Result<Vec<Imported>, ImportError> {
        let value: serde_json::Value =
            serde_json::from_slice(top).map_err(ImportError::Manifest)?;
        if value.get("manifests").is_none() {
            return Ok(vec![self.manifest(top)?]);
        }
        let index: Index = serde_json::from_slice(top).map_err(ImportError::Manifest)?;
        let is_config = |entry: &&Descriptor| entry.media_type == CACHE_CONFIG;
        if let Some(config) = index.manifests.iter().find(is_config) {
            let found = parse_cache_config(&self.config(config)?)?;
            return Ok(vec![self.found(found, Vec::new())?]);
        }
        let mut caches = Vec::new();
        let mut failure = ImportError::Nothing;
        for entry in index.manifests.iter().filter(|entry| self.serves(entry)) {
            match self
                .fetch_manifest(entry)
                .and_then(|bytes| self.manifest(&bytes))
            {
                Ok(cache) => caches.push(cache),
                Err(error) => failure = error,
            }
        }
        if caches.is_empty() {
            Err(failure)
        } else {
            Ok(caches)
        }
    }

    /// Says whether an entry of an index is an image for one of the platforms that are built.
    fn serves(&self, entry: &Descriptor) -> bool {
        let fits = |found: &Platform| {
            let mut wanted = self.platforms.iter();
            wanted.any(|wanted| wanted.distance(found).is_some())
        };
        MediaKind::of(&entry.media_type) == MediaKind::Manifest
            && entry.platform.as_ref().is_none_or(fits)
    }

    fn manifest(&self, bytes: &[u8]) -> Result<Imported, ImportError> {
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(ImportError::Manifest)?;
        let config = &manifest.config;
        if config.media_type == CACHE_CONFIG {
            let found = parse_cache_config(&self.config(config)?)?;
            return self.found(found, Vec::new());
        }
        if MediaKind::of(&config.media_type) != MediaKind::Config {
            return Err(ImportError::Nothing);
        }
        let config: ImageConfig =
            serde_json::from_slice(&self.config(config)?).map_err(ImportError::Manifest)?;
        self.found(read_inline(&config)?, manifest.layers)
    }

    fn found(&self, found: FoundCache, image: Vec<Descriptor>) -> Result<Imported, ImportError> {
        match found {
            FoundCache::Nothing => Err(ImportError::Nothing),
            FoundCache::BuildKit => Err(ImportError::BuildKit),
            FoundCache::Shared(cache) => Ok(Imported {
                records: cache.keys().collect(),
                stacks: cache.stacks(),
                layers: cache
                    .layers()
                    .iter()
                    .enumerate()
                    .map(|(place, layer)| (layer.id, place))
                    .collect(),
                origin: self.origin.clone(),
                cache,
                image,
            }),
        }
    }

    fn fetch_manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImportError> {
        match self.origin {
            CacheOrigin::Repository(name) => Ok(self.client.fetch_manifest(name, descriptor)?),
            CacheOrigin::Layout(directory) => document(directory, descriptor),
        }
    }

    fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImportError> {
        let name = match self.origin {
            CacheOrigin::Repository(name) => name,
            CacheOrigin::Layout(directory) => return document(directory, descriptor),
        };
        let (digest, size_bytes) = (descriptor.digest, descriptor.size_bytes);
        if size_bytes > LARGEST_DOCUMENT {
            return Err(ImportError::TooLarge { digest, size_bytes });
        }
        let mut bytes = Vec::new();
        self.client
            .open_blob(name, descriptor)?
            .read_to_end(&mut bytes)
            .map_err(|error| ImportError::Read(digest, error))?;
        Ok(bytes)
    }
}

fn document(directory: &Path, descriptor: &Descriptor) -> Result<Vec<u8>, ImportError> {
    Ok(read_from_layout(
        directory,
        descriptor.digest,
        LARGEST_DOCUMENT,
    )?)
}
