use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::builder::{Builder, Outcome, attempt};
use crate::case::{Case, Disagreement};
use crate::judge::{Verdict, differ, judge};
use crate::{Image, Peer};

/// One case with one builder.
#[derive(Debug)]
pub struct Trial {
    /// How it went.
    pub verdict: Verdict,
    /// What the builder printed.
    pub output: String,
    /// The case with the expectations that this outcome would meet.
    pub blessed: Case,
}

/// Tries all cases with kiln (no peer) or a peer, several at a time if the builder can, and
/// returns what came of them in the same order. `images` are those that results grow from.
pub fn hold(
    builder: &dyn Builder,
    peer: Option<Peer>,
    cases: &[Case],
    images: &[Image],
) -> Vec<Trial> {
    let next = AtomicUsize::new(0);
    let trials = Mutex::new(Vec::with_capacity(cases.len()));
    thread::scope(|scope| {
        for _ in 0..builder.jobs().min(cases.len()) {
            scope.spawn(|| {
                while let Some((index, case)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    cases.get(index).map(|case| (index, case))
                } {
                    let trial = hold_one(builder, peer, case, images);
                    trials
                        .lock()
                        .expect("a thread that panics ends the scope")
                        .push((index, trial));
                }
            });
        }
    });
    let mut trials = trials
        .into_inner()
        .expect("a thread that panics ends the scope");
    trials.sort_by_key(|(index, _)| *index);
    trials.into_iter().map(|(_, trial)| trial).collect()
}

/// Tries one case. Parameters as of [`hold`].
pub fn hold_one(builder: &dyn Builder, peer: Option<Peer>, case: &Case, images: &[Image]) -> Trial {
    if let Some(Disagreement::Skipped { skipped }) = peer.and_then(|peer| peer.disagreement(case)) {
        return Trial {
            verdict: Verdict::Skipped {
                reason: skipped.clone(),
            },
            output: String::new(),
            blessed: case.clone(),
        };
    }
    match attempt(builder, case) {
        Ok(outcome) => Trial {
            verdict: judge(case, peer, &outcome, images),
            blessed: bless(case, peer, &outcome, images),
            output: outcome.output,
        },
        Err(error) => Trial {
            verdict: Verdict::Wrong {
                differences: vec![error.to_string()],
            },
            output: String::new(),
            blessed: case.clone(),
        },
    }
}

/// Returns the case with what kiln made of it as its expectation, or with a peer's differences.
/// Reasons stay, and are empty where one is still to be written.
fn bless(case: &Case, peer: Option<Peer>, outcome: &Outcome, images: &[Image]) -> Case {
    let mut blessed = case.clone();
    if let Some(peer) = peer {
        let found = differ(case, Some(peer), outcome, images);
        let old = match peer.disagreement(case).cloned() {
            Some(Disagreement::Differs { reason, .. }) => reason,
            Some(Disagreement::Unsupported { unsupported }) => unsupported,
            Some(Disagreement::Skipped { skipped }) => skipped,
            None => String::new(),
        };
        *peer.disagreement_mut(&mut blessed) = if found.is_empty() {
            None
        } else if outcome.image.is_none() && case.error.is_none() {
            Some(Disagreement::Unsupported { unsupported: old })
        } else {
            Some(Disagreement::Differs {
                reason: old,
                differs: found,
            })
        };
    } else if let (Some(image), None) = (&outcome.image, &case.error) {
        let nothing = Image::scratch();
        let base = image.base(images).unwrap_or(&nothing);
        let renew = |section: &mut Option<String>, lines: &dyn Fn() -> Vec<String>| {
            if section.is_some() {
                *section = Some(lines().iter().map(|line| format!("{line}\n")).collect());
            }
        };
        renew(&mut blessed.tree, &|| image.tree(base, &case.times));
        renew(&mut blessed.config, &|| image.config());
        renew(&mut blessed.history, &|| image.history(base));
    }
    blessed
}
