//! Edits at random: an incremental build comes to what a build from nothing comes to.
//!
//! Images are compared by their ids. All times are clamped to the epoch, since modification times
//! alone are no reason to copy again; everything else counts.
//!
//! `KILN_EDITS` asks for more edits than the usual few, `KILN_SEED` for others. A failure is
//! reported with its seed and as few of the edits as still lead to it.

use kiln_testbed::{differences, list_tar, need};

use crate::truth::chance::Chance;
use crate::truth::machine::Machine;
use crate::truth::world::{Built, World};

/// Edits unless `KILN_EDITS` asks for more: what takes a few seconds.
const EDITS: usize = 40;

/// After this many edits, a new world is begun: context and Dockerfile have become what they are
/// by chance, and most that can happen in them has happened.
const STORY: usize = 40;

/// Attempts at leaving out edits of a failure.
const ATTEMPTS: usize = 60;

#[test]
fn edits_at_random() {
    tell_stories(&need!(Machine::own()), 1);
}

#[test]
fn edits_at_random_of_an_ordinary_user() {
    tell_stories(&need!(Machine::of_user()), 2);
}

#[expect(
    clippy::disallowed_methods,
    reason = "the user who runs the tests asks for more"
)]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn tell_stories(machine: &Machine, seed: u64) {
    let first = variable("KILN_SEED").unwrap_or(seed);
    let edits = variable("KILN_EDITS").map_or(EDITS, |edits| edits.try_into().unwrap());
    let (mut told, mut failed) = (0, 0);
    for seed in first.. {
        if told >= edits {
            break;
        }
        let story = Story::new(seed, STORY.min(edits - told));
        told += story.edits.len();
        let (failures, difference) = story.tell(machine, Comparisons::All);
        failed += failures;
        if let Some(difference) = difference {
            let story = story.up_to(difference.edit).shortened(machine);
            let shortest = story.tell(machine, Comparisons::Last).1;
            panic!(
                "KILN_SEED={seed}: {difference}\n\nshortened, {}",
                shortest.map_or_else(
                    || "it is not met again".to_owned(),
                    |shortest| shortest.to_string()
                )
            );
        }
    }
    // Builds that fail say little.
    assert!(failed * 2 <= told, "{failed} of {told} builds failed");
}

/// A world and what happens to it.
#[derive(Clone)]
struct Story {
    seed: u64,
    edits: Vec<u64>,
}

/// When builds are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparisons {
    All,
    Last,
}

/// Two builds of the same that differ.
struct Difference {
    /// The position of the last edit.
    edit: usize,
    text: String,
}

impl Story {
    fn new(seed: u64, length: usize) -> Self {
        let mut chance = Chance::new(seed);
        Self {
            seed,
            edits: (0..length).map(|_| chance.number()).collect(),
        }
    }

    fn up_to(mut self, edit: usize) -> Self {
        self.edits.truncate(edit + 1);
        self
    }

    /// Builds after every edit. Returns how many builds failed as they should, and the first
    /// difference.
    fn tell(&self, machine: &Machine, comparisons: Comparisons) -> (usize, Option<Difference>) {
        let mut world = World::new(machine, "world", self.seed);
        let mut said = Vec::new();
        let mut failures = 0;
        let _ = world.build();
        for (position, edit) in self.edits.iter().enumerate() {
            said.push(world.edit(*edit));
            let built = world.build();
            failures += usize::from(built.is_err());
            let is_last = position + 1 == self.edits.len();
            if comparisons == Comparisons::Last && !is_last {
                continue;
            }
            let fresh = world.build_from_nothing();
            if built != fresh {
                let text = report(&world, &built, &fresh, &said);
                let edit = position;
                return (failures, Some(Difference { edit, text }));
            }
        }
        (failures, None)
    }

    /// Leaves out edits as long as the last build still differs.
    fn shortened(self, machine: &Machine) -> Self {
        let mut story = self;
        let mut attempts = 0;
        let mut size = story.edits.len() / 2;
        while size > 0 {
            let mut start = 0;
            while start + 1 < story.edits.len() && attempts < ATTEMPTS {
                let end = (start + size).min(story.edits.len() - 1);
                let mut shorter = story.clone();
                shorter.edits.drain(start..end);
                attempts += 1;
                match shorter.tell(machine, Comparisons::Last).1 {
                    Some(_) => story = shorter,
                    None => start = end,
                }
            }
            size /= 2;
        }
        story
    }
}

fn report(world: &World<'_>, built: &Built, fresh: &Built, said: &[String]) -> String {
    let mut text = format!("with the past {built:?}, from nothing {fresh:?}\n");
    if let (Ok(_), Ok(_)) = (built, fresh)
        && let [Ok(past), Ok(fresh)] = world.files().map(|archive| list_tar(&archive))
    {
        text += &format!("files: {:#?}\n", differences(&past, &fresh));
    }
    format!("{text}edits: {said:#?}\n{}", world.describe())
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "edit {}: {}", self.edit, self.text)
    }
}
