//! What the scheduler makes of graphs, with a runner that runs nothing: it writes down what each
//! process was given. A serial solver of ten lines says what must come out.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use kiln_cache::{Actions, LayerStack, Store};
use kiln_files::GuestPath;
use kiln_oci::Sha256;
use kiln_parser::Span;
use kiln_runtime::Stream;
use kiln_snapshotter::{Layer, LayerStore, RecentViews};
use kiln_solver::{
    Access, BuildDefinition, Chain, ChainError, Deps, Fate, Graph, Journal, LayerFetchError,
    Layers, LayersError, Op, Precompute, Progress, Remote, RemoteError, RemoteIdentity, Remotes,
    Reporter, Reuse, RunEvents, RunMount, RunMountKind, RunOp, Runner, Silent, Solution,
    SolveError, Step, StepError, StepId, StepPath, Vertex, solve,
};
use kiln_threads::Stop;
use kiln_tree::LayerId;

use super::memory::{Memory, left_by};
use super::processes::process;
use super::told::Told;

#[derive(Debug)]
struct Nothing;

impl Layers for Nothing {
    fn layers(&self, _: Sha256) -> Result<Vec<Layer>, LayersError> {
        unreachable!("these builds start from scratch")
    }

    fn are_here(&self, _: Sha256) -> bool {
        unreachable!("these builds start from scratch")
    }

    fn fetch_and_unpack(&self, _: &[LayerId]) -> Result<Vec<Layer>, LayerFetchError> {
        unreachable!("these builds have their layers here")
    }
}

impl Remotes for Nothing {
    fn identify(
        &self,
        _: &Remote,
        _: &Vertex<'_>,
        _: &Stop,
    ) -> Result<RemoteIdentity, RemoteError> {
        unreachable!("these builds fetch nothing")
    }

    fn fetch(
        &self,
        _: &Remote,
        _: &RemoteIdentity,
        _: &Vertex<'_>,
        _: &Stop,
    ) -> Result<Layer, RemoteError> {
        unreachable!("these builds fetch nothing")
    }
}

/// Returns what each step comes to, one after the other.
fn solve_serially(graph: &Graph) -> Vec<Vec<String>> {
    let mut states: Vec<Vec<String>> = Vec::new();
    for (_, step) in graph.steps() {
        let base = step.parent.map(|parent| states[parent.index()].clone());
        let mut state = base.unwrap_or_default();
        let sources = step.op.sources().map(|id| states[id.index()].clone());
        let sources: Vec<Vec<String>> = sources.collect();
        state.push(left_by(command(step), &state, &sources));
        states.push(state);
    }
    states
}

fn command(step: &Step) -> &str {
    match &step.op {
        Op::Run(run) => &run.argv[0],
        other => unreachable!("these graphs have processes only: {other:?}"),
    }
}

/// A state directory that outlives builds.
struct World {
    _directory: tempfile::TempDir,
    store: Store,
    layers: LayerStore,
    texts: Mutex<HashMap<LayerId, String>>,
}

/// What a build came to.
struct Came {
    /// What each step holds that was asked for it, or why there is no result.
    known: Vec<Option<Vec<String>>>,
    failure: Option<SolveError>,
    fates: Vec<Fate>,
    /// The commands that ran.
    ran: Vec<String>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("state")).unwrap();
        Self {
            _directory: directory,
            layers: LayerStore::new(&store),
            store,
            texts: Mutex::default(),
        }
    }

    fn build(&self, graph: &Graph, targets: &[StepId], reuse: Reuse, jobs: usize) -> Came {
        self.build_failing(graph, targets, reuse, jobs, None)
    }

    fn build_failing(
        &self,
        graph: &Graph,
        targets: &[StepId],
        reuse: Reuse,
        jobs: usize,
        failing: Option<&str>,
    ) -> Came {
        let runner = Memory {
            layers: &self.layers,
            texts: &self.texts,
            ran: Mutex::default(),
            failing: failing.map(str::to_owned),
        };
        let Solution {
            states,
            steps,
            known,
            ..
        } = self.solve(graph, targets, reuse, jobs, &runner);
        let text = |state: Option<LayerStack>| state.map(|state| runner.texts(&state));
        Came {
            known: known.into_iter().map(text).collect(),
            failure: states.err(),
            fates: steps.into_iter().map(|step| step.fate).collect(),
            ran: runner.ran.into_inner().unwrap(),
        }
    }

    fn solve(
        &self,
        graph: &Graph,
        targets: &[StepId],
        reuse: Reuse,
        jobs: usize,
        runner: &dyn Runner,
    ) -> Solution {
        self.solve_telling(graph, targets, reuse, jobs, (runner, &Silent))
    }

    fn solve_telling(
        &self,
        graph: &Graph,
        targets: &[StepId],
        reuse: Reuse,
        jobs: usize,
        (runner, progress): (&dyn Runner, &dyn Progress),
    ) -> Solution {
        let deps = Deps {
            store: &self.store,
            layers: &self.layers,
            cache: &Actions::new(&self.store),
            bases: &Nothing,
            views: &RecentViews::default(),
            remotes: &Nothing,
            contexts: &[],
            runner,
            reporter: &Reporter::new(progress),
            stop: &Stop::default(),
            jobs,
            reuse,
            journal: &Journal::new(&self.store),
            definition: &BuildDefinition {
                context: "ctx".to_owned(),
                dockerfile: "Dockerfile".to_owned(),
                target: None,
                platforms: Vec::new(),
            },
            precompute: Precompute::Nothing,
        };
        solve(graph, targets, &deps)
    }
}

