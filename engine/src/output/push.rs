//! Images on their way to registries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_exporter as exporter;
use kiln_exporter::{NamedImage, PackObserver};
use kiln_oci::ImageRef;
use kiln_registry::{Client, ErrorClass, Observer};

use super::exported::{Exported, names};
use crate::assembly::ImageAssembler;
use crate::origins;
use crate::output::pack;
use crate::packing::{report, report_packing};
use crate::repair;
use crate::request::{DanglingWhen, ImageOutput, PushAs};
use crate::shared_cache::{away, fetch};
use crate::stores::Stores;
use crate::{Error, LocalImage};

/// Who is told what while an image goes to a registry.
#[derive(Clone, Copy)]
pub(crate) struct Listeners<'a> {
    /// What has been sent.
    pub(crate) transfers: Observer<'a>,
    /// What has been packed.
    pub(crate) packing: PackObserver<'a>,
    /// What was damaged and is repaired.
    pub(crate) warn: &'a dyn Fn(&str),
}

pub(super) fn push_result(
    stores: &Stores,
    client: &Client,
    assembler: &ImageAssembler<'_>,
    image: &LocalImage,
    options: &ImageOutput,
) -> Result<Exported, Error> {
    let mut names: Vec<(ImageRef, PushAs)> = names(assembler.request, options)
        .into_iter()
        .map(|name| (name.into(), options.push_as))
        .collect();
    if let Some(dangling) = &options.dangling
        && (dangling.when == DanglingWhen::Always || names.is_empty())
    {
        names.push((dangling.repository.clone(), PushAs::Digest));
    }
    let mut pushed = None;
    for (name, push_as) in names {
        let observer = |event: kiln_registry::TransferEvent| report(assembler.vertex, &event);
        let named = push_image(
            stores,
            client,
            &name,
            image,
            options,
            push_as,
            Listeners {
                transfers: &observer,
                packing: &|layer| report_packing(assembler.vertex, layer),
                warn: &|message| assembler.vertex.warn(message),
            },
        )?;
        let digest = named.root.descriptor.digest;
        let status = format!("pushing manifest for {name}@{digest}");
        assembler.vertex.status(&status, 0, None, true);
        pushed = Some(Exported::of_named(&named));
    }
    pushed.ok_or_else(|| {
        Error::input("tag is needed when pushing to registry").with_hint("name the image with -t")
    })
}

/// Pushes an image under one name and returns what was pushed.
pub(crate) fn push_image(
    stores: &Stores,
    client: &Client,
    name: &ImageRef,
    image: &LocalImage,
    options: &ImageOutput,
    push_as: PushAs,
    listeners: Listeners<'_>,
) -> Result<NamedImage, Error> {
    let tags = match push_as {
        PushAs::Tags => vec![name.tag().unwrap_or(kiln_oci::DEFAULT_TAG).to_owned()],
        PushAs::Digest => Vec::new(),
    };
    let is_away = Arc::new(AtomicBool::new(false));
    let found = Arc::clone(&is_away);
    let (own_stores, own_client) = (stores.clone(), client.clone());
    let fetch: exporter::FetchAbsent = Arc::new(move |descriptor| {
        origins::fetch_from_origin(&own_stores, &own_client, descriptor).map_err(|error| {
            found.store(true, Ordering::Relaxed);
            std::io::Error::other(error)
        })
    });
    let make = || {
        let named = pack::resolve_for_export(
            stores,
            client,
            image,
            options,
            Vec::new(),
            exporter::Missing::Leave,
            listeners.packing,
        )
        .map_err(|error| stores.or_cancelled(error))?;
        stores.go_on()?;
        Ok(named)
    };
    let named = repair::deliver(stores, listeners.warn, make, |named| {
        let push = exporter::push_image(named, name, tags.clone(), &stores.blobs, &fetch);
        let pushed = client.push(name, &push, listeners.transfers);
        pushed.map(drop).map_err(|error| {
            let is_cancelled = error.class() == ErrorClass::Cancelled;
            if !is_cancelled && is_away.load(Ordering::Relaxed) {
                for image in image.images() {
                    fetch::mark_absent_layers_unavailable(stores, image);
                }
                return away(error).into();
            }
            repair::undelivered(stores, name, named, error)
        })
    })?;
    for layer in named.manifests.iter().flat_map(|part| &part.layers) {
        let digest = layer.descriptor.digest;
        // Without the note the layer is uploaded next time; nothing is lost.
        let _ = exporter::remember_source(&stores.store, &stores.blobs, digest, name);
    }
    Ok(named)
}
