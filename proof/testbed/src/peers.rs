//! The other builders, runtimes and image tools that kiln is compared with.
//!
//! Each gets storage and settings of its own, so that tests can run side by side and the
//! machine's own images are neither used nor changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Registry, Scratch, Skip, Tool, list_directory, need_root, run};

/// Accepts every image, signed or not.
const POLICY: &str = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;

/// What buildah and podman would otherwise find out about the machine.
///
/// runc, because Debian's crun refuses the hybrid of cgroups v1 and v2 that some machines
/// have; explicit limits, because the default ones are out of reach without CAP_SYS_RESOURCE.
const CONTAINERS_CONF: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"#;

/// Settings and storage of the tools that share containers/storage and containers/image.
#[derive(Debug)]
struct Private {
    scratch: Scratch,
}

impl Private {
    fn new(registry: Option<&Registry>) -> Self {
        let scratch = Scratch::new();
        let settings = scratch.join("home/.config/containers");
        fs::create_dir_all(&settings).expect("the directory is ours");
        fs::create_dir(scratch.join("temporary")).expect("the directory is ours");
        let write = |name: &str, text: &str| {
            fs::write(settings.join(name), text).expect("the directory is ours");
        };
        write("policy.json", POLICY);
        write("containers.conf", CONTAINERS_CONF);
        match registry {
            None => {
                write("registries.conf", "");
                write("auth.json", "{}");
            }
            Some(registry) => {
                fs::copy(registry.registries_conf(), settings.join("registries.conf"))
                    .expect("a registry has its settings");
                fs::copy(registry.auth_file(), settings.join("auth.json"))
                    .expect("a registry has its settings");
            }
        }
        Self { scratch }
    }

    fn settings(&self, name: &str) -> PathBuf {
        self.scratch.join("home/.config/containers").join(name)
    }

    fn command(&self, tool: &Tool) -> Command {
        let mut command = tool.command();
        command
            .env("HOME", self.scratch.join("home"))
            // Where buildah keeps cache mounts, beside what is temporary indeed.
            .env("TMPDIR", self.scratch.join("temporary"))
            .env("CONTAINERS_CONF", self.settings("containers.conf"))
            .env(
                "CONTAINERS_REGISTRIES_CONF",
                self.settings("registries.conf"),
            )
            .env("REGISTRY_AUTH_FILE", self.settings("auth.json"));
        command
    }

    fn command_with_storage(&self, tool: &Tool) -> Command {
        let mut command = self.command(tool);
        command
            .arg("--root")
            .arg(self.scratch.join("storage"))
            .arg("--runroot")
            .arg(self.scratch.join("run"))
            .args(["--storage-driver", "overlay"]);
        command
    }
}

/// buildah with an image store of its own.
#[derive(Debug)]
pub struct Buildah {
    tool: Tool,
    private: Private,
}

impl Buildah {
    /// Makes an empty store. Names without a host come from the registry, if one is given.
    ///
    /// # Errors
    ///
    /// A skip without buildah, runc or root.
    pub fn new(registry: Option<&Registry>) -> Result<Self, Skip> {
        need_root()?;
        Tool::find("runc")?;
        Ok(Self {
            tool: Tool::find("buildah")?,
            private: Private::new(registry),
        })
    }

    /// Returns a buildah command bound to this store, with no verb yet.
    pub fn command(&self) -> Command {
        self.private.command_with_storage(&self.tool)
    }

    /// Returns a command that builds a context into an image, in Docker's format, which alone
    /// carries HEALTHCHECK, SHELL and ONBUILD. Further options may be added.
    pub fn build(&self, context: &Path, tag: &str) -> Command {
        let mut command = self.command();
        command
            .args(["bud", "--format", "docker", "--network", "host"])
            .args(["--layers", "--tls-verify=false", "--tag", tag])
            // Options may follow the context.
            .arg(context);
        command
    }

    /// Writes an image of this store as an OCI layout.
    ///
    /// # Panics
    ///
    /// If the image is missing or cannot be written.
    pub fn save_layout(&self, image: &str, layout: &Path, tag: &str) {
        run(self
            .command()
            .args(["push", "--format", "oci", image])
            .arg(format!("oci:{}:{tag}", layout.display())));
    }
}

/// podman with an image and container store of its own.
#[derive(Debug)]
pub struct Podman {
    tool: Tool,
    private: Private,
}

impl Podman {
    /// Makes an empty store. Names without a host come from the registry, if one is given.
    ///
    /// # Errors
    ///
    /// A skip without podman, runc or root.
    pub fn new(registry: Option<&Registry>) -> Result<Self, Skip> {
        need_root()?;
        Tool::find("runc")?;
        Ok(Self {
            tool: Tool::find("podman")?,
            private: Private::new(registry),
        })
    }

    /// Returns a podman command bound to this store, with no verb yet.
    pub fn command(&self) -> Command {
        self.private.command_with_storage(&self.tool)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Containers that a failed test left running; a store without any is fine too.
        let _ = self
            .command()
            .args(["rm", "--all", "--force", "--time", "0"])
            .output();
    }
}

/// skopeo with settings of its own.
#[derive(Debug)]
pub struct Skopeo {
    tool: Tool,
    private: Private,
}

impl Skopeo {
    /// Prepares settings that accept every image.
    ///
    /// # Errors
    ///
    /// A skip without skopeo.
    pub fn new() -> Result<Self, Skip> {
        Ok(Self {
            tool: Tool::find("skopeo")?,
            private: Private::new(None),
        })
    }

    /// Returns a skopeo command, with no verb yet.
    pub fn command(&self) -> Command {
        let mut command = self.private.command(&self.tool);
        command
            .arg("--policy")
            .arg(self.private.settings("policy.json"));
        command
    }

    /// Returns a `skopeo copy` that lacks its source and destination. It keeps digests.
    pub fn copy(&self) -> Command {
        let mut command = self.command();
        command.args(["copy", "--quiet", "--preserve-digests"]);
        command
    }
}

/// umoci, a second opinion on what layers unpack to.
#[derive(Debug)]
pub struct Umoci {
    tool: Tool,
}

impl Umoci {
    /// Finds the program.
    ///
    /// # Errors
    ///
    /// A skip without umoci.
    pub fn new() -> Result<Self, Skip> {
        Ok(Self {
            tool: Tool::find("umoci")?,
        })
    }

    /// Returns a umoci command, with no verb yet.
    pub fn command(&self) -> Command {
        self.tool.command()
    }

    /// Unpacks an image of an OCI layout into a bundle and returns its root file system.
    ///
    /// # Panics
    ///
    /// If the layout or a layer is not as specified.
    pub fn unpack(&self, layout: &Path, tag: &str, bundle: &Path) -> PathBuf {
        run(self
            .command()
            .args(["unpack", "--image"])
            .arg(format!("{}:{tag}", layout.display()))
            .arg(bundle));
        bundle.join("rootfs")
    }
}

/// Writes down the files of an image in an OCI layout, as [`list_directory`] does.
///
/// # Errors
///
/// A skip without umoci or root, who alone can unpack every owner and device.
///
/// # Panics
///
/// As [`Umoci::unpack`].
pub fn image_tree(layout: &Path, tag: &str) -> Result<Vec<String>, Skip> {
    need_root()?;
    let umoci = Umoci::new()?;
    let scratch = Scratch::new();
    let rootfs = umoci.unpack(layout, tag, &scratch.join("bundle"));
    Ok(list_directory(&rootfs))
}
