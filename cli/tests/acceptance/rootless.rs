//! Without root: a user with a range of subordinate ids.

use std::fs;
use std::process::Command;

use kiln_testbed::{Bases, assert_no_leftovers, copy_for_everyone, need, ordinary_user};

use crate::harness::{program, succeeded};

#[test]
fn an_ordinary_user_builds_pushes_pulls_and_runs() {
    let user = need!(ordinary_user());
    let registry = need!(Bases::by(program()).serve(&["busybox"]));
    let (_place, kiln) = copy_for_everyone(program());
    let scratch = user.scratch();
    let context = scratch.join("context");
    fs::create_dir(&context).unwrap();
    fs::write(
        context.join("Dockerfile"),
        "FROM busybox\nRUN id -u && touch /root-owned && touch /other && chown 1234:99 /other\n\
         COPY --chown=33:33 Dockerfile /copied\nUSER 1234\nWORKDIR /home/me\n\
         RUN test $(id -u) = 1234 && touch here\nCMD [\"ls\", \"-ln\", \"/other\", \"/copied\"]\n",
    )
    .unwrap();
    let settings = scratch.join("registries.conf");
    fs::copy(registry.registries_conf(), &settings).unwrap();
    for path in [&context, &context.join("Dockerfile"), &settings] {
        user.own(path);
    }
    let run = |root: &str, arguments: &[&str]| {
        let mut command: Command = user.command(&kiln);
        command
            .env("KILN_ROOT", scratch.join(root))
            .env("CONTAINERS_REGISTRIES_CONF", &settings)
            .args(arguments);
        succeeded(arguments, command.output().unwrap()).0
    };
    let name = registry.image("rootless/app:v1");
    run(
        "state",
        &["build", "-t", &name, "--push", context.to_str().unwrap()],
    );
    run("state", &["build", "-t", &name, context.to_str().unwrap()]);
    for root in ["state", "elsewhere"] {
        run(root, &["pull", &name]);
        let listing = run(root, &["run", "--rm", &name]);
        let owners: Vec<&str> = listing
            .lines()
            .filter_map(|line| Some(line.split_whitespace().nth(2)?))
            .collect();
        assert_eq!(owners, ["33", "1234"], "{listing}");
        assert_no_leftovers(&scratch.join(root));
    }
}
