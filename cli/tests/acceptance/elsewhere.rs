//! What comes from elsewhere, for root and for an ordinary user: repositories, downloads, agents.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kiln_testbed::{
    Bases, GitSite, Registry, Scratch, Skip, Tool, Web, WebAnswer, assert_no_leftovers,
    copy_for_everyone, need, need_root, ordinary_user, run, run_and_read,
};

use crate::program;

/// Copies a program and what it is linked to into a directory that becomes a root's.
fn copy_program(tool: &Tool, root: &Path) {
    let libraries = run_and_read(Command::new("ldd").arg(tool.path()));
    let libraries = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from);
    for file in libraries.chain([tool.path().to_owned()]) {
        let copy = root.join(file.strip_prefix("/").unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&file, copy).unwrap();
    }
}

/// A build context whose Dockerfile takes something of every kind from elsewhere.
struct Site {
    registry: Registry,
    git: GitSite,
    web: Web,
    address: String,
    _daemon: kiln_testbed::Daemon,
}

impl Site {
    fn start() -> Result<Self, Skip> {
        let git = GitSite::new()?;
        git.repository("app").write("dir/file", "x").commit("one");
        let (_daemon, address) = git.serve()?;
        Ok(Self {
            registry: Bases::by(program()).serve(&["busybox"])?,
            git,
            web: Web::start(|_| WebAnswer::new(200, "content")),
            address,
            _daemon,
        })
    }

    /// Writes the context and a key into `home`.
    fn write(&self, home: &Path) -> Result<(), Skip> {
        let context = home.join("context");
        fs::create_dir_all(context.join("root")).unwrap();
        copy_program(&Tool::find("ssh-add")?, &context.join("root"));
        run(Tool::find("ssh-keygen")?
            .command()
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f"])
            .arg(home.join("key")));
        let dockerfile = format!(
            "FROM busybox\nCOPY root /\nADD {} /download\nADD git://{}/app.git /repository\n\
             RUN stat -c 'found %a %u' /download /repository /repository/dir/file\n\
             RUN --mount=type=ssh,required,uid=5,mode=0640 \
             stat -c 'found %a %u' $SSH_AUTH_SOCK && ssh-add -l && ! ssh-add -D\n\
             RUN test ! -e /run/buildkit && ! ssh-add -l\n",
            self.web.url("/file"),
            self.address
        );
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let settings = home.join("registries.conf");
        fs::copy(self.registry.registries_conf(), settings).unwrap();
        Ok(())
    }

    fn check(&self, mut kiln: Command, home: &Path) {
        let output = kiln
            .args(["build", "--progress=plain", "--ssh"])
            .arg(format!("default={}", home.join("key").display()))
            .arg(home.join("context"))
            .env("KILN_ROOT", home.join("state"))
            .env("CONTAINERS_REGISTRIES_CONF", home.join("registries.conf"))
            .output()
            .unwrap();
        let progress = said(&output);
        assert!(output.status.success(), "{progress}");
        let found: Vec<&str> = progress
            .lines()
            .filter_map(|line| line.split_once(" found ").map(|(_, found)| found))
            .filter(|found| !found.contains('%'))
            .collect();
        assert_eq!(found, ["600 0", "755 0", "644 0", "640 5"], "{progress}");
        assert!(progress.contains("mine (ED25519)"), "{progress}");
        assert_no_leftovers(&home.join("state"));
        let work = fs::read_dir(home.join("state/work")).unwrap().count();
        assert_eq!(work, 0, "unfinished work stays behind");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn root_takes_from_elsewhere() {
    need!(need_root());
    let site = need!(Site::start());
    let home = Scratch::new();
    need!(site.write(home.path()));
    site.check(Command::new(program()), home.path());
    assert!(site.git.path().exists());
}

#[test]
fn an_ordinary_user_takes_from_elsewhere() {
    need!(need_root());
    let user = need!(ordinary_user());
    let site = need!(Site::start());
    let home = user.scratch();
    need!(site.write(home.path()));
    run(Command::new("chown")
        .args(["-R", &format!("{}:{}", user.uid(), user.gid())])
        .arg(home.path()));
    let (_place, kiln) = copy_for_everyone(program());
    site.check(user.command(&kiln), home.path());
}
