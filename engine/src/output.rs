//! Where results go: the local store, registries, layouts, archives, directories.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_cache::{Compression, Descriptor, ImageId, ImageRef, Sha256, State, Stopping};
use kiln_exporter as exporter;
use kiln_exporter::{Exportable, Family, NamedImage, PackObserver, PackProgress};
use kiln_registry::Observer;
use kiln_snapshotter::{Level, Packing};
use kiln_solver::{Reporter, TargetImage, Vertex, VertexEnd};

use crate::annotations::Annotations;
use crate::assembly::Maker;
use crate::base_layers::Watcher;
use crate::build::Delivery;
use crate::error::chain;
use crate::images::names_error;
use crate::mend::{Receiver, Undelivered};
use crate::request::{
    BaseLayers, BuildRequest, DanglingWhen, Destination, ImageOptions, LayoutForm, MediaTypes,
    Output, PushAs,
};
use crate::transfer::{Sharing, away};
use crate::{Engine, Error, ErrorClass, LocalImage};

/// A target and the files that solving came to.
#[derive(Debug)]
pub(crate) struct Built<'a> {
    pub(crate) target: &'a TargetImage,
    pub(crate) state: State,
}

/// Whether a result is one image or an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One image.
    Single,
    /// An index of images, maybe of only one.
    Index,
}

/// What an output came to.
#[derive(Clone, Debug)]
pub(crate) struct Exported {
    /// Digest of the config, or of the index.
    pub(crate) id: ImageId,
    /// The manifest or index.
    pub(crate) descriptor: Descriptor,
    /// The config; none for an index.
    pub(crate) config: Option<Sha256>,
}

/// Who is told what while an image goes to a registry.
#[derive(Clone, Copy)]
pub(crate) struct Listeners<'a> {
    /// What has been sent.
    pub(crate) transfers: Observer<'a>,
    /// What has been packed.
    pub(crate) packing: PackObserver<'a>,
    /// What was damaged and is mended.
    pub(crate) amiss: &'a dyn Fn(&str),
}

impl Exported {
    fn of_local(local: &LocalImage) -> Self {
        Self {
            id: local.id(),
            descriptor: local.descriptor().clone(),
            config: (!local.is_index()).then(|| local.id().0),
        }
    }

    fn of_named(named: &NamedImage) -> Self {
        let descriptor = named.root.descriptor.clone();
        let config = match named.manifests.as_slice() {
            [only] if !named.is_index() => Some(only.config.descriptor.digest),
            _ => None,
        };
        Self {
            id: ImageId(config.unwrap_or(descriptor.digest)),
            descriptor,
            config,
        }
    }
}

/// The build argument that asks for an index, whatever the number of platforms.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// Returns the form of a build's result.
pub(crate) fn form(request: &BuildRequest) -> Result<Form, Error> {
    let forced = match request.build_args.get(MULTI_PLATFORM) {
        Some(text) => kiln_parser::parse_bool(text).ok_or_else(|| {
            Error::input(format!(
                "invalid boolean value {text:?} for {MULTI_PLATFORM}"
            ))
        })?,
        None => false,
    };
    Ok(match forced || request.platforms.len() > 1 {
        true => Form::Index,
        false => Form::Single,
    })
}

/// Refuses, before anything is built, outputs that cannot hold the result.
pub(crate) fn check(request: &BuildRequest) -> Result<(), Error> {
    let form = form(request)?;
    let windows = request.platforms.iter().find(|p| p.os == "windows");
    for output in outputs(request) {
        if let (Some(platform), Some(_)) = (windows, output.image()) {
            return Err(Error::Input {
                message: format!(
                    "an image for {platform} cannot be written: its layers have a form of their own, and kiln makes those for Linux"
                ),
                hint: Some("take its files with -o DIRECTORY".to_owned()),
            });
        }
        let is_docker = matches!(output, Output::Docker { .. });
        if form == Form::Index && is_docker {
            return Err(export_error(&exporter::ExportError::ManifestList));
        }
        if let (Form::Single, Some(options)) = (form, output.image())
            && Annotations::of(request, options).need_index()
        {
            return Err(Error::input(
                "index annotations not supported for single platform export",
            ));
        }
    }
    Ok(())
}

