//! `RUN --mount`: what a command finds, what stays, and what never reaches the image.

use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_testbed::{
    Bases, Ended, Kiln, Tool, assert_no_leftovers, image_tree, need, need_root, ordinary_user,
};

use crate::acceptance::harness::is_cached;
use crate::program;

/// Builds a Dockerfile on busybox with these files beside it.
#[track_caller]
fn build(
    kiln: &Kiln,
    name: &str,
    dockerfile: &str,
    files: &[(&str, &str)],
    arguments: &[&str],
) -> String {
    let mut all = vec![("Dockerfile", dockerfile)];
    all.extend_from_slice(files);
    let context = kiln.context(name, &all);
    kiln.build(&context, arguments)
}

/// Returns the lines that a step printed.
fn printed(progress: &str, marker: &str) -> Vec<String> {
    let line = |line: &str| Some(line.split_once(marker)?.1.to_owned());
    progress
        .lines()
        .filter(|line| line.starts_with('#') && !line.contains("RUN"))
        .filter_map(line)
        .collect()
}

/// DF-101, DF-102, DF-103.
#[test]
fn bound_files_are_seen_and_leave_no_trace() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let layout = kiln.scratch.join("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    build(
        &kiln,
        "context",
        "FROM busybox AS tools\n\
         RUN mkdir /kit && echo from-stage > /kit/tool\n\
         FROM busybox\n\
         WORKDIR /work\n\
         RUN --mount=target=. test -f listed && test ! -e hidden && test -f sub/deep && ! touch new\n\
         RUN --mount=source=sub,target=/a/b/sub,rw touch /a/b/sub/written && test -f /a/b/sub/deep\n\
         RUN --mount=source=listed,target=/single grep listed /single\n\
         RUN --mount=from=tools,source=/kit,target=/kit grep from-stage /kit/tool && ! touch /kit/x\n\
         RUN --mount=from=tools,target=/all,rw rm -r /all/kit && test ! -e /kit\n",
        &[
            ("listed", "listed"),
            ("hidden", "x"),
            ("sub/deep", "deep"),
            (".dockerignore", "hidden\n"),
        ],
        &["-t", "mounts:tree", "-o", &output],
    );
    let tree = need!(image_tree(&layout, "tree"));
    for absent in ["a ", "single ", "kit ", "all ", "work/"] {
        let found = tree.iter().find(|line| line.starts_with(absent));
        assert_eq!(found, None, "{absent}");
    }
    assert_no_leftovers(&kiln.state());
}

#[test]
fn changed_bound_files_make_a_step_run_again() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let dockerfile = "FROM busybox\n\
         RUN --mount=source=sub,target=/sub cat /sub/input > /output\n";
    let step = "RUN --mount=source=sub,target=/sub cat /sub/input > /output";
    let files = [("sub/input", "one"), ("beside", "one")];
    let first = build(&kiln, "context", dockerfile, &files, &[]);
    assert!(!is_cached(&first, step), "{first}");
    // DF-164, for mounts: a file beside what is bound.
    let files = [("sub/input", "one"), ("beside", "two")];
    let beside = build(&kiln, "context", dockerfile, &files, &[]);
    assert!(is_cached(&beside, step), "{beside}");
    let files = [("sub/input", "two"), ("beside", "two")];
    let changed = build(&kiln, "context", dockerfile, &files, &[]);
    assert!(!is_cached(&changed, step), "{changed}");
}

/// DF-104, DF-105.
#[test]
fn caches_last_and_stay_outside() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let dockerfile = "FROM busybox\n\
         ARG ROUND\n\
         RUN --mount=type=cache,target=/cache,uid=7,gid=8,mode=0710 \
         stat -c 'dir %u:%g %a' /cache; ls /cache | sed 's/^/kept /'; touch /cache/$ROUND\n";
    let round = |round: &str, more: &[&str]| {
        let argument = format!("ROUND={round}");
        let mut arguments = vec!["--build-arg", argument.as_str()];
        arguments.extend_from_slice(more);
        build(&kiln, "context", dockerfile, &[], &arguments)
    };
    let first = round("one", &[]);
    assert_eq!(printed(&first, "dir "), ["7:8 710"], "{first}");
    assert!(printed(&first, "kept ").is_empty(), "{first}");
    let second = round("two", &[]);
    assert_eq!(printed(&second, "kept "), ["one"], "{second}");
    let anew = round("three", &["--no-cache"]);
    assert!(printed(&anew, "kept ").is_empty(), "{anew}");
    let later = round("four", &[]);
    assert_eq!(printed(&later, "kept "), ["three"], "{later}");
    assert_no_leftovers(&kiln.state());
}

