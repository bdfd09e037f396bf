//! A user namespace with one id, or with few: images come out right, or what would lose the owners of
//! files is refused.

use std::fs;
use std::process::{Command, Output};

use kiln_testbed::{
    Ended, Kiln, Registry, Skip, Tool, assert_no_leftovers, busybox, need, need_root, ordinary_user,
};

use crate::program;

/// Shows the user other ranges of ids ($1) and becomes the program after it.
const WITH_RANGES: &str = "mount --bind \"$1\" /etc/subuid && mount --bind \"$1\" /etc/subgid && \
    shift && exec \"$@\"";

const OWNED: &str = "FROM scratch\nCOPY --chmod=755 busybox /bin/sh\n\
    COPY --chown=33:34 note /d/note\n\
    RUN chown 1000:7 /bin && echo x > /suid && chown 33:33 /suid && chmod 4755 /suid && \
    ln -s x /link && chown -h 65534 /link && mkfifo /fifo && chown 0:1000 /fifo\n\
    CMD [\"/bin/sh\", \"-c\", \"stat -c '%n %u %g %a' /bin /d/note /suid /link /fifo; \
    stat -c '%n %u %g' /more /w /a/*; true\"]\n";

const OWNED_LISTING: &str = "/bin 1000 7 755\n/d/note 33 34 644\n/suid 33 33 4755\n\
    /link 65534 0 777\n/fifo 0 1000 644\n";

/// Steps that kiln does itself.
const MORE: &str = "COPY --chown=33 note /more\nUSER 1000:1001\nWORKDIR /w\nADD archive.tar /a/\n";

const MORE_LISTING: &str = "/more 33 33\n/w 1000 1001\n/a/linked 65534 12\n/a/packed 65534 12\n";

/// Which ids the user has.
#[derive(Clone, Copy, Debug)]
enum Ids {
    One,
    Eleven,
    Many,
}

struct Few {
    kiln: Kiln,
    registry: Registry,
    unshare: Tool,
}

impl Few {
    fn new() -> Result<Self, Skip> {
        need_root()?;
        let user = ordinary_user()?;
        let unshare = Tool::find("unshare")?;
        let registry = Registry::shared()?;
        let name = user.name().to_owned();
        let kiln = Kiln::of_user(program(), user);
        kiln.knows(&registry);
        let few = Self {
            kiln,
            registry,
            unshare,
        };
        for (ids, text) in [
            (Ids::One, String::new()),
            (Ids::Eleven, format!("{name}:100000:10\n")),
            (Ids::Many, format!("{name}:100000:65536\n")),
        ] {
            fs::write(few.kiln.scratch.join(format!("{ids:?}")), text).unwrap();
        }
        let context = few.kiln.scratch.join("context");
        fs::create_dir(&context).unwrap();
        fs::copy(busybox()?, context.join("busybox")).unwrap();
        fs::write(context.join("note"), "noted\n").unwrap();
        // A link and what it is a further name of, which belong to another user.
        let tar = "ln -s x packed && ln packed linked && \
            tar --owner=65534 --group=12 -cf archive.tar packed linked && rm packed linked && \
            chmod -R a+rX ..";
        let made = Command::new("sh")
            .args(["-c", tar])
            .current_dir(&context)
            .status();
        assert!(made.unwrap().success());
        Ok(few)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.kiln.scratch.join("context").join(name), text).unwrap();
    }

    fn run(&self, ids: Ids, state: &str, arguments: &[&str]) -> Output {
        let mut user = self.kiln.command_on(&self.kiln.scratch.join(state));
        user.args(arguments);
        let mut command = self.unshare.command();
        command
            .args(["--mount", "/bin/sh", "-c", WITH_RANGES, "sh"])
            .arg(self.kiln.scratch.join(format!("{ids:?}")))
            .arg(user.get_program())
            .args(user.get_args())
            .env_clear()
            .current_dir(self.kiln.scratch.path());
        for (name, value) in user.get_envs() {
            command.env(name, value.unwrap());
        }
        command.output().unwrap()
    }

    #[track_caller]
    fn ok(&self, ids: Ids, state: &str, arguments: &[&str]) -> String {
        let ended = Ended::from(self.run(ids, state, arguments));
        ended.succeeded(arguments).stdout
    }

    #[track_caller]
    fn refused(&self, ids: Ids, state: &str, arguments: &[&str]) {
        let output = self.run(ids, state, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{ids:?} {arguments:?}: {said}");
        for words in [" belongs to ", "only the ids 0", "usermod --add-subuids"] {
            assert!(said.contains(words), "{ids:?} {arguments:?}: {said}");
        }
    }
}

