//! `--output`: where the result of a build goes.

mod attributes; // what is said about an output
mod image; // how an image is written
mod tag; // how it is named

use std::path::PathBuf;

use kiln_docker::csv;
use kiln_engine::{
    BuildRequest, Destination, FilesOptions, ImageOutput, LayoutForm, Output, Split, Stale,
    Transport,
};

use attributes::OutputAttributes;
use image::options;
pub(crate) use tag::parse_tag;

use super::arguments::BuildArguments;
use crate::terminal;

/// Says whether standard output is a terminal, which no archive may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandardOutput {
    /// A terminal, which would show the bytes.
    Terminal,
    /// A file or a program.
    Other,
}

impl StandardOutput {
    /// Looks at this process's standard output.
    pub(crate) fn look() -> Self {
        if terminal::stdout_is_terminal() {
            Self::Terminal
        } else {
            Self::Other
        }
    }
}

/// Parses one `--output`: a directory, `-`, or `type=T,key=value…`. What is pushed may be kept, too.
pub(crate) fn parse(text: &str, stdout: StandardOutput) -> Result<Vec<Output>, String> {
    let fields = csv::fields(text).map_err(|error| error.to_string())?;
    if text.is_empty() {
        return Err("the output is empty: expected DIRECTORY, - or type=TYPE,...".to_owned());
    }
    if let [only] = fields.as_slice()
        && !only.contains('=')
    {
        return Ok(vec![match only.as_str() {
            "-" => Output::Tar {
                to: destination("-", "tar", stdout)?,
                files: FilesOptions::default(),
            },
            path => Output::Local {
                directory: PathBuf::from(path),
                files: FilesOptions::default(),
                stale: Stale::Keep,
            },
        }]);
    }
    let mut attributes = OutputAttributes::parse(&fields)?;
    let kind = attributes
        .take("type")
        .ok_or_else(|| "type is required for output".to_owned())?;
    let outputs = match kind.as_str() {
        "image" => image_outputs(&mut attributes)?,
        "registry" => {
            attributes.set("push", "true");
            image_outputs(&mut attributes)?
        }
        "oci" => {
            let (to, form) = layout(&mut attributes, "oci", stdout)?
                .ok_or_else(|| "dest is required for oci output".to_owned())?;
            let image = options(&mut attributes)?;
            vec![Output::Oci { to, form, image }]
        }
        "docker" => {
            if let Some(context) = attributes.take("context") {
                return Err(format!(
                    "attribute \"context\" of output type docker is not supported: there is no \
                     daemon {context:?}, the local store is the only one"
                ));
            }
            let place = layout(&mut attributes, "docker", stdout)?;
            let image = options(&mut attributes)?;
            vec![match place {
                Some((to, form)) => Output::Docker { to, form, image },
                None => Output::Store(image),
            }]
        }
        "local" => {
            let path = attributes
                .take("dest")
                .ok_or_else(|| "dest is required for local output".to_owned())?;
            let directory = match path.as_str() {
                "-" => return Err("dest file not supported for local exporter: -".to_owned()),
                path => PathBuf::from(path),
            };
            let stale = match attributes.take("mode").as_deref() {
                None | Some("copy") => Stale::Keep,
                Some("delete") => Stale::Delete,
                Some(other) => {
                    return Err(format!(
                        "invalid mode {other:?} of local output: expected copy or delete"
                    ));
                }
            };
            vec![Output::Local {
                directory,
                files: files(&mut attributes)?,
                stale,
            }]
        }
        "tar" => {
            let path = attributes.take("dest").unwrap_or_else(|| "-".to_owned());
            vec![Output::Tar {
                to: destination(&path, "tar", stdout)?,
                files: files(&mut attributes)?,
            }]
        }
        "cacheonly" => vec![Output::CacheOnly],
        other => {
            return Err(format!(
                "exporter {other:?} could not be found: expected local, tar, oci, docker, image, \
             registry or cacheonly"
            ));
        }
    };
    attributes.finish(&kind)?;
    Ok(outputs)
}

/// Returns the outputs that have flags of their own.
pub(crate) fn of_short_flags(arguments: &BuildArguments) -> Vec<Output> {
    let image = ImageOutput::default;
    let archive = arguments.tar_path.clone().map(|path| Output::Docker {
        to: Destination::Path(path),
        form: LayoutForm::Archive,
        image: image(),
    });
    let layout = arguments.oci_layout_path.clone().map(|path| Output::Oci {
        to: Destination::Path(path),
        form: LayoutForm::Directory,
        image: image(),
    });
    archive.into_iter().chain(layout).collect()
}

/// Returns the hosts that need not prove who they are: those of flags, and those that outputs with
/// `registry.insecure=true` go to.
pub(crate) fn insecure_registries(
    request: &BuildRequest,
    arguments: &BuildArguments,
) -> Vec<String> {
    let mut hosts = arguments.insecure_registries.clone();
    let images = request.outputs.iter().filter_map(Output::image);
    for image in images.filter(|image| image.transport == Transport::Insecure) {
        let names = match image.names.as_slice() {
            [] => &request.tags,
            own => own,
        };
        let dangling = image.dangling.iter().map(|dangling| &dangling.repository);
        let named = names.iter().map(|name| &**name);
        hosts.extend(named.chain(dangling).map(|name| name.domain().to_owned()));
    }
    hosts
}

fn image_outputs(attributes: &mut OutputAttributes) -> Result<Vec<Output>, String> {
    let push = attributes.boolean("push")?.unwrap_or(false);
    let store = attributes.boolean("store")?;
    let image = options(attributes)?;
    Ok(match (push, store) {
        (true, Some(true)) => vec![Output::Push(image.clone()), Output::Store(image)],
        (true, _) => vec![Output::Push(image)],
        (false, Some(false)) => vec![Output::CacheOnly],
        (false, _) => vec![Output::Store(image)],
    })
}

fn files(attributes: &mut OutputAttributes) -> Result<FilesOptions, String> {
    attributes.ignore_attestations();
    Ok(FilesOptions {
        split: match attributes.boolean("platform-split")? {
            None => Split::Several,
            Some(true) => Split::Always,
            Some(false) => Split::Never,
        },
        epoch: attributes.epoch()?,
    })
}

/// Takes where an archive or directory goes; none without a destination.
fn layout(
    attributes: &mut OutputAttributes,
    kind: &str,
    stdout: StandardOutput,
) -> Result<Option<(Destination, LayoutForm)>, String> {
    let form = match attributes.boolean("tar")? {
        Some(false) => LayoutForm::Directory,
        _ => LayoutForm::Archive,
    };
    match (attributes.take("dest"), form) {
        (Some(path), LayoutForm::Directory) if path == "-" => Err(format!(
            "{kind} exporter cannot write a directory to stdout"
        )),
        (Some(path), form) => Ok(Some((destination(&path, kind, stdout)?, form))),
        (None, LayoutForm::Archive) if kind == "oci" => {
            Ok(Some((destination("-", kind, stdout)?, form)))
        }
        (None, _) => Ok(None),
    }
}

fn destination(path: &str, kind: &str, stdout: StandardOutput) -> Result<Destination, String> {
    match (path, stdout) {
        ("", _) => Err(format!("dest is required for {kind} output")),
        ("-", StandardOutput::Terminal) => Err(format!(
            "dest file is required for {kind} exporter. refusing to write to console"
        )),
        ("-", StandardOutput::Other) => Ok(Destination::Stream),
        (path, _) => Ok(Destination::Path(PathBuf::from(path))),
    }
}

#[cfg(test)]
mod tests;
