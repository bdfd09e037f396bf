//! Images whose content follows from a number, so that it can be told whether it is still right.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kiln_testbed::{Skip, busybox};

use crate::chance::Chance;

/// What an image holds: the number that all its files follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Variant(pub(crate) u32);

/// How the files come into an image. They are the same whatever the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By COPY of the context.
    Context,
    /// By ADD of a git repository.
    Git,
    /// By COPY of a context that is a git repository.
    GitContext,
    /// The large one by ADD of a URL.
    Download,
    /// The large one by way of a cache mount.
    CacheMount,
}

impl Way {
    /// Chooses one, the plain way most often.
    pub(crate) fn choose(chance: &mut Chance) -> Self {
        chance.one_of(&[
            Self::Context,
            Self::Context,
            Self::Context,
            Self::Git,
            Self::GitContext,
            Self::Download,
            Self::CacheMount,
        ])
    }
}

/// Where variants are served.
pub(crate) trait Site {
    /// Returns the URL of a repository with the files below `/data`.
    fn git(&self, variant: Variant) -> String;

    /// Returns the URL of the large file.
    fn download(&self, variant: Variant) -> String;
}

/// Small files of a context; files of a few hundred bytes are most of what images have.
const SMALL: u32 = 40;

/// The name of the file that is long enough that only a part of it may be on disk.
const LARGE: &str = "large";

impl Variant {
    /// Chooses the one of a trial, or of one of the two trials before it: what was made of those is
    /// found, or what was lost of it is made again.
    pub(crate) fn recent(number: u32, chance: &mut Chance) -> Self {
        let back = u32::try_from(chance.below(3)).unwrap_or(0).min(number);
        Self(number - back)
    }

    /// Writes the context of the image.
    pub(crate) fn write_context(
        self,
        directory: &Path,
        way: Way,
        site: &impl Site,
    ) -> Result<(), Skip> {
        let program = fs::read(busybox()?).expect("it was found");
        write(directory, "busybox", &program);
        let mut copied = self.copied();
        let (mut copy, mut large) = ("COPY data /data\n".to_owned(), String::new());
        match way {
            Way::Context | Way::GitContext => {}
            Way::Git => {
                copied.clear();
                copy = format!("ADD {} /data\n", site.git(self));
            }
            Way::Download => {
                copied.remove(LARGE);
                copy.push_str(&format!("ADD {} /data/{LARGE}\n", site.download(self)));
            }
            // It has its name in the cache when it is complete, as careful tools do that.
            Way::CacheMount => {
                large = format!(
                    "/bin/busybox test -f /cache/{number} || {{ \
                     /bin/busybox cp /data/{LARGE} /cache/new && \
                     /bin/busybox mv /cache/new /cache/{number}; }} && \
                     /bin/busybox cp /cache/{number} /made/{LARGE} && ",
                    number = self.0
                );
            }
        }
        for (name, content) in copied {
            write(directory, &format!("data/{name}"), content.as_bytes());
        }
        let mount = match way {
            Way::CacheMount => "--mount=type=cache,target=/cache ",
            _ => "",
        };
        let dockerfile = format!(
            "FROM scratch\n\
             COPY --chmod=755 busybox /bin/busybox\n\
             RUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo base > /base\"]\n\
             {copy}\
             RUN {mount}[\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox cp -r /data /made && \
             {large}echo {number} > /variant\"]\n\
             CMD [\"/bin/busybox\", \"cat\", \"/variant\"]\n",
            number = self.0
        );
        write(directory, "Dockerfile", dockerfile.as_bytes());
        Ok(())
    }

    /// Writes the files below `/data`.
    pub(crate) fn write_data(self, directory: &Path) {
        for (name, content) in self.copied() {
            write(directory, &name, content.as_bytes());
        }
    }

    /// Returns the large file.
    pub(crate) fn large(self) -> String {
        format!("large {}\n", self.0).repeat(100_000)
    }

    /// Returns the files below `/data`.
    fn copied(self) -> BTreeMap<String, String> {
        let number = self.0;
        let mut files: BTreeMap<String, String> = (0..SMALL)
            .map(|file| {
                let line = format!("{file} of {number}\n");
                (
                    format!("{}/{file}", file % 4),
                    line.repeat(1 + file as usize),
                )
            })
            .collect();
        files.insert(LARGE.to_owned(), self.large());
        files
    }

    /// Compares files that were written out with those of the image; says what differs first.
    pub(crate) fn compare(self, root: &Path) -> Result<(), String> {
        let mut expected = BTreeMap::from([
            ("variant".to_owned(), format!("{}\n", self.0)),
            ("base".to_owned(), "base\n".to_owned()),
        ]);
        for (name, content) in self.copied() {
            expected.insert(format!("made/{name}"), content.clone());
            expected.insert(format!("data/{name}"), content);
        }
        for (name, content) in expected {
            let found = fs::read(root.join(&name))
                .map_err(|error| format!("/{name} of variant {}: {error}", self.0))?;
            if found != content.as_bytes() {
                return Err(format!(
                    "/{name} of variant {} has {} bytes instead of {}, beginning {:?}",
                    self.0,
                    found.len(),
                    content.len(),
                    String::from_utf8_lossy(&found[..found.len().min(40)])
                ));
            }
        }
        let program = busybox().ok().and_then(|path| fs::read(path).ok());
        if fs::read(root.join("bin/busybox")).ok() == program {
            Ok(())
        } else {
            Err("/bin/busybox is not what was copied".to_owned())
        }
    }
}

/// Writes a file of a directory that is ours.
fn write(directory: &Path, name: &str, content: &[u8]) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().expect("it has a directory"))
        .and_then(|()| fs::write(&path, content))
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
