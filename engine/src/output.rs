//! Where results go: the local store, registries, layouts, archives, directories.

pub(crate) mod destination; // files and streams
mod exported; // what came of it
pub(crate) mod pack; // layers as an output wants them
pub(crate) mod push; // registries

pub(crate) use push::Listeners;

use kiln_exporter as exporter;
use kiln_exporter::NamedImage;
use kiln_oci::TaggedRef;
use kiln_registry::Client;
use kiln_solver::{Reporter, Vertex, VertexEnd};

use self::destination::directory;
pub(crate) use self::exported::Exported;
use self::exported::names;
use crate::annotations::Annotations;
use crate::assembly::ImageAssembler;
use crate::base_layers::{self, Watcher};
use crate::built::{Built, Delivery, ResultForm, form, image_options, outputs};
use crate::error::of_export::export_error;
use crate::files;
use crate::images;
use crate::io::Io;
use crate::packing::report_packing;
use crate::repair::{self, Undelivered};
use crate::request::{BaseLayers, BuildRequest, ImageOutput, LayoutForm, Output};
use crate::shared_cache::{Shareable, fetch};
use crate::stores::Stores;
use crate::{Error, ErrorKind, LocalImage};

/// Refuses, before anything is built, outputs that cannot hold the result.
pub(crate) fn check(request: &BuildRequest) -> Result<(), Error> {
    let form = form(request)?;
    let windows = request.platforms.iter().find(|p| p.os == "windows");
    for output in outputs(request) {
        if let (Some(platform), Some(_)) = (windows, output.image()) {
            return Err(Error::input(format!(
                    "an image for {platform} cannot be written: its layers have a form of their own, and kiln makes those for Linux"
                )).with_hint("take its files with -o DIRECTORY"));
        }
        let is_docker = matches!(output, Output::Docker { .. });
        if form == ResultForm::Index && is_docker {
            return Err(export_error(exporter::ExportError::ManifestList));
        }
        if let (ResultForm::Single, Some(options)) = (form, output.image())
            && Annotations::of(request, options).need_index()
        {
            return Err(Error::input(
                "index annotations not supported for single platform export",
            ));
        }
    }
    Ok(())
}

