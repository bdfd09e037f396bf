//! Where results go: the local store, registries, layouts, archives, directories.

use std::io::Write;
use std::sync::Arc;

use kiln_cache::{Image, ImageRef, Sha256, State};
use kiln_exporter as exporter;
use kiln_exporter::{Assembly, Change, Exportable, NamedImage, NewLayer, PlannedEntry};
use kiln_registry::Observer;
use kiln_snapshotter::{Layer, Level, Packing, ParentView};
use kiln_solver::{Plan, Reporter, TargetImage, Vertex, VertexEnd};

use crate::error::chain;
use crate::images::names_error;
use crate::request::{BuildRequest, Destination, ImageOptions, LayoutForm, MediaTypes, Output};
use crate::{Engine, Error};

/// A target and the files that solving came to.
#[derive(Debug)]
pub(crate) struct Built<'a> {
    pub(crate) target: &'a TargetImage,
    pub(crate) state: State,
}

impl Engine {
    /// Makes the image of a solved build and hands it to every output.
    pub(crate) fn export(
        &self,
        request: &BuildRequest,
        plan: &Plan,
        built: &[Built<'_>],
        reporter: &Reporter<'_>,
    ) -> Result<Image, Error> {
        let [built] = built else {
            return Err(Error::input("several platforms are not supported yet"));
        };
        let vertex = reporter.start("exporting to image");
        let result = self.export_all(request, plan, built, reporter, &vertex);
        vertex.end(match &result {
            Ok(_) => VertexEnd::Done,
            Err(Error::Cancelled) => VertexEnd::Cancelled,
            Err(error) => VertexEnd::Failed(error.to_string()),
        });
        result
    }

    fn export_all(
        &self,
        request: &BuildRequest,
        plan: &Plan,
        built: &Built<'_>,
        reporter: &Reporter<'_>,
        vertex: &Vertex<'_>,
    ) -> Result<Image, Error> {
        let image = self.assemble(request, plan, built, vertex)?;
        let store_only = [Output::Store];
        let outputs = match request.outputs.as_slice() {
            [] => &store_only[..],
            outputs => outputs,
        };
        for output in outputs {
            match output {
                Output::CacheOnly => {}
                Output::Store => self.name_image(request, &image, vertex)?,
                Output::Push(options) => {
                    self.push_result(request, &image, options, vertex)?;
                }
                Output::Oci {
                    to,
                    form,
                    image: options,
                } => {
                    let named = [self.named(request, &image, options)?];
                    match form {
                        LayoutForm::Archive => {
                            write_to(to, |out| exporter::write_oci_archive(&named, out))?;
                        }
                        LayoutForm::Directory => exporter::write_layout(&named, directory(to)?)
                            .map_err(|error| export_error(&error))?,
                    }
                }
                Output::Docker {
                    to,
                    form,
                    image: options,
                } => {
                    let named = [self.named(request, &image, options)?];
                    match form {
                        LayoutForm::Archive => {
                            write_to(to, |out| exporter::write_docker_archive(&named, out))?;
                        }
                        LayoutForm::Directory => {
                            exporter::write_docker_layout(&named, directory(to)?)
                                .map_err(|error| export_error(&error))?;
                        }
                    }
                }
                Output::Local(directory) => {
                    let view = self.view(plan, &built.state, reporter)?;
                    let report = exporter::write_local(&view, directory, exporter::Stale::Keep)
                        .map_err(|e| export_error(&e))?;
                    for path in report.left_out {
                        reporter.warn(format!("{path} was left out: it is a device"));
                    }
                }
                Output::Tar(to) => {
                    let view = self.view(plan, &built.state, reporter)?;
                    let root = exporter::TarRoot {
                        directory: kiln_cache::GuestPath::ROOT,
                        view: &view,
                    };
                    write_to(to, |out| exporter::write_root_tar(&[root], out))?;
                }
            }
        }
        Ok(image)
    }

    /// Puts manifest and config together and stores them.
    fn assemble(
        &self,
        request: &BuildRequest,
        plan: &Plan,
        built: &Built<'_>,
        vertex: &Vertex<'_>,
    ) -> Result<Image, Error> {
        let Built { target, state } = built;
        let broken = |error: &(dyn std::error::Error + 'static)| {
            Error::environment("cannot put the image together", error)
        };
        let base = target.base.map(|manifest| &plan.bases[&manifest].1);
        let layers: Vec<Layer> = self.built_layers(state)?;
        vertex.status("exporting layers", 0, None, false);
        let mut new = Vec::with_capacity(layers.len());
        for (layer, built) in layers.iter().zip(&state.layers) {
            let diff_id = exporter::canonical_tar(layer)
                .map_err(|e| broken(&e))?
                .diff_id;
            new.push(NewLayer {
                diff_id,
                created: plan.epoch.unwrap_or(built.created),
            });
        }
        vertex.status("exporting layers", 0, None, true);
        let history = target
            .history
            .iter()
            .map(|entry| PlannedEntry {
                created_by: entry.created_by.clone(),
                change: match entry.step {
                    Some(_) => Change::Layer,
                    None => Change::Config,
                },
            })
            .collect();
        let config = exporter::assemble(Assembly {
            base,
            config: target.config.clone(),
            layers: new,
            history,
            platform: match request.platforms.is_empty() {
                true => target.config.platform(),
                false => target.platform.clone(),
            },
            epoch: plan.epoch,
        })
        .map_err(|error| broken(&error))?;
        let image = exporter::store_image(&self.blobs, config, base, &layers)
            .map_err(|error| broken(&error))?;
        vertex.status(
            &format!("exporting manifest {}", image.descriptor.digest),
            0,
            None,
            true,
        );
        vertex.status(&format!("exporting config {}", image.id()), 0, None, true);
        Ok(image)
    }

    fn built_layers(&self, state: &State) -> Result<Vec<Layer>, Error> {
        state
            .layers
            .iter()
            .map(|built| {
                self.layers
                    .layer(built.layer)
                    .ok_or_else(|| Error::Environment {
                        message: format!("layer {} was deleted during the build", built.layer),
                        hint: Some("build again".to_owned()),
                    })
            })
            .collect()
    }

    /// Gives the image its tags in the local store.
    fn name_image(
        &self,
        request: &BuildRequest,
        image: &Image,
        vertex: &Vertex<'_>,
    ) -> Result<(), Error> {
        self.keep(image)?;
        for name in &request.tags {
            let name = name.clone().with_default_tag();
            let manifest = image.descriptor.digest;
            self.tags
                .set(&name, manifest)
                .map_err(|e| names_error(&e))?;
            vertex.status(&format!("naming to {name}"), 0, None, true);
        }
        Ok(())
    }

    fn push_result(
        &self,
        request: &BuildRequest,
        image: &Image,
        options: &ImageOptions,
        vertex: &Vertex<'_>,
    ) -> Result<(), Error> {
        let names = names(request, options);
        if names.is_empty() {
            return Err(Error::Input {
                message: "tag is needed when pushing to registry".to_owned(),
                hint: Some("name the image with -t".to_owned()),
            });
        }
        for name in names {
            let observer = |event: kiln_registry::Event| report(vertex, &event);
            let (digest, _) = self.push_image(&name, image, options, &observer)?;
            vertex.status(
                &format!("pushing manifest for {name}@{digest}"),
                0,
                None,
                true,
            );
        }
        Ok(())
    }

    /// Pushes an image under one name; returns digest and length of what the tag means now.
    pub(crate) fn push_image(
        &self,
        name: &ImageRef,
        image: &Image,
        options: &ImageOptions,
        observer: Observer<'_>,
    ) -> Result<(Sha256, u64), Error> {
        let exportable = self.realise(image, options, exporter::Missing::Leave)?;
        let layers: Vec<Sha256> = exportable
            .layers
            .iter()
            .map(|layer| layer.descriptor.digest)
            .collect();
        let named = NamedImage::single(exportable, Vec::new());
        let tag = name.tag().unwrap_or(kiln_cache::DEFAULT_TAG).to_owned();
        let engine = self.clone();
        let fetch: exporter::FetchAbsent = Arc::new(move |descriptor| {
            engine
                .fetch_from_origin(descriptor)
                .map_err(std::io::Error::other)
        });
        let push = exporter::push_image(&named, name, vec![tag], &self.blobs, &fetch);
        let top = self
            .client
            .push(name, &push, observer)
            .map_err(|error| Error::registry(Some(name), &error))?;
        for digest in layers {
            // Without the note the layer is uploaded next time; nothing is lost.
            let _ = exporter::remember_source(&self.store, &self.blobs, digest, name);
        }
        Ok((top.digest, top.size_bytes))
    }

    fn named(
        &self,
        request: &BuildRequest,
        image: &Image,
        options: &ImageOptions,
    ) -> Result<NamedImage, Error> {
        let exportable = self.realise_here(image, options)?;
        Ok(NamedImage::single(exportable, names(request, options)))
    }

    /// Packs an image with every layer at hand.
    pub(crate) fn realise_here(
        &self,
        image: &Image,
        options: &ImageOptions,
    ) -> Result<Exportable, Error> {
        let fetch = |wanted: &[kiln_cache::Descriptor]| {
            for descriptor in wanted {
                self.fetch_from_origin(descriptor)?;
            }
            Ok(())
        };
        self.realise(image, options, exporter::Missing::Fetch(&fetch))
    }

    fn realise(
        &self,
        image: &Image,
        options: &ImageOptions,
        missing: exporter::Missing<'_>,
    ) -> Result<Exportable, Error> {
        let options = exporter::ImageOptions {
            packing: Packing {
                compression: options.compression,
                level: options
                    .level
                    .map_or(Level::Default, |level| Level::Exactly(i32::from(level))),
            },
            existing_layers: match options.force {
                true => exporter::ExistingLayers::Repack,
                false => exporter::ExistingLayers::Keep,
            },
            media_types: match options.media_types {
                MediaTypes::Oci => exporter::MediaTypes::OfImage,
                MediaTypes::Docker => exporter::MediaTypes::Docker,
            },
            ..exporter::ImageOptions::default()
        };
        exporter::realise(image, &self.layers, &self.blobs, &options, missing).map_err(|error| {
            match &error {
                exporter::RealiseError::Options(_) => Error::input(error.to_string()),
                _ => Error::environment("cannot pack the image", &error),
            }
        })
    }

    /// Returns the merged view of a state, its layers on disk.
    fn view(
        &self,
        plan: &Plan,
        state: &State,
        reporter: &Reporter<'_>,
    ) -> Result<ParentView, Error> {
        let mut layers = match state.base {
            Some(manifest) => {
                let (name, image) = &plan.bases[&manifest];
                self.unpacked_layers(name, image, Some((reporter, &format!("pull {name}"))))?
            }
            None => Vec::new(),
        };
        layers.extend(self.built_layers(state)?);
        ParentView::new(&layers).map_err(|error| Error::environment("cannot read a layer", &error))
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

pub(crate) fn write_to(
    to: &Destination,
    act: impl FnOnce(&mut dyn Write) -> Result<(), exporter::ExportError>,
) -> Result<(), Error> {
    match to {
        Destination::Path(path) => exporter::write_file(path, act),
        Destination::Stdout => act(&mut std::io::stdout().lock()),
    }
    .map_err(|error| export_error(&error))
}

fn export_error(error: &exporter::ExportError) -> Error {
    match error {
        exporter::ExportError::ManifestList | exporter::ExportError::NotALayout { .. } => {
            Error::input(chain(error))
        }
        _ => Error::environment("cannot export the image", error),
    }
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
