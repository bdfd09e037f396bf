//! A context, and builds of Dockerfiles that copy from it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use kiln_cache::{Actions, LayerStack, Store};
use kiln_oci::{Image, Sha256, Timestamp};
use kiln_parser::{IgnoreRules, parse};
use kiln_snapshotter::{Layer, LayerStore, ParentView, RecentViews};
use kiln_solver::{
    BaseError, BaseRequest, Bases, Build, BuildDefinition, BuildEnd, BuiltStep, Context, ContextId,
    Deps, Fate, Journal, LayerFetchError, Layers, LayersError, Plan, Precompute, Progress, Remote,
    RemoteError, RemoteIdentity, Remotes, Reporter, Reuse, ScannedContext, Silent, Solution,
    SolveError, Vertex, context_reads, plan, solve,
};
use kiln_solver::{Expected, Forecast, Reason, StepAccount, forecast};
use kiln_threads::Stop;
use kiln_tree::{LayerId, NodeKind};

use crate::memory::Memory;
use crate::options::options_for;
use crate::told::Told;

#[derive(Debug)]
struct Nothing;

impl Bases for Nothing {
    fn resolve(&self, _: &[BaseRequest]) -> Vec<Result<Image, BaseError>> {
        unreachable!("these builds start from scratch")
    }
}

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

/// A context, and a state directory that outlives builds.
pub(crate) struct Bench {
    pub(super) directory: tempfile::TempDir,
    context: PathBuf,
    /// What the layers of RUN hold.
    texts: Mutex<HashMap<LayerId, String>>,
}

pub(super) struct Built {
    pub(super) lines: Vec<String>,
    pub(super) fates: Vec<Fate>,
    pub(super) view: ParentView,
}

impl Bench {
    pub(crate) fn new(files: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bench = Self {
            context: directory.path().join("context"),
            directory,
            texts: Mutex::default(),
        };
        fs::create_dir(&bench.context).unwrap();
        for file in files {
            bench.write(file, file);
        }
        bench
    }

