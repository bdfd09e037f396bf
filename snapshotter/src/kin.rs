//! Layers that have files in common on disk, and stacks in which that would show.
//!
//! A file that one layer takes over from another as it is becomes a further name of the same
//! inode. Programs take two names of one inode for one file: in a root that holds both layers,
//! `cp -a` and `tar` would make hard links of what are two files. So a layer notes whose inodes it
//! has, and in a stack with one of these, or with another layer that has inodes of the same, it is
//! represented by copies of its own.
//!
//! Layers that the same step made one after the other are a *family*. What one takes over from an
//! earlier one is at the same path in both, and of two files at one path only the upper one shows:
//! members of a family get along.
//!
//! ```text
//! layers/<2 hex>/<layer id>/kin   text: the family or "-" for one of its own, then, a line each,
//!                                 families whose inodes it has too; called by their first layer
//! layers/<2 hex>/<layer id>/own/  the files once more, copied; made when a stack asks for them
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kiln_cache::{Kind, LayerId, Unsettled};

use crate::build_error::{BuildError, reading};
use crate::builder::{Content, Sameness};
use crate::copy::Hashed;
use crate::error::LayerError;
use crate::files::LayerFiles;
use crate::layer::{Layer, LayerStore};
use crate::metadata::Metadata;

/// Whose inodes a layer's files are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kin {
    /// Its family, if it is not the first of one.
    family: Option<LayerId>,
    /// Families that it has inodes of besides.
    others: BTreeSet<LayerId>,
    /// Whether what is written of it is damaged: then it may have inodes of any.
    is_unknown: bool,
}

impl Kin {
    /// Returns the kin of a layer that took files over from `donors`.
    pub(crate) fn of(layers: &LayerStore, donors: &HashMap<LayerId, Sameness>) -> Self {
        let mut kin = Self::default();
        for (id, sameness) in donors {
            let donor = layers.layer(*id).map(|layer| layer.kin());
            let donor = donor.unwrap_or_default();
            let family = donor.family.unwrap_or(*id);
            kin.others.extend(donor.others);
            kin.is_unknown |= donor.is_unknown;
            match (sameness, kin.family) {
                // The same place of an earlier layer of the same step.
                (Sameness::Whole, None) => kin.family = Some(family),
                _ => drop(kin.others.insert(family)),
            }
        }
        if let Some(family) = kin.family {
            kin.others.remove(&family);
        }
        kin
    }

    /// Writes it into the directory of its layer.
    pub(crate) fn write(&self, layer: &Path) -> Result<(), LayerError> {
        if *self == Self::default() {
            return Ok(());
        }
        let mut text = match self.family {
            Some(family) => format!("{family}\n"),
            None => "-\n".to_owned(),
        };
        for other in &self.others {
            text.push_str(&format!("{other}\n"));
        }
        let path = layer.join("kin");
        fs::write(&path, text).map_err(LayerError::at(&path))
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let family = match lines.next()? {
            "-" => None,
            family => Some(family.parse().ok()?),
        };
        let others = lines.map(|line| line.parse().ok());
        Some(Self {
            family,
            others: others.collect::<Option<_>>()?,
            is_unknown: false,
        })
    }
}

impl Layer {
    pub(crate) fn kin(&self) -> Kin {
        // Nearly no layer has any.
        fs::read_to_string(self.path("kin")).map_or_else(
            |_| Kin::default(),
            |text| {
                Kin::from_text(&text).unwrap_or(Kin {
                    is_unknown: true,
                    ..Kin::default()
                })
            },
        )
    }

    /// Returns the directory with copies that no other layer has inodes of, if it was made.
    pub(crate) fn own_files(&self) -> Option<PathBuf> {
        let path = self.path("own");
        path.is_dir().then_some(path)
    }

    /// Returns the directory with copies that no other layer has inodes of.
    pub(crate) fn make_own_files(&self) -> Result<LayerFiles, BuildError> {
        let _lock = self.lock_work()?;
        if let Some(made) = self.own_files() {
            return Ok(LayerFiles::in_one(made));
        }
        let files = self.unpacked()?;
        let builder = self.layers().builder()?;
        for entry in self.tree()?.iter() {
            let path = entry.guest_path();
            let Kind::File { size, hash } = entry.kind else {
                builder.add_entry(&path, &entry, || Err(LayerError::NotUnpacked(self.id())))?;
                continue;
            };
            let file = File::open(files.path(&path)).map_err(reading(&path))?;
            let known = Hashed {
                size_bytes: size,
                hash,
            };
            let content = Content::Known(&file, known);
            if builder.add_file(&path, &Metadata::of(&entry), content)? != known {
                let id = self.id();
                return Err(LayerError::Changed { id, path }.into());
            }
        }
        let (made, _, _work) = builder.into_directory()?;
        let path = self.path("own");
        let announced = self.store().announce(Unsettled::Layer(self.id()));
        let _announced = announced.map_err(LayerError::at(&path))?;
        fs::rename(made, &path).map_err(LayerError::at(&path))?;
        Ok(LayerFiles::in_one(path))
    }
}

/// Returns those of `layers` that must not show the inodes they have from others in one root with
/// the rest.
pub(crate) fn kept_apart(layers: &[Layer]) -> HashSet<LayerId> {
    let mut apart = HashSet::new();
    let mut known: Vec<(LayerId, Kin)> = layers
        .iter()
        .map(|layer| (layer.id(), layer.kin()))
        .collect();
    if known
        .iter()
        .all(|(_, kin)| kin.others.is_empty() && !kin.is_unknown)
    {
        return apart;
    }
    known.sort_by_key(|(id, _)| *id);
    known.dedup_by_key(|(id, _)| *id);
    let mut taken: HashSet<LayerId> = known
        .iter()
        .map(|(id, kin)| kin.family.unwrap_or(*id))
        .collect();
    for (id, kin) in known {
        let is_related = kin.others.iter().any(|family| taken.contains(family));
        match is_related || kin.is_unknown {
            true => drop(apart.insert(id)),
            false => taken.extend(kin.others),
        }
    }
    apart
}
