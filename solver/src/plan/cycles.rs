//! Stages that need each other, so that none can be first.
//!
//! `FROM` only looks back; a way around leads through the `--from` of an instruction.

use std::collections::HashMap;

use kiln_parser::{Diagnostic, Dockerfile, Span};

use super::stages;
use super::words::{self, Words};

/// A reference from one stage to another.
#[derive(Clone, Copy, Debug)]
struct Need {
    stage: usize,
    /// Where the name is written.
    at: Span,
    /// The whole instruction.
    lines: Span,
}

/// Notes an error for the first circle of stages.
pub(crate) fn refuse(dockerfile: &Dockerfile, words: &mut Words) {
    let needs = needs(dockerfile);
    let mut finished = vec![false; needs.len()];
    for start in 0..needs.len() {
        if let Some(circle) = circle_from(start, &needs, &mut finished) {
            words.errors.push(error(dockerfile, &circle));
            return;
        }
    }
}

/// Returns what each stage needs. Of equal names the latest before the stage is meant, else the last.
fn needs(dockerfile: &Dockerfile) -> Vec<Vec<Need>> {
    let names = || {
        let stages = dockerfile.stages.iter().enumerate();
        stages.filter_map(|(index, stage)| Some((stages::name(stage)?, index)))
    };
    let everywhere: HashMap<String, usize> = names().collect();
    let mut earlier: HashMap<String, usize> = HashMap::new();
    let mut needs = Vec::with_capacity(dockerfile.stages.len());
    for (index, stage) in dockerfile.stages.iter().enumerate() {
        let base = &stage.from.image;
        let mut own: Vec<Need> = Vec::new();
        own.extend(earlier.get(&base.raw).map(|stage_needed| Need {
            stage: *stage_needed,
            at: base.span,
            lines: stage.from.site.span,
        }));
        for instruction in &stage.instructions {
            for (from, reader) in stages::sources_of(instruction) {
                let wanted = from.raw.to_lowercase();
                let by_name = || earlier.get(&wanted).or_else(|| everywhere.get(&wanted));
                let found =
                    stages::number(dockerfile, &from, &reader).or_else(|| by_name().copied());
                own.extend(found.map(|stage| Need {
                    stage,
                    at: from.span,
                    lines: instruction.site.span,
                }));
            }
        }
        needs.push(own);
        earlier.extend(stages::name(stage).map(|name| (name, index)));
    }
    needs
}

/// Follows the needs of a stage depth first; returns the references of the first circle.
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
                    .map(|(stage, next)| needs[*stage][next - 1])
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
    sites.sort_by_key(|need| need.at.start);
    let span = sites.first().map(|need| need.at).unwrap_or_default();
    let error = words::error("circular", span, message);
    match sites.as_slice() {
        [_] => error.note("a stage cannot copy from itself"),
        sites => sites.iter().skip(1).fold(error, |error, need| {
            let name = stages::display_name(dockerfile, need.stage);
            error.label(need.lines, format!("and this needs stage {name:?}"))
        }),
    }
}
