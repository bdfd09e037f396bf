//! What image names stand for: local tags first, then what earlier builds found, then the registry.

use std::sync::Mutex;

use kiln_oci::{Image, Platform, Sha256, TaggedRef};
use kiln_registry::Client;
use kiln_solver::{BaseError, BaseRequest, Bases, Fault, ImageSource, Reporter, VertexEnd};

use crate::error::chain;
use crate::images::{self, names_error};
use crate::layout_context::layout_image;
use crate::local_image;
use crate::origins;
use crate::request::Pull;
use crate::stores::Stores;
use crate::{Error, LocalImage};

/// Resolves the images of one build.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    pub(crate) stores: &'a Stores,
    pub(crate) client: &'a Client,
    pub(crate) pull: Pull,
    pub(crate) reporter: &'a Reporter<'a>,
}

impl Bases for Resolver<'_> {
    fn resolve(&self, requests: &[BaseRequest]) -> Vec<Result<Image, BaseError>> {
        let local = requests
            .iter()
            .map(|request| self.local(request).transpose());
        let results: Vec<Mutex<Option<Result<Image, BaseError>>>> = local.map(Mutex::new).collect();
        std::thread::scope(|scope| {
            for (request, result) in requests.iter().zip(&results) {
                let is_known = result.lock().is_ok_and(|result| result.is_some());
                if !is_known {
                    kiln_threads::spawn_or_run(scope, move || {
                        let image = self.remote(request);
                        *result
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(image);
                    });
                }
            }
        });
        results
            .into_iter()
            .map(|result| {
                result
                    .into_inner()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .expect("every request was found or asked for")
            })
            .collect()
    }
}

impl Resolver<'_> {
    /// Looks where no network is needed. A local image that is damaged is not one that is absent: a
    /// registry that was never asked for it must not get to say what it is.
    fn local(&self, request: &BaseRequest) -> Result<Option<Image>, BaseError> {
        let ImageSource::Registry(name) = &request.source else {
            return Ok(None);
        };
        let platform = &request.platform;
        if let Some(digest) = name.digest() {
            return Ok(self.for_platform(digest, platform));
        }
        if self.pull == Pull::Always {
            return Ok(None);
        }
        let failed = |error| base_error(error, Fault::Environment);
        let tagged = self.stores.tags.get(name).map_err(names_error);
        if let Some(manifest) = tagged.map_err(failed)? {
            let local = images::read_named(self.stores, name, manifest).map_err(failed)?;
            if let Some(image) = serving(&local, platform) {
                return Ok(Some(image));
            }
        }
        let pinned = pin(name, platform).and_then(|pin| self.stores.pins.get(&pin).ok().flatten());
        Ok(pinned.and_then(|manifest| self.for_platform(manifest, platform)))
    }

    /// Reads an image if it is here and serves the platform.
    fn for_platform(&self, manifest: Sha256, platform: &Platform) -> Option<Image> {
        serving(&local_image::read(self.stores, manifest).ok()?, platform)
    }

    fn remote(&self, request: &BaseRequest) -> Result<Image, BaseError> {
        self.stores.store.admit_collection();
        let name = match &request.source {
            ImageSource::Registry(name) => name,
            ImageSource::Layout {
                directory,
                tag,
                digest,
                ..
            } => {
                let platform = &request.platform;
                return layout_image(self.stores, directory, tag.as_deref(), *digest, platform)
                    .map_err(|error| base_error(error, Fault::Input));
            }
        };
        if self.pull == Pull::Never {
            return Err(BaseError {
                cause: format!("{name} is not in the local store").into(),
                hint: Some(format!("fetch it with: kiln pull {}", name.familiar())),
                fault: Fault::Input,
            });
        }
        let shown = format!("[internal] load metadata for {name}");
        let vertex = self.reporter.start(&shown);
        let result = self.pull_metadata(name, &request.platform);
        match &result {
            Ok(_) => vertex.end(VertexEnd::Done),
            Err(error) => vertex.end(VertexEnd::Failed(chain(error))),
        }
        result
    }

    fn pull_metadata(&self, name: &TaggedRef, platform: &Platform) -> Result<Image, BaseError> {
        let (stores, client) = (self.stores, self.client);
        let pulled = client
            .pull(name, platform, &stores.blobs, &|_| {})
            .map_err(|error| refused_base(name, error))?;
        let image =
            kiln_cache::read_image(&stores.blobs, pulled.manifest.digest).map_err(|error| {
                BaseError {
                    cause: error.into(),
                    hint: None,
                    fault: Fault::Input,
                }
            })?;
        origins::remember_origin(stores, name, &image);
        if let Some(pin) = pin(name, platform) {
            // Without the pin the next build asks the registry again, and loses nothing else.
            let _ = stores.pins.set(&pin, pulled.manifest.digest);
        }
        Ok(image)
    }
}

/// Returns the image that serves a platform. One may be missing in a hand-made image; then it serves
/// any.
fn serving(local: &LocalImage, platform: &Platform) -> Option<Image> {
    let serves_any = |image: &&Image| image.config.architecture.is_empty();
    let found = local.serving(platform);
    found
        .or_else(|| local.images().first().filter(serves_any))
        .cloned()
}

/// Returns the name under which a resolved base is remembered; none for a digest, which needs no
/// remembering. Platforms have separate pins.
fn pin(name: &TaggedRef, platform: &Platform) -> Option<TaggedRef> {
    if name.digest().is_some() {
        return None;
    }
    let tag = name.tag().unwrap_or(kiln_oci::DEFAULT_TAG);
    let platform = platform.to_string().replace('/', "-");
    // A tag has at most 128 characters; a longer one is simply not remembered.
    name.with_tag(&format!("{tag}--{platform}")).ok()
}

/// Makes a failure of the engine one of a base image.
fn base_error(error: Error, fault: Fault) -> BaseError {
    BaseError {
        hint: error.hint().map(str::to_owned),
        cause: error.into(),
        fault,
    }
}

/// Makes a failure of a registry one of a base image.
fn refused_base(name: &TaggedRef, error: kiln_registry::Error) -> BaseError {
    let error = Error::registry(Some(name), error);
    let fault = if error.kind().is_of_environment() {
        Fault::Environment
    } else {
        Fault::Input
    };
    base_error(error, fault)
}