/// DF-114.
#[test]
fn locked_caches_have_one_user_at_a_time() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let stage = |name: &str| {
        format!(
            "FROM busybox AS {name}\n\
             RUN --mount=type=cache,id=one,target=/cache,sharing=locked \
             mkdir /cache/busy && sleep 0.3 && rmdir /cache/busy && echo {name} > /made\n"
        )
    };
    let names = ["a", "b", "c", "d"];
    let mut dockerfile: String = names.map(stage).concat();
    dockerfile.push_str("FROM scratch\n");
    for name in names {
        dockerfile.push_str(&format!("COPY --from={name} /made /{name}\n"));
    }
    // A second one in /cache would fail in mkdir.
    build(&kiln, "context", &dockerfile, &[], &[]);
}

#[test]
fn caches_begin_with_what_another_stage_has() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    build(
        &kiln,
        "context",
        "FROM busybox AS seed\n\
         RUN mkdir -p /seed/sub && echo planted > /seed/sub/file\n\
         FROM busybox\n\
         RUN --mount=type=cache,from=seed,source=/seed,target=/cache \
         grep planted /cache/sub/file && echo grown > /cache/more\n\
         RUN --mount=type=cache,from=seed,source=/seed,target=/cache grep grown /cache/more\n",
        &[],
        &[],
    );
}

/// DF-107, DF-108, DF-109, DF-110.
#[test]
fn secrets_are_seen_and_kept() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let dockerfile = "FROM busybox\n\
         RUN --mount=type=secret,id=token stat -c 'secret-file %a %u:%g' /run/secrets/token \
         && wc -c < /run/secrets/token && ! echo x > /run/secrets/token\n\
         RUN --mount=type=secret,id=token,target=/etc/t,mode=0440,uid=3,gid=4 \
         stat -c 'secret-file %a %u:%g' /etc/t\n\
         RUN --mount=type=secret,id=token,env=TOKEN test ${#TOKEN} = 13 && test ! -e /run/secrets/token\n\
         RUN --mount=type=secret,id=none test ! -e /run/secrets/none\n";
    let secret = kiln.scratch.join("token");
    fs::write(&secret, "hunter2-value").unwrap();
    let flag = format!("id=token,src={}", secret.display());
    let first = build(
        &kiln,
        "context",
        dockerfile,
        &[],
        &["--secret", &flag, "-t", "s"],
    );
    assert_eq!(
        printed(&first, "secret-file "),
        ["400 0:0", "440 3:4"],
        "{first}"
    );
    // Another value runs nothing again.
    fs::write(&secret, "changed-value").unwrap();
    let second = build(
        &kiln,
        "context",
        dockerfile,
        &[],
        &["--secret", &flag, "-t", "s"],
    );
    let step = "RUN --mount=type=secret,id=token,env=TOKEN test ${#TOKEN} = 13 && test ! -e /run/secrets/token";
    assert!(is_cached(&second, step), "{second}");
    // It is nowhere: not in the state directory, not in what was printed.
    let found = Command::new("grep")
        .args(["-rl", "hunter2-value"])
        .arg(kiln.state())
        .output()
        .unwrap();
    assert!(
        found.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&found.stdout)
    );
    assert!(!first.contains("hunter2"), "{first}");

    let required = kiln.context(
        "required",
        &[(
            "Dockerfile",
            "FROM busybox\nRUN --mount=type=secret,id=zz,required=true true\n",
        )],
    );
    let error = failure(&kiln, &required);
    assert!(error.contains("secret zz: not found"), "{error}");
    assert_no_leftovers(&kiln.state());
}

/// DF-106, and the order of mounts: by target, the later one of two at one place.
#[test]
fn memory_is_limited_and_mounts_are_ordered() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    build(
        &kiln,
        "context",
        "FROM busybox\n\
         RUN --mount=type=tmpfs,target=/t,size=1m \
         stat -c %a /t | grep 1777 && ! dd if=/dev/zero of=/t/big bs=1k count=2048\n\
         RUN --mount=type=cache,target=/t/inner --mount=type=tmpfs,target=/t touch /t/x /t/inner/y\n\
         RUN --mount=type=tmpfs,target=/same --mount=source=file,target=/same cat /same\n\
         RUN test ! -e /t && test ! -e /same\n",
        &[("file", "content")],
        &[],
    );
}

#[test]
fn mounts_serve_an_ordinary_user() {
    need!(need_root());
    let user = need!(ordinary_user());
    let registry = need!(Bases::by(program()).serve(&["busybox"]));
    let kiln = Kiln::of_user(program(), user);
    kiln.knows(&registry);
    let dockerfile = "FROM busybox\n\
         RUN --mount=type=cache,target=/cache,uid=5 --mount=type=tmpfs,target=/t \
         --mount=type=secret,id=s,uid=9 --mount=target=/context \
         stat -c 'owner %u' /cache /run/secrets/s && cat /context/file && touch /t/x /cache/y\n";
    let context = kiln.context(
        "context",
        &[("Dockerfile", dockerfile), ("file", "content")],
    );
    let secret = ["--secret", "id=s,env=SECRET"];
    let mut command = kiln.command();
    command
        .env("SECRET", "value")
        .args(["build", "--progress", "plain"])
        .args(secret)
        .arg(&context);
    let progress = Ended::of(&mut command).succeeded(&secret).stderr;
    assert_eq!(printed(&progress, "owner "), ["5", "9"], "{progress}");
}

