//! `kiln build`: text to plan, plan to solution, solution to image, image to wherever it goes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_cache::{GuestPath, State, Timestamp};
use kiln_parser::{Place, is_builtin_syntax, remote_source, syntax_image};
use kiln_runtime::Cancel;
use kiln_solver::{
    AllowedDevices, Context, ContextId, Deps, Extent, Fault, GitDirectory, ImageSource, Lifetime,
    NamedSource, Network, Plan, PlanError, PlanOptions, Progress, Remote, Reporter,
    RunSurroundings, ScannedContext, SolveError, StepError, StepId, VertexEnd, context_name,
    context_paths, solve, survey,
};

use crate::base_layers::Fetcher;
use crate::bases::Resolver;
use crate::check::Checks;
use crate::definition::{Definition, load_ignore_file, prepare};
use crate::epoch::{self, Times};
use crate::error::chain;
use crate::output::{self, Built};
use crate::remote::RemoteSources;
use crate::request::{BuildRequest, BuildResult, Entitlement, NamedContext};
use crate::sandbox::{LazyExecutor, LazySnapshotter};
use crate::ssh::BuildAgents;
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
        output::check(request)?;
        let reporter = Reporter::new(progress);
        let agents = BuildAgents::new(&self.store, &request.agents)?;
        let remotes = RemoteSources {
            engine: self,
            secrets: &request.secrets,
            agents: &agents,
            epoch: request.epoch,
        };
        let definition = prepare(request, &remotes, &reporter, cancel)?;
        let Definition {
            source_text,
            dockerfile,
            ..
        } = &definition;
        check_syntax(request, source_text)?;
        let checks = Checks::new(request, source_text, dockerfile)?;
        let mut options = plan_options(request)?;
        options.epoch = epoch::find(
            request,
            dockerfile,
            &Times {
                context: definition.time,
                named: &options.contexts,
                remotes: &remotes,
                reporter: &reporter,
                cancel,
            },
        )?;
        let remotes = RemoteSources {
            epoch: options.epoch,
            ..remotes
        };
        let resolver = Resolver {
            engine: self,
            pull: request.pull,
            reporter: &reporter,
        };
        let survey = survey(dockerfile, &options, Extent::Target, &resolver);
        let findings = checks.findings(&survey)?;
        checks.tell(&findings, &reporter);
        let plan = survey
            .plan
            .map_err(|error| plan_error(error, source_text))?;
        checks.judge(&findings, &survey.stages)?;
        let contexts =
            self.scan_contexts(request, definition.context.as_ref(), &plan, &reporter)?;
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
                    remotes: &remotes,
                    contexts: &contexts,
                    agents: &agents,
                    executor: &executor,
                    surroundings: &surroundings(request, &plan),
                    reporter: &reporter,
                    cancel,
                    jobs: request.jobs,
                    reuse: request.reuse.clone(),
                    epoch: options.epoch,
                };
                let solution = solve(&plan.graph, &roots, &deps)
                    .map_err(|error| solve_error(error, source_text))?;
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
        let exported = self.export(request, &plan, &built, &reporter)?;
        Ok(BuildResult {
            id: exported.id,
            descriptor: exported.descriptor,
            config: exported.config,
            warnings: findings,
            source_text: source_text.clone(),
        })
    }

    /// Looks at the parts of the contexts that the plan reads.
    fn scan_contexts(
        &self,
        request: &BuildRequest,
        main: Option<&Context>,
        plan: &Plan,
        reporter: &Reporter<'_>,
    ) -> Result<Vec<ScannedContext>, Error> {
        let wanted = |number| context_paths(&plan.graph, ContextId(number));
        let mut scanned = vec![match (main, wanted(0)) {
            (Some(context), wanted) if !wanted.is_empty() => {
                self.scan_context(context, &wanted, "", reporter)?
            }
            _ => ScannedContext::empty(),
        }];
        for (number, (name, directory)) in (1..).zip(directories(request)) {
            let wanted = wanted(number);
            if wanted.is_empty() {
                scanned.push(ScannedContext::empty());
                continue;
            }
            let context = Context {
                ignore: load_ignore_file(directory, None)?,
                directory: directory
                    .canonicalize()
                    .map_err(Error::at("cannot open the build context", directory))?,
                lifetime: Lifetime::Lasting,
            };
            scanned.push(self.scan_context(&context, &wanted, name, reporter)?);
        }
        Ok(scanned)
    }

    fn scan_context(
        &self,
        context: &Context,
        wanted: &[GuestPath],
        name: &str,
        reporter: &Reporter<'_>,
    ) -> Result<ScannedContext, Error> {
        let vertex = reporter.start(&match name {
            "" => "[internal] load build context".to_owned(),
            name => format!("[context {name}] load from client"),
        });
        match context.scan(&self.store, wanted, Timestamp::now()) {
            Ok(scanned) => {
                vertex.status("reading changed files", scanned.bytes_read, None, true);
                vertex.end(VertexEnd::Done);
                Ok(scanned)
            }
            Err(error) => {
                let message = chain(&error);
                vertex.end(VertexEnd::Failed(message.clone()));
                Err(Error::input(match name {
                    "" => format!("build context: {message}"),
                    name => format!("build context {name}: {message}"),
                }))
            }
        }
    }
}

