use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::case::Case;
use crate::workspace::Workspace;
use crate::{Error, Image};

/// A program that builds images from Dockerfiles.
pub trait Builder: Sync {
    /// Returns its name in tables.
    fn name(&self) -> &'static str;

    /// Returns how many builds it can do at the same time without harm.
    fn jobs(&self) -> usize;

    /// Returns a command that builds, in the current directory, with options still to be added.
    /// Its result can be [saved](Self::save) under the name of the case.
    fn build(&self, case: &str, archive: &Path) -> Command;

    /// Returns a command that saves what was built, for builders that need one.
    fn save(&self, case: &str, archive: &Path) -> Option<Command>;
}

/// What came of a build.
#[derive(Debug)]
pub struct Outcome {
    /// The image, unless the build failed.
    pub image: Option<Image>,
    /// Everything that the builder printed.
    pub output: String,
}

/// Builds a case.
///
/// # Errors
///
/// Only what is not a matter of the builder: a setup that fails, an archive that cannot be read.
pub(crate) fn attempt(builder: &dyn Builder, case: &Case) -> Result<Outcome, Error> {
    let workspace = Workspace::new(case)?;
    for step in &case.earlier {
        let (succeeded, output) = build(builder, case, &step.arguments, &workspace)?;
        if !succeeded {
            return Ok(Outcome {
                image: None,
                output,
            });
        }
        workspace.change(&step.change)?;
    }
    let (succeeded, output) = build(builder, case, &case.arguments, &workspace)?;
    let archive = workspace.archive();
    let image = if succeeded {
        if let Some(mut save) = builder.save(&case.name, &archive) {
            let saved = finish(&mut save)?;
            if !saved.status.success() {
                return Err(Error::Builder {
                    what: format!("{} cannot save the image", builder.name()),
                    output: printed(&saved),
                });
            }
        }
        Some(Image::read(&archive).map_err(Error::at(&archive))?)
    } else {
        None
    };
    Ok(Outcome { image, output })
}

fn build(
    builder: &dyn Builder,
    case: &Case,
    arguments: &[String],
    workspace: &Workspace,
) -> Result<(bool, String), Error> {
    let mut command = builder.build(&case.name, &workspace.archive());
    command
        .args(arguments)
        .arg(&case.context)
        .envs(&case.environment)
        .current_dir(workspace.context())
        .stdin(Stdio::null());
    if let Some(name) = &case.stdin {
        let path = workspace.context().join(name);
        command.stdin(File::open(&path).map_err(Error::at(&path))?);
    }
    let output = finish(&mut command)?;
    Ok((output.status.success(), printed(&output)))
}

fn finish(command: &mut Command) -> Result<Output, Error> {
    let program = Path::new(command.get_program()).to_owned();
    command.output().map_err(Error::at(&program))
}

/// Runs a command that prepares something for all cases.
pub(crate) fn succeed(command: &mut Command) -> Result<(), Error> {
    let output = finish(command)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Builder {
        what: format!("{command:?} fails"),
        output: printed(&output),
    })
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
