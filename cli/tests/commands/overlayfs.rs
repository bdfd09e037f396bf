//! A state directory on overlayfs, as in a container without a volume: there, no overlay can be
//! written to that lies on it, and links and times have rules of their own.

use std::fs;
use std::process::Command;

use kiln_testbed::{Ended, Kiln, Skip, Tool, need, need_root};

use crate::program;

/// Mounts an overlay of directories in $1 where no other process sees it, and becomes the program after
/// it.
const INSIDE: &str = "mount -t overlay overlay \
    -o \"lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work\" \"$1/state\" && shift && exec \"$@\"";

struct OnOverlay {
    kiln: Kiln,
    unshare: Tool,
}

impl OnOverlay {
    fn new() -> Result<Self, Skip> {
        need_root()?;
        let on_overlay = Self {
            kiln: Kiln::for_builds(program())?,
            unshare: Tool::find("unshare")?,
        };
        for name in ["lower", "upper", "work"] {
            fs::create_dir(on_overlay.kiln.scratch.join(name)).unwrap();
        }
        let tried = on_overlay.inside(&Command::new("true"));
        match tried.code {
            0 => Ok(on_overlay),
            _ => Err(Skip::because(format!("no overlay here: {}", tried.stderr))),
        }
    }

    fn inside(&self, command: &Command) -> Ended {
        let mut inside = self.unshare.command();
        inside
            .args(["--mount", "/bin/sh", "-c", INSIDE, "sh"])
            .arg(self.kiln.scratch.path())
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(self.kiln.scratch.path());
        for (name, value) in command.get_envs() {
            inside.env(name, value.unwrap());
        }
        Ended::from(inside.output().unwrap())
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let mut command = self.kiln.command();
        command.args(arguments);
        let ended = self.inside(&command);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:#?}");
        ended.stdout.trim_end().to_owned()
    }
}

#[test]
fn a_reproducible_build_on_overlayfs_is_the_same_as_elsewhere() {
    let over = need!(OnOverlay::new());
    over.kiln.write("ctx/data/note", "noted\n");
    over.kiln.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\nCOPY data /data\n\
         RUN mkdir /made && cp /data/note /made/copy && ln /made/copy /made/name\n\
         RUN rm /data/note && echo more > /made/more\n",
    );
    let build = ["build", "--reproducible", "-q", "-t", "app", "ctx"];
    let anew = [&build[..], &["--no-cache"]].concat();
    let first = over.ok(&build);
    assert_eq!(over.ok(&build), first);
    assert_eq!(over.ok(&anew), first);
    let whole = over.ok(&["cache", "verify"]);
    assert!(whole.ends_with(": no damage"), "{whole}");
    over.ok(&["save", "-o", "app.tar", "app"]);
    // Not inside: a state directory like any other.
    let _ = fs::remove_dir(over.kiln.scratch.join("state"));
    assert_eq!(over.kiln.ok(&build), first);
    assert_eq!(
        over.kiln.ok(&["load", "-q", "-i", "app.tar"]),
        "Loaded image: app:latest"
    );
}
