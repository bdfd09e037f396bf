//! `SOURCE_DATE_EPOCH`: the time that everything new in an image gets.
//!
//! spec/dockerfile.md section 5.4.

use std::collections::BTreeMap;

use kiln_cache::Timestamp;
use kiln_parser::{Dockerfile, Kind, Place, RemoteSource, Source, Stage, remote_source};
use kiln_runtime::Cancel;
use kiln_solver::{GitDirectory, NamedSource, Remote, Remotes, Reporter, VertexEnd, context_name};

use crate::Error;
use crate::request::BuildRequest;

/// The build argument.
const NAME: &str = "SOURCE_DATE_EPOCH";

/// Where a time can come from besides a number.
#[derive(Debug)]
pub(crate) struct Times<'a> {
    /// When the build context was made; none for a directory of the host.
    pub(crate) context: Option<Timestamp>,
    /// `--build-context`.
    pub(crate) named: &'a BTreeMap<String, NamedSource>,
    pub(crate) remotes: &'a dyn Remotes,
    pub(crate) reporter: &'a Reporter<'a>,
    pub(crate) cancel: &'a Cancel,
}

/// Finds the time that a build is given: by flag, build argument or global `ARG`, in this order.
///
/// # Errors
/// When the value is no time and names nothing that has one.
pub(crate) fn find(
    request: &BuildRequest,
    dockerfile: &Dockerfile,
    times: &Times<'_>,
) -> Result<Option<Timestamp>, Error> {
    if request.epoch.is_some() {
        return Ok(request.epoch);
    }
    let given = request.build_args.get(NAME).cloned();
    let Some(text) = given.or_else(|| global_default(dockerfile)) else {
        return Ok(None);
    };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(Some(Timestamp::from_seconds(seconds)));
    }
    if text == "context" {
        return Ok(times.context);
    }
    let invalid = || Error::Input {
        message: format!("invalid {NAME}: {text}"),
        hint: Some(
            "give seconds since 1970, `context`, the name of a remote build context, or a stage \
             that only adds one remote source"
                .to_owned(),
        ),
    };
    let named = context_name(text).and_then(|name| times.named.get(&name));
    let remote = match named {
        Some(NamedSource::Remote(remote)) => remote.clone(),
        // A directory of the host has no time that others would find too.
        Some(NamedSource::Directory(_)) => return Ok(None),
        Some(NamedSource::Scratch | NamedSource::Image(_)) => return Err(invalid()),
        None => stage_source(dockerfile, text).ok_or_else(invalid)?,
    };
    identify(&remote, times)
}

/// Asks when a remote source was made.
fn identify(remote: &Remote, times: &Times<'_>) -> Result<Option<Timestamp>, Error> {
    let name = format!("[internal] load time of {}", remote.address());
    let vertex = times.reporter.start(&name);
    let known = || times.remotes.identify(remote, &vertex, times.cancel);
    let time = known().and_then(|identity| match (identity.time, remote) {
        // What a branch stands for now, a server says; when that was made, only the commit.
        (None, Remote::Repository(_)) => {
            times
                .remotes
                .fetch(remote, &identity, &vertex, times.cancel)?;
            Ok(known()?.time)
        }
        (time, _) => Ok(time),
    });
    match time {
        Ok(time) => {
            vertex.end(VertexEnd::Done);
            Ok(time)
        }
        Err(_) if times.cancel.is_triggered() => {
            vertex.end(VertexEnd::Cancelled);
            Err(Error::Cancelled)
        }
        Err(error) => {
            let message = format!("{NAME}: {error}");
            vertex.end(VertexEnd::Failed(error.to_string()));
            Err(Error::Input {
                message,
                hint: None,
            })
        }
    }
}

/// Returns the default of a global `ARG SOURCE_DATE_EPOCH`.
fn global_default(dockerfile: &Dockerfile) -> Option<String> {
    let declarations = dockerfile
        .global_args
        .iter()
        .flat_map(|arg| &arg.declarations);
    let mut defaults = declarations.filter(|(name, _)| name.raw == NAME);
    Some(defaults.next_back()?.1.as_ref()?.raw.clone())
}

/// Returns what a stage adds that is made for its time alone: from nothing, with build arguments
/// and one remote source.
fn stage_source(dockerfile: &Dockerfile, name: &str) -> Option<Remote> {
    let is_named = |stage: &&Stage| {
        let own = stage.from.name.as_ref();
        own.is_some_and(|own| own.raw.eq_ignore_ascii_case(name))
    };
    let stage = dockerfile.stages.iter().rfind(is_named)?;
    if stage.from.image.raw != "scratch" {
        return None;
    }
    let mut added = None;
    for instruction in &stage.instructions {
        match &instruction.kind {
            Kind::Arg(_) => {}
            Kind::Add(add) if added.is_none() => added = Some(add),
            _ => return None,
        }
    }
    let [Source::Path(path)] = added?.sources.as_slice() else {
        return None;
    };
    match remote_source(&path.raw, Place::Instruction)? {
        Ok(source @ (RemoteSource::Git(_) | RemoteSource::Http(_))) => {
            Some(Remote::new(source, GitDirectory::Drop))
        }
        Err(_) => None,
    }
}
