//! `kiln inspect`, `kiln image inspect` and `kiln container inspect`.

use clap::{Args, ValueEnum};
use kiln_containers::ContainerError;
use kiln_docker::inspect::{ImageDescription, InspectedRootFs, zeros};
use kiln_docker::{Template, pretty};
use kiln_engine::{Error, InspectedImage, verbs};
use kiln_oci::Platform;
use serde::Serialize;
use serde_json::Value;

use crate::containers::describe_container;
use crate::environment::Environment;
use crate::failure::{Exit, Outcome};
use crate::session::Session;
use crate::{platforms, session, terminal};

/// Return low-level information on images and containers.
#[derive(Args, Debug)]
#[command(override_usage = "kiln inspect [OPTIONS] NAME|ID [NAME|ID...]")]
pub(crate) struct InspectArguments {
    /// Names or ids
    #[arg(value_name = "NAME|ID", required = true, num_args = 1..)]
    objects: Vec<String>,
    /// Format with a template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Look for this kind only: container or image
    #[arg(
        long = "type",
        value_enum,
        value_name = "KIND",
        hide_possible_values = true
    )]
    kind: Option<ObjectKind>,
    /// Of an index, the image for this platform
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Accepted
    #[arg(short, long, hide = true)]
    size: bool,
}

/// Return low-level information on images.
#[derive(Args, Debug)]
#[command(override_usage = "kiln image inspect [OPTIONS] IMAGE [IMAGE...]")]
pub(crate) struct ImageInspectArguments {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true, num_args = 1..)]
    images: Vec<String>,
    /// Of an index, the image for this platform
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Format with a template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// Return low-level information on containers.
#[derive(Args, Debug)]
#[command(override_usage = "kiln container inspect [OPTIONS] CONTAINER [CONTAINER...]")]
pub(crate) struct ContainerInspectArguments {
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true, num_args = 1..)]
    containers: Vec<String>,
    /// Format with a template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// What can be inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ObjectKind {
    /// A container.
    Container,
    /// An image.
    Image,
}

impl ObjectKind {
    /// Returns what a template sees where a description says nothing.
    fn zeros(self) -> Value {
        match self {
            Self::Container => zeros::container(),
            Self::Image => zeros::image(),
        }
    }
}

impl From<ImageInspectArguments> for InspectArguments {
    fn from(arguments: ImageInspectArguments) -> Self {
        Self {
            objects: arguments.images,
            format: arguments.format,
            kind: Some(ObjectKind::Image),
            platform: arguments.platform,
            size: false,
        }
    }
}

impl From<ContainerInspectArguments> for InspectArguments {
    fn from(arguments: ContainerInspectArguments) -> Self {
        Self {
            objects: arguments.containers,
            format: arguments.format,
            kind: Some(ObjectKind::Container),
            platform: None,
            size: false,
        }
    }
}

/// Shows what is known about images and containers.
pub(crate) fn inspect(arguments: &InspectArguments, environment: &Environment) -> Outcome {
    let template = arguments
        .format
        .as_deref()
        .filter(|format| !format.is_empty());
    let template = match template
        .filter(|format| *format != "json")
        .map(Template::parse)
    {
        Some(Err(error)) => {
            terminal::tell_line(&error.to_string());
            return Ok(Exit::BAD_TEMPLATE);
        }
        Some(Ok(template)) => Some(template),
        None => None,
    };
    let platform = platforms::of_flag(arguments.platform.as_ref())?;
    let session = session::open(environment)?;
    let mut found = Vec::new();
    let mut complaints = Vec::new();
    for object in &arguments.objects {
        match find(&session, object, arguments.kind, platform.as_ref()) {
            Ok((kind, value)) => found.push((object, kind, value)),
            Err(error) => complaints.push(format!("Error: {error}")),
        }
    }
    if let Some(template) = &template {
        for (object, kind, value) in &found {
            match template.execute_with_zeros(value, &kind.zeros()) {
                Ok(text) => terminal::print_line(&text)?,
                Err(error) => complaints.push(format!("Error: cannot show {object}: {error}")),
            }
        }
    } else {
        let all = found.into_iter().map(|(_, _, value)| value).collect();
        match arguments.format.as_deref() {
            Some("json") => terminal::print_line(&Value::Array(all).to_string())?,
            _ => terminal::print_line(&pretty(&Value::Array(all)))?,
        }
    }
    for complaint in &complaints {
        terminal::tell_line(complaint);
    }
    Ok(if complaints.is_empty() {
        Exit::SUCCESS
    } else {
        Exit::FAILURE
    })
}

/// Looks among containers first, then among images, as docker does.
fn find(
    session: &Session,
    text: &str,
    kind: Option<ObjectKind>,
    platform: Option<&Platform>,
) -> Result<(ObjectKind, Value), String> {
    if kind != Some(ObjectKind::Image) {
        let containers =
            verbs::containers(&session.stores).map_err(|error| error.full_message())?;
        match containers
            .find(text)
            .and_then(|container| describe_container(&container))
        {
            Err(ContainerError::NotFound(_)) if kind.is_none() => {}
            other => {
                return other
                    .map(|container| (ObjectKind::Container, value_of(&container)))
                    .map_err(|error| error.to_string());
            }
        }
    }
    match verbs::inspect_image(&session.stores, text, platform) {
        Err(Error::NoSuchImage(_)) if kind.is_none() => Err(format!("No such object: {text}")),
        other => other
            .map(|image| (ObjectKind::Image, value_of(&describe_image(image))))
            .map_err(|error| error.full_message()),
    }
}

fn value_of(description: &impl Serialize) -> Value {
    serde_json::to_value(description).expect("a description is plain data")
}

fn describe_image(image: InspectedImage) -> ImageDescription {
    let config = image.config;
    let last = config.history.last();
    ImageDescription {
        id: image.id.to_string(),
        repo_tags: image.tags,
        repo_digests: image.digests,
        comment: last.map(|step| step.comment.clone()).unwrap_or_default(),
        created: config.created,
        author: config.author.unwrap_or_default(),
        config: config.config,
        architecture: config.architecture,
        variant: config.variant,
        os: config.os,
        size_bytes: image.size_bytes,
        root_fs: InspectedRootFs::of(config.rootfs.diff_ids),
        descriptor: image.descriptor,
        manifests: image.manifests,
    }
}
