//! From an exportable image to what the registry crate pushes.

use std::fmt;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::sync::Arc;
use std::thread::JoinHandle;

use kiln_cache::Blobs;
use kiln_oci::{Descriptor, ImageRef, Sha256};
use kiln_registry::{BlobSource, PushBlob, PushImage, PushManifest};
use kiln_snapshotter::{Layer, LayerError};

use crate::exportable::{ExportDocument, ExportLayer, LayerSource, NamedImage};
use crate::sources::sources;

/// Gets a blob that is not here into the store, should the registry turn out to lack it too.
pub type FetchAbsent = Arc<dyn Fn(&Descriptor) -> io::Result<()> + Send + Sync>;

/// Returns what to push of an image to `repository`, to be called by `tags` there.
///
/// Layers that are described only are fetched through `fetch` when their turn comes and the
/// registry neither has them nor can mount them.
#[must_use]
pub fn push_image(
    image: &NamedImage,
    repository: &ImageRef,
    tags: Vec<String>,
    blobs: &Blobs,
    fetch: &FetchAbsent,
) -> PushImage {
    let mut pushed = Vec::new();
    for part in &image.manifests {
        pushed.extend(part.layers.iter().map(|layer| PushBlob {
            descriptor: layer.descriptor.clone(),
            source: source_of(layer, blobs, fetch),
            mount_from: mount_from(repository, layer.descriptor.digest, blobs),
        }));
        let config = Arc::new(part.config.bytes.clone());
        pushed.push(PushBlob {
            descriptor: part.config.descriptor.clone(),
            source: BlobSource::Open(Arc::new(move || {
                Ok(Box::new(io::Cursor::new(SharedBytes(Arc::clone(&config)))))
            })),
            mount_from: None,
        });
    }
    let children = if image.is_index() {
        image.manifests.iter().map(|part| &part.manifest).collect()
    } else {
        Vec::new()
    };
    PushImage {
        blobs: pushed,
        children: children.into_iter().map(manifest).collect(),
        manifest: manifest(&image.root),
        tags,
    }
}

fn manifest(document: &ExportDocument) -> PushManifest {
    PushManifest {
        media_type: document.descriptor.media_type.clone(),
        bytes: document.bytes.clone(),
    }
}

/// Returns a repository of the same registry that is known to have the blob.
fn mount_from(repository: &ImageRef, digest: Sha256, blobs: &Blobs) -> Option<ImageRef> {
    sources(blobs, digest)
        .into_iter()
        .find(|source| source.domain() == repository.domain() && source.path() != repository.path())
}

fn source_of(layer: &ExportLayer, blobs: &Blobs, fetch: &FetchAbsent) -> BlobSource {
    match &layer.source {
        LayerSource::Stored(path) => BlobSource::File(path.clone()),
        LayerSource::Tar(layer) => {
            let layer = layer.clone();
            BlobSource::Open(Arc::new(move || Ok(Box::new(TarStream::start(&layer)?))))
        }
        LayerSource::Absent => {
            let (descriptor, blobs) = (layer.descriptor.clone(), blobs.clone());
            let fetch = Arc::clone(fetch);
            BlobSource::Open(Arc::new(move || {
                if !blobs.has(&descriptor) {
                    fetch(&descriptor)?;
                }
                Ok(Box::new(File::open(blobs.path(descriptor.digest))?))
            }))
        }
    }
}

/// Bytes that several readers share.
struct SharedBytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A layer's tar as a stream to read, made by a thread that ends with it.
struct TarStream {
    /// None once the end is reached; dropped before the thread is waited for, which ends it.
    pipe: Option<PipeReader>,
    writer: Option<JoinHandle<Result<(), LayerError>>>,
}

impl TarStream {
    fn start(layer: &Layer) -> io::Result<Self> {
        let (reader, mut pipe) = io::pipe()?;
        let layer = layer.clone();
        let writer = std::thread::Builder::new()
            .name("layer tar".to_owned())
            .spawn(move || layer.write_tar(&mut pipe).map(drop))?;
        Ok(Self {
            pipe: Some(reader),
            writer: Some(writer),
        })
    }

    fn finish(&mut self) -> io::Result<()> {
        self.pipe = None;
        match self.writer.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(io::Error::other(error)),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Read for TarStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(0);
        };
        match pipe.read(buffer)? {
            0 if !buffer.is_empty() => self.finish().map(|()| 0),
            count => Ok(count),
        }
    }
}

impl Drop for TarStream {
    fn drop(&mut self) {
        // A reader that stops early needs neither the rest nor the error of writing it.
        self.pipe = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl fmt::Debug for TarStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TarStream").finish_non_exhaustive()
    }
}
