//! Images whose content follows from a number, so that it can be told whether it is still right.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kiln_testbed::{Skip, busybox};

/// What an image holds: the number that all its files follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Variant(pub(crate) u32);

/// Small files of a context; files of a few hundred bytes are most of what images have.
const SMALL: u32 = 40;

impl Variant {
    /// Writes the context of the image.
    pub(crate) fn write_context(self, directory: &Path) -> Result<(), Skip> {
        let write = |name: &str, content: &[u8]| {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().expect("it is in the context"))
                .and_then(|()| fs::write(&path, content))
                .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        };
        let program = fs::read(busybox()?).expect("it was found");
        write("busybox", &program);
        for (name, content) in self.copied() {
            write(&format!("data/{name}"), content.as_bytes());
        }
        write(
            "Dockerfile",
            format!(
                "FROM scratch\n\
                 COPY --chmod=755 busybox /bin/busybox\n\
                 RUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo base > /base\"]\n\
                 COPY data /data\n\
                 RUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox cp -r /data /made && \
                 echo {number} > /variant\"]\n\
                 CMD [\"/bin/busybox\", \"cat\", \"/variant\"]\n",
                number = self.0
            )
            .as_bytes(),
        );
        Ok(())
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
        // Long enough that only a part of it may be on disk.
        files.insert(
            "large".to_owned(),
            format!("large {number}\n").repeat(100_000),
        );
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
        match fs::read(root.join("bin/busybox")).ok() == program {
            true => Ok(()),
            false => Err("/bin/busybox is not what was copied".to_owned()),
        }
    }
}
