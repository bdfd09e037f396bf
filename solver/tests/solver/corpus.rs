//! The cases of `testdata/conformance`, as far as nothing has to be run or fetched for them.
//!
//! What configs, histories and errors come to is known from the plan alone, for a base whose config
//! is that of busybox; files are known where an image grows from nothing by COPY, ADD and WORKDIR.
//! kiln-cli tries all cases with the program, whole.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use kiln_files::GuestPath;
use kiln_oci::{Descriptor, Image, ImageConfig, Manifest, Sha256, media_type};
use kiln_parser::{IgnoreRules, parse};
use kiln_snapshotter::ParentView;
use kiln_solver::{
    BaseError, BaseRequest, Bases, Fault, Network, Op, Plan, PlanError, PlanOptions, Silent,
    TargetImage, plan,
};
use kiln_testbed::differences;
use kiln_tree::{Entry, NodeKind};
use serde_json::Value;
use toml::Table;

use super::copy::bench::Bench;

/// The members of a case that these tests understand, and those that are about other programs.
const UNDERSTOOD: [&str; 11] = [
    "about",
    "statements",
    "arguments",
    "tree",
    "config",
    "history",
    "error",
    "prints",
    "hides",
    "buildah",
    "buildkit",
];

/// Fewer cases than this would say that they are not found rather than that they pass.
const LEAST: usize = 290;

/// Knows one image, `busybox`, and of that the config only.
struct Busybox;

