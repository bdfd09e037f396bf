//! The directories that a build reads, and what its named contexts stand for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_oci::Timestamp;
use kiln_parser::{SourcePlace, remote_source};
use kiln_solver::{
    Context, ContextId, GitDirectory, ImageSource, Lifetime, NamedSource, PathRead, Plan, Remote,
    Reporter, ScannedContext, VertexEnd, context_name, context_reads,
};
use kiln_tree::Owners;

use crate::Error;
use crate::definition::load_ignore_file;
use crate::error::chain;
use crate::request::{BuildRequest, NamedContext};
use crate::stores::Stores;

/// Looks at the parts of the contexts that the plan reads.
pub(super) fn scan_contexts(
    stores: &Stores,
    request: &BuildRequest,
    main: Option<&Context>,
    plan: &Plan,
    reporter: &Reporter<'_>,
) -> Result<Vec<ScannedContext>, Error> {
    let reads = |number| context_reads(&plan.graph, ContextId(number));
    let mut scanned = vec![match (main, reads(0)) {
        (Some(context), reads) if !reads.is_empty() => {
            scan_context(stores, context, &reads, "", reporter)?
        }
        _ => ScannedContext::empty(),
    }];
    for (number, (name, directory)) in (1..).zip(directories(request)) {
        let reads = reads(number);
        if reads.is_empty() {
            scanned.push(ScannedContext::empty());
            continue;
        }
        let context = Context {
            ignore: load_ignore_file(directory, None)?,
            directory: directory
                .canonicalize()
                .map_err(Error::at("cannot open the build context", directory))?,
            owners: Owners::Root,
            lifetime: Lifetime::Lasting,
        };
        scanned.push(scan_context(stores, &context, &reads, name, reporter)?);
    }
    Ok(scanned)
}

fn scan_context(
    stores: &Stores,
    context: &Context,
    reads: &[PathRead],
    name: &str,
    reporter: &Reporter<'_>,
) -> Result<ScannedContext, Error> {
    let vertex = reporter.start(&match name {
        "" => "[internal] load build context".to_owned(),
        name => format!("[context {name}] load from client"),
    });
    match context.scan(&stores.store, reads, Timestamp::now()) {
        Ok(scanned) => {
            vertex.status("reading changed files", scanned.bytes_read, None, true);
            vertex.end(VertexEnd::Done);
            Ok(scanned)
        }
        Err(_) if stores.store.stop().is_asked() => {
            vertex.end(VertexEnd::Cancelled);
            Err(Error::Cancelled)
        }
        Err(error) => {
            vertex.end(VertexEnd::Failed(chain(&error)));
            let context = match name {
                "" => "build context".to_owned(),
                name => format!("build context {name}"),
            };
            Err(Error::input_while(context, error))
        }
    }
}

/// Returns the directories among the named contexts. They are numbered from 1 in this order.
fn directories(request: &BuildRequest) -> impl Iterator<Item = (&str, &PathBuf)> {
    request
        .named_contexts
        .iter()
        .filter_map(|(name, context)| match context {
            NamedContext::Directory(directory) => Some((name.as_str(), directory)),
            _ => None,
        })
}

/// Says what the names of `--build-context` stand for.
pub(super) fn named_sources(
    request: &BuildRequest,
) -> Result<BTreeMap<String, NamedSource>, Error> {
    let mut sources = BTreeMap::new();
    let mut number = ContextId::MAIN.0;
    for (text, context) in &request.named_contexts {
        let invalid = || Error::input(format!("invalid name of a build context: {text:?}"));
        let name = context_name(text).ok_or_else(invalid)?;
        let source = match context {
            NamedContext::Scratch => NamedSource::Scratch,
            NamedContext::Image(image) => NamedSource::Image(ImageSource::Registry(image.clone())),
            NamedContext::Layout {
                directory,
                tag,
                digest,
            } => NamedSource::Image(ImageSource::Layout {
                name: name.parse().map_err(|_| invalid())?,
                directory: directory.clone(),
                tag: tag.clone(),
                digest: *digest,
            }),
            NamedContext::Directory(_) => {
                number += 1;
                NamedSource::Directory(ContextId(number))
            }
            NamedContext::Remote(text) => match remote_source(text, SourcePlace::BuildContext) {
                Some(Ok(remote)) => NamedSource::Remote(Remote::new(remote, GitDirectory::Drop)),
                Some(Err(error)) => {
                    return Err(Error::input_while(format!("build context {name}"), error));
                }
                None => {
                    return Err(Error::input(format!(
                        "build context {name}: {text:?} is no URL"
                    )));
                }
            },
        };
        sources.insert(name, source);
    }
    Ok(sources)
}