/// Adds a process that stands on a step and finds others mounted.
fn add(
    graph: &mut Graph,
    stage: &str,
    command: &str,
    parent: Option<StepId>,
    sources: &[StepId],
) -> StepId {
    let mount = |(position, step): (usize, &StepId)| RunMount {
        target: GuestPath::new(format!("/source/{position}")),
        kind: RunMountKind::Bind {
            files: StepPath {
                step: Some(*step),
                path: GuestPath::ROOT,
            },
            access: Access::ReadOnly,
        },
    };
    graph.add(Step {
        op: Op::Run(Box::new(RunOp {
            mounts: sources.iter().enumerate().map(mount).collect(),
            ..process(&[command])
        })),
        parent,
        name: format!("[{stage} 1/1] RUN {command}"),
        span: Span::default(),
        stage: stage.to_owned(),
        shared_with: Vec::new(),
    })
}

/// Numbers that look random and come again with their seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// Returns a graph of up to a dozen processes in three stages, some of them in two of these.
fn random_graph(random: &mut Random) -> Graph {
    let mut graph = Graph::default();
    let mut ids: Vec<StepId> = Vec::new();
    for position in 0..=random.below(12) {
        let parent = match random.below(4) {
            0 => None,
            _ if ids.is_empty() => None,
            _ => Some(ids[random.below(ids.len())]),
        };
        let mut sources = Vec::new();
        while !ids.is_empty() && random.below(3) == 0 {
            sources.push(ids[random.below(ids.len())]);
        }
        // Now and then a command that another step has as well.
        let command = format!("c{}", position - random.below(2).min(position));
        let stage = ["one", "two", "three"][random.below(3)];
        ids.push(add(&mut graph, stage, &command, parent, &sources));
    }
    graph
}

fn random_targets(random: &mut Random, graph: &Graph) -> Vec<StepId> {
    let ids: Vec<StepId> = graph.steps().map(|(id, _)| id).collect();
    let mut targets = vec![ids[random.below(ids.len())]];
    if random.below(2) == 0 {
        targets.push(ids[random.below(ids.len())]);
    }
    targets
}

/// Returns the steps that targets are made from, themselves included.
fn reached(graph: &Graph, targets: &[StepId]) -> BTreeSet<StepId> {
    let mut found = BTreeSet::new();
    let mut pending = targets.to_vec();
    while let Some(id) = pending.pop() {
        if found.insert(id) {
            pending.extend(graph.inputs(id));
        }
    }
    found
}

/// Returns the commands of some steps, sorted.
fn commands(graph: &Graph, steps: impl IntoIterator<Item = StepId>) -> Vec<String> {
    let steps = steps.into_iter();
    sorted(steps.map(|id| command(graph.step(id)).to_owned()).collect())
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words
}