    /// Builds from a context that is there.
    pub(crate) fn of_context(context: PathBuf) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            context,
            texts: Mutex::default(),
        }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.context.join(file)
    }

    pub(super) fn write(&self, file: &str, content: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub(super) fn mode(&self, file: &str, mode: u32) {
        fs::set_permissions(self.path(file), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(super) fn try_build(&self, dockerfile: &str, ignore: &str) -> Result<Built, SolveError> {
        let (state, steps) = self.solve(dockerfile, ignore);
        let view = ParentView::new(&self.layers(&state?)).unwrap();
        Ok(Built {
            lines: list(&view),
            fates: steps.into_iter().map(|step| step.fate).collect(),
            view,
        })
    }

    /// Returns the layers of what was built, lowest first.
    pub(crate) fn layers(&self, state: &LayerStack) -> Vec<Layer> {
        let store = Store::open(&self.directory.path().join("state")).unwrap();
        let layers = LayerStore::new(&store);
        let built = state.layers().into_iter();
        built
            .map(|built| layers.layer(built.layer).unwrap())
            .collect()
    }

    /// Builds and returns what the steps were and what became of them; the next build compares
    /// itself with this one.
    pub(super) fn account(&self, instructions: &str) -> Vec<BuiltStep> {
        self.solve(&format!("FROM scratch\n{instructions}\n"), "").1
    }

    /// As [`Bench::account`], for another platform.
    pub(super) fn account_for(&self, platform: &str, instructions: &str) -> Vec<BuiltStep> {
        let text = format!("FROM scratch\n{instructions}\n");
        self.solve_for(platform, &text, "", &Silent).1
    }

    /// Builds and returns what the build told that was no step's beginning or end.
    pub(super) fn warnings(&self, instructions: &str) -> Vec<String> {
        let text = format!("FROM scratch\n{instructions}\n");
        let told = Told::default();
        let (state, _) = self.solve_for("linux/amd64", &text, "", &told);
        state.unwrap();
        let lines = told.lines().into_iter();
        lines.filter(|line| line.contains(": nothing ")).collect()
    }

    fn solve(
        &self,
        dockerfile: &str,
        ignore: &str,
    ) -> (Result<LayerStack, SolveError>, Vec<BuiltStep>) {
        self.solve_for("linux/amd64", dockerfile, ignore, &Silent)
    }

    fn solve_for(
        &self,
        platform: &str,
        dockerfile: &str,
        ignore: &str,
        progress: &dyn Progress,
    ) -> (Result<LayerStack, SolveError>, Vec<BuiltStep>) {
        let parsed = parse(dockerfile.as_bytes());
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        let options = options_for(platform);
        let plan = plan(&parsed.dockerfile, &options, &Nothing).unwrap();
        self.execute(&plan, ignore, progress)
    }

    /// Makes the first target of a plan that fetches nothing.
    pub(crate) fn execute(
        &self,
        plan: &Plan,
        ignore: &str,
        progress: &dyn Progress,
    ) -> (Result<LayerStack, SolveError>, Vec<BuiltStep>) {
        let store = Store::open(&self.directory.path().join("state")).unwrap();
        let layers = LayerStore::new(&store);
        let context = self.scan(&store, plan, ignore);
        let runner = Memory {
            layers: &layers,
            texts: &self.texts,
            ran: Mutex::default(),
            failing: None,
        };
        let reporter = Reporter::new(progress);
        let deps = Deps {
            store: &store,
            layers: &layers,
            cache: &Actions::new(&store),
            bases: &Nothing,
            views: &RecentViews::default(),
            remotes: &Nothing,
            contexts: &[context],
            runner: &runner,
            reporter: &reporter,
            stop: &Stop::default(),
            jobs: 4,
            reuse: Reuse::All,
            journal: &Journal::new(&store),
            definition: &BuildDefinition {
                context: "ctx".to_owned(),
                dockerfile: "Dockerfile".to_owned(),
                target: None,
                platforms: Vec::new(),
            },
            precompute: Precompute::Nothing,
        };
        let target = plan.targets[0].root.unwrap();
        let expected = forecast(&plan.graph, &[target], &deps);
        let Solution { states, steps, .. } = solve(&plan.graph, &[target], &deps);
        if states.is_ok() {
            check_forecast(&expected.unwrap(), &steps);
        }
        let steps = plan.graph.steps().zip(steps);
        let steps: Vec<BuiltStep> = steps
            .map(|((_, step), account)| BuiltStep {
                name: step.name.clone(),
                stage: step.stage.clone(),
                line: 1,
                key: account.key,
                fate: account.fate,
                because: account.because,
            })
            .collect();
        let build = Build {
            definition: deps.definition.clone(),
            begun: Timestamp::EPOCH,
            took: Duration::ZERO,
            end: match &states {
                Ok(_) => BuildEnd::Succeeded,
                Err(error) => BuildEnd::Failed(error.to_string()),
            },
            compared_with: None,
            steps: steps.clone(),
        };
        deps.journal.write(&build).unwrap();
        (states.map(|mut states| states.remove(0)), steps)
    }

    fn scan(&self, store: &Store, plan: &Plan, ignore: &str) -> ScannedContext {
        let (rules, problems) = IgnoreRules::parse(ignore.as_bytes());
        assert!(problems.is_empty());
        let context = Context {
            directory: self.path("").canonicalize().unwrap(),
            ignore: rules,
            owners: kiln_tree::Owners::Root,
            lifetime: kiln_solver::Lifetime::Lasting,
        };
        let wanted = context_reads(&plan.graph, ContextId::MAIN);
        context.scan(store, &wanted, Timestamp::now()).unwrap()
    }

    #[track_caller]
    pub(super) fn build(&self, instructions: &str) -> Built {
        match self.try_build(&format!("FROM scratch\n{instructions}\n"), "") {
            Ok(built) => built,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    pub(super) fn check(&self, instructions: &str, expected: &[&str]) {
        assert_eq!(self.build(instructions).lines, expected, "{instructions}");
    }

    #[track_caller]
    pub(super) fn fails(&self, instructions: &str, expected: &str) {
        match self.try_build(&format!("FROM scratch\n{instructions}\n"), "") {
            Ok(built) => panic!("{instructions} was built: {:?}", built.lines),
            Err(error) => assert_eq!(error.to_string(), expected, "{instructions}"),
        }
    }
}

/// Fails unless a build came to what was expected of it.
#[track_caller]
fn check_forecast(expected: &[Forecast], steps: &[StepAccount]) {
    for (expected, step) in expected.iter().zip(steps) {
        let is_right = match expected.expected {
            Expected::NotNeeded => step.fate == Fate::NotNeeded,
            Expected::Hit => matches!(step.fate, Fate::Hit | Fate::Found),
            // Another build may have left what a step comes to that was never built before.
            Expected::Runs if step.fate == Fate::Found => expected.because == [Reason::New],
            Expected::Runs => matches!(step.fate, Fate::Ran { .. }),
            Expected::Unknown { .. } => matches!(step.fate, Fate::Found | Fate::Ran { .. }),
        };
        assert!(is_right, "{expected:?}, but {step:?}");
        if expected.expected == Expected::Runs && step.fate != Fate::Found {
            assert_eq!(expected.because, step.because);
        }
    }
}

/// One line for each file: path, what it is, mode, owner where it is not root, content's origin.
pub(super) fn list(view: &ParentView) -> Vec<String> {
    view.walk(&kiln_files::GuestPath::ROOT)
        .map(|located| {
            let entry = located.entry;
            let path = String::from_utf8_lossy(entry.path).into_owned();
            let owner = match (entry.uid, entry.gid) {
                (0, 0) => String::new(),
                (uid, gid) => format!(" {uid}:{gid}"),
            };
            let mode = entry.mode;
            match entry.kind {
                NodeKind::Directory { .. } => format!("{path}/ {mode:o}{owner}"),
                NodeKind::File { size, .. } if size > 1 << 20 => {
                    format!("{path} {mode:o}{owner} {size} bytes")
                }
                NodeKind::File { .. } => {
                    let path_inside = entry.guest_path();
                    let content = view.read(&path_inside, 1 << 20).unwrap().unwrap();
                    let content = String::from_utf8_lossy(&content).into_owned();
                    if content == path || content.len() > 60 {
                        format!("{path} {mode:o}{owner}")
                    } else {
                        format!("{path} {mode:o}{owner} {content:?}")
                    }
                }
                NodeKind::Symlink { target } => {
                    format!("{path} -> {}{owner}", String::from_utf8_lossy(target))
                }
                NodeKind::HardLink { target } => {
                    format!("{path} = {}", String::from_utf8_lossy(target))
                }
                other => format!("{path} {other:?}"),
            }
        })
        .collect()
}
