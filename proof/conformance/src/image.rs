use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use tar::{Archive, EntryType};

use crate::files::{self, Files};
use crate::listing;

/// An image as a builder saved it.
#[derive(Debug)]
pub struct Image {
    files: Files,
    config: Value,
}

impl Image {
    /// Reads an archive as `docker save` writes it, which every builder can.
    ///
    /// # Errors
    ///
    /// Those of reading, or what the archive lacks.
    pub fn read(archive: &Path) -> io::Result<Self> {
        let archive = Saved::read(archive)?;
        let manifest = archive.json(Path::new("manifest.json"))?;
        let config = archive.json(&path(&manifest[0]["Config"]))?;
        let layers = array(&manifest[0]["Layers"]).iter();
        let layers: Vec<&[u8]> = layers
            .map(|layer| archive.get(&path(layer)))
            .collect::<io::Result<_>>()?;
        Self::of(&layers, config)
    }

    /// Returns an image of layers, lowest first, as tars or packed by gzip, and a config.
    ///
    /// # Errors
    ///
    /// What is wrong with a layer.
    pub fn of(layers: &[impl AsRef<[u8]>], config: Value) -> io::Result<Self> {
        let mut files = Files::new();
        for bytes in layers.iter().map(AsRef::as_ref) {
            // RFC 1952, section 2.3.1: the first two bytes of every gzip file, which may have
            // several members.
            if bytes.starts_with(&[0x1f, 0x8b]) {
                files::apply(MultiGzDecoder::new(bytes), &mut files)?;
            } else {
                files::apply(bytes, &mut files)?;
            }
        }
        Ok(Self { files, config })
    }

    /// Returns an image without files, config or history.
    pub fn scratch() -> Self {
        Self {
            files: Files::new(),
            config: Value::Null,
        }
    }

    /// Finds the one among some images that this one grew from.
    pub fn base<'a>(&self, images: &'a [Self]) -> Option<&'a Self> {
        images
            .iter()
            .filter(|image| self.layers().starts_with(image.layers()))
            .max_by_key(|image| image.layers().len())
    }

    /// Writes down the files that differ from a base, with the time of those given.
    pub fn tree(&self, base: &Self, times: &[String]) -> Vec<String> {
        listing::list(&self.files, &base.files, times)
    }

    /// Writes down the members of the config that are not empty, sorted, and the author.
    pub fn config(&self) -> Vec<String> {
        let author = ("author", &self.config["author"]);
        let mut lines: Vec<String> = members(&self.config["config"])
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value))
            .chain([author])
            .filter(|(_, value)| !is_empty(value))
            .map(|(key, value)| format!("{key}: {}", sorted(value)))
            .collect();
        lines.sort();
        lines
    }

    /// Writes down the history that is not the base's: `layer` or `empty`, and what made it.
    pub fn history(&self, base: &Self) -> Vec<String> {
        let entries = array(&self.config["history"]);
        entries[array(&base.config["history"]).len().min(entries.len())..]
            .iter()
            .map(|entry| {
                let kind = match &entry["empty_layer"] {
                    Value::Bool(true) => "empty",
                    _ => "layer",
                };
                let made_by = entry["created_by"].as_str().unwrap_or_default();
                // One line each, whatever a heredoc holds.
                let made_by = made_by.replace('\\', "\\\\").replace('\n', "\\n");
                format!("{kind} {made_by}")
            })
            .collect()
    }

    fn layers(&self) -> &[Value] {
        array(&self.config["rootfs"]["diff_ids"])
    }
}

/// The members of an archive by path.
struct Saved(HashMap<PathBuf, Member>);

enum Member {
    Bytes(Vec<u8>),
    /// Docker saves a layer that occurs twice as a link to the first.
    Link(PathBuf),
}

impl Saved {
    fn read(archive: &Path) -> io::Result<Self> {
        let mut members = HashMap::new();
        for member in Archive::new(File::open(archive)?).entries()? {
            let mut member = member?;
            let path = member.path()?.into_owned();
            let content = match (member.header().entry_type(), member.link_name()?) {
                (EntryType::Symlink, Some(target)) => {
                    // `../<layer>/layer.tar`, seen from one directory down.
                    let target = target.strip_prefix("..").unwrap_or(&target);
                    Member::Link(target.to_owned())
                }
                _ => {
                    let mut bytes = Vec::new();
                    member.read_to_end(&mut bytes)?;
                    Member::Bytes(bytes)
                }
            };
            members.insert(path, content);
        }
        Ok(Self(members))
    }

    fn get(&self, path: &Path) -> io::Result<&[u8]> {
        match self.0.get(path) {
            Some(Member::Bytes(bytes)) => Ok(bytes),
            Some(Member::Link(target)) if target != path => self.get(target),
            _ => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("the archive lacks {}", path.display()),
            )),
        }
    }

    fn json(&self, path: &Path) -> io::Result<Value> {
        Ok(serde_json::from_slice(self.get(path)?)?)
    }
}

fn path(value: &Value) -> PathBuf {
    value.as_str().unwrap_or_default().into()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn members(value: &Value) -> Option<&Map<String, Value>> {
    value.as_object()
}

/// Says whether a member means the same as its absence.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(array) => array.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}

/// Sorts the keys of objects, which have no order of their own.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let sorted = entries
                .into_iter()
                .map(|(key, value)| (key.clone(), sorted(value)));
            Value::Object(sorted.collect())
        }
        other => other.clone(),
    }
}
