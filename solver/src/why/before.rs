//! What the last build left behind, looked at before anything runs.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use kiln_cache::{ActionKey, ActionRecord, Actions, CacheBackend as _, Tombstone, Tombstones};
use kiln_oci::Platform;

use super::matching::{self, Name};
use crate::deps::Deps;
use crate::graph::{Graph, Op, StepId};
use crate::journal::Build;
use crate::keys::StepKeys;
use crate::reason::Reason;

/// What the last build of the same definition left behind.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// The step of the last build that each step corresponds to.
    past: HashMap<StepId, Past>,
    /// The needed steps with their present keys.
    recipes: HashMap<StepId, ActionKey>,
    /// Those of them whose record is there, but not every layer of it.
    without_layer: HashSet<StepId>,
    /// Which of the keys above were evicted; read on first use, since it is a file of many lines.
    evicted: OnceLock<HashMap<ActionKey, Tombstone>>,
    /// What the images were called that it started from.
    images: HashMap<StepId, String>,
    /// The platforms that are built for, and whether they were before.
    platforms: Vec<(Platform, bool)>,
}

/// A step of the last build.
#[derive(Debug)]
pub(crate) struct Past {
    /// Where its last result was recorded.
    pub(crate) key: ActionKey,
    /// That record, if it is still there.
    pub(crate) record: Option<ActionRecord>,
}

impl Before {
    /// Looks at what the last build left of the steps that are `needed` and of those they are made
    /// from. Without keys, because not even the facts are known, only the past is looked for.
    pub(crate) fn look(
        graph: &Graph,
        needed: &[bool],
        keys: Option<&[StepKeys]>,
        deps: &Deps<'_>,
    ) -> Self {
        let actions = Actions::new(deps.store);
        let mut before = Self::default();
        // A Dockerfile that was never built in this place may have been built in another.
        let elsewhere = || {
            let names: Vec<&str> = graph.steps().map(|(_, step)| &*step.name).collect();
            deps.journal.alike(&names)
        };
        if let Some(build) = deps.journal.previous(deps.definition).or_else(elsewhere) {
            before.remember(graph, needed, build, &actions, deps);
        }
        if let Some(keys) = keys {
            before.miss(graph, needed, keys, &actions, deps);
        }
        before
    }

    fn remember(
        &mut self,
        graph: &Graph,
        needed: &[bool],
        build: Build,
        actions: &Actions,
        deps: &Deps<'_>,
    ) {
        let here = graph
            .steps()
            .map(|(_, step)| Name::of(&step.name, &step.stage));
        let there = build.steps.iter();
        let there = there.map(|step| Name::of(&step.name, &step.stage));
        let matches = matching::pairs(&here.collect::<Vec<_>>(), &there.collect::<Vec<_>>());
        for (id, step) in graph.steps() {
            if let (Op::From(_), Some(was)) = (&step.op, matches[id.index()]) {
                self.images.insert(id, image_name(&build.steps[was].name));
            }
        }
        let mut wanted: Vec<StepId> = Vec::new();
        for (id, _) in graph.steps().filter(|(id, _)| needed[id.index()]) {
            wanted.push(id);
            wanted.extend(graph.inputs(id));
        }
        wanted.sort_unstable();
        wanted.dedup();
        let known: Vec<_> = wanted
            .into_iter()
            .filter_map(|id| Some((id, build.steps[matches[id.index()]?].key?)))
            .collect();
        let keys: Vec<_> = known.iter().map(|(_, key)| *key).collect();
        let mut records = actions.get_many(&keys);
        // The record of a result that came from a shared cache may be there alone.
        let (places, elsewhere): (Vec<usize>, Vec<ActionKey>) = (0..keys.len())
            .filter(|place| records[*place].is_none())
            .map(|place| (place, keys[place]))
            .unzip();
        if !elsewhere.is_empty() {
            for (place, record) in places.into_iter().zip(deps.cache.get_many(&elsewhere)) {
                records[place] = record;
            }
        }
        for ((id, key), record) in known.into_iter().zip(records) {
            self.past.insert(id, Past { key, record });
        }
        let wanted = deps.definition.platforms.iter();
        let known = |wanted: &Platform| build.definition.platforms.contains(wanted);
        self.platforms = wanted
            .map(|wanted| (wanted.clone(), known(wanted)))
            .collect();
    }

    /// Finds out which records of the needed steps are there and do not help.
    fn miss(
        &mut self,
        graph: &Graph,
        needed: &[bool],
        keys: &[StepKeys],
        actions: &Actions,
        deps: &Deps<'_>,
    ) {
        let (steps, recipes): (Vec<StepId>, Vec<ActionKey>) = graph
            .steps()
            .filter(|(id, _)| needed[id.index()])
            .map(|(id, _)| (id, keys[id.index()].recipe))
            .unzip();
        for (id, record) in steps.iter().zip(actions.get_many(&recipes)) {
            if record.is_some_and(|record| !is_whole(&record, deps)) {
                self.without_layer.insert(*id);
            }
        }
        self.recipes = steps.into_iter().zip(recipes).collect();
    }

    /// Returns the platform of a step if nothing was built for it before. A step that does not say
    /// its own can only be told where all are new.
    pub(super) fn new_platform(&self, own: Option<Platform>) -> Option<&Platform> {
        let is_new = |(_, known): &&(Platform, bool)| !known;
        match own {
            Some(own) => self
                .platforms
                .iter()
                .filter(is_new)
                .find(|(one, _)| *one == own),
            None if self.platforms.iter().all(|known| is_new(&known)) => self.platforms.first(),
            None => None,
        }
        .map(|(platform, _)| platform)
    }

    /// Returns what the image of a `FROM` step was called.
    pub(super) fn image(&self, from: StepId) -> Option<&String> {
        self.images.get(&from)
    }

    /// Returns what became of a step's last result, if something did and nothing else is new.
    pub(super) fn lost(&self, id: StepId, deps: &Deps<'_>) -> Option<Reason> {
        if self.without_layer.contains(&id) {
            return Some(Reason::LayerGone);
        }
        self.eviction(*self.recipes.get(&id)?, deps)
    }

    /// Says when and why a record was evicted.
    pub(super) fn eviction(&self, key: ActionKey, deps: &Deps<'_>) -> Option<Reason> {
        let evicted = self.evicted.get_or_init(|| {
            let past = self.past.values().map(|past| past.key);
            let keys: Vec<ActionKey> = self.recipes.values().copied().chain(past).collect();
            let found = Tombstones::new(deps.store).get_many(&keys);
            let found = keys.into_iter().zip(found);
            found
                .filter_map(|(key, tombstone)| Some((key, tombstone?)))
                .collect()
        });
        let tombstone = evicted.get(&key)?;
        Some(Reason::Evicted {
            at: tombstone.when,
            because: tombstone.reason.clone(),
        })
    }

    /// Returns the step of the last build that a step corresponds to, if its result was recorded.
    pub(crate) fn past(&self, id: StepId) -> Option<&Past> {
        self.past.get(&id)
    }
}

fn is_whole(record: &ActionRecord, deps: &Deps<'_>) -> bool {
    deps.layers.has_all(&record.state)
}

/// Returns what a `FROM` step's image is called, from the step's name: `… FROM NAME@DIGEST`.
pub(super) fn image_name(step: &str) -> String {
    let name = step.rsplit_once("FROM ").map_or(step, |(_, name)| name);
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.parse::<kiln_oci::ImageRef>() {
        Ok(image) => image.familiar(),
        Err(_) => name.to_owned(),
    }
}
