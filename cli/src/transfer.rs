//! `kiln pull`, `kiln push`, `kiln save` and `kiln load`.

use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use kiln_engine::{Destination, Io, LoadSource, Silent, verbs};
use kiln_oci::ImageRef;

use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::interrupt::{self, Waiting};
use crate::progress::{Activity, TransferOutput, Transfers};
use crate::{platforms, session, terminal};

/// Download an image from a registry.
#[derive(Args, Debug)]
#[command(override_usage = "kiln pull [OPTIONS] NAME[:TAG|@DIGEST]")]
pub(crate) struct PullArguments {
    /// Name of the image
    #[arg(value_name = "NAME")]
    name: String,
    /// Platform of the image (default: this machine's)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Print nothing but the name
    #[arg(short, long)]
    quiet: bool,
}

/// Pulls an image and says how it goes, as docker does.
pub(crate) fn pull(arguments: &PullArguments, environment: &Environment) -> Outcome {
    let name = parse_name(&arguments.name)?;
    let wanted = platforms::one(arguments.platform.as_ref(), environment)?;
    let platform = wanted.clone().unwrap_or_else(kiln_oci::Platform::host);
    let session = session::enter_and_open(environment)?;
    interrupt::watch(&session)?;
    let output = output(arguments.quiet);
    if !arguments.quiet && name.tag().is_none() && name.digest().is_none() {
        terminal::print_line("Using default tag: latest")?;
    }
    let name = name.tagged();
    let transfers = Transfers::start(output);
    let pulled = verbs::pull(
        &session.stores,
        &session.outside.client,
        &name,
        &platform,
        &|event| transfers.take(&event),
    );
    transfers.finish();
    let pulled = pulled?;
    // What is for one platform is taken, whichever platform is asked for; of an index there was a choice.
    if let Some(wanted) = wanted.filter(|wanted| wanted.distance(&pulled.platform).is_none()) {
        terminal::warn(&format!(
            "image with reference {} was found but does not match the specified platform: \
             wanted {wanted}, actual: {}",
            name.familiar(),
            pulled.platform
        ));
    }
    if !arguments.quiet {
        terminal::print_line(&format!("Digest: {}", pulled.digest))?;
        let status = if pulled.is_newer {
            "Downloaded newer image for"
        } else {
            "Image is up to date for"
        };
        terminal::print_line(&format!("Status: {status} {}", name.familiar()))?;
    }
    terminal::print_line(&name.to_string())?;
    Ok(Exit::SUCCESS)
}

fn output(quiet: bool) -> TransferOutput {
    if quiet {
        TransferOutput::Nowhere
    } else {
        TransferOutput::Stdout
    }
}

/// Upload an image to a registry.
#[derive(Args, Debug)]
#[command(override_usage = "kiln push [OPTIONS] NAME[:TAG]")]
pub(crate) struct PushArguments {
    /// Name of the image
    #[arg(value_name = "NAME")]
    name: String,
    /// Push only the image for this platform (default: all of an index)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Print nothing but the name
    #[arg(short, long)]
    quiet: bool,
}

/// Pushes an image.
pub(crate) fn push(arguments: &PushArguments, environment: &Environment) -> Outcome {
    let name = parse_name(&arguments.name)?;
    if name.digest().is_some() {
        return Err(Failure::new("cannot push a digest reference"));
    }
    let session = session::enter_and_open(environment)?;
    interrupt::watch(&session)?;
    let platform = platforms::of_flag(arguments.platform.as_ref())?;
    let has_tag = name.tag().is_some();
    let name = name.tagged();
    let output = output(arguments.quiet);
    if !arguments.quiet {
        if !has_tag {
            terminal::print_line("Using default tag: latest")?;
        }
        terminal::print_line(&format!(
            "The push refers to repository [{}]",
            name.repository()
        ))?;
    }
    let transfers = Transfers::start(output);
    let pushed = verbs::push(
        &session.stores,
        &session.outside.client,
        &name,
        platform.as_ref(),
        &|event| transfers.take(&event),
        &|layer| transfers.pack(layer),
        &terminal::warn,
    );
    transfers.finish();
    let (digest, size) = pushed?;
    terminal::print_line(&if arguments.quiet {
        name.to_string()
    } else {
        let tag = name.tag().unwrap_or_default();
        format!("{tag}: digest: {digest} size: {size}")
    })?;
    Ok(Exit::SUCCESS)
}

