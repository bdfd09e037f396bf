//! The cases of `testdata/conformance`, as far as nothing has to be run or fetched for them.
//!
//! What configs, histories and errors come to is known from the plan alone, for a base whose config
//! is that of busybox; files are known where an image grows from nothing by COPY, ADD and WORKDIR.
//! kiln-cli tries all cases with the program, whole.

use std::fs;

use kiln_conformance::{Case, Image, Outcome, Verdict, Workspace, judge, load};
use kiln_oci::{Descriptor, ImageConfig, Manifest, Sha256, media_type};
use kiln_parser::{IgnoreRules, Severity, parse};
use kiln_solver::{
    BaseError, BaseRequest, Bases, Fault, Op, Plan, PlanError, PlanOptions, Silent, TargetImage,
    plan,
};
use serde_json::{Value, json};

use super::copy::bench::Bench;
use super::options::options;

/// Fewer cases than this would say that they are not found rather than that they pass.
const LEAST: usize = 300;

/// What the solver says of a base that these tests have not.
const NO_BASE: &str = "failed to resolve source metadata";

/// A case whose error comes from above the solver: another language is asked for.
const FOREIGN: &str = "directive-syntax-foreign";

/// Knows one image, `busybox`, and of that the config only.
struct Busybox;

impl Bases for Busybox {
    fn resolve(&self, requests: &[BaseRequest]) -> Vec<Result<kiln_oci::Image, BaseError>> {
        let image = |request: &BaseRequest| match request.source.name().familiar().as_str() {
            "busybox:latest" => Ok(busybox()),
            _ => Err(BaseError {
                cause: "not found".into(),
                hint: None,
                fault: Fault::Input,
            }),
        };
        requests.iter().map(image).collect()
    }
}

fn busybox_config() -> Value {
    json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["sh"],
            "ArgsEscaped": true,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [Sha256::of(b"files").to_string()]},
    })
}

fn busybox() -> kiln_oci::Image {
    let config: ImageConfig = serde_json::from_value(busybox_config()).unwrap();
    let layer = Descriptor::new(media_type::OCI_LAYER_GZIP, Sha256::of(b"layer"), 5);
    let described = Descriptor::of(media_type::OCI_CONFIG, &config.to_bytes());
    let manifest = Manifest::oci(described, vec![layer]);
    kiln_oci::Image {
        descriptor: Descriptor::of(media_type::OCI_MANIFEST, &manifest.to_bytes()),
        manifest,
        config,
    }
}

/// Returns the options that the arguments of a case stand for, if these tests know them.
fn options_of(case: &Case) -> Option<PlanOptions> {
    let mut options = options();
    let (pairs, []) = case.arguments.as_chunks::<2>() else {
        return None;
    };
    for [name, value] in pairs {
        match (name.as_str(), value.split_once('=')) {
            ("--target", _) => options.target = Some(value.clone()),
            // What these stand for is known above the solver.
            ("--build-arg", Some(("SOURCE_DATE_EPOCH" | "BUILDKIT_DOCKERFILE_CHECK", _))) => {
                return None;
            }
            ("--build-arg", Some((name, value))) => {
                options.build_args.insert(name.to_owned(), value.to_owned());
            }
            ("--label", Some((key, value))) => {
                options.labels.push((key.to_owned(), value.to_owned()));
            }
            _ => return None,
        }
    }
    Some(options)
}

/// Says whether a case is one build of a directory with a Dockerfile in it.
fn is_plain(case: &Case) -> bool {
    case.name != FOREIGN
        && case.needs.is_none()
        && case.earlier.is_empty()
        && case.context == "."
        && case.stdin.is_none()
        && case.environment.is_empty()
        && case.directory.join("Dockerfile").exists()
}

/// Tries a case; none if something would have to be run or fetched for it. What the program prints
/// is not these tests' matter.
fn hold(case: &Case) -> Option<Verdict> {
    let options = options_of(case).filter(|_| is_plain(case))?;
    let mut case = Case {
        prints: Vec::new(),
        hides: Vec::new(),
        ..case.clone()
    };
    let outcome = build(&mut case, &options)?;
    const NO_LAYERS: [Vec<u8>; 0] = [];
    let bases = [
        Image::scratch(),
        Image::of(&NO_LAYERS, busybox_config()).unwrap(),
    ];
    Some(judge(&case, None, &outcome, &bases))
}

