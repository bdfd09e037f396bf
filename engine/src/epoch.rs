//! `SOURCE_DATE_EPOCH`: the time that everything new in an image gets.
//!
//! docs/spec/dockerfile.md 5.4.

use kiln_oci::Timestamp;
use kiln_parser::Dockerfile;
use kiln_solver::{
    NamedSource, PlanOptions, Remote, Remotes as _, Reporter, VertexEnd, context_name, epoch_stage,
    epoch_text,
};
use kiln_threads::Stop;

use crate::remote_sources::RemoteSources;
use crate::request::BuildRequest;
use crate::{Error, SourceText};

/// The build argument.
const NAME: &str = "SOURCE_DATE_EPOCH";

/// Where a time can come from besides a number.
#[derive(Debug)]
pub(crate) struct Times<'a> {
    /// When the build context was made; none for a directory of the host.
    pub(crate) context: Option<Timestamp>,
    pub(crate) remotes: &'a RemoteSources<'a>,
    pub(crate) reporter: &'a Reporter<'a>,
    pub(crate) stop: &'a Stop,
}

/// Finds the time that a build is given: by flag, build argument or global `ARG`, in this order.
///
/// # Errors
/// When the value is no time and names nothing that has one.
pub(crate) fn find(
    request: &BuildRequest,
    source_text: &SourceText,
    dockerfile: &Dockerfile,
    options: &PlanOptions,
    times: &Times<'_>,
) -> Result<Option<Timestamp>, Error> {
    if request.epoch.is_some() {
        return Ok(request.epoch);
    }
    let Some(text) = epoch_text(dockerfile, options) else {
        return Ok(None);
    };
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(Some(Timestamp::from_seconds(seconds)));
    }
    if text == "context" {
        return Ok(times.context);
    }
    let invalid = || {
        Error::input(format!("invalid {NAME}: {text}")).with_hint(
            "give seconds since 1970, `context`, the name of a remote build context, or a stage \
             that only adds one remote source",
        )
    };
    let named = context_name(&text).and_then(|name| options.contexts.get(&name));
    let remote = match named {
        Some(NamedSource::Remote(remote)) => remote.clone(),
        // A directory of the host has no time that others would find too, and neither has an image.
        Some(_) => return Ok(None),
        None => match epoch_stage(dockerfile, options, &text) {
            Some(Ok(remote)) => remote,
            Some(Err(error)) => {
                return Err(Error::Dockerfile {
                    source_text: source_text.clone(),
                    diagnostics: vec![error],
                });
            }
            None => return Err(invalid()),
        },
    };
    identify(&remote, times)
}

/// Asks when a remote source was made.
fn identify(remote: &Remote, times: &Times<'_>) -> Result<Option<Timestamp>, Error> {
    let name = format!("[internal] load time of {}", remote.address());
    let vertex = times.reporter.start(&name);
    let known = || times.remotes.identify(remote, &vertex, times.stop);
    let time = known().and_then(|identity| match (identity.time, remote) {
        // What a branch stands for now, a server says; when that was made, only the commit.
        (None, Remote::Repository(_)) => {
            times
                .remotes
                .fetch(remote, &identity, &vertex, times.stop)?;
            Ok(known()?.time)
        }
        (None, Remote::Download(download)) => {
            let remotes = times.remotes;
            remotes.time_of_download(download, &identity, &vertex, times.stop)
        }
        (time, _) => Ok(time),
    });
    match time {
        Ok(time) => {
            vertex.end(VertexEnd::Done);
            Ok(time)
        }
        Err(_) if times.stop.is_asked() => {
            vertex.end(VertexEnd::Cancelled);
            Err(Error::Cancelled)
        }
        Err(error) => {
            vertex.end(VertexEnd::Failed(error.to_string()));
            Err(Error::input_while(NAME, error))
        }
    }
}
