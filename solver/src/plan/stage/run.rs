//! `RUN`: which command, in which sandbox, with what mounted.

use kiln_files::GuestPath;
use kiln_parser::mount::{MountKind as SpecKind, MountSpec};
use kiln_parser::{MountFlag, Program, Run, Site, Text, parse_bool};

use super::stage_plan::StagePlan;
use crate::graph::{
    self, Access, ContextId, FileSource, Network, Op, Presence, RunDevice, RunMount, RunMountKind,
    SecretVariable, Security, StepPath,
};
use crate::plan::options::Entitlement;
use crate::plan::plan_error::PlanError;
use crate::plan::stages::StageReader;
use crate::plan::{history, windows};

impl StagePlan<'_, '_> {
    pub(super) fn run(&mut self, run: &Run, site: &Site, text: &str) -> Result<(), PlanError> {
        // Each step has an environment of its own, and names its arguments besides.
        let variables = self.state.env.pairs().iter();
        let size = variables.map(|(name, value)| name.len() + value.len());
        let size: usize = size.sum();
        if !self.planner.words.spend(2 * size, site.span) {
            return Ok(());
        }
        let devices = run.devices.iter().filter_map(|text| self.device(text));
        let devices = devices.collect();
        // The parser refuses other words.
        let network = match &run.network {
            Some(text) if text.raw == "none" => Network::None,
            Some(text) if text.raw == "host" => {
                self.need(&Entitlement::NetworkHost, text);
                Network::Host
            }
            _ => self.planner.options.network,
        };
        let security = match &run.security {
            Some(text) if text.raw == "insecure" => {
                self.need(&Entitlement::SecurityInsecure, text);
                Security::Insecure
            }
            _ => Security::Sandbox,
        };
        let (argv, script) = match run.program() {
            Program::Exec(argv) => (argv, None),
            Program::Shell(text) => {
                let mut argv = self.state.shell();
                argv.push(text);
                (argv, None)
            }
            Program::File { name, body } => {
                let mut argv = self.state.shell();
                argv.push(format!("/dev/pipes/{name}"));
                (argv, Some((name, body)))
            }
        };
        if windows::is_windows(&self.state.platform) {
            let message = format!(
                "RUN cannot be carried out for {}: only Linux programs run here",
                self.state.platform
            );
            self.error("windows", site.span, message);
        }
        if argv.is_empty() {
            self.error("empty-command", site.span, "RUN needs a command to run");
        }
        let mut mounts = Mounts::default();
        for flag in &run.mounts {
            self.mount(flag, &mut mounts, text)?;
        }
        let arguments: Vec<(String, String)> = self
            .state
            .arguments
            .iter()
            .map(|name| {
                let state = &self.state;
                let value = state.env.get(name).or_else(|| state.for_builder.get(name));
                let value = value.unwrap_or("");
                (name.clone(), value.to_owned())
            })
            .collect();
        let created_by = history::run(&argv, &arguments);
        let options = self.planner.options;
        let hostname = options.build_args.get("BUILDKIT_SANDBOX_HOSTNAME");
        let hostname = hostname.map_or(kiln_runtime::BUILD_HOSTNAME, String::as_str);
        let op = graph::RunOp {
            argv,
            script,
            env: self.state.env.pairs().to_vec(),
            arguments: self.state.arguments.clone(),
            cwd: self.state.working_dir(),
            user: self.state.config.config.user.clone(),
            mounts: mounts.files,
            devices,
            secret_variables: mounts.variables,
            hostname: hostname.to_owned(),
            network,
            extra_hosts: options.extra_hosts.clone(),
            security,
            platform: self.state.platform.clone(),
        };
        self.layer(Op::Run(Box::new(op)), text, site.span, created_by);
        Ok(())
    }

    /// Reads `--device=NAME[,required[=BOOL]]`; none if an error was noted.
    fn device(&mut self, text: &Text) -> Option<RunDevice> {
        let mut name = None;
        let mut presence = Presence::Optional;
        for field in text.raw.split(',') {
            match field.split_once('=') {
                Some(("name", value)) => name = Some(value),
                Some(("required", value)) if parse_bool(value).is_some() => {
                    presence = presence_of(parse_bool(value) == Some(true));
                }
                None if field == "required" => presence = Presence::Required,
                // Names of devices have an equals sign themselves.
                Some((key, _)) if name.is_none() && key != "required" => name = Some(field),
                None if name.is_none() => name = Some(field),
                _ => {
                    let message = format!("unexpected field {field:?} in device {:?}", text.raw);
                    self.error("device", text.span, message);
                    return None;
                }
            }
        }
        let name = name.filter(|name| !name.is_empty());
        if name.is_none() {
            self.error("device", text.span, "a device needs a name");
        }
        Some(RunDevice {
            name: name?.to_owned(),
            presence,
        })
    }

    /// Notes an error unless the user allowed it (`--allow`).
    fn need(&mut self, entitlement: &Entitlement, text: &Text) {
        if !self.planner.options.allowed.contains(entitlement) {
            let name = match entitlement {
                Entitlement::NetworkHost => "network.host",
                Entitlement::SecurityInsecure => "security.insecure",
            };
            let message = format!("{name} is not allowed");
            self.error("not-allowed", text.span, message);
            self.planner
                .words
                .note(format!("allow it with: kiln build --allow {name}"));
        }
    }

