//! What a builder produced, looked into by others: pushed by the builder itself, fetched by
//! skopeo, unpacked by umoci.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::{Skopeo, Umoci, differences, list_directory};
use serde_json::Value;

use crate::area::Area;
use crate::builders::Builder;
use crate::error::Error;

/// Tools to look into images.
#[derive(Debug)]
pub(crate) struct Examiner {
    skopeo: Skopeo,
    umoci: Umoci,
}

/// An unpacked image.
#[derive(Debug)]
pub(crate) struct Image {
    root: PathBuf,
    config: Value,
}

impl Examiner {
    /// Finds the tools.
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self {
            skopeo: Skopeo::new()?,
            umoci: Umoci::new()?,
        })
    }

    /// Returns the image that a builder has under a name.
    ///
    /// # Errors
    ///
    /// What one of the programs complained about.
    pub(crate) fn image(
        &self,
        area: &Area,
        builder: &dyn Builder,
        tag: &str,
    ) -> Result<Image, String> {
        let layout = area.unused("layout");
        let bundle = area.unused("bundle");
        succeed(&mut builder.push(tag).ok_or("it pushes no images")?)?;
        succeed(
            self.skopeo
                .command()
                .args(["copy", "--quiet", "--src-tls-verify=false"])
                .arg(format!("docker://{tag}"))
                .arg(format!("oci:{}:latest", layout.display())),
        )?;
        succeed(
            self.umoci
                .command()
                .args(["unpack", "--image"])
                .arg(format!("{}:latest", layout.display()))
                .arg(&bundle),
        )?;
        area.discard_blobs(&layout)
            .map_err(|error| error.to_string())?;
        Image::unpacked(&bundle)
    }
}

impl Image {
    /// Reads a runtime bundle.
    fn unpacked(bundle: &Path) -> Result<Self, String> {
        let path = bundle.join("config.json");
        let text = fs::read(&path).map_err(|error| format!("no {}: {error}", path.display()))?;
        let config = serde_json::from_slice(&text)
            .map_err(|error| format!("{} is no JSON: {error}", path.display()))?;
        Ok(Self {
            root: bundle.join("rootfs"),
            config,
        })
    }

    /// Returns an image whose files are known and nothing else.
    pub(crate) fn of_root(root: PathBuf) -> Self {
        Self {
            root,
            config: Value::Null,
        }
    }

    /// Returns the text of a file, given its absolute path in the image.
    pub(crate) fn read(&self, file: &str) -> Result<String, String> {
        fs::read_to_string(self.inside(file)).map_err(|error| format!("{file}: {error}"))
    }

    /// Checks the command that the image runs.
    pub(crate) fn expect_command(&self, expected: &[&str]) -> Result<(), String> {
        // OCI runtime-spec, config.md, "Process".
        let found = &self.config["process"]["args"];
        if *found == Value::from(expected) {
            Ok(())
        } else {
            Err(format!("its command is {found}, not {expected:?}"))
        }
    }

    /// Checks that a directory of the image holds what a directory of ours holds: the same
    /// names, kinds, modes, owners and contents.
    pub(crate) fn expect_tree(&self, directory: &str, expected: &Path) -> Result<(), String> {
        let found = self.inside(directory);
        if !found.is_dir() {
            return Err(format!("there is no directory {directory}"));
        }
        // The directory itself was not copied; only what is in it.
        let [expected, found] = [expected, &found].map(|path| list_directory(path).split_off(1));
        let differences = differences(&expected, &found);
        match differences.as_slice() {
            [] => Ok(()),
            [first, ..] => Err(format!(
                "{} lines differ in {directory}, first: {first}",
                differences.len()
            )),
        }
    }

    /// Removes one big file of it.
    pub(crate) fn discard(&self, area: &Area, file: &str) -> Result<(), String> {
        area.discard(&self.inside(file))
            .map_err(|error| error.to_string())
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

/// Runs a program to its end; otherwise returns the last thing it said.
pub(crate) fn succeed(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim_end().lines().last().unwrap_or("nothing");
    Err(format!(
        "{program} ended with {} and said: {last}",
        output.status
    ))
}

#[cfg(test)]
mod tests {
    use kiln_testbed::Scratch;

    use super::*;

    fn bundle() -> (Scratch, Image) {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.join("rootfs/app/src")).unwrap();
        fs::write(scratch.join("rootfs/app/src/main.js"), "1").unwrap();
        fs::write(
            scratch.join("config.json"),
            r#"{"process": {"args": ["node", "src/main.js"]}}"#,
        )
        .unwrap();
        let image = Image::unpacked(scratch.path()).unwrap();
        (scratch, image)
    }

    #[test]
    fn another_command_is_noticed() {
        let (_scratch, image) = bundle();
        assert_eq!(image.expect_command(&["node", "src/main.js"]), Ok(()));
        assert_eq!(
            image.expect_command(&["node"]),
            Err(r#"its command is ["node","src/main.js"], not ["node"]"#.to_owned())
        );
    }

    #[test]
    fn missing_changed_and_additional_files_are_noticed() {
        let (_scratch, image) = bundle();
        let expected = Scratch::new();
        fs::create_dir(expected.join("src")).unwrap();
        let main = expected.join("src/main.js");
        fs::write(&main, "1").unwrap();
        assert_eq!(image.expect_tree("/app", expected.path()), Ok(()));
        fs::write(&main, "2").unwrap();
        assert!(image.expect_tree("/app", expected.path()).is_err());
        fs::remove_file(&main).unwrap();
        assert!(image.expect_tree("/app", expected.path()).is_err());
        assert!(image.expect_tree("/ap", expected.path()).is_err());
        assert_eq!(image.read("/app/src/main.js"), Ok("1".to_owned()));
        assert!(image.read("/app/main.js").is_err());
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let said = succeed(Command::new("sh").args(["-c", "echo a >&2; echo b >&2; exit 4"]));
        assert_eq!(
            said,
            Err("sh ended with exit status: 4 and said: b".to_owned())
        );
    }
}
