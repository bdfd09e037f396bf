//! Which cache mounts a plan uses, and what new ones begin with.

use kiln_files::GuestPath;
use kiln_solver::{Op, Plan, RunMountKind, StepPath, used_cache_mounts};
use kiln_tree::{Blake3, LayerId};

use super::plan::case;

fn layer(text: &str) -> LayerId {
    LayerId(Blake3::of(text.as_bytes()))
}

/// Returns what the cache mounts of a plan begin with, in order.
fn initial(plan: &Plan) -> Vec<Option<StepPath>> {
    let steps = plan.graph.steps();
    let mounts = steps.flat_map(|(_, step)| match &step.op {
        Op::Run(run) => run.mounts.clone(),
        _ => Vec::new(),
    });
    let kinds = mounts.filter_map(|mount| match mount.kind {
        RunMountKind::Cache { initial, .. } => Some(initial),
        _ => None,
    });
    kinds.collect()
}

#[test]
fn cache_mount_begins_with_all_of_its_stage_whichever_part_is_mounted() {
    let text = "FROM base AS a\nFROM base\n\
        RUN --mount=type=cache,target=/c,from=a,source=part --mount=type=cache,target=/d make\n";
    let plan = case(text).plan();
    let [Some(begun), None] = &initial(&plan)[..] else {
        panic!("one of two begins with files: {:?}", initial(&plan));
    };
    assert_eq!(begun.path, GuestPath::ROOT);
    assert!(begun.step.is_some());
}

#[test]
fn cache_mounts_are_known_by_name_and_by_the_files_they_begin_with() {
    let text = "FROM base AS a\nFROM base\n\
        RUN --mount=type=cache,target=/c,id=one make\n\
        RUN --mount=type=cache,target=/d,id=one make again\n\
        RUN --mount=type=cache,target=/c,from=a,id=one make more\n\
        RUN --mount=type=cache,target=/e make all\n";
    let plan = case(text).plan();
    let names = |layers: &dyn Fn() -> Option<Vec<LayerId>>| -> Vec<String> {
        let used = used_cache_mounts(&plan.graph, |_| layers());
        used.into_values().collect()
    };
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let known = sorted(names(&|| Some(vec![layer("base")])));
    assert_eq!(known, ["/e", "one", "one"]);
    assert_eq!(sorted(names(&|| None)), ["/e", "one"]);
    let keys = |text: &str| {
        let used = used_cache_mounts(&plan.graph, |_| Some(vec![layer(text)]));
        used.into_keys().collect::<Vec<Blake3>>()
    };
    let (one, other) = (keys("base"), keys("other base"));
    let common = one.iter().filter(|key| other.contains(key)).count();
    assert_eq!(common, 2, "the third begins with other files");
}