#[test]
fn random_graphs_come_to_what_a_serial_solver_says() {
    for seed in 1..=30 {
        let mut random = Random(seed);
        let graph = random_graph(&mut random);
        let targets = random_targets(&mut random, &graph);
        let expected = solve_serially(&graph);
        let reached = reached(&graph, &targets);
        let world = World::new();
        let jobs = 1 + random.below(4);
        let came = world.build(&graph, &targets, Reuse::All, jobs);
        assert!(came.failure.is_none(), "seed {seed}: {:?}", came.failure);
        for (id, _) in graph.steps() {
            let known = came.known[id.index()].as_ref();
            let expected = reached.contains(&id).then(|| &expected[id.index()]);
            assert_eq!(known, expected, "seed {seed}, step {}", id.index());
            let ran = matches!(came.fates[id.index()], Fate::Ran { .. });
            assert_eq!(ran, expected.is_some(), "seed {seed}, step {}", id.index());
        }
        let once = commands(&graph, reached.iter().copied());
        assert_eq!(sorted(came.ran), once, "seed {seed}: each step runs once");

        let again = world.build(&graph, &targets, Reuse::All, jobs);
        assert_eq!(again.ran, Vec::<String>::new(), "seed {seed}");
        for target in &targets {
            let known = again.known[target.index()].as_ref();
            assert_eq!(known, Some(&expected[target.index()]), "seed {seed}");
        }
        let anew = world.build(&graph, &targets, Reuse::Nothing, jobs);
        assert_eq!(sorted(anew.ran), once, "seed {seed}: none is reused");
    }
}

#[test]
fn refused_stages_run_again_and_nothing_else_does() {
    for seed in 1..=30 {
        let mut random = Random(seed);
        let graph = random_graph(&mut random);
        let targets = random_targets(&mut random, &graph);
        let reached = reached(&graph, &targets);
        let world = World::new();
        world.build(&graph, &targets, Reuse::All, 2);
        let refused = ["one", "two", "three"][random.below(3)];
        let reuse = Reuse::AllBut(vec![refused.to_owned()]);
        let came = world.build(&graph, &targets, reuse, 2);
        let is_refused = |id: &StepId| graph.step(*id).stages().any(|stage| stage == refused);
        // A target found by its recipe hides what it is made from, unless that is made anew.
        let again = commands(&graph, reached.into_iter().filter(is_refused));
        assert_eq!(sorted(came.ran), again, "seed {seed}: all but {refused}");
    }
}

#[test]
fn failed_step_ends_the_build_and_what_was_made_is_kept() {
    for seed in 1..=20 {
        let mut random = Random(seed);
        let graph = random_graph(&mut random);
        let (target, _) = graph.steps().next_back().unwrap();
        let reached: Vec<StepId> = reached(&graph, &[target]).into_iter().collect();
        let failing = command(graph.step(reached[random.below(reached.len())])).to_owned();
        let world = World::new();
        let came = world.build_failing(&graph, &[target], Reuse::All, 3, Some(&failing));
        let Some(SolveError::Step { step, .. }) = came.failure else {
            unreachable!("seed {seed}: a process ended badly, but {:?}", came.failure);
        };
        assert_eq!(command(graph.step(step)), failing, "seed {seed}");
        assert_eq!(came.fates[step.index()], Fate::Failed, "seed {seed}");
        for (id, _) in graph.steps().filter(|(id, _)| *id > step) {
            let stands_on_it = graph.inputs(id).any(|input| input == step);
            let ran = matches!(came.fates[id.index()], Fate::Ran { .. });
            assert!(!(stands_on_it && ran), "seed {seed}: its input failed");
        }
        let mut rest = commands(&graph, reached);
        for ran in came.ran.iter().filter(|ran| **ran != failing) {
            let at = rest.iter().position(|command| command == ran).unwrap();
            rest.remove(at);
        }
        let next = world.build(&graph, &[target], Reuse::All, 3);
        assert!(next.failure.is_none(), "seed {seed}: {:?}", next.failure);
        assert_eq!(sorted(next.ran), rest, "seed {seed}: what ran stays");
        assert_eq!(
            next.known[target.index()].as_ref(),
            solve_serially(&graph).last(),
            "seed {seed}"
        );
    }
}

/// Both stages begin with the same process; each has one of its own.
fn shared_beginning() -> (Graph, [StepId; 3]) {
    let mut graph = Graph::default();
    let first = add(&mut graph, "one", "same", None, &[]);
    let one = add(&mut graph, "one", "only-one", Some(first), &[]);
    let second = add(&mut graph, "two", "same", None, &[]);
    assert_eq!(first, second, "equal steps on equal parents are one");
    let two = add(&mut graph, "two", "only-two", Some(second), &[]);
    (graph, [first, one, two])
}

/// Lets no process end before another has begun, for ten seconds.
#[derive(Debug, Default)]
struct Meeting {
    begun: Mutex<usize>,
    changed: Condvar,
}

