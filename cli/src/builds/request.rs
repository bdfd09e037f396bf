//! From flags to a request of the engine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use kiln_docker::units::parse_size;
use kiln_engine::{
    BuildEntitlement, BuildRequest, CacheDestination, CacheSource, CacheTarget, FileTimes,
    ImageOutput, MediaFamily, Output, Pull, Reuse,
};
use kiln_oci::Timestamp;
use kiln_runtime::{
    DEFAULT_SHM_SIZE_BYTES, EtcFile, JobNetwork, MountAccess, Resources, UnknownNetwork,
};

use super::arguments::{BuildArguments, ImageFormat};
use super::output::{self, StandardOutput};
use super::{
    agent, annotation, attestation, cache, deletion, entitlement, named_context, secret, sources,
    values,
};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::platforms;
use crate::terminal;

/// Turns flags into a request, reading standard input if they say so.
pub(crate) fn request(
    arguments: &BuildArguments,
    environment: &Environment,
) -> Result<BuildRequest, Failure> {
    attestation::check(&arguments.accepted)?;
    let (context, dockerfile) = sources::find(arguments, &mut io::stdin().lock())?;
    let mut build_args = build_args(arguments, environment)?;
    let epoch = epoch(arguments, environment, &mut build_args);
    let tags = arguments.tags.iter().map(|tag| output::parse_tag(tag));
    let tags: Vec<_> = tags.collect::<Result<_, _>>().map_err(Failure::flag)?;
    let allowed = allowed(arguments)?;
    let outputs = outputs(arguments, &allowed, StandardOutput::look())?;
    let names_none = |output: &Output| matches!(output, Output::Push(i) if i.names.is_empty() && i.dangling.is_none());
    if tags.is_empty() && outputs.iter().any(names_none) {
        return Err(Failure::new("tag is needed when pushing to registry")
            .with_hint("name the image with -t"));
    }
    let (cache_from, cache_to) = caches(arguments)?;
    let has_image = |output: &Output| output.image().is_some();
    let is_inline = |target: &CacheTarget| target.to == CacheDestination::Inline;
    if cache_to.iter().any(is_inline) && !outputs.iter().any(has_image) {
        return Err(
            Failure::new("a cache of type inline needs an image to be in").with_hint(
                "keep the image with --load or push it, or use --cache-to type=registry or type=local",
            ),
        );
    }
    let agents = agent::parse_all(&arguments.agents, &context, environment)?;
    Ok(BuildRequest {
        context,
        dockerfile,
        target: arguments.target.clone().filter(|target| !target.is_empty()),
        build_args,
        labels: labels(arguments)?,
        platforms: platforms::several(&arguments.platform, environment)?,
        named_contexts: named_context::parse_all(&arguments.named_contexts)?,
        annotations: each(&arguments.annotations, annotation::parse)?
            .into_iter()
            .flatten()
            .collect(),
        secrets: secret::read_all(&arguments.secrets, environment)?,
        agents,
        allowed,
        tags,
        pull: if arguments.pull {
            Pull::Always
        } else {
            Pull::Missing
        },
        reuse: reuse(arguments)?,
        outputs,
        cache_from,
        cache_to,
        jobs: match arguments.jobs {
            Some(jobs) => jobs.into(),
            None => environment.jobs()?,
        },
        network: network(arguments)?,
        extra_hosts: each(&arguments.extra_hosts, values::parse_extra_host)?
            .into_iter()
            .flatten()
            .collect(),
        shm_size_bytes: match &arguments.shm_size {
            Some(size) => parse_size(size).map_err(|error| Failure::flag(error.to_string()))?,
            None => DEFAULT_SHM_SIZE_BYTES,
        },
        ulimits: each(&arguments.ulimits, values::parse_ulimit)?,
        resources: resources(arguments)?,
        device_directories: ["/etc/cdi", "/var/run/cdi"].map(PathBuf::from).to_vec(),
        resolv_conf: EtcFile::File {
            path: PathBuf::from("/etc/resolv.conf"),
            access: MountAccess::ReadOnly,
        },
        epoch,
    })
}

