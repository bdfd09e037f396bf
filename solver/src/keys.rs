//! Names of steps: which earlier results can stand for a step's.
//!
//! Every step has a *weak* digest: the operation alone, without what is below it. From it follow
//!
//! * the **recipe key**, known before anything runs: the weak digest, the recipe key of the parent
//!   and the identity of its sources (content for a context or a remote source, recipe key for a
//!   step);
//! * the **evidence key**, known once the inputs exist: the weak digest, the parent's actual layers
//!   and the content of what is read. A step that ran again and came to the same layers lets
//!   everything behind it hit by evidence; the recipe key is then written as an alias.
//!
//! Further kinds of evidence are further keys from [`evidence`]; nothing else need change.
//!
//! What never enters a key: modification times of sources, owners of context files, proxies,
//! secrets, limits, whitespace, comments, stage names.

mod encode; // how operations are fed to a hasher
mod receipt; // what went into a key, for people

use kiln_cache::{ActionKey, LayerStack};
use kiln_tree::{Blake3, Encoder};

use crate::graph::{CopyPart, FileSource, Graph, Op, RunMount, StepId};
pub(crate) use receipt::{FILES, PLATFORM, receipt};

/// Changes whenever the meaning of a key changes: old records are then never found.
const VERSION: &str = "kiln.step.7";

/// The names that a step has before anything runs.
#[derive(Clone, Debug)]
pub(crate) struct StepKeys {
    pub(crate) weak: Blake3,
    pub(crate) recipe: ActionKey,
}

/// Computes the keys of every step. `content` tells the digest of what a copy reads from contexts,
/// and of what a remote source stands for.
pub(crate) fn keys(graph: &Graph, content: impl Fn(StepId) -> Option<Blake3>) -> Vec<StepKeys> {
    let mut all: Vec<StepKeys> = Vec::with_capacity(graph.len());
    for (id, step) in graph.steps() {
        let weak = weak(&step.op);
        let mut encoder = Encoder::new(VERSION);
        encoder.text("recipe").value(&weak);
        let parent = step.parent.map(|parent| all[parent.index()].recipe);
        encoder.optional(parent.as_ref());
        let content = content(id);
        encoder.optional(content.as_ref());
        for (source, paths) in read_from_steps(&step.op) {
            let source = all[source.index()].recipe;
            encoder.value(&source).sequence(&paths);
        }
        all.push(StepKeys {
            weak,
            recipe: ActionKey(encoder.finish()),
        });
    }
    all
}

/// Returns the steps whose files an operation reads, and which paths of each.
fn read_from_steps(op: &Op) -> Vec<(StepId, Vec<String>)> {
    match op {
        Op::Copy(copy) => copy
            .parts
            .iter()
            .filter_map(|part| match part.source {
                FileSource::Step(source) => Some((source, part.paths.clone())),
                FileSource::Context(_) | FileSource::Nothing => None,
            })
            .collect(),
        Op::Run(run) => run
            .mounts
            .iter()
            .filter_map(RunMount::files)
            .filter_map(|part| Some((part.step?, vec![part.path.to_string()])))
            .collect(),
        Op::From(_) | Op::Remote(_) | Op::Workdir(_) => Vec::new(),
    }
}

/// Returns the keys under which an earlier result can be found once the inputs are known: the
/// parent's state, and the digest of what it reads elsewhere.
pub(crate) fn evidence(
    op: &Op,
    weak: Blake3,
    parent: &LayerStack,
    content: Option<Blake3>,
) -> Vec<ActionKey> {
    let mut encoder = Encoder::new(VERSION);
    encoder
        .text("evidence")
        .value(&weak)
        .optional(content.as_ref());
    // A linked copy is the same layer on any parent.
    let is_linked = matches!(op, Op::Copy(copy) if copy.link);
    if !is_linked {
        encoder.value(&parent.files());
    }
    vec![ActionKey(encoder.finish())]
}

