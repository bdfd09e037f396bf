//! Images between here and elsewhere: pull, push, login, logout, save, load.

use kiln_exporter::{
    LoadError, LoadSource, Loaded, NamedImage, PackObserver, Platforms, copy_from_layout, layouts,
    remember_source, sources,
};
use kiln_oci::{Descriptor, Image, ImageId, ImageRef, Platform, Sha256};
use kiln_registry::Client;
use kiln_registry::{Observer, Secret, Stored};

use crate::images;
use crate::images::names_error;
use crate::local_image;
use crate::mend;
use crate::output::Listeners;
use crate::output::destination;
use crate::output::pack;
use crate::output::push;
use crate::stores::Stores;
use crate::{Destination, Error, ImageOptions, LocalImage, PushAs};

/// What a pull came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What the name means now: an index, or a manifest.
    pub digest: Sha256,
    /// What the image runs on.
    pub platform: Platform,
    /// Whether the name meant something else here before, or nothing.
    pub is_newer: bool,
}

/// Fetches an image with its layers and gives it its name.
///
/// # Errors
/// When the registry does not have it or the network fails.
pub fn pull(
    stores: &Stores,
    client: &Client,
    name: &ImageRef,
    platform: &Platform,
    observer: Observer<'_>,
) -> Result<Pulled, Error> {
    let name = name.clone().with_default_tag();
    let failed = |error: kiln_registry::Error| Error::registry(Some(&name), &error);
    let pulled = client
        .pull(&name, platform, &stores.blobs, observer)
        .map_err(failed)?;
    client
        .fetch_blobs(&name, &pulled.layers, &stores.blobs, observer)
        .map_err(failed)?;
    let image = kiln_cache::read_image(&stores.blobs, pulled.manifest.digest)
        .map_err(|error| Error::environment("cannot read a pulled image", &error))?;
    remember_origin(stores, &name, &image);
    let platform = image.config.platform();
    images::keep_foreign(stores, &LocalImage::single(image))?;
    stores.settle()?;
    if name.digest().is_some() {
        return Ok(Pulled {
            digest: pulled.top.digest,
            platform,
            is_newer: true,
        });
    }
    stores.go_on()?;
    // One that is damaged is made whole.
    let before = stores.tags.get(&name).unwrap_or_default();
    stores
        .tags
        .set(&name, pulled.manifest.digest)
        .map_err(|e| names_error(&e))?;
    Ok(Pulled {
        digest: pulled.top.digest,
        platform,
        is_newer: before != Some(pulled.manifest.digest),
    })
}

/// Pushes a local image under its name, or of an index the image for `platform`, and returns
/// digest and length of what the tag means now. Tells `packing` of layers that have to be packed
/// before they can be sent, and `amiss` what was damaged and is mended.
///
/// # Errors
/// When there is no such image, or the registry does not take it.
pub fn push(
    stores: &Stores,
    client: &Client,
    name: &ImageRef,
    platform: Option<&Platform>,
    observer: Observer<'_>,
    packing: PackObserver<'_>,
    amiss: &dyn Fn(&str),
) -> Result<(Sha256, u64), Error> {
    let name = name.clone().with_default_tag();
    let manifest = stores
        .tags
        .get(&name)
        .map_err(|e| names_error(&e))?
        .ok_or_else(|| {
            Error::input(format!(
                "An image does not exist locally with the tag: {}",
                name.familiar_repository()
            ))
        })?;
    let image = local_image::read(stores, manifest)?.narrowed(&name.familiar(), platform)?;
    let options = ImageOptions::default();
    let listeners = Listeners {
        transfers: observer,
        packing,
        amiss,
    };
    let pushed = push::push_image(
        stores,
        client,
        &name,
        &image,
        &options,
        PushAs::Tags,
        listeners,
    )?;
    let top = &pushed.root.descriptor;
    Ok((top.digest, top.size_bytes))
}

/// Checks credentials with a registry and keeps them.
///
/// # Errors
/// When the registry refuses them or they cannot be kept.
pub fn login(
    client: &Client,
    server: &str,
    username: &str,
    password: &str,
) -> Result<Stored, Error> {
    client
        .login(server, username, &Secret::new(password))
        .map_err(|error| Error::registry(None, &error))
}

/// Forgets the credentials for a registry; says whether there were any.
///
/// # Errors
/// When they cannot be removed.
pub fn logout(client: &Client, server: &str) -> Result<bool, Error> {
    let domain = kiln_registry::registry_domain(server);
    client
        .credentials()
        .erase(&domain)
        .map_err(|error| Error::environment("cannot remove credentials", &error))
}