impl Bases for Busybox {
    fn resolve(&self, requests: &[BaseRequest]) -> Vec<Result<Image, BaseError>> {
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

fn busybox() -> Image {
    let config: ImageConfig = serde_json::from_str(
        r#"{"architecture":"amd64","os":"linux","config":{
            "Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd":["sh"],"ArgsEscaped":true,"WorkingDir":"/"},
            "rootfs":{"type":"layers","diff_ids":["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]}}"#,
    )
    .unwrap();
    let layer = Descriptor::new(media_type::OCI_LAYER_GZIP, Sha256::of(b"layer"), 5);
    let described = Descriptor::of(media_type::OCI_CONFIG, &config.to_bytes());
    let manifest = Manifest::oci(described, vec![layer]);
    Image {
        descriptor: Descriptor::of(media_type::OCI_MANIFEST, &manifest.to_bytes()),
        manifest,
        config,
    }
}

/// Returns the options that arguments stand for, if these tests know them.
fn options(case: &Table) -> Option<PlanOptions> {
    let platform: kiln_oci::Platform = "linux/amd64".parse().unwrap();
    let mut options = PlanOptions {
        target: None,
        build_args: BTreeMap::new(),
        platforms: vec![platform.clone()],
        build_platform: platform,
        labels: Vec::new(),
        network: Network::Default,
        extra_hosts: Vec::new(),
        contexts: BTreeMap::new(),
        epoch: None,
        allowed: Vec::new(),
    };
    let arguments = case.get("arguments").and_then(toml::Value::as_array);
    let arguments = arguments.map_or(&[][..], Vec::as_slice);
    let (pairs, []) = arguments.as_chunks::<2>() else {
        return None;
    };
    for [name, value] in pairs {
        let value = value.as_str()?;
        match (name.as_str()?, value.split_once('=')) {
            ("--target", _) => options.target = Some(value.to_owned()),
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

/// What came of a case.
enum Outcome {
    /// It cannot be tried without running or fetching something.
    NotTried,
    /// It was, and these lines differ.
    Tried(Vec<String>),
}

fn hold(directory: &Path) -> Outcome {
    let case: Table =
        toml::from_str(&fs::read_to_string(directory.join("case.toml")).unwrap()).unwrap();
    let is_understood = |key: &String| UNDERSTOOD.contains(&key.as_str());
    let text = fs::read(directory.join("Dockerfile"));
    let (Some(options), Ok(text)) = (options(&case), text) else {
        return Outcome::NotTried;
    };
    if !case.keys().all(is_understood) || directory.join("setup.sh").exists() {
        return Outcome::NotTried;
    }
    let wanted = |key: &str| case.get(key).and_then(toml::Value::as_str);
    let parsed = parse(&text);
    let errors = parsed
        .diagnostics
        .iter()
        .filter(|found| found.severity == kiln_parser::Severity::Error);
    let mut errors: Vec<String> = errors.map(|found| found.message.clone()).collect();
    let mut planned = None;
    if errors.is_empty() {
        match plan(&parsed.dockerfile, &options, &Busybox) {
            Ok(plan) => planned = Some(plan),
            Err(PlanError::Input(all)) => errors.extend(all.into_iter().map(|one| one.message)),
            Err(error) => errors.push(error.to_string()),
        }
    }
    let Some(plan) = planned else {
        // Bases that these tests have not.
        return match wanted("error") {
            Some(part) if errors.iter().any(|error| error.contains(part)) => {
                Outcome::Tried(Vec::new())
            }
            _ if errors
                .iter()
                .any(|error| error.contains("resolve source metadata")) =>
            {
                Outcome::NotTried
            }
            wanted => Outcome::Tried(vec![format!("expected {wanted:?}, found {errors:?}")]),
        };
    };
    let [target] = plan.targets.as_slice() else {
        return Outcome::NotTried;
    };
    let mut lines = Vec::new();
    let mut compare = |key: &str, found: Vec<String>| {
        if let Some(text) = wanted(key) {
            let expected: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.extend(differences(&expected, &found));
        }
    };
    compare("config", config(target));
    compare("history", history(target));
    if is_copied_from_context_alone(&plan, target) {
        match copied(&plan, directory) {
            Ok(found) => compare("tree", found),
            Err(error) => match wanted("error") {
                Some(part) if error.contains(part) => {}
                _ => lines.push(format!("fails: {error}")),
            },
        }
    } else if wanted("error").is_some() || wanted("config").or(wanted("history")).is_none() {
        return Outcome::NotTried;
    }
    Outcome::Tried(lines)
}

/// Says whether every step can be made here.
fn is_copied_from_context_alone(plan: &Plan, target: &TargetImage) -> bool {
    let mut steps = plan.graph.steps();
    target.root.is_some() && steps.all(|(_, step)| matches!(step.op, Op::Copy(_) | Op::Workdir(_)))
}

/// Executes a plan in a copy of the case's context.
fn copied(plan: &Plan, directory: &Path) -> Result<Vec<String>, String> {
    let bench = Bench::new(&[]);
    fs::remove_dir(bench.path("")).unwrap();
    copy(directory, &bench.path(""));
    fs::remove_file(bench.path("case.toml")).unwrap();
    let own = fs::read_to_string(directory.join("Dockerfile.dockerignore"));
    let ignore = own.or_else(|_| fs::read_to_string(directory.join(".dockerignore")));
    let ignore = ignore.unwrap_or_default();
    if let Some(problem) = IgnoreRules::parse(ignore.as_bytes()).1.first() {
        return Err(problem.message.clone());
    }
    let (state, _) = bench.execute(plan, &ignore, &Silent);
    let state = state.map_err(|error| error.to_string())?;
    Ok(tree(&bench.view(&state)))
}

/// Copies files with the modes that Git knows about, whatever the umask of who checked them out.
fn copy(from: &Path, to: &Path) {
    let kind = fs::symlink_metadata(from).unwrap();
    if kind.is_symlink() {
        symlink(fs::read_link(from).unwrap(), to).unwrap();
        return;
    }
    let is_program = kind.permissions().mode() & 0o100 != 0;
    if kind.is_dir() {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::write(to, fs::read(from).unwrap()).unwrap();
    }
    let mode = if kind.is_dir() || is_program {
        0o755
    } else {
        0o644
    };
    fs::set_permissions(to, Permissions::from_mode(mode)).unwrap();
}

/// Returns the members of a config that are not empty, as cases write them.
fn config(target: &TargetImage) -> Vec<String> {
    let config: Value = serde_json::from_slice(&target.config.to_bytes()).unwrap();
    let inner = config["config"].as_object().into_iter().flatten();
    let members = inner.map(|(key, value)| (key.as_str(), value));
    let author = ("author", &config["author"]);
    let mut lines: Vec<String> = members
        .chain([author])
        .filter(|(_, value)| !is_empty(value))
        .map(|(key, value)| format!("{key}: {}", sorted(value)))
        .collect();
    lines.sort();
    lines
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

fn sorted(value: &Value) -> Value {
    let Value::Object(members) = value else {
        return value.clone();
    };
    let members: BTreeMap<&String, Value> = members.iter().map(|(k, v)| (k, sorted(v))).collect();
    let members = members.into_iter().map(|(key, value)| (key.clone(), value));
    Value::Object(members.collect())
}

fn history(target: &TargetImage) -> Vec<String> {
    let lines = target.history.iter().map(|entry| {
        let kind = entry.step.map_or("empty", |_| "layer");
        let made_by = entry.created_by.replace('\\', "\\\\").replace('\n', "\\n");
        format!("{kind} {made_by}")
    });
    lines.collect()
}

/// Returns a line for each file, as cases write them.
fn tree(view: &ParentView) -> Vec<String> {
    let mut first_names: HashMap<Vec<u8>, String> = HashMap::new();
    let lines = view.walk(&GuestPath::ROOT).map(|located| {
        let entry = located.entry;
        let name = String::from_utf8_lossy(entry.path).replace(' ', "\\x20");
        if let NodeKind::HardLink { target } = entry.kind {
            return format!("/{name} same as /{}", first_names[target]);
        }
        first_names.insert(entry.path.to_vec(), name.clone());
        let mut line = format!("/{name} {}", described(view, entry));
        for (name, value) in entry.xattrs.iter() {
            let name = String::from_utf8_lossy(name);
            let _ = write!(line, " {name}=\"{}\"", value.escape_ascii());
        }
        line
    });
    lines.collect()
}

fn described(view: &ParentView, entry: Entry<'_>) -> String {
    let Entry { mode, uid, gid, .. } = entry;
    let common = format!("{mode:04o} {uid}:{gid}");
    match entry.kind {
        NodeKind::Directory { .. } => format!("directory {common}"),
        NodeKind::File { size, .. } => {
            let content = view.read(&entry.guest_path(), size).unwrap().unwrap();
            let shown = match std::str::from_utf8(&content) {
                Ok(text) if text.len() <= 400 => format!("{text:?}"),
                _ => {
                    let digest = Sha256::of(&content).to_string();
                    format!("{size} bytes {}", &digest[.."sha256:".len() + 16])
                }
            };
            format!("file {common} {shown}")
        }
        NodeKind::Symlink { target } => {
            format!("link {uid}:{gid} -> {}", String::from_utf8_lossy(target))
        }
        NodeKind::Fifo => format!("fifo {common}"),
        NodeKind::CharDevice(device) => {
            format!("character {common} {}:{}", device.major, device.minor)
        }
        NodeKind::BlockDevice(device) => {
            format!("block {common} {}:{}", device.major, device.minor)
        }
        other => format!("{other:?} {common}"),
    }
}

#[test]
fn conformance_cases_come_out_as_they_say() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/conformance");
    let mut tried = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&testdata).unwrap() {
        let directory = entry.unwrap().path();
        if !directory.join("case.toml").exists() {
            continue;
        }
        let Outcome::Tried(lines) = hold(&directory) else {
            continue;
        };
        tried += 1;
        if !lines.is_empty() {
            wrong.push(format!(
                "{}:\n  {}",
                directory.display(),
                lines.join("\n  ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried >= LEAST, "only {tried} cases were tried");
}
