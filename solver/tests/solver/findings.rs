//! What lint rules find that need values: variables, ports, paths, configs of base images.

use insta::assert_snapshot;
use kiln_oci::{Descriptor, Image, ImageConfig, Manifest, Sha256, media_type};
use kiln_parser::parse;
use kiln_solver::{
    BaseError, BaseRequest, Bases, ImageSource, NamedSource, PlanOptions, StageScope, Survey,
    survey,
};

use super::options::options;

/// Any name stands for the same image.
struct Same(ImageConfig);

impl Bases for Same {
    fn resolve(&self, requests: &[BaseRequest]) -> Vec<Result<Image, BaseError>> {
        let config = Descriptor::of(media_type::OCI_CONFIG, &self.0.to_bytes());
        let layer = Descriptor::new(media_type::OCI_LAYER_GZIP, Sha256::of(b"layer"), 5);
        let manifest = Manifest::oci(config, vec![layer]);
        let image = Image {
            descriptor: Descriptor::of(media_type::OCI_MANIFEST, &manifest.to_bytes()),
            manifest,
            config: self.0.clone(),
        };
        requests.iter().map(|_| Ok(image.clone())).collect()
    }
}

fn look(text: &str, extent: StageScope, options: &PlanOptions, base: ImageConfig) -> Survey {
    let parsed = parse(text.as_bytes());
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    survey(&parsed.dockerfile, options, extent, &Same(base))
}

fn base() -> ImageConfig {
    ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        ..ImageConfig::default()
    }
}

/// Renders findings in the order in which they came up, with the text they point at.
fn show(text: &str, survey: &Survey) -> String {
    let shown = survey.findings.iter().map(|finding| {
        let at = &text[finding.span.start as usize..finding.span.end as usize];
        let line = finding.span.line(text.as_bytes());
        let notes: String = finding.notes.iter().map(|n| format!(" ({n})")).collect();
        format!("{line} {at:?} {}: {}{notes}", finding.code, finding.message)
    });
    let mut shown: Vec<String> = shown.collect();
    // The command line shows those that came up more than once only once.
    let mut seen = std::collections::HashSet::new();
    shown.retain(|line| seen.insert(line.clone()));
    shown.join("\n")
}

fn found(text: &str) -> String {
    show(text, &look(text, StageScope::Target, &options(), base()))
}