/// Inside namespaces users have other ids, which would mean nothing to them.
#[test]
fn state_directory_of_root_is_refused_to_a_user_by_the_ids_that_users_know() {
    need!(need_root());
    let user = need!(ordinary_user());
    let uid = user.uid();
    let kiln = Kiln::of_user(program(), user);
    let context = kiln.context("context", &[("Dockerfile", "FROM scratch\nENV A=b\n")]);
    let state = kiln.scratch.join("of-root");
    fs::create_dir(&state).unwrap();
    let mut command = kiln.command_on(&state);
    let ended = Ended::of(command.args(["build"]).arg(&context));
    let message = format!("belongs to user 0, not to you (user {uid}); use one of your own");
    assert!(ended.stderr.contains(&message), "{ended:#?}");
    assert!(!ended.stderr.contains("chown"), "{ended:#?}");
}

/// What cache mounts hold keeps its owners on the way from one of a user's machines to another.
#[test]
fn caches_of_an_ordinary_user_travel() {
    need!(need_root());
    let user = need!(ordinary_user());
    let registry = need!(Bases::by(program()).serve(&["busybox"]));
    let kiln = Kiln::of_user(program(), user);
    kiln.knows(&registry);
    let dockerfile = "FROM busybox\nARG ROUND\n\
         RUN --mount=type=cache,target=/cache,uid=5 \
         if test -e /cache/a; then stat -c 'owner %u:%g %a' /cache /cache/a; \
         else echo x > /cache/a; chown 6:1234 /cache/a; chmod 4640 /cache/a; fi; echo $ROUND\n";
    let context = kiln.context("context", &[("Dockerfile", dockerfile)]);
    let cache = kiln.scratch.join("cache");
    let round = |round: &str, cache: String| {
        let arguments = ["--build-arg", &format!("ROUND={round}"), &cache];
        let state = kiln.scratch.join(format!("state-{round}"));
        let mut command = kiln.command_on(&state);
        command
            .args(["build", "--progress", "plain"])
            .args(arguments)
            .arg(&context);
        let progress = Ended::of(&mut command).succeeded(&arguments).stderr;
        printed(&progress, "owner ")
    };
    let cache = cache.display();
    let to = format!("--cache-to=type=local,dest={cache},mounts=true");
    assert!(round("one", to).is_empty());
    let from = format!("--cache-from=type=local,src={cache}");
    assert_eq!(round("two", from), ["5:0 755", "6:1234 4640"]);
}

/// Returns what a build that fails prints.
#[track_caller]
fn failure(kiln: &Kiln, context: &Path) -> String {
    let mut command = kiln.command();
    command.args(["build", "--progress", "plain"]).arg(context);
    let output = command.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn agents_are_reached_through_a_socket_of_the_step() {
    need!(need_root());
    need!(Tool::find("ssh-keygen"));
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let key = kiln.scratch.join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status()
        .unwrap();
    assert!(made.success());
    let dockerfile = "FROM busybox\n\
         RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo \"socket $SSH_AUTH_SOCK $(stat -c '%a %u:%g' $SSH_AUTH_SOCK)\"\n\
         RUN --mount=type=ssh,id=other,target=/agent,uid=5,mode=0660 \
         echo \"socket $SSH_AUTH_SOCK $(stat -c '%a %u:%g' /agent)\"\n\
         RUN --mount=type=ssh,id=none test -n \"$SSH_AUTH_SOCK\" && test ! -e $SSH_AUTH_SOCK\n\
         RUN test -z \"$SSH_AUTH_SOCK\" && test ! -e /run/buildkit && test ! -e /agent\n";
    let default = format!("default={}", key.display());
    let other = format!("other={}", key.display());
    let progress = build(
        &kiln,
        "context",
        dockerfile,
        &[],
        &["--ssh", &default, "--ssh", &other],
    );
    assert_eq!(
        printed(&progress, "socket "),
        ["/run/buildkit/ssh_agent.0 600 0:0", "/agent 660 5:0"],
        "{progress}"
    );
    let required = kiln.context(
        "required",
        &[(
            "Dockerfile",
            "FROM busybox\nRUN --mount=type=ssh,required true\n",
        )],
    );
    let error = failure(&kiln, &required);
    assert!(error.contains("kiln build --ssh default"), "{error}");
    assert_no_leftovers(&kiln.state());
}