/// Returns how the image is written that a build is known by: as its first image output says.
pub(crate) fn image_options(request: &BuildRequest) -> ImageOptions {
    let mut options = request.outputs.iter().filter_map(Output::image);
    options.next().cloned().unwrap_or_default()
}

/// Returns the outputs asked for, or the local store.
pub(crate) fn outputs(request: &BuildRequest) -> Vec<Output> {
    match request.outputs.as_slice() {
        [] => vec![Output::Store(ImageOptions::default())],
        outputs => outputs.to_vec(),
    }
}

impl Engine {
    /// Makes the image of a solved build and hands it to every output, or to none. Returns what
    /// came of it, and the image as the first image output wants it. None if a layer of another
    /// machine turned out not to be had: it is not counted upon any more, and has to be made.
    pub(crate) fn export(
        &self,
        request: &BuildRequest,
        sharing: &Sharing<'_>,
        built: &[Built<'_>],
        delivery: Delivery,
        reporter: &Reporter<'_>,
    ) -> Result<Option<(Exported, LocalImage)>, Error> {
        let vertex = reporter.start("exporting to image");
        let mut maker = Maker::new(
            self,
            request,
            sharing,
            built,
            form(request)?,
            (&vertex, reporter),
        );
        let outputs = match delivery {
            Delivery::Outputs => outputs(request),
            Delivery::Nowhere => Vec::new(),
        };
        let result = self
            .export_all(&mut maker, &outputs, reporter)
            .and_then(|exported| Ok((exported, maker.make(&image_options(request))?)))
            .map_err(|error| self.or_cancelled(error));
        let states = || built.iter().map(|built| &built.state);
        let (end, result) = match result {
            Ok(result) => (VertexEnd::Done, Ok(Some(result))),
            Err(Error::Cancelled) => (VertexEnd::Cancelled, Err(Error::Cancelled)),
            Err(error)
                if error.class() == ErrorClass::Environment
                    && self.lose_what_is_gone(states(), reporter) =>
            {
                (VertexEnd::Cancelled, Ok(None))
            }
            Err(error) => (VertexEnd::Failed(error.to_string()), Err(error)),
        };
        vertex.end(end);
        result
    }

    fn export_all(
        &self,
        maker: &mut Maker<'_>,
        outputs: &[Output],
        reporter: &Reporter<'_>,
    ) -> Result<Exported, Error> {
        let (mut stored, mut archived, mut pushed) = (None, None, None);
        for output in outputs {
            match output {
                Output::CacheOnly => {}
                Output::Store(options) => {
                    let local = maker.make(options)?;
                    if options.base_layers == BaseLayers::Now {
                        self.unpack_targets(maker, reporter)?;
                    }
                    self.name_image(&names(maker.request, options), &local, maker.vertex)?;
                    stored = Some(Exported::of_local(&local));
                }
                Output::Push(options) => {
                    let local = maker.make(options)?;
                    pushed = Some(self.push_result(maker, &local, options)?);
                }
                Output::Oci {
                    to,
                    form,
                    image: options,
                } => {
                    let write = |named: &[NamedImage]| match form {
                        LayoutForm::Archive => {
                            self.write_to(to, |out| exporter::write_oci_archive(named, out))
                        }
                        LayoutForm::Directory => {
                            let stop = self.store.stop();
                            Ok(exporter::write_layout(named, directory(to)?, stop)?)
                        }
                    };
                    archived = Some(self.archive(maker, options, write)?);
                }
                Output::Docker {
                    to,
                    form,
                    image: options,
                } => {
                    let write = |named: &[NamedImage]| match form {
                        LayoutForm::Archive => {
                            self.write_to(to, |out| exporter::write_docker_archive(named, out))
                        }
                        LayoutForm::Directory => {
                            let stop = self.store.stop();
                            Ok(exporter::write_docker_layout(named, directory(to)?, stop)?)
                        }
                    };
                    archived = Some(self.archive(maker, options, write)?);
                }
                Output::Local { .. } | Output::Tar { .. } => {
                    self.export_files(
                        maker.sharing.plan,
                        maker.built,
                        (maker.form, output),
                        reporter,
                    )?;
                }
            }
        }
        // What can be found elsewhere is worth more to know than what is only here; but here an
        // image is found by the id that it has here.
        let id = stored.as_ref().map(|stored| stored.id);
        let shown = match pushed.or(archived).or(stored) {
            Some(shown) => shown,
            None => Exported::of_local(&maker.make(&image_options(maker.request))?),
        };
        Ok(Exported {
            id: id.unwrap_or(shown.id),
            ..shown
        })
    }

    /// Brings the layers of the targets and of their bases to the disk.
    fn unpack_targets(&self, maker: &Maker<'_>, reporter: &Reporter<'_>) -> Result<(), Error> {
        for built in maker.built {
            if let Some(manifest) = built.target.base {
                let (name, image) = &maker.sharing.plan.bases[&manifest];
                self.unpacked_layers(
                    name,
                    image,
                    &Watcher::Build(reporter, &format!("pull {name}")),
                )?;
            }
            self.built_layers(&built.state, reporter)?;
        }
        Ok(())
    }

    /// Gives the image its tags in the local store.
    fn name_image(
        &self,
        names: &[ImageRef],
        image: &LocalImage,
        vertex: &Vertex<'_>,
    ) -> Result<(), Error> {
        self.keep(image)?;
        self.go_on()?;
        for name in names {
            self.tags
                .set(name, image.descriptor().digest)
                .map_err(|e| names_error(&e))?;
            vertex.status(&format!("naming to {name}"), 0, None, true);
        }
        Ok(())
    }

    fn push_result(
        &self,
        maker: &Maker<'_>,
        image: &LocalImage,
        options: &ImageOptions,
    ) -> Result<Exported, Error> {
        let mut names: Vec<(ImageRef, PushAs)> = names(maker.request, options)
            .into_iter()
            .map(|name| (name, options.push_as))
            .collect();
        if let Some(dangling) = &options.dangling
            && (dangling.when == DanglingWhen::Always || names.is_empty())
        {
            names.push((dangling.repository.clone(), PushAs::Digest));
        }
        let mut pushed = None;
        for (name, push_as) in names {
            let observer = |event: kiln_registry::Event| report(maker.vertex, &event);
            let named = self.push_image(
                &name,
                image,
                options,
                push_as,
                Listeners {
                    transfers: &observer,
                    packing: &|layer| report_packing(maker.vertex, layer),
                    amiss: &|message| maker.vertex.warn(message),
                },
            )?;
            let digest = named.root.descriptor.digest;
            let status = format!("pushing manifest for {name}@{digest}");
            maker.vertex.status(&status, 0, None, true);
            pushed = Some(Exported::of_named(&named));
        }
        pushed.ok_or_else(|| Error::Input {
            message: "tag is needed when pushing to registry".to_owned(),
            hint: Some("name the image with -t".to_owned()),
        })
    }

    /// Pushes an image under one name and returns what was pushed.
    pub(crate) fn push_image(
        &self,
        name: &ImageRef,
        image: &LocalImage,
        options: &ImageOptions,
        push_as: PushAs,
        listeners: Listeners<'_>,
    ) -> Result<NamedImage, Error> {
        let tags = match push_as {
            PushAs::Tags => vec![name.tag().unwrap_or(kiln_cache::DEFAULT_TAG).to_owned()],
            PushAs::Digest => Vec::new(),
        };
        let (engine, is_away) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let found = Arc::clone(&is_away);
        let fetch: exporter::FetchAbsent = Arc::new(move |descriptor| {
            engine.fetch_from_origin(descriptor).map_err(|error| {
                found.store(true, Ordering::Relaxed);
                std::io::Error::other(error)
            })
        });
        let make = || {
            let named = self
                .realise(
                    image,
                    options,
                    Vec::new(),
                    exporter::Missing::Leave,
                    listeners.packing,
                )
                .map_err(|error| self.or_cancelled(error))?;
            self.go_on()?;
            Ok(named)
        };
        let named = self.deliver(listeners.amiss, make, |named| {
            let push = exporter::push_image(named, name, tags.clone(), &self.blobs, &fetch);
            let pushed = self.client.push(name, &push, listeners.transfers);
            pushed
                .map(drop)
                .map_err(|error| match self.undelivered(name, named, &error) {
                    Undelivered::Otherwise(Error::Cancelled) => Error::Cancelled.into(),
                    _ if is_away.load(Ordering::Relaxed) => {
                        for image in image.images() {
                            self.doubt_what_is_away(image);
                        }
                        away(&error).into()
                    }
                    undelivered => undelivered,
                })
        })?;
        for layer in named.manifests.iter().flat_map(|part| &part.layers) {
            let digest = layer.descriptor.digest;
            // Without the note the layer is uploaded next time; nothing is lost.
            let _ = exporter::remember_source(&self.store, &self.blobs, digest, name);
        }
        Ok(named)
    }

    /// Has an image written where it is to go, packed with every layer at hand.
    fn archive(
        &self,
        maker: &mut Maker<'_>,
        options: &ImageOptions,
        write: impl Fn(&[NamedImage]) -> Result<(), Undelivered>,
    ) -> Result<Exported, Error> {
        let local = maker.make(options)?;
        let tell = |message: &str| maker.vertex.warn(message);
        let make = || {
            let names = names(maker.request, options);
            let packing = |layer| report_packing(maker.vertex, layer);
            Ok([self.realise_here(&local, options, names, &packing)?])
        };
        let named = self.deliver(&tell, make, |named| write(named))?;
        Ok(Exported::of_named(&named[0]))
    }

    /// Packs an image with every layer at hand.
    pub(crate) fn realise_here(
        &self,
        image: &LocalImage,
        options: &ImageOptions,
        names: Vec<ImageRef>,
        packing: PackObserver<'_>,
    ) -> Result<NamedImage, Error> {
        let fetch = |wanted: &[Descriptor]| {
            for descriptor in wanted {
                self.fetch_from_origin(descriptor)?;
            }
            Ok(())
        };
        let missing = exporter::Missing::Fetch(&fetch);
        self.realise(image, options, names, missing, packing)
    }

    fn realise(
        &self,
        local: &LocalImage,
        options: &ImageOptions,
        names: Vec<ImageRef>,
        missing: exporter::Missing<'_>,
        packing: PackObserver<'_>,
    ) -> Result<NamedImage, Error> {
        for image in local.images() {
            self.bring_what_does_not_fit(image, options.compression)?;
        }
        let parts = local.images().iter().map(|image| {
            let options = realise_options(options, image);
            exporter::realise(image, &self.layers, &self.blobs, &options, missing, packing).map_err(
                |error| match &error {
                    _ if self.store.stop().is_asked() => Error::Cancelled,
                    exporter::RealiseError::Options(_) => Error::input(error.to_string()),
                    exporter::RealiseError::Fetch(_) => {
                        self.doubt_what_is_away(image);
                        away(&error)
                    }
                    _ => Error::environment("cannot pack the image", &error),
                },
            )
        });
        let mut parts: Vec<Exportable> = parts.collect::<Result<_, _>>()?;
        let Some(index) = &local.index else {
            let only = parts.pop().expect("an image has one part");
            return Ok(NamedImage::single(only, names));
        };
        let family = match options.media_types {
            MediaTypes::Oci => Family::of(&local.descriptor().media_type),
            MediaTypes::Docker => Family::Docker,
        };
        let is_same = family == Family::of(&local.descriptor().media_type)
            && parts.len() == index.manifests.len()
            && parts
                .iter()
                .zip(&index.manifests)
                .all(|(part, entry)| part.manifest.descriptor.digest == entry.digest);
        let mut named = NamedImage::index(parts, names, family, index.annotations.clone());
        if is_same {
            // Byte for byte, and so with the same digest.
            let bytes = self
                .blobs
                .read(local.descriptor().digest)
                .map_err(|error| Error::environment("cannot read an image index", &error))?;
            named.root = exporter::Document::new(&local.descriptor().media_type, bytes);
        }
        named.root.descriptor.annotations = local.descriptor().annotations.clone();
        Ok(named)
    }
}

impl Engine {
    /// Brings the layers of an image that another machine packed otherwise than is wanted; the
    /// others are found where they are.
    fn bring_what_does_not_fit(
        &self,
        image: &kiln_cache::Image,
        wanted: Compression,
    ) -> Result<(), Error> {
        for (diff_id, descriptor) in image.layers() {
            if descriptor.digest == diff_id.0
                && let Some((id, description)) = self.layers.described_as(diff_id)
            {
                match description.blob.compression == wanted {
                    true => drop(self.note_place(&description)),
                    false => drop(self.fulfil_for_image(id, &description)?),
                }
            }
        }
        Ok(())
    }
}

/// Returns how new layers are packed.
pub(crate) fn packing(compression: Compression, level: Option<u8>) -> Packing {
    Packing {
        compression,
        level: level.map_or(Level::Default, |level| Level::Exactly(i32::from(level))),
    }
}

fn realise_options(options: &ImageOptions, image: &kiln_cache::Image) -> exporter::ImageOptions {
    exporter::ImageOptions {
        packing: packing(options.compression, options.level),
        existing_layers: match options.force {
            true => exporter::ExistingLayers::Repack,
            false => exporter::ExistingLayers::Keep,
        },
        media_types: match options.media_types {
            MediaTypes::Oci => exporter::MediaTypes::OfImage,
            MediaTypes::Docker => exporter::MediaTypes::Docker,
        },
        descriptor_annotations: image.descriptor.annotations.clone(),
        ..exporter::ImageOptions::default()
    }
}

/// Returns where a directory goes.
fn directory(to: &Destination) -> Result<&std::path::Path, Error> {
    match to {
        Destination::Path(path) => Ok(path),
        Destination::Stdout => Err(Error::input("a directory cannot go to standard output")),
    }
}

/// Returns the names of an output: its own, or the build's.
fn names(request: &BuildRequest, options: &ImageOptions) -> Vec<ImageRef> {
    let names = match options.names.as_slice() {
        [] => &request.tags,
        own => own,
    };
    names
        .iter()
        .map(|name| name.clone().with_default_tag())
        .collect()
}

impl Engine {
    /// Writes what `act` does to where it goes, unless that is to stop.
    pub(crate) fn write_to(
        &self,
        to: &Destination,
        act: impl FnOnce(&mut dyn Write) -> Result<(), exporter::ExportError>,
    ) -> Result<(), Undelivered> {
        let stop = self.store.stop();
        let act = |output: &mut dyn Write| {
            act(&mut Stopping::new(stop, output))?;
            // Once more, before a file gets its name.
            stop.check().map_err(exporter::ExportError::Output)
        };
        let (written, is_file) = match to {
            Destination::Path(path) => (
                exporter::write_file(path, act),
                path.metadata().map_or(true, |metadata| metadata.is_file()),
            ),
            Destination::Stdout => (act(&mut std::io::stdout().lock()), false),
        };
        written.map_err(|error| match error.into() {
            Undelivered::Damaged { digest, error, .. } if !is_file => Undelivered::Damaged {
                digest,
                error,
                receiver: Receiver::Begun,
            },
            Undelivered::Otherwise(error) => Undelivered::Otherwise(self.or_cancelled(error)),
            damaged => damaged,
        })
    }
}

pub(crate) fn export_error(error: &exporter::ExportError) -> Error {
    match error {
        exporter::ExportError::ManifestList
        | exporter::ExportError::Overwrite { .. }
        | exporter::ExportError::NotALayout { .. } => Error::input(chain(error)),
        _ => Error::environment("cannot export the image", error),
    }
}

/// Passes on as a status of a vertex how far a layer is packed.
pub(crate) fn report_packing(vertex: &Vertex<'_>, layer: PackProgress) {
    let PackProgress {
        diff_id,
        done_bytes,
        size_bytes,
    } = layer;
    let part = format!("packing {diff_id}");
    vertex.status(
        &part,
        done_bytes,
        Some(size_bytes),
        done_bytes == size_bytes,
    );
}

/// Passes a registry's event on as a status of a vertex.
pub(crate) fn report(vertex: &Vertex<'_>, event: &kiln_registry::Event) {
    use kiln_registry::Step;
    let part = event.digest.to_string();
    let size = event.size_bytes;
    let (done, finished) = match event.step {
        Step::Preparing => (0, false),
        Step::Downloading { done_bytes } | Step::Uploading { done_bytes } => (done_bytes, false),
        Step::AlreadyHere
        | Step::Downloaded
        | Step::AlreadyThere
        | Step::Mounted { .. }
        | Step::Uploaded => (size, true),
    };
    vertex.status(&part, done, Some(size), finished);
}
