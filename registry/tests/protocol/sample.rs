//! What every test needs: a client in a hurry, a store, an image.

use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_cache::{Blobs, Store};
use kiln_oci::{Descriptor, Platform, TaggedRef, media_type};
use kiln_registry::{
    BlobSource, Client, ClientOptions, PushBlob, PushImage, PushManifest, RetryPolicy,
    TransferEvent,
};

use crate::script::Reply;

/// A store that vanishes.
pub(crate) struct TestStore {
    pub(crate) blobs: Blobs,
    pub(crate) directory: tempfile::TempDir,
}

impl TestStore {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        Self {
            blobs: Blobs::new(&store),
            directory,
        }
    }

    /// Returns the number of files left in `work/`, without announcements of what is there.
    pub(crate) fn unfinished(&self) -> usize {
        let Ok(owners) = std::fs::read_dir(self.directory.path().join("work")) else {
            return 0;
        };
        owners
            .flatten()
            .filter_map(|owner| std::fs::read_dir(owner.path()).ok())
            .flat_map(Iterator::flatten)
            .filter(|left| !left.file_name().to_string_lossy().starts_with("blob-"))
            .count()
    }
}

/// Options with pauses too short to notice.
pub(crate) fn options() -> ClientOptions {
    ClientOptions {
        retry: RetryPolicy {
            delays: vec![Duration::from_millis(1); 3],
            longest_wait: Duration::from_secs(5),
        },
        ..ClientOptions::default()
    }
}

pub(crate) fn client() -> Client {
    Client::new(options())
}

pub(crate) fn name(text: &str) -> TaggedRef {
    text.parse().unwrap()
}

pub(crate) fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

/// Collects events.
#[derive(Default)]
pub(crate) struct Events(Mutex<Vec<TransferEvent>>);

impl Events {
    pub(crate) fn observer(&self) -> impl Fn(TransferEvent) + Sync + '_ {
        |event| self.0.lock().unwrap().push(event)
    }

    /// Returns what happened to a blob, repeated steps once and numbers left out.
    pub(crate) fn of(&self, descriptor: &Descriptor) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for event in self.0.lock().unwrap().iter() {
            if event.digest == descriptor.digest {
                let debug = format!("{:?}", event.step);
                let word = debug.split([' ', '{']).next().unwrap_or("").to_owned();
                if words.last() != Some(&word) {
                    words.push(word);
                }
            }
        }
        words
    }
}

/// Returns `length` bytes that no compressor and no luck can reproduce from another seed.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Returns a blob to be pushed from memory.
pub(crate) fn blob(media_type: &str, content: Vec<u8>) -> PushBlob {
    let descriptor = Descriptor::of(media_type, &content);
    let content = Arc::new(content);
    let open = move || -> std::io::Result<Box<dyn std::io::Read + Send>> {
        Ok(Box::new(Cursor::new(content.to_vec())))
    };
    PushBlob {
        descriptor,
        source: BlobSource::Open(Arc::new(open)),
        mount_from: None,
    }
}

/// Returns an image with layers of these contents; `tag` is the only tag.
pub(crate) fn image(architecture: &str, layers: &[Vec<u8>], tag: &str) -> PushImage {
    let config = format!(r#"{{"architecture":"{architecture}","os":"linux"}}"#).into_bytes();
    let mut blobs: Vec<PushBlob> = layers
        .iter()
        .map(|layer| blob(media_type::OCI_LAYER, layer.clone()))
        .collect();
    let config = blob(media_type::OCI_CONFIG, config);
    let layer_list: Vec<String> = blobs.iter().map(|blob| json(&blob.descriptor)).collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
        media_type::OCI_MANIFEST,
        json(&config.descriptor),
        layer_list.join(",")
    );
    blobs.push(config);
    PushImage {
        blobs,
        children: Vec::new(),
        manifest: PushManifest {
            media_type: media_type::OCI_MANIFEST.to_owned(),
            bytes: manifest.into_bytes(),
        },
        tags: vec![tag.to_owned()],
    }
}

/// Returns an index of images, each for `linux/<architecture>`.
pub(crate) fn index(images: &[(&str, PushImage)], tag: &str) -> PushImage {
    let mut blobs = Vec::new();
    let mut children = Vec::new();
    let mut entries = Vec::new();
    for (architecture, image) in images {
        let mut descriptor = image.manifest.descriptor();
        descriptor.platform = Some(Platform::new("linux", architecture, ""));
        entries.push(json(&descriptor));
        blobs.extend(image.blobs.iter().cloned());
        children.push(image.manifest.clone());
    }
    let bytes = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
        media_type::OCI_INDEX,
        entries.join(",")
    );
    PushImage {
        blobs,
        children,
        manifest: PushManifest {
            media_type: media_type::OCI_INDEX.to_owned(),
            bytes: bytes.into_bytes(),
        },
        tags: vec![tag.to_owned()],
    }
}

/// Answers for the manifest of an image as a good registry does.
pub(crate) fn manifest_reply(image: &PushImage) -> Reply {
    let descriptor = image.manifest.descriptor();
    Reply::ok(image.manifest.bytes.clone())
        .header("Content-Type", descriptor.media_type)
        .header("Docker-Content-Digest", descriptor.digest.to_string())
}

fn json(descriptor: &Descriptor) -> String {
    serde_json::to_string(descriptor).unwrap()
}
