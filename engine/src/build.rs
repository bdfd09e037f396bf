//! `kiln build`: text to plan, plan to solution, solution to image, image to wherever it goes.

use kiln_cache::{GuestPath, State, Timestamp};
use kiln_runtime::Cancel;
use kiln_solver::{
    Context, Deps, Fault, Network, Plan, PlanError, PlanOptions, Progress, Reporter,
    RunSurroundings, ScannedContext, SolveError, StepError, StepId, VertexEnd, context_paths, plan,
    solve,
};

use crate::base_layers::Fetcher;
use crate::bases::Resolver;
use crate::check;
use crate::definition::{load_dockerfile, load_ignore_file};
use crate::error::chain;
use crate::output::Built;
use crate::remote::NoRemotes;
use crate::request::{BuildRequest, BuildResult, ContextSource, unsupported};
use crate::sandbox::{LazyExecutor, LazySnapshotter};
use crate::{Engine, Error, ErrorClass, SourceText};

impl Engine {
    /// Builds an image and hands it to the outputs.
    ///
    /// # Errors
    /// See [`Error`]; nothing half-finished remains.
    pub fn build(
        &self,
        request: &BuildRequest,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<BuildResult, Error> {
        unsupported(request)?;
        let reporter = Reporter::new(progress);
        let (source_text, dockerfile) = load_dockerfile(request, &reporter)?;
        let checks = check::options(&dockerfile).map_err(|error| Error::Dockerfile {
            source_text: source_text.clone(),
            diagnostics: vec![*error],
        })?;
        let options = PlanOptions {
            target: request.target.clone(),
            build_args: request.build_args.clone(),
            platforms: match request.platforms.as_slice() {
                [] => vec![Self::host_platform()],
                platforms => platforms.to_vec(),
            },
            build_platform: Self::host_platform(),
            labels: request.labels.clone(),
            network: match request.network {
                kiln_runtime::Network::Host => Network::Default,
                kiln_runtime::Network::None => Network::None,
            },
            extra_hosts: extra_host_names(request),
        };
        let resolver = Resolver {
            engine: self,
            pull: request.pull,
            reporter: &reporter,
        };
        let plan = plan(&dockerfile, &options, &resolver)
            .map_err(|error| plan_error(error, &source_text))?;
        let findings = check::findings(&dockerfile, &checks, &plan.warnings);
        if checks.error && !findings.is_empty() {
            return Err(Error::Dockerfile {
                diagnostics: vec![check::violation(&findings)],
                source_text,
            });
        }
        let context = self.scan_context(request, &plan, &reporter)?;
        let roots: Vec<StepId> = plan.targets.iter().filter_map(|t| t.root).collect();
        let solved = match roots.is_empty() {
            true => Vec::new(),
            false => {
                let fetcher = Fetcher::new(self, &plan, &reporter);
                let executor = LazyExecutor::new(self);
                let snapshotter = LazySnapshotter::new(self);
                let deps = Deps {
                    store: &self.store,
                    layers: &self.layers,
                    snapshotter: &snapshotter,
                    cache: &self.actions,
                    bases: &fetcher,
                    remotes: &NoRemotes,
                    context: &context,
                    executor: &executor,
                    surroundings: &surroundings(request, &plan),
                    reporter: &reporter,
                    cancel,
                    jobs: request.jobs,
                    reuse: request.reuse.clone(),
                    epoch: request.epoch,
                };
                let solution = solve(&plan.graph, &roots, &deps)
                    .map_err(|error| solve_error(error, &source_text))?;
                solution.states
            }
        };
        let mut solved = solved.into_iter();
        let built = plan.targets.iter().map(|target| Built {
            target,
            state: match target.root {
                Some(_) => solved.next().expect("every root has a state"),
                None => State {
                    base: target.base,
                    layers: Vec::new(),
                },
            },
        });
        let built: Vec<Built<'_>> = built.collect();
        let image = self.export(request, &plan, &built, &reporter)?;
        Ok(BuildResult {
            image: image.id(),
            manifest: image.descriptor.digest,
            warnings: findings,
            source_text,
        })
    }

    /// Looks at the parts of the context that the plan reads.
    fn scan_context(
        &self,
        request: &BuildRequest,
        plan: &Plan,
        reporter: &Reporter<'_>,
    ) -> Result<ScannedContext, Error> {
        let wanted: Vec<GuestPath> = context_paths(&plan.graph);
        let directory = match &request.context {
            ContextSource::Directory(directory) if !wanted.is_empty() => directory,
            _ => return Ok(ScannedContext::empty()),
        };
        let ignore = load_ignore_file(request, directory)?;
        let vertex = reporter.start("[internal] load build context");
        let directory = directory
            .canonicalize()
            .map_err(Error::at("cannot open the build context", directory))?;
        let context = Context { directory, ignore };
        match context.scan(&self.store, &wanted, Timestamp::now()) {
            Ok(scanned) => {
                vertex.status("reading changed files", scanned.bytes_read, None, true);
                vertex.end(VertexEnd::Done);
                Ok(scanned)
            }
            Err(error) => {
                let message = chain(&error);
                vertex.end(VertexEnd::Failed(message.clone()));
                Err(Error::input(format!("build context: {message}")))
            }
        }
    }
}

fn extra_host_names(request: &BuildRequest) -> Vec<String> {
    let mut names: Vec<String> = request
        .extra_hosts
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    names.sort_unstable();
    names
}

fn surroundings(request: &BuildRequest, plan: &Plan) -> RunSurroundings {
    RunSurroundings {
        proxies: plan.proxies.clone(),
        network: request.network,
        extra_hosts: request.extra_hosts.clone(),
        shm_size_bytes: request.shm_size_bytes,
        ulimits: request.ulimits.clone(),
        resources: request.resources.clone(),
        resolv_conf: request.resolv_conf.clone(),
    }
}

fn plan_error(error: PlanError, source_text: &SourceText) -> Error {
    match error {
        PlanError::Input(diagnostics) => Error::Dockerfile {
            source_text: source_text.clone(),
            diagnostics,
        },
        PlanError::Base {
            name,
            canonical,
            span,
            source,
        } => Error::Base {
            source_text: source_text.clone(),
            span,
            message: format!(
                "{name}: failed to resolve source metadata for {canonical}: {}",
                source.message
            ),
            class: fault_class(source.fault),
            hint: source.hint,
        },
    }
}

fn solve_error(error: SolveError, source_text: &SourceText) -> Error {
    match error {
        SolveError::Cancelled => Error::Cancelled,
        SolveError::Step {
            name, span, source, ..
        } => {
            let (class, exit_code) = match &source {
                StepError::Process { code, .. } => (ErrorClass::Step, Some(*code)),
                StepError::Select(_)
                | StepError::Place(_)
                | StepError::User(_)
                | StepError::Unpack(_)
                | StepError::NoRootForNames => (ErrorClass::Input, None),
                StepError::Layers(error) => (fault_class(error.fault), None),
                _ => (ErrorClass::Environment, None),
            };
            Error::Step {
                source_text: source_text.clone(),
                span,
                name,
                message: chain(&source),
                class,
                exit_code,
            }
        }
    }
}

fn fault_class(fault: Fault) -> ErrorClass {
    match fault {
        Fault::Input => ErrorClass::Input,
        Fault::Environment => ErrorClass::Environment,
    }
}
