//! What Dockerfiles mean: config, history and steps, without executing anything.

use std::collections::BTreeMap;

use kiln_oci::{Descriptor, Image, ImageConfig, Manifest, Platform, Sha256, media_type};
use kiln_parser::parse;
use kiln_solver::{
    Access, BaseError, BaseRequest, Bases, Fault, Op, Plan, PlanError, PlanOptions, Presence,
    RunMountKind, plan,
};

use super::options::options;

/// Knows one image, `base`, with a config of its own.
struct OneImage(ImageConfig);

impl Bases for OneImage {
    fn resolve(&self, requests: &[BaseRequest]) -> Vec<Result<Image, BaseError>> {
        requests
            .iter()
            .map(|request| match request.source.name().familiar().as_str() {
                "base:latest" => Ok(self.image()),
                _ => Err(BaseError {
                    cause: "not found".into(),
                    hint: None,
                    fault: Fault::Input,
                }),
            })
            .collect()
    }
}

impl OneImage {
    fn image(&self) -> Image {
        let config = Descriptor::of(media_type::OCI_CONFIG, &self.0.to_bytes());
        let layer = Descriptor::new(media_type::OCI_LAYER_GZIP, Sha256::of(b"layer"), 5);
        let manifest = Manifest::oci(config, vec![layer]);
        Image {
            descriptor: Descriptor::of(media_type::OCI_MANIFEST, &manifest.to_bytes()),
            manifest,
            config: self.0.clone(),
        }
    }
}

fn base_config() -> ImageConfig {
    serde_json::from_str(
        r#"{"architecture":"amd64","os":"linux",
            "config":{"Env":["PATH=/bin","X=base"],"Cmd":["base-cmd"],"WorkingDir":"/srv"},
            "rootfs":{"type":"layers","diff_ids":["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]}}"#,
    )
    .unwrap()
}

pub(super) struct Case<'a> {
    text: &'a str,
    base: ImageConfig,
    options: PlanOptions,
}

pub(super) fn case(text: &str) -> Case<'_> {
    Case {
        text,
        base: base_config(),
        options: options(),
    }
}