/// Returns the time that is said in seconds, and makes it known as a build argument. What is said
/// of this build goes before what the environment says of all; both may name what has a time.
fn epoch(
    arguments: &BuildArguments,
    environment: &Environment,
    build_args: &mut BTreeMap<String, String>,
) -> Option<Timestamp> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let flag = match arguments.timestamp {
        Some(seconds) => Some(Timestamp::from_seconds(seconds)),
        None if arguments.reproducible => Some(Timestamp::EPOCH),
        None => None,
    };
    let given = build_args.contains_key(NAME);
    match (flag, environment.epoch()) {
        (Some(time), _) => {
            let seconds = time.seconds.to_string();
            build_args.entry(NAME.to_owned()).or_insert(seconds);
            Some(time)
        }
        (None, Some(text)) if !given => {
            let time = text.parse().ok().map(Timestamp::from_seconds);
            build_args.insert(NAME.to_owned(), text);
            time
        }
        (None, _) => None,
    }
}

/// Returns where results of other machines come from, and where results go to.
fn caches(arguments: &BuildArguments) -> Result<(Vec<CacheSource>, Vec<CacheTarget>), Failure> {
    let sources = each(&arguments.cache_from, cache::parse_source)?;
    let mut sources: Vec<CacheSource> = sources
        .into_iter()
        .filter_map(|source| match source {
            cache::Import::From(source) => Some(source),
            cache::Import::Inline => None,
            cache::Import::Unusable(reason) => {
                terminal::warn(&format!("cache import is skipped: {reason}"));
                None
            }
        })
        .collect();
    let mut targets = each(&arguments.cache_to, cache::parse_target)?;
    if let Some(repository) = &arguments.cache_repo {
        let (source, target) = cache::of_repository(repository).map_err(Failure::flag)?;
        sources.push(source);
        targets.push(target);
    }
    Ok((sources, targets))
}

fn each<T>(texts: &[String], parse: fn(&str) -> Result<T, String>) -> Result<Vec<T>, Failure> {
    let parsed = texts.iter().map(|text| parse(text));
    parsed.collect::<Result<_, _>>().map_err(Failure::flag)
}

fn build_args(
    arguments: &BuildArguments,
    environment: &Environment,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut values: BTreeMap<String, String> = environment.injected_proxies().into_iter().collect();
    let mut set = |key: &str, value: Option<&str>| {
        if key.is_empty() {
            return Err(Failure::flag("invalid build argument: the key is empty"));
        }
        let inherited = || {
            let value = environment.variable(key)?;
            Some(value.to_string_lossy().into_owned())
        };
        match value.map(str::to_owned).or_else(inherited) {
            Some(value) => values.insert(key.to_owned(), value),
            None => values.remove(key),
        };
        Ok(())
    };
    for path in &arguments.build_arg_files {
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("open {}: {error}", path.display())))?;
        for (key, value) in values::parse_build_arguments_file(&text) {
            set(key, value)?;
        }
    }
    for text in &arguments.build_args {
        let (key, value) = values::split_pair(text);
        set(key, value)?;
    }
    Ok(values)
}

fn labels(arguments: &BuildArguments) -> Result<Vec<(String, String)>, Failure> {
    let pair = |text: &String| match values::split_pair(text) {
        ("", _) => Err(Failure::flag(format!("invalid label {text:?}"))),
        (key, value) => Ok((key.to_owned(), value.unwrap_or_default().to_owned())),
    };
    arguments.labels.iter().map(pair).collect()
}

fn reuse(arguments: &BuildArguments) -> Result<Reuse, Failure> {
    let stages: Vec<String> = arguments
        .no_cache_filter
        .iter()
        .filter(|stage| !stage.is_empty())
        .map(|stage| stage.to_lowercase())
        .collect();
    match (arguments.no_cache, stages.is_empty()) {
        (true, true) => Ok(Reuse::Nothing),
        (true, false) => Err(Failure::flag(
            "--no-cache and --no-cache-filter cannot currently be used together",
        )),
        (false, true) => Ok(Reuse::All),
        (false, false) => Ok(Reuse::AllBut(stages)),
    }
}

