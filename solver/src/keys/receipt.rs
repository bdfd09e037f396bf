//! What went into a key, for people.

use kiln_cache::{Blake3, Receipt};

use crate::graph::{Op, Remote};

/// Names the ingredients of an operation, for people.
pub(super) fn describe(op: &Op, receipt: &mut Receipt) {
    match op {
        Op::From(from) => receipt.add("base", from.manifest.to_string()),
        Op::Remote(remote) => {
            let kind = match **remote {
                Remote::Download(_) => "URL",
                Remote::Repository(_) => "repository",
            };
            receipt.add(kind, remote.address());
        }
        Op::Workdir(workdir) => {
            receipt.add("path", workdir.path.to_string());
            receipt.add("user", &*workdir.user);
        }
        Op::Copy(copy) => {
            let paths = copy.parts.iter().flat_map(|part| &part.paths);
            let paths: Vec<&str> = paths.map(String::as_str).collect();
            receipt.add("paths", paths.join(" "));
            for (name, content) in &copy.inline {
                receipt.add(format!("heredoc {name}"), long(content));
            }
            receipt.add("destination", copy.destination.to_string());
            receipt.add("--chown", copy.owner.as_deref().unwrap_or(""));
            let mode = copy.mode.as_ref().map_or("", |mode| mode.text.as_str());
            receipt.add("--chmod", mode);
            receipt.add("--exclude", copy.excludes.join(" "));
        }
        Op::Run(run) => {
            receipt.add("command", long(&run.argv.join(" ")));
            if let Some((name, content)) = &run.script {
                receipt.add(format!("script {name}"), long(content));
            }
            for (name, value) in &run.env {
                receipt.add(format!("variable {name}"), long(value));
            }
            receipt.add("working directory", run.cwd.to_string());
            receipt.add("user", &*run.user);
            for mount in &run.mounts {
                let target = mount.target.to_string();
                receipt.add(format!("mount {target}"), format!("{:?}", mount.kind));
            }
            receipt.add("platform", run.platform.to_string());
        }
    }
}

/// Returns a short text itself and a long one's beginning and digest.
fn long(text: &str) -> String {
    /// Bytes. A receipt is read by people and by every look-up.
    const LONGEST: usize = 400;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let start: String = text.chars().take(80).collect();
    format!("{start}… (blake3 {})", Blake3::of(text.as_bytes()))
}