#[test]
fn owners_that_there_is_no_id_for_are_kept_or_refused() {
    let few = need!(Few::new());
    let owned = few.registry.image("owned");
    few.write("Dockerfile", OWNED);
    few.write("more", &format!("FROM {owned}\n{MORE}"));
    few.write("then", &format!("FROM {owned}\n{MORE}USER 0\nRUN true\n"));
    few.write(
        "local",
        "FROM scratch\nCOPY --chmod=755 busybox /bin/sh\nRUN echo x > /x\n",
    );
    few.ok(Ids::Many, "many", &["build", "-q", "-t", &owned, "context"]);
    assert_eq!(
        few.ok(Ids::Many, "many", &["run", "--rm", &owned]),
        OWNED_LISTING
    );
    few.ok(Ids::Many, "many", &["push", "-q", &owned]);
    few.ok(Ids::Many, "many", &["save", "-o", "owned.tar", &owned]);
    for (ids, state, pushed) in [
        (Ids::One, "one", few.registry.image("by-one")),
        (Ids::Eleven, "eleven", few.registry.image("by-eleven")),
    ] {
        // What keeps owners as they are written works.
        match ids {
            Ids::One => few.ok(ids, state, &["pull", "-q", &owned]),
            _ => few.ok(ids, state, &["load", "-q", "-i", "owned.tar"]),
        };
        let build = [
            "build",
            "-q",
            "-f",
            "context/more",
            "-t",
            &pushed,
            "context",
        ];
        few.ok(ids, state, &build);
        few.ok(ids, state, &["push", "-q", &pushed]);
        few.ok(
            ids,
            state,
            &["build", "-q", "-f", "context/local", "context"],
        );
        // What would show them wrongly is refused.
        few.refused(
            ids,
            state,
            &["build", "-q", "-f", "context/then", "context"],
        );
        few.refused(ids, state, &["run", "--rm", &pushed]);
        let whole = few.ok(ids, state, &["cache", "verify"]);
        assert!(whole.ends_with(": no damage\n"), "{whole}");
        others_see_owners(&few, ids, state, &pushed);
        more_ids_see_owners(&few, state, &pushed);
        // A kiln with few ids again is refused again, and finds nothing wrong.
        few.refused(ids, state, &["run", "--rm", "then"]);
        let whole = few.ok(ids, state, &["cache", "verify"]);
        assert!(whole.ends_with(": no damage\n"), "{whole}");
    }
    assert_no_leftovers(few.kiln.scratch.path());
}

/// Checks that a kiln with many ids gets the image whole from one with few: by way of a cache, and from
/// the registry.
#[track_caller]
fn others_see_owners(few: &Few, ids: Ids, state: &str, pushed: &str) {
    let all = format!("{OWNED_LISTING}{MORE_LISTING}");
    let cache = format!("type=local,dest=cache-of-{state}");
    let export = [
        "build",
        "-q",
        "-f",
        "context/more",
        "--cache-to",
        &cache,
        "context",
    ];
    few.ok(ids, state, &export);
    let cache = format!("type=local,src=cache-of-{state}");
    let importing = format!("importing-{state}");
    let import = [
        "build",
        "-q",
        "-t",
        "imported",
        "-f",
        "context/more",
        "--cache-from",
        &cache,
        "context",
    ];
    few.ok(Ids::Many, &importing, &import);
    let run = ["run", "--rm", "-u", "0", "imported"];
    let listed = few.ok(Ids::Many, &importing, &run);
    assert_eq!(listed, all, "exported with {ids:?}");
    few.ok(Ids::Many, "elsewhere", &["pull", "-q", pushed]);
    let listed = few.ok(Ids::Many, "elsewhere", &["run", "--rm", "-u", "0", pushed]);
    assert_eq!(listed, all, "made with {ids:?}");
}

/// Checks that a kiln with many ids gets the image whole of what one with few stored.
#[track_caller]
fn more_ids_see_owners(few: &Few, state: &str, pushed: &str) {
    let all = format!("{OWNED_LISTING}{MORE_LISTING}");
    let listed = few.ok(Ids::Many, state, &["run", "--rm", "-u", "0", pushed]);
    assert_eq!(listed, all, "stored in {state}");
    few.ok(
        Ids::Many,
        state,
        &["build", "-q", "-f", "context/then", "-t", "then", "context"],
    );
    let listed = few.ok(Ids::Many, state, &["run", "--rm", "then"]);
    assert_eq!(listed, all, "stored in {state}");
    let whole = few.ok(Ids::Many, state, &["cache", "verify"]);
    assert!(whole.ends_with(": no damage\n"), "{whole}");
}
