//! `kiln build`: text to plan, plan to solution, solution to image, image to wherever it goes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_cache::{GuestPath, Timestamp};
use kiln_parser::{Dockerfile, IgnoreRules, Severity, parse};
use kiln_runtime::Cancel;
use kiln_solver::{
    Context, Deps, Fault, Network, Plan, PlanError, PlanOptions, Progress, Reporter,
    RunSurroundings, ScannedContext, SolveError, StepError, VertexEnd, context_paths, plan, solve,
};

use crate::base_layers::Fetcher;
use crate::bases::Resolver;
use crate::check;
use crate::error::chain;
use crate::request::{BuildRequest, BuildResult, ContextSource, DockerfileSource};
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
        let reporter = Reporter::new(progress);
        let (source_text, dockerfile) = load_dockerfile(request, &reporter)?;
        let checks = check::options(&dockerfile).map_err(|error| Error::Dockerfile {
            source_text: source_text.clone(),
            diagnostics: vec![*error],
        })?;
        let options = PlanOptions {
            target: request.target.clone(),
            build_args: request.build_args.clone(),
            platform: request.platform.clone().unwrap_or_else(Self::host_platform),
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
        let state = match plan.target.root {
            Some(target) => {
                let fetcher = Fetcher::new(self, &plan, &reporter);
                let executor = LazyExecutor::new(self);
                let snapshotter = LazySnapshotter::new(self);
                let deps = Deps {
                    store: &self.store,
                    layers: &self.layers,
                    snapshotter: &snapshotter,
                    cache: &self.actions,
                    bases: &fetcher,
                    context: &context,
                    executor: &executor,
                    surroundings: &surroundings(request, &plan),
                    reporter: &reporter,
                    cancel,
                    jobs: request.jobs,
                    reuse: request.reuse.clone(),
                    epoch: request.epoch,
                };
                let solution = solve(&plan.graph, target, &deps)
                    .map_err(|error| solve_error(error, &source_text))?;
                solution.state
            }
            None => kiln_cache::State {
                base: plan.target.base,
                layers: Vec::new(),
            },
        };
        let image = self.export(request, &plan, &state, &reporter)?;
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

/// Reads and parses the Dockerfile.
fn load_dockerfile(
    request: &BuildRequest,
    reporter: &Reporter<'_>,
) -> Result<(SourceText, Dockerfile), Error> {
    let (name, bytes) = match (&request.dockerfile, &request.context) {
        (DockerfileSource::Text(bytes), _) => ("Dockerfile".to_owned(), bytes.clone()),
        (DockerfileSource::Path(path), _) => (file_name(path), read_dockerfile(path)?),
        (DockerfileSource::Default, ContextSource::Directory(directory)) => {
            let path = default_dockerfile(directory)?;
            (file_name(&path), read_dockerfile(&path)?)
        }
        (DockerfileSource::Default, ContextSource::Empty) => {
            return Err(Error::input("an empty context has no Dockerfile"));
        }
    };
    let vertex = reporter.start(&format!("[internal] load build definition from {name}"));
    let source_text = SourceText {
        name,
        bytes: Arc::from(bytes),
    };
    let parsed = parse(&source_text.bytes);
    let is_wrong = |d: &kiln_parser::Diagnostic| d.severity == Severity::Error;
    if parsed.diagnostics.iter().any(is_wrong) {
        vertex.end(VertexEnd::Failed("the Dockerfile has errors".to_owned()));
        return Err(Error::Dockerfile {
            source_text,
            diagnostics: parsed.diagnostics,
        });
    }
    vertex.end(VertexEnd::Done);
    Ok((source_text, parsed.dockerfile))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Finds `Dockerfile`, or `dockerfile`, in the context.
fn default_dockerfile(directory: &Path) -> Result<PathBuf, Error> {
    if !directory.is_dir() {
        return Err(Error::input(format!(
            "unable to prepare context: path {:?} not found",
            directory.display().to_string()
        )));
    }
    let usual = directory.join("Dockerfile");
    let lower = directory.join("dockerfile");
    match !usual.exists() && lower.exists() {
        true => Ok(lower),
        false => Ok(usual),
    }
}

fn read_dockerfile(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            _ => error.to_string(),
        };
        Error::Input {
            message: format!(
                "failed to read dockerfile: open {}: {reason}",
                file_name(path)
            ),
            hint: Some("name another file with -f".to_owned()),
        }
    })
}

/// Reads `<Dockerfile>.dockerignore`, or `.dockerignore` of the context.
fn load_ignore_file(request: &BuildRequest, directory: &Path) -> Result<IgnoreRules, Error> {
    let own = match &request.dockerfile {
        DockerfileSource::Path(path) => path.clone(),
        DockerfileSource::Default => default_dockerfile(directory)?,
        DockerfileSource::Text(_) => directory.join("Dockerfile"),
    };
    let mut own = own.into_os_string();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), directory.join(".dockerignore")] {
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::at("cannot read", &path)(error)),
        };
        let (rules, diagnostics) = IgnoreRules::parse(&text);
        if diagnostics.is_empty() {
            return Ok(rules);
        }
        return Err(Error::Dockerfile {
            source_text: SourceText {
                name: file_name(&path),
                bytes: Arc::from(text),
            },
            diagnostics,
        });
    }
    Ok(IgnoreRules::default())
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
