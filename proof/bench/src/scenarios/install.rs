use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Outcome, Scenario};
use crate::action::Action;
use crate::area::Area;
use crate::builders::Builder;
use crate::context::write_dockerfile;
use crate::error::Error;
use crate::image::succeed;
use crate::limits;
use crate::mirror::Mirror;

/// Where [`download`] finds what a script fetched.
pub(super) const OUT: &str = "/out";

/// What a package manager is to install.
pub(super) struct Recipe {
    pub(super) title: &'static str,
    /// The image it runs in.
    pub(super) base: &'static str,
    /// Files to be copied first, by their absolute paths.
    pub(super) files: Vec<(&'static str, String)>,
    pub(super) command_line: String,
    /// A file that is there afterwards, and what it then contains.
    pub(super) evidence: (&'static str, &'static str),
}

/// A package manager does what Dockerfiles mostly wait for.
pub(super) struct Install<'run> {
    area: &'run Area,
    rootfs: PathBuf,
    recipe: Recipe,
    /// Where the packages come from; it serves for as long as it is here.
    _mirror: Mirror,
    context: PathBuf,
    round: u32,
}

impl<'run> Install<'run> {
    pub(super) fn prepare(
        area: &'run Area,
        recipe: Recipe,
        mirror: Mirror,
    ) -> Result<Box<dyn Scenario + 'run>, Error> {
        let context = area.fresh("context")?;
        for (name, content) in &recipe.files {
            let path = context.join("files").join(name.trim_start_matches('/'));
            let parent = path.parent().expect("it lies in the context");
            fs::create_dir_all(parent).map_err(Error::at(parent))?;
            fs::write(&path, content).map_err(Error::at(&path))?;
        }
        Ok(Box::new(Self {
            area,
            rootfs: area.rootfs(recipe.base)?.to_owned(),
            recipe,
            _mirror: mirror,
            context,
            round: 0,
        }))
    }

    /// Returns what RUN does; it differs in every round, lest it be cached.
    fn command_line(&self) -> String {
        format!("echo {} > /round; {}", self.round, self.recipe.command_line)
    }
}

impl Scenario for Install<'_> {
    fn title(&self) -> String {
        format!("{}, packages from loopback, not cached", self.recipe.title)
    }

    fn begin_round(&mut self, round: u32) -> Result<(), Error> {
        self.round = round;
        let text = format!(
            "FROM {}\nCOPY files /\nRUN {}\n",
            self.recipe.base,
            self.command_line()
        );
        write_dockerfile(&self.context, &text)
    }

    fn action(&self, builder: &dyn Builder, tag: &str) -> Option<Action> {
        builder.build(tag, &self.context).map(Action::program)
    }

    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error> {
        let directory = self.area.fresh("overlay")?;
        copy_into(&self.context.join("files"), &directory.join("upper"))?;
        let command = limits::in_overlay(&self.rootfs, &directory, &self.command_line());
        Ok(vec![(
            "the same command in a bare overlay and chroot",
            Action::program(command),
        )])
    }

    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        let image = outcome.image()?;
        let round = image.read("/round")?;
        if round.trim_end() != self.round.to_string() {
            return Err(format!("it is of round {}", round.trim_end()));
        }
        let (file, expected) = self.recipe.evidence;
        if image.read(file)?.contains(expected) {
            Ok(())
        } else {
            Err(format!("{file} does not contain {expected:?}"))
        }
    }
}

/// Runs a script in a base image with the machine's network, and returns the directory with what
/// it put into [`OUT`].
///
/// # Errors
///
/// With [`Error::Lacking`] where the script fails: mostly for want of a network.
pub(super) fn download(area: &Area, base: &str, script: &str) -> Result<PathBuf, Error> {
    let directory = area.fresh("download")?;
    let upper = directory.join("upper");
    let settings = upper.join("etc");
    fs::create_dir_all(&settings).map_err(Error::at(&settings))?;
    // A machine without names to look up has no such file.
    let _ = fs::copy("/etc/resolv.conf", settings.join("resolv.conf"));
    succeed(&mut limits::in_overlay(
        area.rootfs(base)?,
        &directory,
        script,
    ))
    .map_err(|said| Error::Lacking(format!("cannot fetch packages: {said}")))?;
    Ok(upper.join(OUT.trim_start_matches('/')))
}

/// Copies what is in a directory to where there is nothing yet.
fn copy_into(from: &Path, to: &Path) -> Result<(), Error> {
    succeed(Command::new("cp").arg("-a").arg(from).arg(to))
        .map(drop)
        .map_err(|said| Error::Preparation {
            doing: format!("cannot copy {}", from.display()),
            said,
        })
}