/// Parses the name of an image.
pub(crate) fn parse_name(text: &str) -> Result<ImageRef, Failure> {
    if text.is_empty() {
        return Err(Failure::new("the name of an image is empty"));
    }
    text.parse()
        .map_err(|error| Failure::new(format!("{text}: {error}")))
}

/// Save one or more images to a tar archive.
#[derive(Args, Debug)]
#[command(override_usage = "kiln save [OPTIONS] IMAGE [IMAGE...]")]
pub(crate) struct SaveArguments {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true, num_args = 1..)]
    images: Vec<String>,
    /// Save only the images for this platform (default: all of an index)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Load images from a tar archive.
#[derive(Args, Debug)]
#[command(override_usage = "kiln load [OPTIONS]")]
pub(crate) struct LoadArguments {
    /// Load only the images for this platform (default: all of an index)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Read from a file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print nothing but what was loaded
    #[arg(short, long)]
    quiet: bool,
}

/// Saves images.
pub(crate) fn save(arguments: &SaveArguments, environment: &Environment) -> Outcome {
    let to = match &arguments.output {
        Some(path) => Destination::Path(path.clone()),
        None if terminal::stdout_is_terminal() => {
            return Err(Failure::new(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        None => Destination::Stream,
    };
    let platform = platforms::of_flag(arguments.platform.as_ref())?;
    let session = session::enter_and_open(environment)?;
    interrupt::watch(&session)?;
    let (mut stdin, mut stdout) = (std::io::stdin(), terminal::ArchiveOutput);
    let io = Io::new(&mut stdin, &mut stdout, &Silent);
    verbs::save(
        &session.stores,
        &session.outside.client,
        &arguments.images,
        platform.as_ref(),
        &to,
        &io,
        &terminal::warn,
    )?;
    Ok(Exit::SUCCESS)
}

/// Loads images.
pub(crate) fn load(arguments: &LoadArguments, environment: &Environment) -> Outcome {
    let platform = platforms::of_flag(arguments.platform.as_ref())?;
    if arguments.input.is_none() && terminal::stdin_is_terminal() {
        return Err(
            Failure::new("requested load from stdin, but stdin is empty")
                .with_hint("name the archive with -i"),
        );
    }
    let session = session::enter_and_open(environment)?;
    interrupt::watch(&session)?;
    let stop = session.stores.stop().clone();
    let mut pipe;
    let source = match &arguments.input {
        Some(path) if path.is_dir() => LoadSource::Directory(path.clone()),
        Some(path) => {
            let failed =
                |error: std::io::Error| Failure::new(format!("open {}: {error}", path.display()));
            let file = File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.is_file() {
                LoadSource::File(file)
            } else {
                // It can be read once, from its beginning to its end.

                pipe = Waiting::new(file.into(), stop);
                LoadSource::Stream(&mut pipe)
            }
        }
        None => {
            let stdin = rustix::io::dup(std::io::stdin())
                .map_err(|error| Failure::new(format!("cannot read standard input: {error}")))?;
            pipe = Waiting::new(stdin, stop);
            LoadSource::Stream(&mut pipe)
        }
    };
    let activity = (!arguments.quiet).then(|| Activity::of_files(&session, "unpacking files"));
    let loaded = verbs::load(&session.stores, source, platform.as_ref());
    drop(activity);
    let loaded = loaded.map_err(|error| {
        let mut failure = Failure::from(error);
        if let Some(path) = &arguments.input {
            failure.message = format!("{}: {}", path.display(), failure.message);
        }
        failure
    })?;
    for (names, id) in loaded {
        for name in &names {
            terminal::print_line(&format!("Loaded image: {}", name.familiar()))?;
        }
        if names.is_empty() {
            terminal::print_line(&format!("Loaded image ID: {id}"))?;
        }
    }
    Ok(Exit::SUCCESS)
}