    /// Adds what one `--mount` asks for.
    fn mount(
        &mut self,
        flag: &MountFlag,
        mounts: &mut Mounts,
        text: &str,
    ) -> Result<(), PlanError> {
        let Some(spec) = self.mount_spec(flag) else {
            return Ok(());
        };
        let access = if spec.read_only {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        };
        let here = self.state.config.config.working_dir.clone();
        let target = spec.target.clone();
        let (target, kind) = match &spec.kind {
            SpecKind::Bind => {
                let target = target.unwrap_or(here);
                let Some(files) = self.mounted(&spec, &target, flag, text)? else {
                    return Ok(());
                };
                (target, RunMountKind::Bind { files, access })
            }
            SpecKind::Cache { id, sharing, owner } => {
                let target = target.unwrap_or(here);
                let Some(initial) = self.initial(&spec, &target, flag, text)? else {
                    return Ok(());
                };
                let inside = GuestPath::new(spec.source.as_deref().unwrap_or("/"));
                let name = id.clone().unwrap_or_else(|| kiln_parser::clean(&target));
                let kind = RunMountKind::Cache {
                    id: self.cache_id(&name),
                    sharing: *sharing,
                    owner: *owner,
                    initial,
                    inside,
                    access,
                };
                (target, kind)
            }
            SpecKind::Tmpfs { size_bytes } => {
                let size_bytes = *size_bytes;
                (target.unwrap_or(here), RunMountKind::Tmpfs { size_bytes })
            }
            SpecKind::Secret {
                id,
                env,
                owner,
                required,
            } => {
                if let Some(name) = env {
                    mounts.variables.push(SecretVariable {
                        name: name.clone(),
                        id: id.clone(),
                        presence: presence_of(*required),
                    });
                }
                // With a variable alone there is no file.
                let Some(target) = target else {
                    return Ok(());
                };
                let kind = RunMountKind::Secret {
                    id: id.clone(),
                    owner: *owner,
                    presence: presence_of(*required),
                };
                (target, kind)
            }
            SpecKind::Ssh {
                id,
                owner,
                required,
            } => {
                let default = format!("/run/buildkit/ssh_agent.{}", mounts.agents);
                mounts.agents += 1;
                let kind = RunMountKind::Ssh {
                    id: id.clone(),
                    owner: *owner,
                    presence: presence_of(*required),
                };
                (target.unwrap_or(default), kind)
            }
        };
        let absolute = self.state.working_dir().join(&target);
        if absolute.is_root() {
            self.error("mount", flag.value.span, "invalid mount target \"/\"");
        }
        mounts.files.push(RunMount {
            target: absolute,
            kind,
        });
        Ok(())
    }

    /// Plans what a new cache begins with, if the mount says; none if an error was noted.
    fn initial(
        &mut self,
        spec: &MountSpec,
        target: &str,
        flag: &MountFlag,
        text: &str,
    ) -> Result<Option<Option<StepPath>>, PlanError> {
        if spec.from.is_none() {
            return Ok(Some(None));
        }
        // `source` is a part of the cache, which begins with all of `from`.
        let whole = MountSpec {
            source: None,
            ..spec.clone()
        };
        Ok(self.mounted(&whole, target, flag, text)?.map(Some))
    }

    /// Expands the values of a mount and reads them; none if an error was noted.
    fn mount_spec(&mut self, flag: &MountFlag) -> Option<MountSpec> {
        let mut fields = Vec::with_capacity(flag.fields.len());
        for (key, value) in &flag.fields {
            let value = value.as_ref().map(|raw| match key.as_str() {
                // The parser refuses variables here.
                "from" => raw.clone(),
                _ => self.expand(&Text {
                    raw: raw.clone(),
                    span: flag.value.span,
                }),
            });
            fields.push((key.clone(), value));
        }
        match MountSpec::from_fields(&fields) {
            Ok(spec) => Some(spec),
            Err(error) => {
                self.error("mount", flag.value.span, error.to_string());
                if let Some(expected) = error.expectation() {
                    self.planner.words.note(expected);
                }
                None
            }
        }
    }

    /// Resolves `from` and `source` of a mount; none if an error was noted.
    fn mounted(
        &mut self,
        spec: &MountSpec,
        target: &str,
        flag: &MountFlag,
        text: &str,
    ) -> Result<Option<StepPath>, PlanError> {
        let from = Text {
            raw: spec.from.clone().unwrap_or_default(),
            span: flag.value.span,
        };
        let source = match &spec.from {
            None => FileSource::Context(ContextId::MAIN),
            Some(_) => {
                match self.file_source(&from, &StageReader::Mount(target.to_owned()), text)? {
                    Some(source) => source,
                    None => return Ok(None),
                }
            }
        };
        let path = spec.source.as_deref().unwrap_or("/");
        let part = self.part(source, path, &from);
        Ok(Some(part))
    }

    /// Returns the name under which a cache mount is kept.
    fn cache_id(&self, name: &str) -> String {
        let namespace = self
            .planner
            .options
            .build_args
            .get("BUILDKIT_CACHE_MOUNT_NS");
        match namespace {
            Some(namespace) if !namespace.is_empty() => {
                let name = GuestPath::new(name);
                format!("{namespace}{name}")
            }
            _ => kiln_parser::clean(name),
        }
    }
}

fn presence_of(required: bool) -> Presence {
    if required {
        Presence::Required
    } else {
        Presence::Optional
    }
}

/// What the mounts of one `RUN` come to.
#[derive(Default)]
struct Mounts {
    files: Vec<RunMount>,
    variables: Vec<SecretVariable>,
    /// Agents mounted so far.
    agents: usize,
}
