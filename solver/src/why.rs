//! Why a step runs: what differs from the last time it was built.
//!
//! Before anything runs, [`Before`] finds for each step that must run what corresponds to it in the
//! last build of the same definition, and reads that step's record. It must be before: a step that
//! runs again under the same key replaces its record. Afterwards [`reasons`] compares: first what
//! the instruction says (receipts), then what it reads (layers, file by file), then what it stands
//! on (states). Only if nothing differs was the result lost.
//!
//! A build that finds everything done pays nothing for this.

mod before; // what the last build left
mod files; // which files differ
mod matching; // which step was which
mod now; // what is known

use kiln_cache::{ActionRecord, LayerStack, Receipt};
use kiln_oci::Platform;

use crate::deps::Deps;
use crate::graph::{CopyPart, FileSource, Graph, Op, StepId};
use crate::keys::{FILES, PLATFORM};
use crate::reason::{FilesFrom, Reason};
use crate::reuse::Reuse;
pub(crate) use before::Before;
use before::image_name;
pub(crate) use now::Now;

/// Returns why a step runs, the most telling reason first. Never empty.
pub(crate) fn reasons(before: &Before, now: &Now<'_>, deps: &Deps<'_>) -> Vec<Reason> {
    let step = now.graph.step(now.id);
    if deps.reuse == Reuse::Nothing {
        return vec![Reason::NoCache];
    }
    if let Some(stage) = deps.reuse.refused_stage(step) {
        let stage = stage.to_owned();
        return vec![Reason::NoCacheFilter { stage }];
    }
    let lost = || before.lost(now.id, deps);
    let Some(past) = before.past(now.id) else {
        let new = || new_platform(before, &now.receipt).unwrap_or(Reason::New);
        return vec![lost().unwrap_or_else(new)];
    };
    let Some(record) = &past.record else {
        let evicted = lost().or_else(|| before.eviction(past.key, deps));
        return vec![evicted.unwrap_or(Reason::RecordGone)];
    };
    let mut found = ingredients(&record.receipt, &now.receipt);
    let says_the_same = found.is_empty();
    found.extend(content(record, now, says_the_same, before, deps));
    found.extend(parent(record, now, before));
    // Another platform explains everything else.
    if !found.is_empty()
        && let Some(new) = new_platform(before, &now.receipt)
    {
        return vec![new];
    }
    let is_platform =
        |reason: &Reason| matches!(reason, Reason::Ingredient { name, .. } if name == PLATFORM);
    if let Some(at) = found.iter().position(is_platform) {
        found.swap(0, at);
        found.truncate(1);
    }
    if found.is_empty() {
        found.push(lost().unwrap_or(Reason::RecordGone));
    }
    found
}

fn new_platform(before: &Before, receipt: &Receipt) -> Option<Reason> {
    let own = value(receipt, PLATFORM).and_then(|text| text.parse::<Platform>().ok());
    let platform = before.new_platform(own)?.to_string();
    Some(Reason::NewPlatform { platform })
}

fn value<'a>(receipt: &'a Receipt, name: &str) -> Option<&'a str> {
    let found = receipt.0.iter().find(|ingredient| ingredient.name == name);
    found.map(|ingredient| ingredient.value.as_str())
}

/// Compares what the instruction and the build say.
fn ingredients(before: &Receipt, now: &Receipt) -> Vec<Reason> {
    let mut found = Vec::new();
    let mut compare = |name: &str| {
        let (before, now) = (value(before, name), value(now, name));
        if name != FILES && before != now {
            found.push(Reason::Ingredient {
                name: name.to_owned(),
                before: before.map(str::to_owned),
                now: now.map(str::to_owned),
            });
        }
    };
    for ingredient in &now.0 {
        compare(&ingredient.name);
    }
    for ingredient in &before.0 {
        if value(now, &ingredient.name).is_none() {
            compare(&ingredient.name);
        }
    }
    found
}