/// Refuses a Dockerfile that asks for another language than the one kiln knows.
pub(crate) fn check_syntax(request: &BuildRequest, source_text: &SourceText) -> Result<(), Error> {
    let given = request.build_args.get("BUILDKIT_SYNTAX").cloned();
    match given.or_else(|| syntax_image(&source_text.bytes)) {
        Some(syntax) if !is_builtin_syntax(&syntax) => Err(Error::Input {
            message: format!(
                "syntax {syntax:?} is not supported: kiln has the Dockerfile language built in and runs no other frontend"
            ),
            hint: Some("remove the line, or name docker/dockerfile:1".to_owned()),
        }),
        _ => Ok(()),
    }
}

/// Returns the directories among the named contexts. They are numbered from 1 in this order.
fn directories(request: &BuildRequest) -> impl Iterator<Item = (&str, &PathBuf)> {
    request
        .named_contexts
        .iter()
        .filter_map(|(name, context)| match context {
            NamedContext::Directory(directory) => Some((name.as_str(), directory)),
            _ => None,
        })
}

/// Says what the names of `--build-context` stand for.
fn named_sources(request: &BuildRequest) -> Result<BTreeMap<String, NamedSource>, Error> {
    let mut sources = BTreeMap::new();
    let mut number = ContextId::MAIN.0;
    for (text, context) in &request.named_contexts {
        let invalid = || Error::input(format!("invalid name of a build context: {text:?}"));
        let name = context_name(text).ok_or_else(invalid)?;
        let source = match context {
            NamedContext::Scratch => NamedSource::Scratch,
            NamedContext::Image(image) => {
                NamedSource::Image(ImageSource::Registry(image.clone().with_default_tag()))
            }
            NamedContext::Layout {
                directory,
                tag,
                digest,
            } => NamedSource::Image(ImageSource::Layout {
                name: name.parse().map_err(|_| invalid())?,
                directory: directory.clone(),
                tag: tag.clone(),
                digest: *digest,
            }),
            NamedContext::Directory(_) => {
                number += 1;
                NamedSource::Directory(ContextId(number))
            }
            NamedContext::Remote(text) => match remote_source(text, Place::BuildContext) {
                Some(Ok(remote)) => NamedSource::Remote(Remote::new(remote, GitDirectory::Drop)),
                Some(Err(error)) => {
                    return Err(Error::input(format!("build context {name}: {error}")));
                }
                None => {
                    return Err(Error::input(format!(
                        "build context {name}: {text:?} is no URL"
                    )));
                }
            },
        };
        sources.insert(name, source);
    }
    Ok(sources)
}

fn allowed_devices(request: &BuildRequest) -> AllowedDevices {
    let mut names = Vec::new();
    for allowed in &request.allowed {
        match allowed {
            Entitlement::Device(None) => return AllowedDevices::All,
            Entitlement::Device(Some(name)) => names.push(name.clone()),
            _ => {}
        }
    }
    AllowedDevices::Named(names)
}

fn entitlements(request: &BuildRequest) -> Vec<kiln_solver::Entitlement> {
    request
        .allowed
        .iter()
        .filter_map(|allowed| match allowed {
            Entitlement::NetworkHost => Some(kiln_solver::Entitlement::NetworkHost),
            Entitlement::SecurityInsecure => Some(kiln_solver::Entitlement::SecurityInsecure),
            Entitlement::Device(_) | Entitlement::LocalDelete => None,
        })
        .collect()
}

/// Returns what the plan depends on besides the Dockerfile and the time of what is new.
pub(crate) fn plan_options(request: &BuildRequest) -> Result<PlanOptions, Error> {
    Ok(PlanOptions {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        platforms: match request.platforms.as_slice() {
            [] => vec![Engine::host_platform()],
            platforms => platforms.to_vec(),
        },
        build_platform: Engine::host_platform(),
        labels: request.labels.clone(),
        network: match request.network {
            kiln_runtime::Network::Host => Network::Default,
            kiln_runtime::Network::None => Network::None,
        },
        extra_hosts: extra_host_names(request),
        contexts: named_sources(request)?,
        epoch: None,
        allowed: entitlements(request),
    })
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
        device_directories: request.device_directories.clone(),
        devices: allowed_devices(request),
        secrets: request.secrets.iter().cloned().collect(),
    }
}

pub(crate) fn plan_error(error: PlanError, source_text: &SourceText) -> Error {
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
                | StepError::Secret(_)
                | StepError::Agent(_)
                | StepError::Device(_)
                | StepError::Cdi(_)
                | StepError::NoRootForNames => (ErrorClass::Input, None),
                StepError::Remote(error) => (fault_class(error.fault), None),
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
