//! The base images of `testdata/bases`, built by kiln once and kept as OCI layouts.
//!
//! `scripts/base-material` gathers what they are made of and `scripts/make-bases` builds and
//! pushes them, exactly as the demo does; this module keeps the results below `target/bases`:
//!
//! ```text
//! target/bases/layouts/lock            flock: one process makes bases at a time
//! target/bases/layouts/<name>-<key>/   an OCI layout with one image, tagged `latest`
//! ```
//!
//! The key covers the material, the Dockerfiles and the kiln binary, so bases are always made
//! by the kiln under test; kiln's own cache makes that quick. A layout appears by rename, and
//! those of other keys are removed then.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Registry, Skip, Skopeo, run};

/// The base images made by one kiln binary.
#[derive(Debug)]
pub struct Bases {
    kiln: PathBuf,
    directory: PathBuf,
}

impl Bases {
    /// Prepares to make bases with a kiln binary; nothing is made until it is asked for.
    pub fn by(kiln: &Path) -> Self {
        Self {
            kiln: kiln.to_owned(),
            directory: checkout().join("target/bases"),
        }
    }

    /// As [`Bases::by`], with everything kept below a directory of the caller's.
    pub fn below(directory: &Path, kiln: &Path) -> Self {
        Self {
            kiln: kiln.to_owned(),
            directory: directory.to_owned(),
        }
    }

    /// Returns the OCI layout of a base (`busybox`, `debian`, `node`, `python`), whose image is
    /// tagged `latest`; makes it first if need be.
    ///
    /// # Errors
    ///
    /// A skip where its ingredients are missing: a package is not installed, or Debian's
    /// archive cannot be reached.
    ///
    /// # Panics
    ///
    /// If kiln fails to build or push it.
    pub fn layout(&self, name: &str) -> Result<PathBuf, Skip> {
        let layouts = self.directory.join("layouts");
        fs::create_dir_all(&layouts)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", layouts.display()));
        let lock = File::create(layouts.join("lock")).expect("the directory is ours");
        lock.lock().expect("a lock file can be locked");

        let material = self.material(name)?;
        let layout = layouts.join(format!("{name}-{:016x}", self.key(&material)));
        if !layout.exists() {
            self.make(name, &layout)?;
            remove_others(&layouts, name, &layout);
        }
        Ok(layout)
    }

    /// Returns a part of the shared registry in which `FROM <name>` finds each of the bases
    /// through [`Registry::registries_conf`]. The bases are the same for all tests.
    ///
    /// # Errors
    ///
    /// As [`Bases::layout`] and [`Registry::shared`].
    ///
    /// # Panics
    ///
    /// As [`Bases::layout`] and [`Registry::shared`].
    pub fn serve(&self, names: &[&str]) -> Result<Registry, Skip> {
        self.fill(Registry::shared()?, names)
    }

    /// Starts a registry of the caller's own in which `library/<name>` holds each of the bases.
    ///
    /// # Errors
    ///
    /// As [`Bases::layout`] and [`Registry::start`].
    ///
    /// # Panics
    ///
    /// As [`Bases::layout`] and [`Registry::start`].
    pub fn serve_alone(&self, names: &[&str]) -> Result<Registry, Skip> {
        self.fill(Registry::start()?, names)
    }

    fn fill(&self, registry: Registry, names: &[&str]) -> Result<Registry, Skip> {
        let mut hasher = DefaultHasher::new();
        (&self.kiln, &self.directory).hash(&mut hasher);
        let group = format!("bases-{:016x}", hasher.finish());
        for name in names {
            registry.share_layout(&self.layout(name)?, &group, name)?;
        }
        Ok(registry)
    }

    fn material(&self, name: &str) -> Result<PathBuf, Skip> {
        let output = Command::new(checkout().join("scripts/base-material"))
            .arg(&self.directory)
            .arg(name)
            .output()
            .unwrap_or_else(|error| panic!("cannot start scripts/base-material: {error}"));
        if output.status.success() {
            return Ok(PathBuf::from(
                String::from_utf8_lossy(&output.stdout).trim_end(),
            ));
        }
        let message = String::from_utf8_lossy(&output.stderr);
        let reason = message.lines().last().unwrap_or("no message");
        Err(Skip::because(format!(
            "no material for the {name} base: {reason}"
        )))
    }

    fn key(&self, material: &Path) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(material.as_os_str().as_encoded_bytes());
        let mut files = vec![self.kiln.clone()];
        files.extend(["busybox", "debian", "node", "python"].map(|name| {
            checkout()
                .join("testdata/bases")
                .join(name)
                .join("Dockerfile")
        }));
        for file in files {
            let bytes = fs::read(&file)
                .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
            hasher.write_usize(bytes.len());
            hasher.write(&bytes);
        }
        hasher.finish()
    }

    fn make(&self, name: &str, layout: &Path) -> Result<(), Skip> {
        let skopeo = Skopeo::new()?;
        let registry = Registry::start()?;
        run(Command::new(checkout().join("scripts/make-bases"))
            .arg(&self.kiln)
            .arg(registry.address())
            .arg(name)
            .env("KILN_BASES", &self.directory));
        let partial = layout.with_extension("partial");
        let _ = fs::remove_dir_all(&partial);
        run(skopeo
            .copy()
            .arg("--src-tls-verify=false")
            .arg(format!(
                "docker://{}",
                registry.image(&format!("library/{name}"))
            ))
            .arg(format!("oci:{}:latest", partial.display())));
        fs::rename(&partial, layout)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", layout.display()));
        Ok(())
    }
}

/// Removes layouts of a base that an older kiln or older material made.
fn remove_others(layouts: &Path, name: &str, current: &Path) {
    let prefix = format!("{name}-");
    for entry in fs::read_dir(layouts).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(&prefix) && path != current {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two directories down")
}