/// Writes images, or of indexes the images for `platform`, into one archive for `docker load`;
/// it is an OCI layout too. `amiss` is told what was damaged and is mended.
///
/// # Errors
/// When one of them is not here, or the archive cannot be written.
pub fn save(
    stores: &Stores,
    client: &Client,
    names: &[String],
    platform: Option<&Platform>,
    to: &Destination,
    amiss: &dyn Fn(&str),
) -> Result<(), Error> {
    let mut images: Vec<(LocalImage, Vec<ImageRef>)> = Vec::new();
    for text in names {
        let (name, image) = images::find(stores, text)?;
        let image = image.narrowed(text, platform)?;
        let name = name.filter(|name| name.digest().is_none());
        match images
            .iter_mut()
            .find(|(known, _)| known.id() == image.id())
        {
            Some((_, names)) => {
                let new = name.filter(|name| !names.contains(name));
                names.extend(new);
            }
            None => images.push((image, name.into_iter().collect())),
        }
    }
    let make = || {
        let images = images.iter();
        let named = images.map(|(image, names)| {
            pack::realise_here(
                stores,
                client,
                image,
                &ImageOptions::default(),
                names.clone(),
                &|_| (),
            )
        });
        named.collect::<Result<Vec<NamedImage>, Error>>()
    };
    let listed = platform.cloned().unwrap_or_else(Platform::host);
    mend::deliver(stores, amiss, make, |images| {
        destination::write_to(stores, to, |out| {
            kiln_exporter::write_archive(images, &listed, out)
        })
    })?;
    Ok(())
}

/// Takes the images of an archive or layout in, or of indexes the images for `platform`, and
/// returns their names and ids.
///
/// # Errors
/// When it holds no images or one of them is damaged.
pub fn load(
    stores: &Stores,
    from: LoadSource<'_>,
    platform: Option<&Platform>,
) -> Result<Vec<(Vec<ImageRef>, ImageId)>, Error> {
    let wanted = platform.map_or(Platforms::All, Platforms::Only);
    let loaded = kiln_exporter::load(
        from,
        &stores.store,
        &stores.blobs,
        wanted,
        stores.layers.limit(),
    )
    .map_err(|error| stores.or_cancelled(load_error(&error)))?;
    let mut result = Vec::new();
    for Loaded {
        names,
        image,
        index,
    } in loaded
    {
        let image = match index {
            Some(index) => local_image::read(stores, index.descriptor.digest)?,
            None => LocalImage::single(image),
        };
        images::keep_foreign(stores, &image)?;
        stores.go_on()?;
        for name in &names {
            let name = name.clone().with_default_tag();
            stores
                .tags
                .set(&name, image.descriptor().digest)
                .map_err(|error| names_error(&error))?;
        }
        result.push((names, image.id()));
    }
    stores.settle()?;
    Ok(result)
}

/// Notes where the layers of an image came from, so that they can be fetched when they are
/// needed and mounted when they are pushed.
pub(crate) fn remember_origin(stores: &Stores, name: &ImageRef, image: &Image) {
    for (_, descriptor) in image.layers() {
        // Without the note the layer is uploaded; nothing is lost.
        let _ = remember_source(&stores.store, &stores.blobs, descriptor.digest, name);
    }
}

/// Fetches a blob from wherever it is known to be.
pub(crate) fn fetch_from_origin(
    stores: &Stores,
    client: &Client,
    descriptor: &Descriptor,
) -> Result<(), Error> {
    if stores.blobs.has(descriptor) {
        return Ok(());
    }
    let mut failure = Error::Environment {
        message: format!(
            "layer {} is neither here nor known elsewhere",
            descriptor.digest
        ),
        hint: Some("pull or build the image again".to_owned()),
    };
    for origin in sources(&stores.blobs, descriptor.digest) {
        match client.fetch_blob(&origin, descriptor, &stores.blobs, &|_| {}) {
            Ok(()) => return Ok(()),
            Err(error) => failure = Error::registry(Some(&origin), &error),
        }
    }
    for directory in layouts(&stores.blobs, descriptor.digest) {
        match copy_from_layout(&directory, descriptor.digest, &stores.blobs) {
            Ok(()) => return Ok(()),
            Err(_) if stores.store.stop().is_asked() => return Err(Error::Cancelled),
            Err(error) => failure = Error::environment("cannot read the cache", &error),
        }
    }
    Err(failure)
}

/// Says what an archive would have to be.
fn load_error(error: &LoadError) -> Error {
    let hint = match error {
        LoadError::NotAnArchive(_) | LoadError::Tar(_) => {
            "images are in what 'kiln save', 'docker save' or 'kiln build -o type=oci' wrote"
        }
        LoadError::NoImages => {
            "a root file system becomes an image with 'FROM scratch' and 'ADD archive.tar /' in a \
             Dockerfile"
        }
        _ => return Error::unpacking(error),
    };
    Error::Input {
        message: crate::error::chain(error),
        hint: Some(hint.to_owned()),
    }
}