#[test]
fn undefined_variables_are_found() {
    assert_snapshot!(found(
        "ARG GLOBAL=1\nFROM base AS a\nARG BARE\nENV PATHS=/x one=1\nCOPY $PATH_ $BARE ${GLOBAL:-x} /$1\n\
         LABEL a=\"$unknown and ${unknown}\" $k=v\nUSER ${one}$onee\nRUN echo $free\n\
         COPY <<E /f\n$inside\nE\nFROM a\nENV B=$BARE C=$BUILDKIT_SBOM_SCAN_STAGE D=$TARGETARCH\n"
    ), @r#"
    5 "$1" UndefinedVar: Usage of undefined variable '$1'
    5 "$PATH_" UndefinedVar: Usage of undefined variable '$PATH_' (did you mean $PATH?)
    5 "${GLOBAL" UndefinedVar: Usage of undefined variable '$GLOBAL' (so far only FROM lines know GLOBAL; `ARG GLOBAL` in the stage brings it in)
    6 "$unknown" UndefinedVar: Usage of undefined variable '$unknown'
    6 "$k" UndefinedVar: Usage of undefined variable '$k'
    7 "$onee" UndefinedVar: Usage of undefined variable '$onee' (did you mean $one?)
    9 "<<E" UndefinedVar: Usage of undefined variable '$inside'
    13 "$TARGETARCH" UndefinedVar: Usage of undefined variable '$TARGETARCH' (so far only FROM lines know TARGETARCH; `ARG TARGETARCH` in the stage brings it in)
    "#);
    // What one stage declares, another does not know.
    assert_snapshot!(found("FROM base AS a\nARG X\nFROM base\nCOPY --from=a /x /$X\n"), @r#"4 "$X" UndefinedVar: Usage of undefined variable '$X'"#);
}

#[test]
fn undefined_arguments_in_from_are_found() {
    assert_snapshot!(found(
        "ARG TAG\nARG NAME=base\nFROM --platform=$BUILDPLATFROM$BUILDPLATFORM ${NAM:-x}:a$TAG\n"
    ), @r#"
    3 "${NAM" UndefinedArgInFrom: FROM argument 'NAM' is not declared (did you mean NAME?)
    3 "$BUILDPLATFROM" UndefinedArgInFrom: FROM argument 'BUILDPLATFROM' is not declared (did you mean BUILDPLATFORM?)
    "#);
    assert_snapshot!(found("ARG A=$B\nFROM base$A\n"), @"");
}

#[test]
fn defaults_must_give_a_base() {
    let mut options = options();
    options
        .build_args
        .insert("BASE".to_owned(), "base".to_owned());
    let text = "ARG BASE\nARG TAG=1\nFROM $BASE:$TAG\nFROM ${BASE:-other}:$TAG\nFROM base:$TAG\n";
    let survey = look(text, StageScope::Target, &options, base());
    assert!(survey.plan.is_ok());
    assert_snapshot!(show(text, &survey), @r#"3 "$BASE:$TAG" InvalidDefaultArgInFrom: Default value for ARG $BASE:$TAG results in empty or invalid base image name"#);
}

#[test]
fn bases_of_another_platform_are_found() {
    let arm = ImageConfig {
        architecture: "arm64".to_owned(),
        ..base()
    };
    let text = "FROM base\nFROM --platform=linux/arm64 base\nFROM base AS unused\nFROM scratch\nCOPY --from=0 /a /b\nCOPY --from=1 /a /b\n";
    let survey = look(text, StageScope::Target, &options(), arm);
    assert_snapshot!(show(text, &survey), @r#"1 "base" InvalidBaseImagePlatform: Base image base was pulled with platform "linux/arm64", expected "linux/amd64" for current build"#);
    // Hand-made images may say nothing.
    let survey = look(
        "FROM base\n",
        StageScope::Target,
        &options(),
        ImageConfig::default(),
    );
    assert!(survey.findings.is_empty());
}

#[test]
fn relative_directories_are_found() {
    assert_snapshot!(found("FROM base AS a\nWORKDIR x\nWORKDIR y\nFROM a\nWORKDIR z\nFROM a\nWORKDIR w\n"), @r#"2 "x" WorkdirRelativePath: Relative workdir "x" can have unexpected results if the base image changes"#);
    assert_snapshot!(found("FROM base AS a\nWORKDIR /x\nFROM a\nENV D=y\nWORKDIR $D\n"), @"");
    assert_snapshot!(found("FROM base\nENV D=y\nWORKDIR ${D}\n"), @r#"3 "${D}" WorkdirRelativePath: Relative workdir "y" can have unexpected results if the base image changes"#);
}

#[test]
fn commands_in_shell_form_are_found() {
    let text = "FROM base AS a\nCMD x\nentrypoint [\"y\"]\nFROM a AS b\nSHELL [\"/bin/sh\", \"-c\"]\nENTRYPOINT z\nFROM b\nCMD w\n";
    assert_snapshot!(found(text), @r#"2 "CMD x" JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals"#);
    let mut with_shell = base();
    with_shell.config.shell = vec!["/bin/bash".to_owned()];
    let survey = look(text, StageScope::Target, &options(), with_shell);
    assert!(survey.findings.is_empty());
}

#[test]
fn malformed_ports_are_found() {
    assert_snapshot!(found("FROM base\nENV P=9/UDP\nEXPOSE 80/tcp 81/Tcp 8080:80 127.0.0.1:1:1 $P\n"), @r#"
    3 "$P" ExposeProtoCasing: Defined protocol '9/UDP' in EXPOSE instruction should be lowercase
    3 "127.0.0.1:1:1" ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:1:1'
    3 "8080:80" ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '8080:80'
    3 "81/Tcp" ExposeProtoCasing: Defined protocol '81/Tcp' in EXPOSE instruction should be lowercase
    "#);
}

#[test]
fn df_097_triggers_are_found_at_from() {
    let mut with_triggers = base();
    with_triggers.config.on_build = vec!["WORKDIR here".to_owned(), "LABEL a=$nothing".to_owned()];
    let text = "FROM base\n";
    let survey = look(text, StageScope::Target, &options(), with_triggers);
    let shown = survey.findings.iter().map(|f| f.message.as_str());
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            "Relative workdir \"here\" can have unexpected results if the base image changes",
            "Usage of undefined variable '$nothing'"
        ]
    );
}

#[test]
fn stages_that_are_not_needed_are_looked_at_only_when_checking() {
    let text = "FROM base AS a\nCMD x\nFROM base\nCMD [\"x\"]\n";
    let built = look(text, StageScope::Target, &options(), base());
    assert_eq!((built.findings.len(), built.stages.len()), (0, 1));
    let checked = look(text, StageScope::EveryStage, &options(), base());
    assert_eq!((checked.findings.len(), checked.stages.len()), (1, 2));
}

#[test]
fn reads_of_the_context_are_listed() {
    let text = "FROM base AS a\nARG D=dir\nCOPY a $D/b <<E /x\nE\nADD c /y\nFROM base\nCOPY --from=a /d /e\n";
    let survey = look(text, StageScope::Target, &options(), base());
    let reads = survey
        .reads
        .iter()
        .map(|read| format!("{} {}", read.verb, read.path));
    assert_eq!(reads.collect::<Vec<_>>(), ["Copy a", "Copy dir/b", "Add c"]);
}

#[test]
fn findings_stay_when_there_is_no_plan() {
    let text = "FROM base AS a\nCMD x\nFROM $nothing\n";
    let survey = look(text, StageScope::Target, &options(), base());
    assert!(survey.plan.is_err());
    assert!(show(text, &survey).contains("UndefinedArgInFrom"));
}

#[test]
fn circles_of_stages_are_errors() {
    let circle = |text: &str| {
        let survey = look(text, StageScope::Target, &options(), base());
        match survey.plan {
            Err(kiln_solver::PlanError::Input(errors)) => {
                let error = &errors[0];
                let places = std::iter::once(error.span).chain(error.labels.iter().map(|l| l.span));
                let lines: Vec<u32> = places.map(|span| span.line(text.as_bytes())).collect();
                format!("{} {lines:?} {}", error.message, errors.len())
            }
            other => panic!("{other:?}"),
        }
    };
    assert_snapshot!(circle("FROM base AS a\nCOPY --from=b / /\nFROM base AS b\nCOPY --from=a / /\n"), @"circular dependency detected on stage: a [2, 4] 1");
    assert_snapshot!(circle("FROM base AS x\nFROM base AS a\nRUN --mount=from=c,target=/m true\nFROM a AS b\nFROM base AS c\nCOPY --from=B / /\n"), @"circular dependency detected on stage: a [3, 4, 6] 1");
    assert_snapshot!(circle("FROM base AS a\nCOPY --from=a / /\n"), @"circular dependency detected on stage: a [2] 1");
    // Looking ahead alone is another mistake, and looking back at an equal name is none.
    assert_snapshot!(circle("FROM base AS a\nCOPY --from=b / /\nFROM base AS b\nFROM a\n"), @r#"cannot copy from stage "b", it needs to be defined before current stage "a" [2, 3] 1"#);
    let text = "FROM base AS a\nFROM base AS a\nCOPY --from=a / /\n";
    assert!(
        look(text, StageScope::Target, &options(), base())
            .plan
            .is_ok()
    );
}

/// Who gives an image in a base's place has chosen its platform.
#[test]
fn named_contexts_are_not_checked_for_their_platform() {
    let base = ImageConfig {
        architecture: "arm64".to_owned(),
        os: "linux".to_owned(),
        ..ImageConfig::default()
    };
    let found = |text: &str, contexts: &[&str]| {
        let mut options = options();
        for name in contexts {
            let image = ImageSource::Registry("elsewhere:1".parse().unwrap());
            options
                .contexts
                .insert((*name).to_owned(), NamedSource::Image(image));
        }
        show(
            text,
            &look(text, StageScope::Target, &options, base.clone()),
        )
    };
    let text = "ARG B=base\nFROM $B AS one\n";
    assert_snapshot!(found(text, &[]), @r#"2 "$B" InvalidBaseImagePlatform: Base image base was pulled with platform "linux/arm64", expected "linux/amd64" for current build"#);
    assert_eq!(found(text, &["base"]), "");
    assert_eq!(found(text, &["one"]), "");
}

/// A base that can never be one is found besides being refused.
#[test]
fn impossible_bases_are_found_and_refused() {
    let text = "FROM Upper\n";
    let survey = look(text, StageScope::Target, &options(), base());
    assert_snapshot!(show(text, &survey), @r#"1 "Upper" InvalidDefaultArgInFrom: Default value for ARG Upper results in empty or invalid base image name"#);
    assert!(survey.plan.is_err());
}

/// Defaults that no build needs, and names, are not expanded.
#[test]
fn arguments_that_are_given_ask_for_nothing() {
    let text = "ARG A=$no\nFROM a\nARG B=$nothing $C=$D\n";
    let mut given = options();
    for name in ["A", "B", "$C"] {
        given.build_args.insert(name.to_owned(), "x".to_owned());
    }
    assert_eq!(
        show(text, &look(text, StageScope::Target, &given, base())),
        ""
    );
    let mut stopped = options();
    stopped.build_args.insert("B".to_owned(), "x".to_owned());
    assert_snapshot!(show(text, &look(text, StageScope::Target, &stopped, base())), @r#"3 "$D" UndefinedVar: Usage of undefined variable '$D' (did you mean $B?)"#);
}