/// Returns where the result goes, every image output with what flags say of all of them.
fn outputs(
    arguments: &BuildArguments,
    allowed: &[BuildEntitlement],
    stdout: StandardOutput,
) -> Result<Vec<Output>, Failure> {
    let mut outputs = Vec::new();
    for text in &arguments.outputs {
        outputs.extend(output::parse(text, stdout).map_err(Failure::flag)?);
    }
    outputs.extend(output::of_short_flags(arguments));
    let is_push = |output: &Output| matches!(output, Output::Push(_));
    if arguments.push {
        // `--push` makes every image output a push, and is one itself.
        for output in &mut outputs {
            if let Output::Store(options) = output {
                *output = Output::Push(options.clone());
            }
        }
        if !outputs.iter().any(is_push) {
            outputs.push(Output::Push(ImageOutput::default()));
        }
    }
    if arguments.no_push {
        outputs.retain(|output| !is_push(output));
        if outputs.is_empty() {
            outputs.push(Output::CacheOnly);
        }
    }
    let is_store = |output: &Output| matches!(output, Output::Store(_));
    if arguments.load && !outputs.iter().any(is_store) {
        outputs.push(Output::Store(ImageOutput::default()));
    }
    if outputs.is_empty() {
        outputs.push(Output::Store(ImageOutput::default()));
    }
    for output in &mut outputs {
        deletion::check(output, allowed)?;
        if let Some(image) = output.image_mut() {
            if arguments.rewrite_timestamp || arguments.reproducible {
                image.file_times = FileTimes::Clamp;
            }
            if arguments.format == Some(ImageFormat::Docker) {
                image.media_types = MediaFamily::Docker;
            }
        }
    }
    Ok(outputs)
}

fn network(arguments: &BuildArguments) -> Result<JobNetwork, Failure> {
    let mode = arguments.network.as_deref().unwrap_or_default();
    mode.parse()
        .map_err(|error: UnknownNetwork| Failure::flag(error.to_string()))
}

fn resources(arguments: &BuildArguments) -> Result<Resources, Failure> {
    let mut resources = Resources {
        parent: arguments.cgroup_parent.clone(),
        ..Resources::default()
    };
    for (key, value) in arguments.resource_aliases.pairs() {
        values::set_resource(&mut resources, key, value).map_err(Failure::flag)?;
    }
    let pairs = arguments.resources.iter().flat_map(|text| text.split(','));
    for pair in pairs {
        let (key, value) = values::split_pair(pair);
        let value = value.ok_or_else(|| Failure::flag(format!("invalid resource {pair:?}")))?;
        values::set_resource(&mut resources, key, value).map_err(Failure::flag)?;
    }
    Ok(resources)
}