impl Case<'_> {
    fn arg(mut self, name: &str, value: &str) -> Self {
        self.options
            .build_args
            .insert(name.to_owned(), value.to_owned());
        self
    }

    fn target(mut self, name: &str) -> Self {
        self.options.target = Some(name.to_owned());
        self
    }

    fn onbuild(mut self, triggers: &[&str]) -> Self {
        self.base.config.on_build = triggers.iter().map(|&t| t.to_owned()).collect();
        self
    }

    fn try_plan(self) -> Result<Plan, PlanError> {
        let parsed = parse(self.text.as_bytes());
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        plan(&parsed.dockerfile, &self.options, &OneImage(self.base))
    }

    #[track_caller]
    pub(super) fn plan(self) -> Plan {
        match self.try_plan() {
            Ok(plan) => plan,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn error(self) -> String {
        match self.try_plan() {
            Ok(_) => panic!("it was planned"),
            Err(PlanError::Input(all)) => {
                let messages: Vec<&str> = all.iter().map(|d| d.message.as_str()).collect();
                messages.join("\n")
            }
            Err(error) => error.to_string(),
        }
    }
}

fn history(plan: &Plan) -> Vec<&str> {
    plan.targets[0]
        .history
        .iter()
        .map(|h| h.created_by.as_str())
        .collect()
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.graph
        .steps()
        .map(|(_, step)| step.name.as_str())
        .collect()
}

/// The environment of the last RUN.
fn run_env(plan: &Plan) -> BTreeMap<&str, &str> {
    let run = plan
        .graph
        .steps()
        .rev()
        .find_map(|(_, step)| match &step.op {
            Op::Run(run) => Some(run),
            _ => None,
        });
    run.expect("the plan runs something")
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

#[test]
fn history_and_config_of_every_instruction() {
    let plan = case(concat!(
        "FROM base\n",
        "ARG V=1\n",
        "ENV A=\"a b\" B=$X\n",
        "LABEL k=v\n",
        "WORKDIR sub\n",
        "RUN echo $V\n",
        "RUN [\"/bin/tool\", \"x\"]\n",
        "COPY --chown=1:2 --chmod=755 a b ./dir/\n",
        "EXPOSE 443 80-81/UDP\n",
        "VOLUME /v [\"x\"]\n",
        "USER me\n",
        "STOPSIGNAL SIGTERM\n",
        "SHELL [\"/bin/sh\", \"-ec\"]\n",
        "HEALTHCHECK --interval=5s --retries=2 CMD x\n",
        "ENTRYPOINT [\"e\"]\n",
        "CMD echo \"hi\"\n",
        "MAINTAINER somebody\n",
    ))
    .plan();
    assert_eq!(
        history(&plan),
        [
            "ARG V=1",
            "ENV A=a b B=base",
            "LABEL k=v",
            "WORKDIR /srv/sub",
            "RUN |1 V=1 /bin/sh -c echo $V # buildkit",
            "RUN |1 V=1 /bin/tool x # buildkit",
            "COPY --chown=1:2 --chmod=755 a b ./dir/ # buildkit",
            "EXPOSE [443/tcp 80/udp 81/udp]",
            "VOLUME [/v [x]]",
            "USER me",
            "STOPSIGNAL SIGTERM",
            "SHELL [/bin/sh -ec]",
            "HEALTHCHECK {Test:[CMD-SHELL x] Interval:5s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2}",
            "ENTRYPOINT [\"e\"]",
            "CMD [\"/bin/sh\" \"-ec\" \"echo \\\"hi\\\"\"]",
            "MAINTAINER somebody",
        ]
    );
    let config = &plan.targets[0].config;
    assert_eq!(
        config.config.env,
        ["PATH=/bin", "X=base", "A=a b", "B=base"]
    );
    assert_eq!(config.config.working_dir, "/srv/sub");
    // DF-084: CMD in the same stage stands beside ENTRYPOINT.
    assert_eq!(config.config.cmd, ["/bin/sh", "-ec", "echo \"hi\""]);
    assert_eq!(config.author.as_deref(), Some("somebody"));
    assert!(config.config.args_escaped);
    let digest = plan.targets[0].base.unwrap();
    let names = names(&plan);
    assert_eq!(
        names[0],
        format!("[1/5] FROM docker.io/library/base:latest@{digest}")
    );
    assert_eq!(
        names[1..],
        [
            "[2/5] WORKDIR sub",
            "[3/5] RUN echo 1",
            "[4/5] RUN [\"/bin/tool\", \"x\"]",
            "[5/5] COPY --chown=1:2 --chmod=755 a b ./dir/",
        ]
    );
}

#[test]
fn empty_workdir_is_that_of_the_base_from_the_root() {
    for (of_base, expected) in [("srv", "/srv"), ("/srv/", "/srv/"), ("", "/")] {
        let mut case = case("FROM base\nARG NONE\nWORKDIR $NONE\n");
        of_base.clone_into(&mut case.base.config.working_dir);
        let plan = case.plan();
        let config = &plan.targets[0].config.config;
        assert_eq!(config.working_dir, expected, "{of_base:?}");
    }
}

/// Files can be collected for Windows, and what is to be done with them be said.
#[test]
fn windows_has_its_own_defaults() {
    let mut files =
        case("FROM scratch\nWORKDIR C:\\\\app\\\\\nCOPY a C:/dir/\nWORKDIR sub\nCMD run\n");
    let windows: Platform = "windows/amd64".parse().unwrap();
    files.options.platforms = vec![windows];
    let plan = files.plan();
    let target = &plan.targets[0];
    let config = &target.config.config;
    assert_eq!(target.config.os, "windows");
    assert_eq!(config.env, [""; 0]);
    assert_eq!(config.working_dir, r"\app\sub");
    assert_eq!(config.cmd, ["cmd", "/S", "/C", "run"]);
    let created_by = target.history.iter().map(|entry| &*entry.created_by);
    assert_eq!(
        created_by.collect::<Vec<_>>(),
        [
            "WORKDIR /app",
            "COPY a C:/dir/ # buildkit",
            "WORKDIR /app/sub",
            r#"CMD ["cmd" "/S" "/C" "run"]"#,
        ]
    );
    let mut command = case("FROM scratch\nRUN a\n");
    command.options.platforms = vec!["windows/amd64".parse().unwrap()];
    assert_eq!(
        command.error(),
        "RUN cannot be carried out for windows/amd64: only Linux programs run here"
    );
}

/// DF-076.
#[test]
fn scratch_has_a_path_and_a_directory() {
    let plan = case("FROM scratch\nLABEL a=b\n").plan();
    let config = &plan.targets[0].config.config;
    assert_eq!(config.working_dir, "/");
    assert_eq!(
        config.env,
        ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    );
    assert_eq!(plan.targets[0].root, None);
    let mut of_arm = case("FROM scratch\nLABEL a=b\n");
    of_arm.options.platforms = vec!["linux/arm/v6".parse().unwrap()];
    let config = &of_arm.plan().targets[0].config;
    assert_eq!(config.platform().to_string(), "linux/arm/v6");
}

#[test]
fn health_checks_can_be_taken_away() {
    let plan = case("FROM base\nHEALTHCHECK CMD x\nHEALTHCHECK NONE\n").plan();
    let check = plan.targets[0].config.config.healthcheck.clone().unwrap();
    assert_eq!(check.test, ["NONE"]);
    assert_eq!(check.interval, 0);
}

/// DF-057, DF-066, DF-067, DF-068.
#[test]
fn the_last_assignment_wins_and_only_env_is_kept() {
    let plan =
        case("FROM base\nENV abc=hello\nENV abc=bye def=$abc\nENV X=1\nARG X=2\nRUN a\n").plan();
    assert_eq!(run_env(&plan)["X"], "2");
    assert_eq!(run_env(&plan)["def"], "hello");
    assert_eq!(
        plan.targets[0].config.config.env,
        ["PATH=/bin", "X=1", "abc=bye", "def=hello"]
    );
    let plan = case("FROM base\nARG X=2\nENV X=3\nRUN a\n").plan();
    assert_eq!(run_env(&plan)["X"], "3");
}

/// DF-063, DF-064, DF-065, DF-069, DF-070, DF-071, DF-072, DF-075.
#[test]
fn arguments_have_scopes() {
    let text = "ARG G=global\nARG IMAGE=base\nFROM $IMAGE AS one\nARG G\nARG L=$G-local M=${L}2\nRUN a\n\
                FROM one AS two\nRUN b\nFROM base AS three\nRUN c\n";
    let one = case(text).target("one").plan();
    assert_eq!(run_env(&one)["L"], "global-local");
    assert_eq!(run_env(&one)["M"], "global-local2");
    let one = case(text).target("ONE").arg("G", "given").plan();
    assert_eq!(run_env(&one)["G"], "given");
    let two = case(text).target("two").plan();
    assert_eq!(run_env(&two)["L"], "global-local");
    let three = case(text).target("three").plan();
    assert!(!run_env(&three).contains_key("L") && !run_env(&three).contains_key("G"));
    let platform = case("FROM base\nARG TARGETARCH TARGETSTAGE\nARG BUILDPLATFORM\nRUN a\n").plan();
    let env = run_env(&platform);
    assert_eq!(env["TARGETARCH"], "amd64");
    assert_eq!(env["TARGETSTAGE"], "default");
    assert_eq!(env["BUILDPLATFORM"], "linux/amd64");
    assert!(!env.contains_key("TARGETOS"));
}

/// DF-073.
#[test]
fn proxies_reach_every_run_and_nothing_else() {
    let plan = case("FROM base\nRUN a\n").arg("HTTP_proxy", "p").plan();
    assert_eq!(
        plan.proxies,
        [
            ("HTTP_PROXY".to_owned(), "p".to_owned()),
            ("http_proxy".to_owned(), "p".to_owned())
        ]
    );
    assert!(!run_env(&plan).contains_key("HTTP_PROXY"));
    assert_eq!(history(&plan), ["RUN /bin/sh -c a # buildkit"]);
}

/// DF-083.
#[test]
fn an_entrypoint_clears_the_inherited_command() {
    let plan = case("FROM base\nENTRYPOINT [\"e\"]\n").plan();
    assert!(plan.targets[0].config.config.cmd.is_empty());
    let plan = case("FROM base AS a\nCMD x\nFROM a\nENTRYPOINT [\"e\"]\n").plan();
    assert!(plan.targets[0].config.config.cmd.is_empty());
}

/// DF-096, DF-097.
#[test]
fn triggers_fire_first_and_once() {
    let plan = case("FROM base\nRUN own\n")
        .onbuild(&["ENV T=1", "RUN trigger"])
        .plan();
    assert_eq!(
        names(&plan)[1..],
        ["[2/3] ONBUILD RUN trigger", "[3/3] RUN own"]
    );
    assert_eq!(run_env(&plan)["T"], "1");
    assert!(plan.targets[0].config.config.on_build.is_empty());
    let plan = case("FROM base AS a\nONBUILD RUN later\nFROM a\nRUN own\n").plan();
    assert_eq!(
        names(&plan)[1..],
        ["[stage-1 1/2] ONBUILD RUN later", "[stage-1 2/2] RUN own"]
    );
    let plan = case("FROM base AS a\nONBUILD RUN later\n").plan();
    assert_eq!(plan.targets[0].config.config.on_build, ["RUN later"]);
    assert!(plan.targets[0].history.is_empty());
}

/// A trigger may bring in a stage, and an image, that nothing else mentions.
#[test]
fn triggers_add_dependencies() {
    let plan = case("FROM base AS tool\nRUN make\nFROM base\n")
        .onbuild(&["COPY --from=tool /x /y"])
        .try_plan();
    // The tool stage's own base fires the trigger too, and then it would copy from itself.
    let message = plan.unwrap_err().to_string();
    assert!(message.contains("circular dependency"), "{message}");
}

/// DF-158.
#[test]
fn only_what_the_target_needs_is_planned() {
    let text = "FROM nowhere AS unused\nRUN fail\nFROM base AS a\nRUN a\nFROM base AS b\nRUN b\n\
                FROM scratch\nCOPY --from=a /x /x\n";
    assert_eq!(
        names(&case(text).plan())[1..],
        ["[a 2/2] RUN a", "[stage-3 1/1] COPY --from=a /x /x"]
    );
}

#[test]
fn equal_steps_are_one() {
    let text = "FROM base AS a\nRUN same\nRUN a\nFROM base AS b\nRUN same\nRUN b\n\
                FROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n";
    let plan = case(text).plan();
    let same = names(&plan)
        .iter()
        .filter(|name| name.ends_with("RUN same"))
        .count();
    assert_eq!(same, 1);
}

#[test]
fn copies_are_one_step_only_if_their_modes_are_equal() {
    for (one, other, expected) in [("755", "755", 1), ("755", "644", 2), ("u+x", "a+x", 2)] {
        let text = format!(
            "FROM base AS a\nCOPY --chmod={one} f /\nFROM base AS b\nCOPY --chmod={other} f /\n\
             FROM scratch\nCOPY --from=a /f /a\nCOPY --from=b /f /b\n"
        );
        let plan = case(&text).plan();
        let copies = names(&plan)
            .iter()
            .filter(|name| name.contains("COPY --chmod"))
            .count();
        assert_eq!(copies, expected, "{one} and {other}");
    }
}

#[test]
fn mistakes_are_named() {
    let check = |text: &str, expected: &str| assert_eq!(case(text).error(), expected, "{text}");
    // DF-080
    check("FROM $nope\n", "base name ($nope) should not be blank");
    // DF-077
    check(
        "FROM base AS mid\nFROM MID\n",
        "failed to parse stage name \"MID\": invalid reference format: repository name (library/MID) must be lowercase",
    );
    // DF-160
    check(
        "FROM base AS a\nCOPY --from=b /x /x\nFROM base AS b\nFROM a\n",
        "cannot copy from stage \"b\", it needs to be defined before current stage \"a\"",
    );
    // DF-150
    check("FROM base\nCOPY --from=9 /x /x\n", "invalid stage index 9");
    check(
        "FROM base AS a\nCOPY --from=1 /x /x\nFROM base\nFROM a\n",
        "cannot copy from stage \"1\", it needs to be defined before current stage \"a\"",
    );
    check(
        "FROM base\nCOPY --from=0 /x /x\n",
        "circular dependency detected on stage: stage-0",
    );
    check(
        "FROM base AS a\nCOPY --from=a /x /x\n",
        "circular dependency detected on stage: a",
    );
    // DF-149
    check(
        "FROM base\nCOPY https://x.y/z /z\n",
        "source can't be a URL for COPY",
    );
    check(
        "FROM base\nCOPY https://x.y/z.git /z\n",
        "source can't be a git ref for COPY",
    );
    // DF-133
    check(
        "FROM base\nCOPY --chmod=999 a b\n",
        "invalid chmod parameter: '999'. it should be octal string and between 0 and 07777",
    );
    // DF-093, and several errors in one run.
    check(
        "FROM base\nSTOPSIGNAL FOO\nENV a=${}\n",
        "invalid signal: FOO\nfailed to process \"${}\": syntax error: bad substitution",
    );
    // DF-113
    check(
        "FROM base\nWORKDIR /\nRUN --mount=target=. y\n",
        "invalid mount target \"/\"",
    );
    // DF-115
    check(
        "FROM base AS a\nRUN --mount=from=b,target=/y z\nFROM base AS b\nFROM a\n",
        "cannot mount from stage \"b\" to \"/y\", stage needs to be defined before current command",
    );
    check(
        "FROM base\nRUN --network=host y\n",
        "network.host is not allowed",
    );
    check(
        "FROM base\nRUN --security=insecure y\n",
        "security.insecure is not allowed",
    );
    check(
        "FROM base\nADD --checksum=sha256:1 a b\n",
        "checksum requires HTTP(S) or Git sources",
    );
    check(
        "FROM base\nADD --checksum=sha256:1 http://x/a http://x/b /d/\n",
        "checksum can't be specified for multiple sources",
    );
    check(
        "FROM other\n",
        "other: failed to resolve source metadata for docker.io/library/other:latest",
    );
}

/// DF-159.
#[test]
fn targets_are_names() {
    let error = |target: &str| case("FROM base AS builder\n").target(target).error();
    assert_eq!(
        error("bilder"),
        "target stage \"bilder\" could not be found (did you mean builder?)"
    );
    assert_eq!(error("0"), "target stage \"0\" could not be found");
}

#[test]
fn flags_of_run_are_in_its_step() {
    let text = "FROM base AS a\nFROM base\nWORKDIR /w\nARG C=npm\n\
         RUN --mount=type=cache,id=$C,target=cache,sharing=locked --mount=from=a,source=/s,target=/a,rw \
         --mount=type=secret,id=t,env=T --mount=type=ssh --device=vendor.com/gpu=all,required make\n";
    let mut case = case(text).arg("BUILDKIT_CACHE_MOUNT_NS", "ns");
    case.options
        .build_args
        .insert("BUILDKIT_SANDBOX_HOSTNAME".to_owned(), "box".to_owned());
    let plan = case.plan();
    let run = plan.graph.steps().find_map(|(_, step)| match &step.op {
        Op::Run(run) => Some(run.clone()),
        _ => None,
    });
    let run = run.unwrap();
    let targets: Vec<String> = run.mounts.iter().map(|m| m.target.to_string()).collect();
    assert_eq!(targets, ["/w/cache", "/a", "/run/buildkit/ssh_agent.0"]);
    let RunMountKind::Cache { id, .. } = &run.mounts[0].kind else {
        panic!("{:?}", run.mounts[0]);
    };
    assert_eq!(id, "ns/npm");
    let RunMountKind::Bind { files, access } = &run.mounts[1].kind else {
        panic!("{:?}", run.mounts[1]);
    };
    assert!(files.step.is_some() && files.path.to_string() == "/s");
    assert_eq!(*access, Access::ReadWrite);
    assert_eq!(run.secret_variables[0].name, "T");
    assert_eq!(run.devices[0].name, "vendor.com/gpu=all");
    assert_eq!(run.devices[0].presence, Presence::Required);
    assert_eq!(run.hostname, "box");
}

#[test]
fn passwords_of_addresses_are_neither_shown_nor_stored() {
    let plan = case("FROM base\nADD https://me:hunter2@example.com/file?x=1 /f\n").plan();
    let shown = format!("{:?} {:?}", names(&plan), plan.targets[0].history);
    assert!(shown.contains("example.com/file?x=1"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
