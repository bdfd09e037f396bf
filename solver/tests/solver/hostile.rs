//! Dockerfiles that no person would write: planning them ends, with a plan or with errors.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kiln_oci::{Descriptor, Image, ImageConfig, Manifest, Sha256, media_type};
use kiln_parser::{Severity, parse};
use kiln_solver::{
    BaseError, BaseRequest, Bases, PlanError, PlanOptions, StageScope, epoch_stage, epoch_text,
    survey,
};

use super::options::options_for;

/// Any name stands for an image with these triggers.
struct Triggers(Vec<String>);

impl Bases for Triggers {
    fn resolve(&self, requests: &[BaseRequest]) -> Vec<Result<Image, BaseError>> {
        let mut config: ImageConfig = serde_json::from_str(
            r#"{"architecture":"amd64","os":"linux","config":{"WorkingDir":"relative"}}"#,
        )
        .unwrap();
        config.config.on_build.clone_from(&self.0);
        let descriptor = Descriptor::of(media_type::OCI_CONFIG, &config.to_bytes());
        let layer = Descriptor::new(media_type::OCI_LAYER_GZIP, Sha256::of(b"layer"), 5);
        let manifest = Manifest::oci(descriptor, vec![layer]);
        let image = Image {
            descriptor: Descriptor::of(media_type::OCI_MANIFEST, &manifest.to_bytes()),
            manifest,
            config,
        };
        requests.iter().map(|_| Ok(image.clone())).collect()
    }
}

fn options(platform: &str) -> PlanOptions {
    PlanOptions {
        build_args: BTreeMap::from([("SOURCE_DATE_EPOCH".to_owned(), "time".to_owned())]),
        ..options_for(platform)
    }
}

/// Plans a text, if it is a Dockerfile at all.
fn plan(text: &[u8], platform: &str, triggers: Vec<String>) -> Option<Result<(), PlanError>> {
    let parsed = parse(text);
    let is_wrong = |d: &kiln_parser::Diagnostic| d.severity == Severity::Error;
    if parsed.diagnostics.iter().any(is_wrong) {
        return None;
    }
    let options = options(platform);
    let _ = epoch_text(&parsed.dockerfile, &options);
    let _ = epoch_stage(&parsed.dockerfile, &options, "time");
    let bases = Triggers(triggers);
    let survey = survey(&parsed.dockerfile, &options, StageScope::EveryStage, &bases);
    Some(survey.plan.map(|_| ()))
}

/// Numbers that look like chance and are the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

fn dockerfiles() -> Vec<Vec<u8>> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/conformance");
    let mut paths: Vec<_> = fs::read_dir(cases)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("Dockerfile"))
        .collect();
    paths.sort();
    paths
        .iter()
        .filter_map(|path| fs::read(path).ok())
        .collect()
}

/// Lines and pieces of all the cases, mixed, are Dockerfiles of all kinds of mistakes.
#[test]
fn mixed_up_dockerfiles_are_planned_or_refused() {
    const PIECES: [&str; 16] = [
        "$", "${", "}", ":-", "\"", "'", "\\", "--from=", "<<", "..", "/./", ",", "=", "\t", "é",
        "\0",
    ];
    let files = dockerfiles();
    let lines: Vec<&[u8]> = files
        .iter()
        .flat_map(|file| file.split(|byte| *byte == b'\n'))
        .collect();
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut planned = 0;
    for round in 0..4000 {
        let mut text = files[chance.below(files.len())].clone();
        for _ in 0..chance.below(4) {
            let line = lines[chance.below(lines.len())];
            let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            let ends: Vec<usize> = ends.map(|(at, _)| at + 1).collect();
            let at = ends.get(chance.below(ends.len())).copied().unwrap_or(0);
            text.splice(at..at, [line, b"\n"].concat());
        }
        for _ in 0..chance.below(3) {
            let at = chance.below(text.len());
            let piece = PIECES[chance.below(PIECES.len())];
            text.splice(at..at, piece.bytes());
        }
        let trigger = lines[chance.below(lines.len())];
        let triggers = vec![String::from_utf8_lossy(trigger).into_owned()];
        let platform = ["linux/amd64", "windows/amd64"][round % 2];
        planned += usize::from(matches!(plan(&text, platform, triggers), Some(Ok(()))));
    }
    assert!(planned > 100, "only {planned} of them could be planned");
}

/// Variables made of variables grow by doubling.
#[test]
fn variables_that_double_end_in_an_error() {
    let mut text = String::from("FROM a\nENV V0=0123456789abcdef\n");
    for number in 0..60 {
        text.push_str(&format!(
            "ENV V{}=$V{number}$V{number}\nRUN $V{number}\n",
            number + 1
        ));
    }
    let error = plan(text.as_bytes(), "linux/amd64", Vec::new()).unwrap();
    let message = error.unwrap_err().to_string();
    assert!(message.contains("expand to more than"), "{message}");
    // So does an environment that many commands have.
    let mut text = String::from("FROM a\n");
    for number in 0..20 {
        text.push_str(&format!("ENV V{number}={}\n", "x".repeat(60_000)));
    }
    text.push_str(&"RUN a\n".repeat(1000));
    let error = plan(text.as_bytes(), "linux/amd64", Vec::new()).unwrap();
    let message = error.unwrap_err().to_string();
    assert!(message.contains("expand to more than"), "{message}");
}
