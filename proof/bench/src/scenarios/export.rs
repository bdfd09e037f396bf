use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use kiln_testbed::Tool;

use super::{Outcome, Scenario};
use crate::action::Action;
use crate::archive;
use crate::area::Area;
use crate::base::DEBIAN;
use crate::builders::{Builder, Compression, Export};
use crate::context::{Seed, copy_varied, write_dockerfile};
use crate::error::Error;
use crate::image::succeed;
use crate::limits;

/// A file of every layer that no earlier round had, so that no layer was exported before.
const ROUND: &str = "round";

/// An image that was just built is written to an OCI archive. Its layers are programs and
/// libraries, no two files alike.
pub(super) struct ExportImage<'run> {
    area: &'run Area,
    compression: Compression,
    context: PathBuf,
    layers: usize,
    bytes: u64,
    /// Holds nothing but what the contenders write.
    outputs: PathBuf,
    /// The content of all layers, for the limit.
    tar: PathBuf,
    /// Sizes of the archives, in bytes.
    sizes: BTreeMap<&'static str, u64>,
}

impl<'run> ExportImage<'run> {
    pub(super) fn prepare(
        area: &'run Area,
        bytes: u64,
        compression: Compression,
    ) -> Result<Box<dyn Scenario + 'run>, Error> {
        Tool::find(compressor(compression))?;
        let programs = area.rootfs(DEBIAN)?.join("usr");
        let context = area.fresh("context")?;
        let mut layers = 0;
        let (mut written, mut last) = (0, 0);
        let mut dockerfile = "FROM busybox\n".to_owned();
        // As many whole layers as come the closest.
        while written + last / 2 < bytes {
            let layer = context.join(layer_name(layers));
            last = copy_varied(&programs, &layer, Seed(layers as u64))?;
            written += last;
            // Writing to a string cannot fail.
            let _ = writeln!(dockerfile, "COPY {0} /{0}", layer_name(layers));
            layers += 1;
        }
        write_dockerfile(&context, &dockerfile)?;
        let outputs = area.fresh("outputs")?;
        Ok(Box::new(Self {
            area,
            compression,
            context,
            layers,
            bytes: written,
            tar: area.unused("tar"),
            outputs,
            sizes: BTreeMap::new(),
        }))
    }

    fn archive(&self, contender: &str) -> PathBuf {
        self.outputs.join(contender)
    }

    /// Remembers how much a builder wrote; one that failed wrote nothing.
    fn note_size(&mut self, contender: &'static str) {
        if let Ok(metadata) = fs::metadata(self.archive(contender)) {
            self.sizes.insert(contender, metadata.len());
        }
    }
}

/// Returns the program that is the limit.
fn compressor(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => "pigz",
        Compression::Zstd => "zstd",
    }
}

fn layer_name(layer: usize) -> String {
    format!("programs-{layer}")
}

impl Scenario for ExportImage<'_> {
    fn title(&self) -> String {
        format!(
            "a built image of {} MB in {} layers, none of them exported before, to an OCI \
             archive, {}",
            self.bytes / 1_000_000,
            self.layers,
            self.compression.name()
        )
    }

    fn begin_round(&mut self, round: u32) -> Result<(), Error> {
        for entry in fs::read_dir(&self.outputs).map_err(Error::at(&self.outputs))? {
            self.area
                .discard(&entry.map_err(Error::at(&self.outputs))?.path())?;
        }
        for layer in 0..self.layers {
            let path = self.context.join(layer_name(layer)).join(ROUND);
            fs::write(&path, format!("{round} {}\n", self.compression.name()))
                .map_err(Error::at(&path))?;
        }
        self.area.discard(&self.tar)?;
        let mut tar = Command::new("tar");
        tar.arg("--create").arg("--file").arg(&self.tar);
        tar.arg("--directory").arg(&self.context);
        tar.args((0..self.layers).map(layer_name));
        succeed(&mut tar).map_err(|said| Error::Preparation {
            doing: "cannot make an archive for the limit".to_owned(),
            said,
        })?;
        Ok(())
    }

    fn before(&self, builder: &dyn Builder, tag: &str) -> Option<Action> {
        builder.build(tag, &self.context).map(Action::program)
    }

    fn action(&self, builder: &dyn Builder, tag: &str) -> Option<Action> {
        let command = builder.export(&Export {
            tag,
            context: &self.context,
            archive: &self.archive(builder.name()),
            compression: self.compression,
        })?;
        Some(Action::program(command))
    }

    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error> {
        let program = compressor(self.compression);
        let (label, command) = match self.compression {
            Compression::Gzip => (
                "pigz -6 of the same tar",
                limits::compress(&[program, "-6"], &self.tar, &self.archive(program)),
            ),
            Compression::Zstd => (
                "zstd -T0 -3 of the same tar",
                limits::compress(&[program, "-T0", "-3"], &self.tar, &self.archive(program)),
            ),
        };
        Ok(vec![(label, Action::program(command))])
    }

    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        let name = outcome.builder.name();
        self.note_size(name);
        self.note_size(compressor(self.compression));
        let image = archive::unpack(outcome.area, &self.archive(name), self.compression)?;
        for layer in (0..self.layers).map(layer_name) {
            image.expect_tree(&format!("/{layer}"), &self.context.join(&layer))?;
        }
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        let size = |(name, bytes): (&&str, &u64)| format!("{name} {} MB", bytes / 1_000_000);
        let sizes: Vec<String> = self.sizes.iter().map(size).collect();
        vec![format!("sizes of what was written: {}", sizes.join(", "))]
    }
}