fn allowed(arguments: &BuildArguments) -> Result<Vec<BuildEntitlement>, Failure> {
    let mut allowed = each(&arguments.allowed, entitlement::parse)?;
    // Who gives the host's network to the whole build allows it, too.
    if arguments.network.as_deref() == Some("host") {
        allowed.push(BuildEntitlement::NetworkHost);
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        build: BuildArguments,
    }

    fn parse(flags: &[&str]) -> BuildArguments {
        let flags = ["build"].iter().chain(flags).chain(&["/"]);
        Command::parse_from(flags).build
    }

    fn of(flags: &[&str]) -> Result<BuildRequest, Failure> {
        request(&parse(flags), &Environment::with(&[("FROM_ENV", "e")]))
    }

    fn message(flags: &[&str]) -> String {
        of(flags).unwrap_err().message
    }

    #[test]
    fn build_arguments_come_from_flags_and_environment() {
        let request = of(&[
            "--build-arg",
            "A=1",
            "--build-arg",
            "A=2=3",
            "--build-arg",
            "FROM_ENV",
            "--build-arg",
            "UNSET",
            "--build-arg",
            "EMPTY=",
        ])
        .unwrap();
        let values: Vec<String> = request
            .build_args
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(values, ["A=2=3", "EMPTY=", "FROM_ENV=e"]);
        assert!(message(&["--build-arg", "=1"]).contains("empty"));
    }

    #[test]
    fn the_epoch_is_a_build_argument_unless_one_is_given() {
        let request = of(&["--timestamp", "7"]).unwrap();
        assert_eq!(request.epoch, Some(Timestamp::from_seconds(7)));
        assert_eq!(request.build_args["SOURCE_DATE_EPOCH"], "7");
        let given = of(&["--timestamp=7", "--build-arg", "SOURCE_DATE_EPOCH=8"]).unwrap();
        assert_eq!(given.build_args["SOURCE_DATE_EPOCH"], "8");
    }

    #[test]
    fn flags_go_before_the_environment() {
        let of = |flags: &[&str], value: &str| {
            let environment = Environment::with(&[("SOURCE_DATE_EPOCH", value)]);
            let request = request(&parse(flags), &environment).unwrap();
            let argument = request.build_args.get("SOURCE_DATE_EPOCH").cloned();
            (request.epoch.map(|time| time.seconds), argument)
        };
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(of(&[], "7"), (Some(7), said("7")));
        assert_eq!(of(&[], "context"), (None, said("context")));
        assert_eq!(of(&[], ""), (None, None));
        let given = ["--build-arg", "SOURCE_DATE_EPOCH=8"];
        assert_eq!(of(&given, "7"), (None, said("8")));
        assert_eq!(of(&["--timestamp=9"], "7"), (Some(9), said("9")));
    }

    #[test]
    fn pushing_needs_a_name() {
        assert_eq!(
            message(&["--push"]),
            "tag is needed when pushing to registry"
        );
        assert_eq!(
            message(&["-o", "type=registry"]),
            "tag is needed when pushing to registry"
        );
        assert!(of(&["-o", "type=registry,name=x"]).is_ok());
        let request = of(&["--push", "--load", "-t", "x"]).unwrap();
        assert_eq!(
            request.outputs,
            [
                Output::Push(ImageOutput::default()),
                Output::Store(ImageOutput::default())
            ]
        );
    }

    #[test]
    fn reuse_is_all_or_nothing_or_by_stage() {
        assert_eq!(of(&[]).unwrap().reuse, Reuse::All);
        assert_eq!(of(&["--no-cache"]).unwrap().reuse, Reuse::Nothing);
        let both = Reuse::AllBut(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(of(&["--no-cache-filter=A,b"]).unwrap().reuse, both);
        assert_eq!(
            message(&["--no-cache", "--no-cache-filter=a"]),
            "--no-cache and --no-cache-filter cannot currently be used together"
        );
    }

    #[test]
    fn unsupported_combinations_are_refused() {
        assert!(message(&["--provenance", "true"]).contains("not supported yet"));
        assert!(of(&["--provenance", "false", "--sbom=false"]).is_ok());
        assert_eq!(
            message(&["--network", "br0"]),
            "network mode \"br0\" not supported: expected default, host or none"
        );
        assert_eq!(
            of(&["--network", "none"]).unwrap().network,
            JobNetwork::None
        );
    }

    #[test]
    fn entitlements_and_attachments_are_in_the_request() {
        let request = of(&[
            "--network=host",
            "--allow=device=x",
            "--annotation=index,manifest:k=v",
            "--build-context=other=/",
            "--secret=id=s,env=FROM_ENV",
        ])
        .unwrap();
        assert_eq!(
            request.allowed,
            [
                BuildEntitlement::Device(Some("x".to_owned())),
                BuildEntitlement::NetworkHost
            ]
        );
        assert_eq!(request.annotations.len(), 2);
        assert_eq!(request.named_contexts[0].0, "other");
        assert_eq!(request.secrets[0].1.expose(), b"e");
        assert!(!format!("{request:?}").contains("\"e\""));
        assert!(message(&["--ssh", "default"]).contains("SSH_AUTH_SOCK"));
        assert!(message(&["--allow", "network"]).contains("unknown entitlement network"));
    }

    #[test]
    fn limits_are_collected() {
        let request = of(&["-m", "1g", "--resource", "cpu-shares=2,cpu-quota=3"]).unwrap();
        assert_eq!(request.resources.memory_bytes, Some(1 << 30));
        assert_eq!(request.resources.cpu_shares, Some(2));
        assert_eq!(request.resources.cpu_quota_microseconds, Some(3));
    }
}
