//! Stages that need each other, so that none can be first.
//!
//! `FROM` only looks back; a way around leads through the `--from` of an instruction.

use kiln_parser::{Diagnostic, Dockerfile, Text};

use super::stages;
use super::words::{self, Words};

/// A reference from one stage to another.
#[derive(Clone, Debug)]
struct Need {
    stage: usize,
    /// Where it is written.
    at: Text,
}

/// Notes an error for the first circle of stages.
pub(crate) fn refuse(dockerfile: &Dockerfile, words: &mut Words) {
    let needs: Vec<Vec<Need>> = (0..dockerfile.stages.len())
        .map(|index| needs_of(dockerfile, index))
        .collect();
    let mut finished = vec![false; needs.len()];
    for start in 0..needs.len() {
        if let Some(circle) = circle_from(start, &needs, &mut finished) {
            words.errors.push(error(dockerfile, &circle));
            return;
        }
    }
}

fn needs_of(dockerfile: &Dockerfile, index: usize) -> Vec<Need> {
    let stage = &dockerfile.stages[index];
    let base = &stage.from.image;
    let mut needs: Vec<Need> = stages::find(dockerfile, &base.raw, index)
        .map(|stage| Need {
            stage,
            at: base.clone(),
        })
        .into_iter()
        .collect();
    for (from, _) in stage.instructions.iter().flat_map(stages::sources_of) {
        let wanted = from.raw.to_lowercase();
        let found = stages::find(dockerfile, &wanted, index)
            .or_else(|| stages::find(dockerfile, &wanted, dockerfile.stages.len()));
        needs.extend(found.map(|stage| Need { stage, at: from }));
    }
    needs
}

/// Follows the needs of a stage depth first; returns those that lead back to where one was.
fn circle_from(start: usize, needs: &[Vec<Need>], finished: &mut [bool]) -> Option<Vec<Need>> {
    // The way to the current stage: each stage on it and which of its needs comes next. A file may
    // chain thousands of stages, which the call stack would not take.
    let mut way: Vec<(usize, usize)> = vec![(start, 0)];
    while let Some((stage, next)) = way.last_mut() {
        let Some(need) = needs[*stage].get(*next).filter(|_| !finished[*stage]) else {
            finished[*stage] = true;
            way.pop();
            continue;
        };
        *next += 1;
        if let Some(begin) = way.iter().position(|(on_way, _)| *on_way == need.stage) {
            let circle = way[begin..].iter();
            return Some(
                circle
                    .map(|(stage, next)| needs[*stage][next - 1].clone())
                    .collect(),
            );
        }
        way.push((need.stage, 0));
    }
    None
}

/// Names the stage of the circle that stands first, and every instruction that keeps it closed.
fn error(dockerfile: &Dockerfile, circle: &[Need]) -> Diagnostic {
    let first = circle
        .iter()
        .map(|need| need.stage)
        .min()
        .unwrap_or_default();
    let name = stages::display_name(dockerfile, first);
    let message = format!("circular dependency detected on stage: {name}");
    let mut sites: Vec<&Need> = circle.iter().collect();
    sites.sort_by_key(|need| need.at.span.start);
    let span = sites.first().map(|need| need.at.span).unwrap_or_default();
    let error = words::error("circular", span, message);
    match sites.as_slice() {
        [_] => error.note("a stage cannot copy from itself"),
        sites => sites.iter().skip(1).fold(error, |error, need| {
            let name = stages::display_name(dockerfile, need.stage);
            error.label(need.at.span, format!("and this needs stage {name:?}"))
        }),
    }
}