/// Compares the files that a step reads besides those it stands on.
fn content(
    record: &ActionRecord,
    now: &Now<'_>,
    says_the_same: bool,
    before: &Before,
    deps: &Deps<'_>,
) -> Vec<Reason> {
    let old = value(&record.receipt, FILES);
    let new = value(&now.receipt, FILES);
    let op = &now.graph.step(now.id).op;
    if new.is_none() && op.sources().next().is_some() {
        // It failed before it had read them.
        return read_from_steps(now, before);
    }
    if old.is_none() || old == new {
        return Vec::new();
    }
    match op {
        Op::Copy(copy) => {
            // Where the same files went elsewhere, layers cannot be compared.
            let (changes, more) = if says_the_same {
                files::differ(copy, record, now, deps).unwrap_or_default()
            } else {
                <_>::default()
            };
            let other = changed_sources(now, before).first().copied();
            let from = other.map_or(FilesFrom::Context, |step| from_step(now.graph, step));
            vec![Reason::Files {
                from,
                changes,
                more,
            }]
        }
        Op::Run(_) => read_from_steps(now, before),
        Op::Remote(remote) => vec![Reason::Files {
            from: FilesFrom::Elsewhere(remote.address()),
            changes: Vec::new(),
            more: 0,
        }],
        Op::From(_) | Op::Workdir(_) => Vec::new(),
    }
}

/// Compares the steps whose files a step reads.
fn read_from_steps(now: &Now<'_>, before: &Before) -> Vec<Reason> {
    let explain = |source: StepId| {
        let known = now.known[source.index()].iter();
        let mut files = known.filter(|reason| matches!(reason, Reason::Files { .. }));
        match files.next() {
            Some(files) if reads_context(now.graph, source) => files.clone(),
            _ => Reason::Files {
                from: from_step(now.graph, source),
                changes: Vec::new(),
                more: 0,
            },
        }
    };
    changed_sources(now, before)
        .into_iter()
        .map(explain)
        .collect()
}

/// Returns the steps that came to something else than the last time, of those whose files a step
/// reads. If something differs, but no step of which anything is known, it must be one of those of
/// which nothing is known.
fn changed_sources(now: &Now<'_>, before: &Before) -> Vec<StepId> {
    let differs = |source: StepId| {
        let old = before.past(source)?.record.as_ref()?;
        let new = now.states[source.index()].as_ref()?;
        Some(old.state.files() != new.files())
    };
    let sources = |wanted: Option<bool>| -> Vec<StepId> {
        let all = now.graph.step(now.id).op.sources();
        all.filter(|source| differs(*source) == wanted).collect()
    };
    match sources(Some(true)) {
        none if none.is_empty() && value(&now.receipt, FILES).is_some() => sources(None),
        changed => changed,
    }
}

/// Says whether a step is no instruction but the files of a context that one of them reads.
fn reads_context(graph: &Graph, id: StepId) -> bool {
    let step = graph.step(id);
    let is_context = |part: &CopyPart| matches!(part.source, FileSource::Context(_));
    step.parent.is_none()
        && matches!(&step.op, Op::Copy(copy) if copy.link && copy.parts.iter().all(is_context))
}

fn from_step(graph: &Graph, id: StepId) -> FilesFrom {
    let step = graph.step(id);
    match &step.op {
        Op::Remote(remote) => FilesFrom::Elsewhere(remote.address()),
        _ if reads_context(graph, id) => FilesFrom::Context,
        Op::From(_) => FilesFrom::Elsewhere(image_name(&step.name)),
        _ => FilesFrom::Stage(step.stage.clone()),
    }
}

/// Compares what a step stands on.
fn parent(record: &ActionRecord, now: &Now<'_>, before: &Before) -> Option<Reason> {
    let step = now.graph.step(now.id);
    if matches!(&step.op, Op::Copy(copy) if copy.link) {
        return None;
    }
    // A step adds one layer to what it stands on.
    let old = record.state.below().unwrap_or_default();
    let nothing = LayerStack::default();
    let new = match step.parent {
        Some(parent) => now.states[parent.index()].as_ref()?,
        None => &nothing,
    };
    // Whenever the layers were made.
    if old.files() == new.files() {
        return None;
    }
    match step.parent {
        Some(parent) if !matches!(now.graph.step(parent).op, Op::From(_)) => Some(Reason::Parent {
            step: now.graph.step(parent).name.clone(),
        }),
        _ if old.base() == new.base() => None,
        from => {
            let image = match from {
                Some(from) => image_name(&now.graph.step(from).name),
                None => "scratch".to_owned(),
            };
            let was = from.and_then(|from| before.image(from));
            Some(Reason::Base {
                image_before: was.filter(|was| **was != image).cloned(),
                image,
                before: old.base(),
                now: new.base(),
            })
        }
    }
}