/// Returns the names under which the last result of a copy from a context is kept, whatever it read:
/// most of its files will be what they were. None for other operations.
///
/// First the last one from this context, then that from any: `COPY . .` stands in many Dockerfiles,
/// and a checkout may be elsewhere each time.
pub(crate) fn slots(op: &Op, weak: Blake3, context: &str) -> Vec<ActionKey> {
    let Op::Copy(copy) = op else {
        return Vec::new();
    };
    let is_of_context = |part: &CopyPart| matches!(part.source, FileSource::Context(_));
    if !copy.parts.iter().all(is_of_context) {
        return Vec::new();
    }
    let name = |context: &str| {
        let mut encoder = Encoder::new(VERSION);
        encoder.text("slot").value(&weak).text(context);
        for part in &copy.parts {
            encoder.sequence(&part.paths);
        }
        ActionKey(encoder.finish())
    };
    vec![name(context), name("")]
}

fn weak(op: &Op) -> Blake3 {
    let mut encoder = Encoder::new(VERSION);
    match op {
        Op::From(from) => {
            encoder.text("from").value(&from.manifest);
        }
        // The address is left out: the identity names the content.
        Op::Remote(_) => {
            encoder.text("remote");
        }
        Op::Copy(copy) => {
            encoder.text("copy").value(&**copy);
        }
        Op::Run(run) => {
            encoder.text("run").value(&**run);
        }
        Op::Workdir(workdir) => {
            encoder.text("workdir").value(workdir);
        }
    }
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use kiln_files::GuestPath;
    use kiln_oci::Platform;

    use super::*;
    use crate::graph::{
        Archives, ContextId, CopyLayout, CopyOp, FromOp, Network, RunMountKind, RunOp, Security,
        Step, Wildcards, WorkdirOp,
    };

    fn step(op: Op, parent: Option<StepId>) -> Step {
        Step {
            op,
            parent,
            name: "shown, not part of a key".to_owned(),
            span: kiln_parser::Span::new(3, 9),
            stage: "likewise".to_owned(),
            shared_with: Vec::new(),
        }
    }

    fn run(network: Network) -> Op {
        Op::Run(Box::new(RunOp {
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), "make".to_owned()],
            script: None,
            env: vec![("A".to_owned(), "b".to_owned())],
            arguments: vec!["A".to_owned()],
            cwd: GuestPath::new("/src"),
            user: "me".to_owned(),
            mounts: vec![RunMount {
                target: GuestPath::new("/t"),
                kind: RunMountKind::Tmpfs {
                    size_bytes: Some(1),
                },
            }],
            devices: Vec::new(),
            secret_variables: Vec::new(),
            hostname: "buildkitsandbox".to_owned(),
            network,
            extra_hosts: vec!["db".to_owned()],
            security: Security::Sandbox,
            platform: Platform::new("linux", "amd64", ""),
        }))
    }

    fn copy(source: FileSource) -> Op {
        Op::Copy(Box::new(CopyOp {
            parts: vec![CopyPart {
                source,
                paths: vec!["src".to_owned()],
                wildcards: Wildcards::Expanded,
                archives: Archives::Keep,
            }],
            inline: vec![("name".to_owned(), "text".to_owned())],
            time: None,
            destination: GuestPath::new("/dst"),
            into_directory: true,
            owner: Some("1:2".to_owned()),
            mode: None,
            excludes: vec!["*.o".to_owned()],
            layout: CopyLayout::Contents,
            link: false,
        }))
    }

    fn sample() -> Graph {
        let mut graph = Graph::default();
        let manifest = kiln_oci::Sha256::of(b"manifest");
        let base = graph.add(step(Op::From(FromOp { manifest }), None));
        let copied = graph.add(step(copy(FileSource::Context(ContextId::MAIN)), Some(base)));
        let made = graph.add(step(run(Network::Default), Some(copied)));
        let workdir = Op::Workdir(WorkdirOp {
            path: GuestPath::new("/w"),
            user: String::new(),
            time: None,
        });
        let workdir = graph.add(step(workdir, Some(base)));
        graph.add(step(copy(FileSource::Step(made)), Some(workdir)));
        graph
    }

    /// Keys are names on disk: if these change, [`VERSION`] must change in the same commit.
    #[test]
    fn keys_are_frozen() {
        let keys = keys(&sample(), |_| Some(Blake3::of(b"content")));
        let recipes: Vec<String> = keys
            .iter()
            .map(|k| k.recipe.to_string()[..16].to_owned())
            .collect();
        assert_eq!(
            recipes,
            [
                "7636494c14e858ed",
                "ffa702fc282bfcea",
                "74849e5ea6e54e99",
                "f13ed356b08e1097",
                "2ccc2b0db00f66e5",
            ]
        );
        let graph = sample();
        let (id, last) = graph.steps().last().expect("the sample has steps");
        let evidence = evidence(
            &last.op,
            keys[id.index()].weak,
            &LayerStack::default(),
            None,
        );
        assert_eq!(evidence[0].to_string()[..16], *"4359c80dc50a21c8");
    }

    #[test]
    fn network_of_a_step_is_part_of_its_key() {
        let key = |network| weak(&run(network));
        assert_ne!(key(Network::Default), key(Network::None));
        assert_ne!(key(Network::Default), key(Network::Host));
    }

    /// A cache is empty at first, and a command sees whose it is. Whether it has a name of its own
    /// counts, which one does not: docs/spec/dockerfile.md 12, as in BuildKit.
    #[test]
    fn empty_cache_mount_as_a_command_sees_it_is_part_of_a_key() {
        let key = |id: &str, mode: u32, size_bytes: Option<u64>| match run(Network::Default) {
            Op::Run(mut run) => {
                let owner = kiln_parser::mount::FileOwner {
                    mode,
                    uid: 0,
                    gid: 0,
                };
                run.mounts[0].kind = RunMountKind::Tmpfs { size_bytes };
                run.mounts.push(RunMount {
                    target: GuestPath::new("/c"),
                    kind: RunMountKind::Cache {
                        id: id.to_owned(),
                        sharing: kiln_parser::mount::Sharing::Shared,
                        owner,
                        initial: None,
                        inside: GuestPath::ROOT,
                        access: crate::graph::Access::ReadWrite,
                    },
                });
                weak(&Op::Run(run))
            }
            other => weak(&other),
        };
        let usual = key("/c", 0o755, None);
        assert_ne!(usual, key("/c", 0o700, None));
        assert_ne!(usual, key("own", 0o755, None));
        assert_ne!(usual, key("/c", 0o755, Some(0)));
        assert_eq!(key("own", 0o755, None), key("other", 0o755, None));
    }

    /// `ADD file https://host/file /` is not `ADD https://host/file file /`.
    #[test]
    fn the_order_of_sources_is_part_of_a_key() {
        let from = |sources: [FileSource; 2]| match copy(sources[0]) {
            Op::Copy(mut copy) => {
                let second = CopyPart {
                    source: sources[1],
                    ..copy.parts[0].clone()
                };
                copy.parts.push(second);
                weak(&Op::Copy(copy))
            }
            other => weak(&other),
        };
        let context = FileSource::Context(ContextId::MAIN);
        let (step, _) = sample().steps().next().expect("the sample has steps");
        let step = FileSource::Step(step);
        assert_ne!(from([context, step]), from([step, context]));
    }

    /// Builds of two projects in turn must not take each other's files for their own earlier ones.
    #[test]
    fn a_context_has_its_own_last_result() {
        let op = copy(FileSource::Context(ContextId::MAIN));
        let of = |context| slots(&op, weak(&op), context);
        let (one, other) = (of("/one"), of("/other"));
        assert_ne!(one[0], other[0]);
        assert_eq!(one[1], other[1]);
        let (step, _) = sample().steps().next().expect("the sample has steps");
        let from_step = copy(FileSource::Step(step));
        assert!(slots(&from_step, weak(&from_step), "/one").is_empty());
    }

    #[test]
    fn the_place_of_a_copied_file_is_not_part_of_its_key() {
        let with_paths = |paths: &[&str]| match copy(FileSource::Context(ContextId::MAIN)) {
            Op::Copy(mut copy) => {
                copy.parts[0].paths = paths.iter().map(|&path| path.to_owned()).collect();
                weak(&Op::Copy(copy))
            }
            other => weak(&other),
        };
        assert_eq!(with_paths(&["a/file"]), with_paths(&["b/file"]));
    }
}