impl Runner for Meeting {
    fn run(&self, _: &Chain<'_>, _: &mut dyn RunEvents) -> Result<Vec<LayerId>, ChainError> {
        let mut begun = self.begun.lock().unwrap();
        *begun += 1;
        self.changed.notify_all();
        let limit = Duration::from_secs(10);
        let alone = |begun: &mut usize| *begun < 2;
        let (_begun, waited) = self
            .changed
            .wait_timeout_while(begun, limit, alone)
            .unwrap();
        let command = if waited.timed_out() { "alone" } else { "met" };
        Err(ChainError {
            made: Vec::new(),
            error: StepError::Process {
                command: command.to_owned(),
                code: 1,
                out_of_memory: false,
            },
        })
    }
}

#[test]
fn independent_steps_run_side_by_side() {
    let mut graph = Graph::default();
    assert!(graph.is_empty());
    let one = add(&mut graph, "one", "one", None, &[]);
    let two = add(&mut graph, "two", "two", None, &[]);
    let world = World::new();
    let solution = world.solve(&graph, &[one, two], Reuse::All, 2, &Meeting::default());
    let Err(SolveError::Step { source, .. }) = solution.states else {
        panic!("each process ends badly");
    };
    assert!(source.to_string().starts_with("process met "), "{source}");
}

/// Has all it needs from the start, says that its process begins, and writes.
#[derive(Debug)]
struct Writes;

impl Runner for Writes {
    fn run(&self, _: &Chain<'_>, events: &mut dyn RunEvents) -> Result<Vec<LayerId>, ChainError> {
        events.warn("it begins".to_owned());
        events.begin(0);
        events.output(0, Stream::Stderr, b"it ends");
        Err(ChainError {
            made: Vec::new(),
            error: StepError::Device("none".to_owned()),
        })
    }
}

#[test]
fn step_starts_when_its_process_does() {
    let mut graph = Graph::default();
    let step = add(&mut graph, "one", "c", None, &[]);
    let told = Told::default();
    World::new().solve_telling(&graph, &[step], Reuse::All, 1, (&Writes, &told));
    let lines = told.lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(
        lines[..3],
        [
            "it begins",
            "[one 1/1] RUN c started",
            "[one 1/1] RUN c wrote it ends"
        ]
    );
    assert!(
        lines[3].starts_with("[one 1/1] RUN c ended: Failed("),
        "{lines:?}"
    );
}

#[test]
fn shared_step_belongs_to_each_of_its_stages_once() {
    let (mut graph, [first, one, two]) = shared_beginning();
    add(&mut graph, "two", "same", None, &[]);
    add(&mut graph, "one", "same", None, &[]);
    let stages = |id: StepId| graph.step(id).stages().collect::<Vec<&str>>();
    assert_eq!(stages(first), ["one", "two"]);
    assert_eq!(stages(one), ["one"]);
    assert_eq!(stages(two), ["two"]);
    assert_eq!(graph.len(), 3);
}

#[test]
fn equal_processes_differ_by_parent_and_by_mounts() {
    let mut graph = Graph::default();
    let first = add(&mut graph, "one", "same", None, &[]);
    let above = add(&mut graph, "one", "same", Some(first), &[]);
    let beside = add(&mut graph, "one", "same", None, &[first]);
    let both = add(
        &mut graph,
        "one",
        "both",
        Some(first),
        &[above, first, above],
    );
    let inputs = |id| graph.inputs(id).collect::<Vec<StepId>>();
    assert_eq!(graph.len(), 4);
    assert_eq!(inputs(first), []);
    assert_eq!(inputs(above), [first]);
    assert_eq!(inputs(beside), [first]);
    assert_eq!(inputs(both), [first, above], "each input once");
}

#[test]
fn shared_step_runs_again_whichever_of_its_stages_is_refused() {
    for (refused, expected) in [
        ("one", vec!["only-one", "same"]),
        ("two", vec!["only-two", "same"]),
        ("three", vec![]),
    ] {
        let (graph, [_, one, two]) = shared_beginning();
        let world = World::new();
        let first = world.build(&graph, &[one, two], Reuse::All, 2);
        assert_eq!(sorted(first.ran), ["only-one", "only-two", "same"]);
        let reuse = Reuse::AllBut(vec![refused.to_owned()]);
        let came = world.build(&graph, &[one, two], reuse, 2);
        assert_eq!(sorted(came.ran), expected, "--no-cache-filter={refused}");
    }
}
