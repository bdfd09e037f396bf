//! Emulators registered with the kernel (Linux: Documentation/admin-guide/binfmt-misc.rst).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::elf::Elf;

/// Which of an ELF header's bytes say what kind of file it is; 2 is an executable, 3 one that
/// can be loaded anywhere. Registered masks treat both alike.
const TYPE_OFFSETS: [usize; 2] = [16, 17];

/// A registered emulator.
#[derive(Debug)]
pub(super) struct Binfmt {
    /// The kernel's file about it.
    pub(super) file: PathBuf,
    /// Whether it is in use.
    pub(super) is_enabled: bool,
    /// The emulator's program.
    pub(super) interpreter: String,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Binfmt {
    /// Finds the emulator for a binary.
    pub(super) fn find(directory: &Path, elf: &Elf) -> io::Result<Option<Self>> {
        let all_enabled = fs::read_to_string(directory.join("status"))?.trim() == "enabled";
        for entry in fs::read_dir(directory)?.flatten() {
            let Ok(text) = fs::read_to_string(entry.path()) else {
                continue;
            };
            if let Some(mut handler) = Self::parse(entry.path(), &text)
                && handler.matches(&elf.header)
            {
                handler.is_enabled &= all_enabled;
                return Ok(Some(handler));
            }
        }
        Ok(None)
    }

    /// Reads what the kernel says about a handler; none if it goes by the names of files.
    fn parse(file: PathBuf, text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        if value("offset ")?.trim() != "0" {
            return None;
        }
        let magic = bytes(value("magic ")?)?;
        let mask = match value("mask ") {
            Some(mask) => bytes(mask)?,
            None => vec![0xff; magic.len()],
        };
        Some(Self {
            file,
            is_enabled: text.starts_with("enabled"),
            interpreter: value("interpreter ")?.to_owned(),
            magic,
            mask,
        })
    }

    fn matches(&self, header: &[u8]) -> bool {
        let bytes = self.magic.iter().zip(&self.mask).enumerate();
        self.magic.len() <= header.len()
            && bytes
                .filter(|(offset, _)| !TYPE_OFFSETS.contains(offset))
                .all(|(offset, (magic, mask))| header[offset] & mask == magic & mask)
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .trim()
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let pairs = digits?;
    let pairs = pairs.chunks(2);
    Some(
        pairs
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}