/// Makes the image of a solved build and hands it to every output, or to none. Returns what
/// came of it, and the image as the first image output wants it. None if a layer of another
/// machine turned out to be missing: no build relies on it any more, and has to be made.
pub(crate) fn export(
    stores: &Stores,
    client: &Client,
    request: &BuildRequest,
    sharing: &Shareable<'_>,
    built: &[Built<'_>],
    (delivery, io): (Delivery, &Io<'_>),
    reporter: &Reporter<'_>,
) -> Result<Option<(Exported, LocalImage)>, Error> {
    let vertex = reporter.start(title(request));
    let mut assembler = ImageAssembler::new(
        (stores, client),
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
    let result = export_all(stores, client, &mut assembler, &outputs, (reporter, io))
        .and_then(|exported| Ok((exported, assembler.make(&image_options(request))?)))
        .map_err(|error| stores.or_cancelled(error));
    let states = || built.iter().map(|built| &built.state);
    let (end, result) = match result {
        Ok(result) => (VertexEnd::Done, Ok(Some(result))),
        Err(Error::Cancelled) => (VertexEnd::Cancelled, Err(Error::Cancelled)),
        Err(error)
            if error.kind() == ErrorKind::Environment
                && fetch::forget_missing_layers(stores, client, states(), reporter) =>
        {
            (VertexEnd::Cancelled, Ok(None))
        }
        Err(error) => (VertexEnd::Failed(error.full_message()), Err(error)),
    };
    vertex.end(end);
    result
}

/// Names what a build makes of its result, in `BuildKit`'s words. Several outputs come of one image.
fn title(request: &BuildRequest) -> &'static str {
    match outputs(request).as_slice() {
        [Output::Local { .. }] => "exporting to client directory",
        [Output::Tar { .. }] => "exporting to client tarball",
        [Output::Oci { .. }] => "exporting to oci image format",
        [Output::Docker { .. }] => "exporting to docker image format",
        _ => "exporting to image",
    }
}

fn export_all(
    stores: &Stores,
    client: &Client,
    assembler: &mut ImageAssembler<'_>,
    outputs: &[Output],
    (reporter, io): (&Reporter<'_>, &Io<'_>),
) -> Result<Exported, Error> {
    let (mut stored, mut archived, mut pushed) = (None, None, None);
    for output in outputs {
        if !matches!(output, Output::CacheOnly | Output::Store(_)) {
            stores.store.admit_collection();
        }
        match output {
            Output::CacheOnly => {}
            Output::Store(options) => {
                let local = assembler.make(options)?;
                if options.base_layers == BaseLayers::Now {
                    unpack_targets(stores, client, assembler, reporter)?;
                }
                name_image(
                    stores,
                    &names(assembler.request, options),
                    &local,
                    assembler.vertex,
                )?;
                stored = Some(Exported::of_local(&local));
            }
            Output::Push(options) => {
                let local = assembler.make(options)?;
                pushed = Some(push::push_result(
                    stores, client, assembler, &local, options,
                )?);
            }
            Output::Oci {
                to,
                form,
                image: options,
            } => {
                let write = |named: &[NamedImage]| match form {
                    LayoutForm::Archive => destination::write_to(stores, to, io, |out| {
                        exporter::write_oci_archive(named, out)
                    }),
                    LayoutForm::Directory => {
                        let stop = stores.store.stop();
                        Ok(exporter::write_layout(named, directory(to)?, stop)?)
                    }
                };
                archived = Some(archive(stores, client, assembler, options, write)?);
            }
            Output::Docker {
                to,
                form,
                image: options,
            } => {
                let write = |named: &[NamedImage]| match form {
                    LayoutForm::Archive => destination::write_to(stores, to, io, |out| {
                        exporter::write_docker_archive(named, out)
                    }),
                    LayoutForm::Directory => {
                        let stop = stores.store.stop();
                        Ok(exporter::write_docker_layout(named, directory(to)?, stop)?)
                    }
                };
                archived = Some(archive(stores, client, assembler, options, write)?);
            }
            Output::Local { .. } | Output::Tar { .. } => {
                files::export_files(
                    stores,
                    client,
                    assembler.sharing.plan,
                    assembler.built,
                    (assembler.form, output),
                    (reporter, io),
                )?;
            }
        }
    }
    // What can be found elsewhere is worth more to know than what is only here; but here an
    // image is found by the id that it has here.
    let id = stored.as_ref().map(|stored| stored.id);
    let shown = match pushed.or(archived).or(stored) {
        Some(shown) => shown,
        None => Exported::of_local(&assembler.make(&image_options(assembler.request))?),
    };
    Ok(Exported {
        id: id.unwrap_or(shown.id),
        ..shown
    })
}

/// Fetches and unpacks the layers of the targets and of their bases.
fn unpack_targets(
    stores: &Stores,
    client: &Client,
    assembler: &ImageAssembler<'_>,
    reporter: &Reporter<'_>,
) -> Result<(), Error> {
    for built in assembler.built {
        if let Some(manifest) = built.target.base {
            let (name, image) = &assembler.sharing.plan.bases[&manifest];
            base_layers::unpacked_layers(
                stores,
                client,
                name,
                image,
                &Watcher::Build(reporter, &format!("pull {name}")),
            )?;
        }
        fetch::built_layers(stores, client, &built.state, reporter)?;
    }
    Ok(())
}

/// Gives the image its tags in the local store.
fn name_image(
    stores: &Stores,
    names: &[TaggedRef],
    image: &LocalImage,
    vertex: &Vertex<'_>,
) -> Result<(), Error> {
    images::name_built(stores, image, names)?;
    for name in names {
        vertex.status(&format!("naming to {name}"), 0, None, true);
    }
    Ok(())
}

/// Has an image written where it is to go, packed with every layer at hand.
fn archive(
    stores: &Stores,
    client: &Client,
    assembler: &mut ImageAssembler<'_>,
    options: &ImageOutput,
    write: impl Fn(&[NamedImage]) -> Result<(), Undelivered>,
) -> Result<Exported, Error> {
    let local = assembler.make(options)?;
    let tell = |message: &str| assembler.vertex.warn(message);
    let make = || {
        let names = names(assembler.request, options);
        let packing = |layer| report_packing(assembler.vertex, layer);
        Ok([pack::resolve_here_for_export(
            stores, client, &local, options, names, &packing,
        )?])
    };
    let named = repair::deliver(stores, &tell, make, |named| write(named))?;
    Ok(Exported::of_named(&named[0]))
}