/// Builds a case as far as that goes here; what is not known then is not expected of it either.
fn build(case: &mut Case, options: &PlanOptions) -> Option<Outcome> {
    let failed = |output: String| Outcome {
        image: None,
        output,
    };
    let text = fs::read(case.directory.join("Dockerfile")).unwrap();
    let parsed = parse(&text);
    let errors = parsed.diagnostics.iter();
    let errors = errors.filter(|found| found.severity == Severity::Error);
    let errors: Vec<&str> = errors.map(|found| found.message.as_str()).collect();
    if !errors.is_empty() {
        return Some(failed(errors.join("\n")));
    }
    let plan = match plan(&parsed.dockerfile, options, &Busybox) {
        Ok(plan) => plan,
        Err(error) => {
            let output = match error {
                PlanError::Input(all) => {
                    let messages: Vec<String> = all.into_iter().map(|one| one.message).collect();
                    messages.join("\n")
                }
                error => error.to_string(),
            };
            let lacks_base = case.error.is_none() && output.contains(NO_BASE);
            return (!lacks_base).then(|| failed(output));
        }
    };
    let [target] = plan.targets.as_slice() else {
        return None;
    };
    let layers = if is_copied_from_context_alone(&plan, target) {
        match copied(&plan, case) {
            Ok(layers) => layers,
            Err(error) => return Some(failed(error)),
        }
    } else {
        case.tree = None;
        if case.error.is_some() || case.config.is_none() && case.history.is_none() {
            return None;
        }
        Vec::new()
    };
    Some(Outcome {
        image: Some(Image::of(&layers, config(target)).unwrap()),
        output: String::new(),
    })
}

/// Says whether every step can be made here.
fn is_copied_from_context_alone(plan: &Plan, target: &TargetImage) -> bool {
    let mut steps = plan.graph.steps();
    target.root.is_some() && steps.all(|(_, step)| matches!(step.op, Op::Copy(_) | Op::Workdir(_)))
}

/// Executes a plan in a copy of the case's context, and returns the tars of the layers.
fn copied(plan: &Plan, case: &Case) -> Result<Vec<Vec<u8>>, String> {
    let workspace = Workspace::new(case).unwrap();
    let bench = Bench::of_context(workspace.context());
    let ignore_files = ["Dockerfile.dockerignore", ".dockerignore"].iter();
    let mut ignore = ignore_files.filter_map(|name| fs::read_to_string(bench.path(name)).ok());
    let ignore = ignore.next().unwrap_or_default();
    if let Some(problem) = IgnoreRules::parse(ignore.as_bytes()).1.first() {
        return Err(problem.message.clone());
    }
    let (state, _) = bench.execute(plan, &ignore, &Silent);
    let layers = bench.layers(&state.map_err(|error| error.to_string())?);
    let tar = |layer: &kiln_snapshotter::Layer| {
        let mut tar = Vec::new();
        layer.write_tar(&mut tar).unwrap();
        tar
    };
    Ok(layers.iter().map(tar).collect())
}

/// Returns the config of an image with the history that an export would write, and the layers of the
/// base, by which that is found again.
fn config(target: &TargetImage) -> Value {
    let mut config: Value = serde_json::from_slice(&target.config.to_bytes()).unwrap();
    let history = target.history.iter();
    let history: Vec<Value> = history
        .map(|entry| json!({"created_by": entry.created_by, "empty_layer": entry.step.is_none()}))
        .collect();
    config["history"] = history.into();
    if target.base.is_some() {
        config["rootfs"] = busybox_config()["rootfs"].clone();
    }
    config
}

#[test]
fn conformance_cases_come_out_as_they_say() {
    let cases = load().unwrap();
    let tried = cases.iter().filter_map(|case| Some((case, hold(case)?)));
    let tried: Vec<(&Case, Verdict)> = tried.collect();
    let wrong = tried
        .iter()
        .filter(|(_, verdict)| *verdict != Verdict::Passes);
    let wrong: Vec<String> = wrong
        .map(|(case, verdict)| format!("{}: {verdict:?}", case.name))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        tried.len() >= LEAST,
        "only {} cases were tried",
        tried.len()
    );
}
